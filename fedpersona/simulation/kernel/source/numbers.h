/* Sixteen floats at a time, in as many registers as they take. The source fixes the order of every operation: the lanes
 * of a sum are sixteen whatever the processor has, so all processors give the same bits. */
#ifndef FEDPERSONA_NUMBERS_H
#define FEDPERSONA_NUMBERS_H

#include <stdint.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX__)
#define LANES 8
#else
#define LANES 4
#endif
#define PER (16 / LANES) /* registers of sixteen floats */

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef int32_t ivec __attribute__((vector_size(4 * LANES)));
typedef float loose_vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t loose_ivec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

#if defined(__clang__)
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (ivec){__VA_ARGS__})
#endif

/* Within each quarter of the sixteen lanes: sums of the halves of a and b, and then of pairs. Then sums of quarters. */
#if LANES == 16
#define HALVES(a, b)                                                                                                   \
    (SHUFFLE(a, b, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29) +                                         \
     SHUFFLE(a, b, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31))
#define PAIRS(a, b)                                                                                                    \
    (SHUFFLE(a, b, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29) +                                         \
     SHUFFLE(a, b, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31))
#define QUARTERS(a, b)                                                                                                 \
    (SHUFFLE(a, b, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27) +                                         \
     SHUFFLE(a, b, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31))
#elif LANES == 8
#define HALVES(a, b) (SHUFFLE(a, b, 0, 8, 1, 9, 4, 12, 5, 13) + SHUFFLE(a, b, 2, 10, 3, 11, 6, 14, 7, 15))
#define PAIRS(a, b) (SHUFFLE(a, b, 0, 1, 8, 9, 4, 5, 12, 13) + SHUFFLE(a, b, 2, 3, 10, 11, 6, 7, 14, 15))
#define QUARTERS(a, b) (SHUFFLE(a, b, 0, 1, 2, 3, 8, 9, 10, 11) + SHUFFLE(a, b, 4, 5, 6, 7, 12, 13, 14, 15))
#else
#define HALVES(a, b) (SHUFFLE(a, b, 0, 4, 1, 5) + SHUFFLE(a, b, 2, 6, 3, 7))
#define PAIRS(a, b) (SHUFFLE(a, b, 0, 1, 4, 5) + SHUFFLE(a, b, 2, 3, 6, 7))
#endif

/* Sums of the lanes of sixteen sums, four[i][r] being those of samples 4 i and on, register r: one lane a sample. */
INLINE void sums_of_lanes(vec four[4][PER], vec *sums) {
#if LANES == 16
    sums[0] = QUARTERS(QUARTERS(four[0][0], four[1][0]), QUARTERS(four[2][0], four[3][0]));
#elif LANES == 8
    sums[0] = QUARTERS(QUARTERS(four[0][0], four[0][1]), QUARTERS(four[1][0], four[1][1]));
    sums[1] = QUARTERS(QUARTERS(four[2][0], four[2][1]), QUARTERS(four[3][0], four[3][1]));
#else
    for (int i = 0; i < 4; i++) sums[i] = (four[i][0] + four[i][1]) + (four[i][2] + four[i][3]);
#endif
}

INLINE vec all(float x) { return (vec){0} + x; }

INLINE vec where(ivec condition, vec yes, vec no) { return (vec)(((ivec)yes & condition) | ((ivec)no & ~condition)); }

/* The sum of sixteen lanes. */
INLINE float sum16(const vec *x) {
    float part[16];
    memcpy(part, x, 64);
    for (int width = 8; width; width /= 2)
        for (int i = 0; i < width; i++) part[i] += part[i + width];
    return part[0];
}

/* 1 / (1 + exp(-z)), with exp as in Cephes (Moshier): a polynomial of degree 5 after halving off powers of two. */
INLINE vec sigmoid(vec z) {
    vec x = -z;
    x = where(x > 87.0f, all(87.0f), x); /* no number stays none */
    x = where(x < -87.0f, all(-87.0f), x);
    const float magic = 12582912.0f; /* 1.5 * 2^23: adding it rounds to a whole number */
    vec shifted = x * 1.44269504f + magic;
    vec whole = shifted - magic;
    vec f = (x - whole * 0.693359375f) - whole * -2.12194440e-4f;
    vec p = all(1.9875691500e-4f);
    p = p * f + 1.3981999507e-3f;
    p = p * f + 8.3334519073e-3f;
    p = p * f + 4.1665795894e-2f;
    p = p * f + 1.6666665459e-1f;
    p = p * f + 5.0000001201e-1f;
    p = p * (f * f) + (f + 1.0f);
    ivec power = ((ivec)shifted - 0x4B400000 + 127) << 23;
    return 1.0f / (1.0f + p * (vec)power);
}

/* Part w of a row of the item table: nothing beyond its end. */
INLINE vec part_of(const float *row, int64_t dim, int64_t w) {
    const int64_t left = dim - LANES * w;
    if (left >= LANES) return *(const loose_vec *)(row + LANES * w);
    vec part = {0};
    if (left > 0) memcpy(&part, row + LANES * w, (size_t)left * 4);
    return part;
}

/* SplitMix64 (Steele, Lea and Flood 2014): fedpersona/randomness.py. */
#define GOLDEN 0x9E3779B97F4A7C15ULL

INLINE uint64_t mix64(uint64_t x) {
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
    return x ^ (x >> 31);
}

/* A number below the limit from 32 bits (Lemire 2019). */
INLINE uint32_t below(uint64_t bits, uint64_t limit) { return (uint32_t)((bits * limit) >> 32); }

#endif
