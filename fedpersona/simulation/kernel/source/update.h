/* What a device adds to the sum: shortened, clipped, in fixed point (fedpersona/privacy/fixed_point.py). */
#ifndef FEDPERSONA_UPDATE_H
#define FEDPERSONA_UPDATE_H

#include "steps.h"

/* No training that went well moves a number so far; squares of what is nearer are floats. */
#define FAR 1e12f

typedef struct {
    float factor, bound, scale, threshold;
    int toward_zero;
} encoding;

/* The least float that is not below x: comparing floats with it is comparing them with x. */
INLINE float float_above(double x) {
    float y = (float)x;
    if ((double)y < x) { /* the next one: x is in (0, 1] here */
        uint32_t bits;
        memcpy(&bits, &y, 4);
        bits++;
        memcpy(&y, &bits, 4);
    }
    return y;
}

INLINE float float_below(double x) {
    float y = (float)x;
    if ((double)y > x) {
        uint32_t bits;
        memcpy(&bits, &y, 4);
        bits--;
        memcpy(&y, &bits, 4);
    }
    return y;
}

INLINE double root(double x) { return __builtin_sqrt(x); }

/* Turn rows of the arena into what they moved by; return the sum of squares. */
static double differences(lane *l, const job *j, uint32_t used) {
    const int64_t nr = l->stride / LANES;
    double total = 0.0;
    vec part[PER];
    for (int r = 0; r < PER; r++) part[r] = (vec){0};
    for (uint32_t s = 0; s < used; s++) {
        const uint32_t ahead = s + 8 < used ? s + 8 : s;
        __builtin_prefetch(j->items + (size_t)l->item_of[ahead] * (size_t)j->dim);
        const float *base = j->items + (size_t)l->item_of[s] * (size_t)j->dim;
        loose_vec *row = (loose_vec *)(l->arena + (size_t)s * (size_t)l->stride);
        for (int64_t w = 0; w < nr; w++) {
            const vec change = row[w] - part_of(base, j->dim, w);
            row[w] = change;
            part[w % PER] = part[w % PER] + change * change;
        }
        if ((s & 15) == 15) {
            total += (double)sum16(part);
            for (int r = 0; r < PER; r++) part[r] = (vec){0};
        }
    }
    return total + (double)sum16(part);
}

/* Whole steps of entries, each below 2^31 in size. */
INLINE ivec rounded(vec change, const encoding *e) {
    vec x = change * e->factor;
    x = where(x > e->bound, all(e->bound), x);
    x = where(x < -e->bound, all(-e->bound), x);
    x = x * e->scale;
    ivec whole = __builtin_convertvector(x, ivec);
    if (e->toward_zero) return whole;
    vec floor = __builtin_convertvector(whole, vec);
    const ivec over = floor > x; /* -1 where it is */
    floor = where(over, floor - 1.0f, floor);
    return whole + over - ((x - floor) >= e->threshold);
}

INLINE int64_t rounded_wide(float change, const encoding *e) {
    float x = change * e->factor;
    x = x > e->bound ? e->bound : x < -e->bound ? -e->bound : x;
    x = x * e->scale;
    int64_t whole = (int64_t)x;
    if (e->toward_zero) return whole;
    float floor = (float)whole;
    if (floor > x) {
        floor = floor - 1.0f;
        whole--;
    }
    return whole + (x - floor >= e->threshold);
}

/* Add a slot's encoded change to its item's row of the sum. */
INLINE void add_row(const lane *l, const job *j, uint32_t slot, const encoding *e) {
    const size_t at = (size_t)l->item_of[slot] * (size_t)j->dim;
    const float *change = l->arena + (size_t)slot * (size_t)l->stride;
    if (j->ring_bits == 64) {
        int64_t *sum = (int64_t *)j->sum + at;
        for (int64_t w = 0; w < j->dim; w++) sum[w] += rounded_wide(change[w], e);
        return;
    }
    int32_t *sum = (int32_t *)j->sum + at;
    int64_t w = 0;
    for (; w + LANES <= j->dim; w += LANES)
        *(loose_ivec *)(sum + w) = *(loose_ivec *)(sum + w) + rounded(*(const loose_vec *)(change + w), e);
    if (w < j->dim) {
        const ivec last = rounded(*(const loose_vec *)(change + w), e);
        for (int64_t i = w; i < j->dim; i++) sum[i] += last[i - w];
    }
}

