/* Steps of stochastic gradient descent on one minibatch, as fedpersona/taste/gradient/descent.py defines them. */
#ifndef FEDPERSONA_STEPS_H
#define FEDPERSONA_STEPS_H

#include "sampling.h"

#define MOST_DIM 1024

enum { PART_BOTH, PART_ALTERNATE, PART_PERSON, PART_ITEMS };

typedef struct {
    vec vector[MOST_DIM / LANES];
    float bias;
} person;

/* A row of the arena: nr registers; where nr is known to the compiler, loops over it are gone. */
INLINE const loose_vec *row_of(const float *arena, int64_t nr, uint32_t sample) {
    return (const loose_vec *)(arena + (size_t)(sample >> 1) * (size_t)(LANES * nr));
}

/* Part w of a sample's features: an item, or the difference of two. */
INLINE vec feature(int pairs, const loose_vec *x, const loose_vec *y, int64_t w) {
    vec entries = x[w];
    if (pairs) entries = entries - y[w];
    return entries;
}

/* Register r of the sixteen sums that make a score. */
INLINE vec product(const float *arena, int64_t nr, int pairs, uint32_t a, uint32_t b, const vec *u, int r) {
    const loose_vec *x = row_of(arena, nr, a), *y = row_of(arena, nr, b);
    vec sum = feature(pairs, x, y, r) * u[r];
    for (int64_t w = r + PER; w < nr; w += PER) sum = sum + feature(pairs, x, y, w) * u[w];
    return sum;
}

/* Scores of sixteen samples. */
INLINE void logits16(const float *arena, int64_t nr, int pairs, const uint32_t *a, const uint32_t *b, const vec *u,
                     vec *z) {
    vec four[4][PER];
    for (int i = 0; i < 16; i += 4)
        for (int r = 0; r < PER; r++) {
            const vec p0 = product(arena, nr, pairs, a[i], b[i], u, r);
            const vec p1 = product(arena, nr, pairs, a[i + 1], b[i + 1], u, r);
            const vec low = HALVES(p0, p1);
            const vec p2 = product(arena, nr, pairs, a[i + 2], b[i + 2], u, r);
            const vec p3 = product(arena, nr, pairs, a[i + 3], b[i + 3], u, r);
            const vec high = HALVES(p2, p3);
            four[i / 4][r] = PAIRS(low, high);
        }
    sums_of_lanes(four, z);
}

/* Slopes of the mean loss by each logit into l->slopes, and their products with the features, summed, into pull.
 * Returns the sum of the slopes. */
INLINE float slopes(const lane *l, const job *j, int64_t nr, int pairs, const uint32_t *a, const uint32_t *b, int64_t nb,
                    const person *p, const float *weights, vec *pull) {
    const float *const arena = l->arena;
    float *const slope = l->slopes;
    const float share = 1.0f / (float)nb;
    vec total[PER], even[MOST_DIM / LANES], odd[MOST_DIM / LANES]; /* two sums: neither waits for the other */
    for (int r = 0; r < PER; r++) total[r] = (vec){0};
    for (int64_t w = 0; w < nr; w++) even[w] = odd[w] = (vec){0};
    for (int64_t k = 0; k < nb; k += 16) {
        const int m = nb - k < 16 ? (int)(nb - k) : 16;
        uint32_t rest[32];
        const uint32_t *x = a + k, *y = b + k;
        if (m < 16) { /* the last ones: any row will do where no sample is left */
            for (int i = 0; i < 16; i++) rest[i] = x[i < m ? i : 0], rest[16 + i] = y[i < m ? i : 0];
            x = rest, y = rest + 16;
        }
        vec z[PER];
        logits16(arena, nr, pairs, x, y, p->vector, z);
        float *g = slope + k;
        for (int r = 0; r < PER; r++) {
            if (j->bias) z[r] = z[r] + p->bias;
            const vec played = __builtin_convertvector(*(const loose_ivec *)(x + r * LANES) & 1, vec);
            *(loose_vec *)(g + r * LANES) = (sigmoid(z[r]) - played) * share;
        }
        for (int i = m; i < 16; i++) g[i] = 0.0f;
        if (weights)
            for (int i = 0; i < m; i++)
                if (x[i] & 1) g[i] *= weights[x[i] >> 1];
        for (int r = 0; r < PER; r++) total[r] = total[r] + *(loose_vec *)(g + r * LANES);
        if (!pull) continue;
        for (int i = 0; i + 1 < m; i += 2) {
            const loose_vec *q = row_of(arena, nr, x[i]), *s = row_of(arena, nr, y[i]);
            const loose_vec *t = row_of(arena, nr, x[i + 1]), *v = row_of(arena, nr, y[i + 1]);
            for (int64_t w = 0; w < nr; w++) {
                even[w] = even[w] + feature(pairs, q, s, w) * g[i];
                odd[w] = odd[w] + feature(pairs, t, v, w) * g[i + 1];
            }
        }
        if (m & 1) {
            const loose_vec *q = row_of(arena, nr, x[m - 1]), *s = row_of(arena, nr, y[m - 1]);
            for (int64_t w = 0; w < nr; w++) even[w] = even[w] + feature(pairs, q, s, w) * g[m - 1];
        }
    }
    if (pull)
        for (int64_t w = 0; w < nr; w++) pull[w] = even[w] + odd[w];
    return sum16(total);
}

