/* What a device trains on, draw by draw as fedpersona/taste/gradient/sampling.py defines it. */
#ifndef FEDPERSONA_SAMPLING_H
#define FEDPERSONA_SAMPLING_H

#include "cohort.h"
#include "lane.h"
#include "numbers.h"

typedef struct {
    const int32_t *history;
    int64_t n; /* plays: their slots are 0 to n - 1 */
    uint64_t n_items;
    uint64_t key, position; /* of the stream of draws */
    uint32_t used;          /* slots */
} device;

INLINE uint64_t draw(const device *d, uint64_t ahead) { return mix64(d->key + (d->position + ahead + 1) * GOLDEN); }

/* What a device has looked up, at hand while it draws. */
typedef struct {
    uint32_t *slot_of;
    int32_t *item_of;
    uint32_t *out;
    uint32_t plays, used;
} looking;

/* Look a candidate up: give it a slot where it has none, and keep it as a sample unless it was played. No branches. */
INLINE int64_t look_up(looking *s, uint32_t item, int64_t k) {
    /* A slot that is not in use now was once: there is something to read, which does not count. */
    const uint32_t found = s->slot_of[item];
    const int hit = (s->item_of[found] == (int32_t)item) & (found < s->used);
    const uint32_t slot = hit ? found : s->used;
    s->slot_of[item] = slot;
    s->item_of[s->used] = (int32_t)item;
    s->used += !hit;
    s->out[k] = slot << 1;
    return k + (slot >= s->plays);
}

/* The c-th item that was not played, by bisection of the history. */
INLINE uint32_t unplayed(const device *d, uint32_t c) {
    int64_t low = 0, high = d->n;
    while (low < high) {
        const int64_t middle = (low + high) / 2;
        if (d->history[middle] - middle > (int64_t)c)
            high = middle;
        else
            low = middle + 1;
    }
    return c + (uint32_t)low;
}

enum { BLOCK = 32 };

/* Draw so many items that were not played into out, and return how many there are: none where none is left. */
static int64_t draw_negatives(lane *l, device *d, int64_t count, uint32_t *out) {
    const uint64_t n_items = d->n_items, left = n_items - (uint64_t)d->n, key = d->key;
    if (!left || !count) return 0;
    looking s = {l->slot_of, l->item_of, out, (uint32_t)d->n, d->used};
    uint64_t state = key + d->position * GOLDEN;
    int64_t k = 0;
    if (2 * (uint64_t)d->n > n_items) {
        while (k < count) {
            const uint64_t x = mix64(state += GOLDEN);
            k = look_up(&s, unplayed(d, below(x & 0xFFFFFFFF, left)), k);
            if (k < count) k = look_up(&s, unplayed(d, below(x >> 32, left)), k);
            d->position++;
        }
    } else {
        uint32_t low[BLOCK], high[BLOCK];
        while (count - k >= 2 * BLOCK) {
            for (int i = 0; i < BLOCK; i++) {
                const uint64_t x = mix64(state + (uint64_t)(i + 1) * GOLDEN);
                low[i] = below(x & 0xFFFFFFFF, n_items);
                high[i] = below(x >> 32, n_items);
            }
            state += BLOCK * GOLDEN;
            d->position += BLOCK;
            for (int i = 0; i < BLOCK; i++) {
                k = look_up(&s, low[i], k);
                k = look_up(&s, high[i], k);
            }
        }
        while (k < count) {
            const uint64_t x = mix64(state += GOLDEN);
            k = look_up(&s, below(x & 0xFFFFFFFF, n_items), k);
            if (k < count) k = look_up(&s, below(x >> 32, n_items), k);
            d->position++;
        }
    }
    d->used = s.used;
    return count;
}

INLINE void swap(uint32_t *x, int64_t i, int64_t k) {
    const uint32_t kept = x[i];
    x[i] = x[k];
    x[k] = kept;
}

/* The first steps of Fisher and Yates's shuffle, of one array or of two alike. */
INLINE void shuffle(device *d, uint32_t *x, uint32_t *y, int64_t size, int64_t steps) {
    if (steps > size) steps = size;
    for (int64_t i = 0; i < steps; i++) {
        const int64_t k = i + below(draw(d, (uint64_t)i) >> 32, (uint64_t)(size - i));
        swap(x, i, k);
        if (y) swap(y, i, k);
    }
    d->position += (uint64_t)steps;
}

/* Draw the samples of one epoch into order (and others): return how many, or -1 where memory is short. */
static int64_t draw_epoch(lane *l, device *d, const job *j, const uint32_t *positives, int64_t count) {
    const int64_t wanted = count * j->negatives;
    if (!lane_rows(l, (int64_t)d->used + wanted) || !lane_samples(l, wanted + count)) return -1;
    if (j->loss == LOSS_BPR) {
        const int64_t size = draw_negatives(l, d, wanted, l->others);
        for (int64_t i = 0; i < size; i++) l->order[i] = positives[i / j->negatives] << 1 | 1;
        shuffle(d, l->order, l->others, size, size);
        return size;
    }
    for (int64_t i = 0; i < count; i++) l->order[i] = positives[i] << 1 | 1;
    const int64_t size = count + draw_negatives(l, d, wanted, l->order + count);
    shuffle(d, l->order, NULL, size, count);
    return size;
}

/* Split the history, as slots in l->split: return how many are the person's; the others are the items'. */
static int64_t split_history(lane *l, device *d, double share, int *shared) {
    for (int64_t i = 0; i < d->n; i++) l->split[i] = (uint32_t)i;
    *shared = share >= 1.0 || d->n < 2;
    if (*shared) return d->n;
    shuffle(d, l->split, NULL, d->n, d->n);
    const double magic = 6755399441055744.0; /* 1.5 * 2^52: rounds, halves to even */
    volatile double shifted = share * (double)d->n + magic;
    int64_t first = (int64_t)(shifted - magic);
    if (first < 1) first = 1;
    return first < d->n ? first : d->n - 1;
}

#endif