INLINE void ahead(const lane *l, const job *j, uint32_t slot) {
    const char *row = (const char *)j->sum + (size_t)l->item_of[slot] * (size_t)(j->dim * (j->ring_bits / 8));
    __builtin_prefetch(row, 1);
    __builtin_prefetch(row + 64, 1);
}

/* Add all rows while other threads add theirs: the catalogue in regions, a lock each, whichever is free first. */
static void add_shared(lane *l, const job *j, uint32_t used, const encoding *e) {
    int shift = 0;
    while (((l->n_items - 1) >> shift) >= LOCKS) shift++;
    uint32_t first[LOCKS + 1] = {0}, place[LOCKS];
    for (uint32_t s = 0; s < used; s++) first[((uint32_t)l->item_of[s] >> shift) + 1]++;
    for (int r = 0; r < LOCKS; r++) place[r] = first[r], first[r + 1] += first[r];
    for (int r = 0; r < LOCKS; r++) place[r] = first[r];
    for (uint32_t s = 0; s < used; s++) l->bucket[place[(uint32_t)l->item_of[s] >> shift]++] = s;
    uint8_t waiting[LOCKS];
    int left = 0;
    for (int r = 0; r < LOCKS; r++) left += waiting[r] = first[r] < first[r + 1];
    uint32_t at = (uint32_t)((uintptr_t)l >> 8);
    while (left) {
        const uint32_t r = at++ % LOCKS;
        if (!waiting[r]) continue;
        atomic_flag *lock = (atomic_flag *)((char *)j->locks + (size_t)r * LOCK_BYTES);
        if (atomic_flag_test_and_set_explicit(lock, memory_order_acquire)) continue;
        for (uint32_t i = first[r]; i < first[r + 1]; i++) {
            if (i + 4 < used) ahead(l, j, l->bucket[i + 4]);
            add_row(l, j, l->bucket[i], e);
        }
        atomic_flag_clear_explicit(lock, memory_order_release);
        waiting[r] = 0;
        left--;
    }
}

/* Encode and add what a device's items moved by: one of the statuses. */
static int add_update(lane *l, const job *j, const device *d, double length) {
    double factor = length > j->longest ? j->longest / length : 1.0;
    const double measured = length * factor / j->measure;
    if (measured > j->clip) factor *= j->clip / measured;
    uint64_t print = 0; /* fedpersona.randomness.fingerprint, then fedpersona/privacy/rounding.py */
    for (int64_t i = 0; i < d->n; i++) print += mix64(((uint64_t)d->history[i] + 1) * GOLDEN);
    const double offset = (double)(mix64(mix64(print ^ j->rounding_key) + GOLDEN) >> 11) * 0x1p-53;
    const encoding e = {(float)factor, float_below(j->bound), (float)j->scale, float_above(1.0 - offset), j->toward_zero};
    if (factor * length > j->bound) { /* else no entry can be above its bound */
        const float most = (float)(j->bound * (1.0 + 1e-6));
        for (size_t i = 0; i < (size_t)d->used * (size_t)l->stride; i++)
            if (!(__builtin_fabsf(l->arena[i] * e.factor) <= most)) return STATUS_BOUND;
    }
    if (j->threads > 1) {
        add_shared(l, j, d->used, &e);
    } else {
        for (uint32_t s = 0; s < d->used; s++) {
            ahead(l, j, s + 8 < d->used ? s + 8 : s);
            add_row(l, j, s, &e);
        }
    }
    return STATUS_OK;
}

#endif