/* FedProx: every step draws all items back toward where the round began; it is done when an item is next looked at. */
INLINE void decay(lane *l, const job *j, int64_t nr, uint32_t slot, int64_t step) {
    const int64_t missing = step - l->decayed[slot];
    if (missing <= 0) return;
    l->decayed[slot] = (int32_t)step;
    float keep = 1.0f, factor = 1.0f / (1.0f + j->item_lr * j->prox);
    for (int64_t power = missing; power; power >>= 1) {
        if (power & 1) keep = keep * factor;
        factor = factor * factor;
    }
    loose_vec *row = (loose_vec *)(l->arena + (size_t)slot * (size_t)(LANES * nr));
    const float *base = j->items + (size_t)l->item_of[slot] * (size_t)j->dim;
    for (int64_t w = 0; w < nr; w++) {
        const vec begun = part_of(base, j->dim, w);
        row[w] = begun + (row[w] - begun) * keep;
    }
}

INLINE void move(lane *l, const job *j, int64_t nr, int pairs, const uint32_t *a, const uint32_t *b, int64_t nb,
                 const vec *u) {
    float *const arena = l->arena; /* at hand: a compiler takes any store for one to the lane itself */
    const float *const slope = l->slopes;
    const float lr = j->item_lr;
    for (int64_t i = 0; i < nb; i++) {
        const float g = lr * slope[i];
        loose_vec *x = (loose_vec *)row_of(arena, nr, a[i]);
        for (int64_t w = 0; w < nr; w++) x[w] = x[w] - g * u[w];
        if (!pairs) continue;
        loose_vec *y = (loose_vec *)row_of(arena, nr, b[i]);
        for (int64_t w = 0; w < nr; w++) y[w] = y[w] + g * u[w];
    }
}

/* One minibatch. */
INLINE void step(lane *l, const job *j, int64_t nr, int pairs, const uint32_t *a, const uint32_t *b, int64_t nb,
                 int part, person *p, const float *weights, int64_t number) {
    vec pull[MOST_DIM / LANES], before[MOST_DIM / LANES];
    const int held = j->prox != 0.0f && part != PART_PERSON;
    if (held)
        for (int64_t i = 0; i < nb; i++) {
            decay(l, j, nr, a[i] >> 1, number);
            if (pairs) decay(l, j, nr, b[i] >> 1, number);
        }
    for (int look = 0; look < (part == PART_ALTERNATE ? 2 : 1); look++) { /* items follow the person who just moved */
        const int moves = part != PART_ITEMS && look == 0;
        const float sum =
            slopes(l, j, nr, pairs, a, b, nb, p, part == PART_PERSON ? weights : NULL, moves ? pull : NULL);
        if (!moves) break;
        for (int64_t w = 0; w < nr; w++) {
            before[w] = p->vector[w];
            p->vector[w] = before[w] - j->lr * pull[w];
        }
        if (j->bias && !pairs) p->bias = p->bias - j->lr * sum;
    }
    if (part == PART_PERSON) return;
    move(l, j, nr, pairs, a, b, nb, part == PART_BOTH ? before : p->vector);
    if (held)
        for (int64_t i = 0; i < nb; i++) {
            decay(l, j, nr, a[i] >> 1, number + 1);
            if (pairs) decay(l, j, nr, b[i] >> 1, number + 1);
        }
}

#endif
