/* Sixteen floats at a time. The source fixes the order of every operation: all processors give the same bits. */
#ifndef FEDPERSONA_NUMBERS_H
#define FEDPERSONA_NUMBERS_H

#include <stdint.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

typedef float v16 __attribute__((vector_size(64)));
typedef int32_t i16 __attribute__((vector_size(64)));
typedef float loose_v16 __attribute__((vector_size(64), aligned(4), may_alias));
typedef int32_t loose_i16 __attribute__((vector_size(64), aligned(4), may_alias));

#if defined(__clang__)
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (i16){__VA_ARGS__})
#endif

/* Sums of the halves of each quarter of a and b; of the next level; then of quarters. */
#define HALVES(a, b)                                                                               \
    (SHUFFLE(a, b, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29) +                      \
     SHUFFLE(a, b, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31))
#define PAIRS(a, b)                                                                                \
    (SHUFFLE(a, b, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29) +                      \
     SHUFFLE(a, b, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31))
#define QUARTERS(a, b)                                                                             \
    (SHUFFLE(a, b, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27) +                      \
     SHUFFLE(a, b, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31))

INLINE v16 all(float x) { return (v16){0} + x; }

INLINE v16 where(i16 condition, v16 yes, v16 no) { return (v16)(((i16)yes & condition) | ((i16)no & ~condition)); }

INLINE float sum16(v16 x) {
    float part[16];
    memcpy(part, &x, 64);
    for (int width = 8; width; width /= 2)
        for (int i = 0; i < width; i++) part[i] += part[i + width];
    return part[0];
}

/* 1 / (1 + exp(-z)), with exp as in Cephes (Moshier): a polynomial of degree 5 after halving off powers of two. */
INLINE v16 sigmoid(v16 z) {
    v16 x = -z;
    x = where(x > 87.0f, all(87.0f), x); /* no number stays none */
    x = where(x < -87.0f, all(-87.0f), x);
    const float magic = 12582912.0f; /* 1.5 * 2^23: adding it rounds to a whole number */
    v16 shifted = x * 1.44269504f + magic;
    v16 whole = shifted - magic;
    v16 f = (x - whole * 0.693359375f) - whole * -2.12194440e-4f;
    v16 p = all(1.9875691500e-4f);
    p = p * f + 1.3981999507e-3f;
    p = p * f + 8.3334519073e-3f;
    p = p * f + 4.1665795894e-2f;
    p = p * f + 1.6666665459e-1f;
    p = p * f + 5.0000001201e-1f;
    p = p * (f * f) + (f + 1.0f);
    i16 power = ((i16)shifted - 0x4B400000 + 127) << 23;
    return 1.0f / (1.0f + p * (v16)power);
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
