/* What a device adds to the sum: shortened, clipped, in fixed point (fedpersona/privacy/fixed_point.py). */
#ifndef FEDPERSONA_UPDATE_H
#define FEDPERSONA_UPDATE_H

#include <sched.h>

#include "steps.h"

/* No training that went well moves a number so far; squares of what is nearer are floats. */
#define FAR 1e12f

typedef struct {
    float factor; /* steps of the ring that make 1.0, once the update is shortened */
    float most;   /* steps that no entry is beyond */
    float up;     /* where what is above a whole number is not less, it is rounded up */
    float down;   /* where a negative number is so far below a whole one, it is rounded down */
    int toward_zero, cut;
} encoding;

/* The least float that is not below x: a float is not less than x just where it is not less than this. */
INLINE float float_above(double x) {
    float y = (float)x;
    if ((double)y < x) {
        uint32_t bits;
        memcpy(&bits, &y, 4);
        bits += y > 0.0f ? 1 : (uint32_t)-1; /* x is never so near to nothing that signs would change */
        memcpy(&y, &bits, 4);
    }
    return y;
}

INLINE double root(double x) { return __builtin_sqrt(x); }

/* Turn rows of the arena into what they moved by; return the sum of squares.
 *
 * Four squares at most are added as floats, the rest in double precision: the length is right to 2^-22 of itself,
 * however many rows there are. */
INLINE double differences(lane *l, const job *j, int64_t nr, uint32_t used) {
    const float *items = j->items;
    const int32_t *item_of = l->item_of;
    const int64_t dim = j->dim;
    float *const arena = l->arena;
    double total[16] = {0};
    for (uint32_t s = 0; s < used; s++) {
        const float *base = items + (size_t)item_of[s] * (size_t)dim;
        loose_vec *row = (loose_vec *)(arena + (size_t)s * (size_t)(LANES * nr));
        __builtin_prefetch(items + (size_t)item_of[s + 8] * (size_t)dim);
        for (int64_t w = 0; w < nr;) {
            vec part[PER];
            for (int r = 0; r < PER; r++) part[r] = (vec){0};
            for (const int64_t end = nr - w < 4 * PER ? nr : w + 4 * PER; w < end; w++) {
                const vec change = row[w] - part_of(base, dim, w);
                row[w] = change;
                part[w % PER] = part[w % PER] + change * change;
            }
            float squares[16];
            memcpy(squares, part, 64);
            for (int i = 0; i < 16; i++) total[i] += (double)squares[i];
        }
    }
    for (int width = 8; width; width /= 2)
        for (int i = 0; i < width; i++) total[i] += total[i + width];
    return total[0];
}

/* Whole steps of entries, each below 2^31 in size. */
INLINE ivec rounded(vec change, const encoding *e) {
    vec x = change * e->factor;
    if (e->cut) {
        x = where(x > e->most, all(e->most), x);
        x = where(x < -e->most, all(-e->most), x);
    }
    const ivec whole = __builtin_convertvector(x, ivec); /* toward zero */
    if (e->toward_zero) return whole;
    const vec rest = x - __builtin_convertvector(whole, vec);
    return whole - (rest >= e->up) + (rest < e->down); /* a comparison that holds is -1 */
}

INLINE int64_t rounded_wide(float change, const encoding *e) {
    float x = change * e->factor;
    x = x > e->most ? e->most : x < -e->most ? -e->most : x;
    const int64_t whole = (int64_t)x;
    if (e->toward_zero) return whole;
    const float rest = x - (float)whole;
    return whole + (rest >= e->up) - (rest < e->down);
}

/* Add a slot's encoded change to its item's row of the sum. */
INLINE void add_row(const lane *l, void *total, int64_t dim, int64_t nr, int wide, uint32_t slot, const encoding *e) {
    const size_t at = (size_t)l->item_of[slot] * (size_t)dim;
    const float *change = l->arena + (size_t)slot * (size_t)(LANES * nr);
    if (wide) {
        int64_t *sum = (int64_t *)total + at;
        for (int64_t w = 0; w < dim; w++) sum[w] += rounded_wide(change[w], e);
        return;
    }
    int32_t *sum = (int32_t *)total + at;
    int64_t w = 0;
    for (; w + LANES <= dim; w += LANES)
        *(loose_ivec *)(sum + w) = *(loose_ivec *)(sum + w) + rounded(*(const loose_vec *)(change + w), e);
    if (w < dim) {
        const ivec last = rounded(*(const loose_vec *)(change + w), e);
        for (int64_t i = w; i < dim; i++) sum[i] += last[i - w];
    }
}

INLINE void ahead(const lane *l, const void *total, size_t bytes, uint32_t slot) {
    const char *row = (const char *)total + (size_t)l->item_of[slot] * bytes;
    __builtin_prefetch(row, 1);
    __builtin_prefetch(row + 64, 1);
}

