/* Steps of stochastic gradient descent on one minibatch, as fedpersona/taste/gradient/descent.py defines them. */
#ifndef FEDPERSONA_STEPS_H
#define FEDPERSONA_STEPS_H

#include "sampling.h"

#define MOST_VECTORS 64 /* 1,024 dimensions */

enum { PART_BOTH, PART_ALTERNATE, PART_PERSON, PART_ITEMS };

typedef struct {
    v16 vector[MOST_VECTORS];
    float bias;
} person;

/* Of nv vectors of 16, a row of the arena; where nv is known to the compiler, loops over it are gone. */
INLINE const loose_v16 *row_of(const lane *l, int64_t nv, uint32_t sample) {
    return (const loose_v16 *)(l->arena + (size_t)(sample >> 1) * (size_t)(16 * nv));
}

/* Sixteen entries of a sample's features: an item, or the difference of two. */
INLINE v16 feature(int pairs, const loose_v16 *x, const loose_v16 *y, int64_t w) {
    v16 entries = x[w];
    if (pairs) entries = entries - y[w];
    return entries;
}

INLINE v16 product(const lane *l, int64_t nv, int pairs, uint32_t a, uint32_t b, const v16 *u) {
    const loose_v16 *x = row_of(l, nv, a), *y = row_of(l, nv, b);
    v16 sum = feature(pairs, x, y, 0) * u[0];
    for (int64_t w = 1; w < nv; w++) sum = sum + feature(pairs, x, y, w) * u[w];
    return sum;
}

/* Scores of sixteen samples. */
INLINE v16 logits16(const lane *l, int64_t nv, int pairs, const uint32_t *a, const uint32_t *b, const v16 *u) {
    v16 quarter[4];
    for (int i = 0; i < 4; i++) {
        const v16 p0 = product(l, nv, pairs, a[4 * i], b[4 * i], u);
        const v16 p1 = product(l, nv, pairs, a[4 * i + 1], b[4 * i + 1], u);
        const v16 low = HALVES(p0, p1);
        const v16 p2 = product(l, nv, pairs, a[4 * i + 2], b[4 * i + 2], u);
        const v16 p3 = product(l, nv, pairs, a[4 * i + 3], b[4 * i + 3], u);
        const v16 high = HALVES(p2, p3);
        quarter[i] = PAIRS(low, high);
    }
    const v16 first = QUARTERS(quarter[0], quarter[1]), second = QUARTERS(quarter[2], quarter[3]);
    return QUARTERS(first, second);
}

/* Slopes of the mean loss by each logit into l->slopes, and their products with the features, summed, into pull.
 * Returns the sum of the slopes. */
INLINE float slopes(const lane *l, const job *j, int64_t nv, int pairs, const uint32_t *a, const uint32_t *b, int64_t nb,
                    const person *p, const float *weights, v16 *pull) {
    const float share = 1.0f / (float)nb;
    const i16 lanes = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    v16 total = {0}, even[MOST_VECTORS], odd[MOST_VECTORS]; /* two sums: neither waits for the other */
    for (int64_t w = 0; w < nv; w++) even[w] = odd[w] = (v16){0};
    for (int64_t k = 0; k < nb; k += 16) {
        const int m = nb - k < 16 ? (int)(nb - k) : 16;
        uint32_t rest[32];
        const uint32_t *x = a + k, *y = b + k;
        if (m < 16) { /* the last ones: any row will do where no sample is left */
            for (int i = 0; i < 16; i++) rest[i] = x[i < m ? i : 0], rest[16 + i] = y[i < m ? i : 0];
            x = rest, y = rest + 16;
        }
        v16 z = logits16(l, nv, pairs, x, y, p->vector);
        if (j->bias) z = z + p->bias;
        const v16 played = __builtin_convertvector(*(const loose_i16 *)x & 1, v16);
        v16 slope = (sigmoid(z) - played) * share;
        if (m < 16) slope = where(lanes < m, slope, (v16){0});
        float *g = l->slopes + k;
        *(loose_v16 *)g = slope;
        if (weights) {
            for (int i = 0; i < m; i++)
                if (x[i] & 1) g[i] *= weights[x[i] >> 1];
            slope = *(loose_v16 *)g;
        }
        total = total + slope;
        if (!pull) continue;
        for (int i = 0; i + 1 < m; i += 2) {
            const loose_v16 *r = row_of(l, nv, x[i]), *s = row_of(l, nv, y[i]);
            const loose_v16 *t = row_of(l, nv, x[i + 1]), *v = row_of(l, nv, y[i + 1]);
            for (int64_t w = 0; w < nv; w++) {
                even[w] = even[w] + feature(pairs, r, s, w) * g[i];
                odd[w] = odd[w] + feature(pairs, t, v, w) * g[i + 1];
            }
        }
        if (m & 1) {
            const loose_v16 *r = row_of(l, nv, x[m - 1]), *s = row_of(l, nv, y[m - 1]);
            for (int64_t w = 0; w < nv; w++) even[w] = even[w] + feature(pairs, r, s, w) * g[m - 1];
        }
    }
    if (pull)
        for (int64_t w = 0; w < nv; w++) pull[w] = even[w] + odd[w];
    return sum16(total);
}