/* Add all rows, with no other thread about. */
INLINE void add_alone(const lane *l, void *total, int64_t dim, int64_t nr, int wide, uint32_t used, const encoding *e) {
    const lane here = *l; /* copies: a compiler takes any store for one to the lane itself */
    const encoding how = *e;
    for (uint32_t s = 0; s < used; s++) {
        ahead(&here, total, (size_t)dim * (wide ? 8 : 4), s + 8);
        add_row(&here, total, dim, nr, wide, s, &how);
    }
}

/* Add all rows while other threads add theirs: the catalogue in regions, a lock each, whichever is free first. */
INLINE void add_shared(lane *l, const job *j, int64_t dim, int64_t nr, int wide, uint32_t used, const encoding *e) {
    int shift = 0;
    while (((l->n_items - 1) >> shift) >= LOCKS) shift++;
    uint32_t first[LOCKS + 1] = {0}, place[LOCKS];
    for (uint32_t s = 0; s < used; s++) first[((uint32_t)l->item_of[s] >> shift) + 1]++;
    for (int r = 0; r < LOCKS; r++) place[r] = first[r], first[r + 1] += first[r];
    for (uint32_t s = 0; s < used; s++) l->bucket[place[(uint32_t)l->item_of[s] >> shift]++] = s;
    uint8_t waiting[LOCKS];
    int left = 0;
    for (int r = 0; r < LOCKS; r++) left += waiting[r] = first[r] < first[r + 1];
    uint32_t in_vain = 0;
    for (uint32_t at = (uint32_t)((uintptr_t)l >> 8); left; at++) {
        const uint32_t r = at % LOCKS;
        if (++in_vain > 2 * LOCKS) { /* whoever has what is left may be waiting for this processor */
            sched_yield();
            in_vain = 0;
        }
        if (!waiting[r]) continue;
        atomic_flag *lock = (atomic_flag *)((char *)j->locks + (size_t)r * LOCK_BYTES);
        if (atomic_flag_test_and_set_explicit(lock, memory_order_acquire)) continue;
        for (uint32_t i = first[r]; i < first[r + 1]; i++) {
            if (i + 4 < used) ahead(l, j->sum, (size_t)dim * (wide ? 8 : 4), l->bucket[i + 4]);
            add_row(l, j->sum, dim, nr, wide, l->bucket[i], e);
        }
        atomic_flag_clear_explicit(lock, memory_order_release);
        waiting[r] = 0;
        left--;
        in_vain = 0;
    }
}

/* Encode and add what a device's items moved by, of this length: one of the statuses. */
INLINE int add_update(lane *l, const job *j, int64_t dim, int64_t nr, const device *d, double length) {
    /* Under noise no update may be longer than its bound: more than the length and products of floats can be off by. */
    if (j->toward_zero) length *= 1.0 + 0x1p-21;
    double factor = length > j->longest ? j->longest / length : 1.0;
    const double measured = length * factor / j->measure;
    if (measured > j->clip) factor *= j->clip / measured;
    uint64_t print = 0; /* fedpersona.randomness.fingerprint, then fedpersona/privacy/rounding.py */
    for (int64_t i = 0; i < d->n; i++) print += mix64(((uint64_t)d->history[i] + 1) * GOLDEN);
    const double offset = (double)(mix64(mix64(print ^ j->rounding_key) + GOLDEN) >> 11) * 0x1p-53;
    encoding e = {(float)factor * (float)j->scale, -float_above(-j->bound) * (float)j->scale, float_above(1.0 - offset),
                  float_above(-offset), j->toward_zero, 0};
    if (factor * length > j->bound * (1.0 - 1e-6)) { /* else no entry can be beyond its bound */
        const float most = (float)(j->bound * (1.0 + 1e-6)) * (float)j->scale;
        for (size_t i = 0; i < (size_t)d->used * (size_t)l->stride; i++)
            if (!(__builtin_fabsf(l->arena[i] * e.factor) <= most)) return STATUS_BOUND;
        e.cut = 1;
    }
    if (j->ring_bits == 64) {
        if (j->threads > 1)
            add_shared(l, j, dim, nr, 1, d->used, &e);
        else
            add_alone(l, j->sum, dim, nr, 1, d->used, &e);
    } else if (j->threads > 1) {
        add_shared(l, j, dim, nr, 0, d->used, &e);
    } else {
        add_alone(l, j->sum, dim, nr, 0, d->used, &e);
    }
    return STATUS_OK;
}

/* Turn rows into what they moved by, and add them: functions of their own, one a length of vectors. */
#define UPDATER(dim)                                                                                                   \
    static __attribute__((noinline)) double differences_##dim(lane *l, const job *j, uint32_t used) {                 \
        return differences(l, j, (dim) / LANES, used);                                                                 \
    }                                                                                                                  \
    static __attribute__((noinline)) int add_update_##dim(lane *l, const job *j, const device *d, double length) {    \
        return add_update(l, j, dim, (dim) / LANES, d, length);                                                        \
    }
UPDATER(32)
UPDATER(64)

static double differences_any(lane *l, const job *j, uint32_t used) {
    return differences(l, j, l->stride / LANES, used);
}

static int add_update_any(lane *l, const job *j, const device *d, double length) {
    return add_update(l, j, j->dim, l->stride / LANES, d, length);
}

#endif