/* FedProx: every step draws all items back toward where the round began; it is done when an item is next looked at. */
INLINE void decay(lane *l, const job *j, int64_t nv, uint32_t slot, int64_t step) {
    const int64_t missing = step - l->decayed[slot];
    if (missing <= 0) return;
    l->decayed[slot] = (int32_t)step;
    float keep = 1.0f, factor = 1.0f / (1.0f + j->item_lr * j->prox);
    for (int64_t power = missing; power; power >>= 1) {
        if (power & 1) keep = keep * factor;
        factor = factor * factor;
    }
    loose_v16 *row = (loose_v16 *)(l->arena + (size_t)slot * (size_t)(16 * nv));
    const float *base = j->items + (size_t)l->item_of[slot] * (size_t)j->dim;
    for (int64_t w = 0; w < nv; w++) {
        v16 begun = {0};
        const int64_t left = j->dim - 16 * w;
        memcpy(&begun, base + 16 * w, left < 16 ? (size_t)left * 4 : 64);
        row[w] = begun + (row[w] - begun) * keep;
    }
}

INLINE void move(lane *l, const job *j, int64_t nv, int pairs, const uint32_t *a, const uint32_t *b, int64_t nb,
                 const v16 *u) {
    for (int64_t i = 0; i < nb; i++) {
        const float g = j->item_lr * l->slopes[i];
        loose_v16 *x = (loose_v16 *)row_of(l, nv, a[i]);
        for (int64_t w = 0; w < nv; w++) x[w] = x[w] - g * u[w];
        if (!pairs) continue;
        loose_v16 *y = (loose_v16 *)row_of(l, nv, b[i]);
        for (int64_t w = 0; w < nv; w++) y[w] = y[w] + g * u[w];
    }
}

/* One minibatch. */
INLINE void step(lane *l, const job *j, int64_t nv, int pairs, const uint32_t *a, const uint32_t *b, int64_t nb,
                 int part, person *p, const float *weights, int64_t number) {
    v16 pull[MOST_VECTORS], before[MOST_VECTORS];
    const int held = j->prox != 0.0f && part != PART_PERSON;
    if (held)
        for (int64_t i = 0; i < nb; i++) {
            decay(l, j, nv, a[i] >> 1, number);
            if (pairs) decay(l, j, nv, b[i] >> 1, number);
        }
    for (int look = 0; look < (part == PART_ALTERNATE ? 2 : 1); look++) { /* items follow the person who just moved */
        const int moves = part != PART_ITEMS && look == 0;
        const float sum =
            slopes(l, j, nv, pairs, a, b, nb, p, part == PART_PERSON ? weights : NULL, moves ? pull : NULL);
        if (!moves) break;
        for (int64_t w = 0; w < nv; w++) {
            before[w] = p->vector[w];
            p->vector[w] = before[w] - j->lr * pull[w];
        }
        if (j->bias && !pairs) p->bias = p->bias - j->lr * sum;
    }
    if (part == PART_PERSON) return;
    move(l, j, nv, pairs, a, b, nb, part == PART_BOTH ? before : p->vector);
    if (held)
        for (int64_t i = 0; i < nb; i++) {
            decay(l, j, nv, a[i] >> 1, number + 1);
            if (pairs) decay(l, j, nv, b[i] >> 1, number + 1);
        }
}

#endif
