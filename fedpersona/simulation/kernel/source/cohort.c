/* Devices of a factor model, one after another, each in a small arena of the rows that it touches.
 *
 * Compiled once for each kind of processor (VARIANT names it), without contraction and without reordering: the source
 * fixes every operation, so all variants, and any number of threads, give the same bits. */
#include "update.h"

#define JOINED(a, b) a##b
#define NAMED(a, b) JOINED(a, b)

/* Copy the rows of slots that are new since. */
INLINE void gather(lane *l, const job *j, int64_t nr, uint32_t since, uint32_t used, int64_t step) {
    const float *items = j->items;
    const int32_t *item_of = l->item_of;
    const int64_t dim = j->dim;
    const int whole = dim == nr * LANES;
    float *const arena = l->arena; /* at hand: a compiler takes any store for one to the lane itself */
    if (j->prox != 0.0f)
        for (uint32_t s = since; s < used; s++) l->decayed[s] = (int32_t)step;
    for (uint32_t s = since; s < used; s++) {
        const float *next = items + (size_t)item_of[s + 12] * (size_t)dim; /* anything, at the end: it is not read */
        __builtin_prefetch(next);
        __builtin_prefetch(next + 16);
        const float *base = items + (size_t)item_of[s] * (size_t)dim;
        loose_vec *row = (loose_vec *)(arena + (size_t)s * (size_t)(LANES * nr));
        if (whole)
            for (int64_t w = 0; w < nr; w++) row[w] = *(const loose_vec *)(base + LANES * w);
        else
            for (int64_t w = 0; w < nr; w++) row[w] = part_of(base, dim, w);
    }
}

/* Hand out the items that a device looked up, as they moved or as they were. */
static void hand_out(const lane *l, const job *j, int64_t k, uint32_t used, int unmoved) {
    const int64_t at = j->moved_first[k];
    j->moved_count[k] = used;
    if (!used) return; /* there may be no memory yet */
    memcpy(j->moved_items + at, l->item_of, (size_t)used * 4);
    for (uint32_t s = 0; s < used; s++) {
        const float *base = j->items + (size_t)l->item_of[s] * (size_t)j->dim;
        const float *row = unmoved ? base : l->arena + (size_t)s * (size_t)l->stride;
        memcpy(j->moved_rows + (size_t)(at + s) * (size_t)j->dim, row, (size_t)j->dim * 4);
    }
}

static int near(const float *x, size_t size) {
    for (size_t i = 0; i < size; i++)
        if (!(__builtin_fabsf(x[i]) <= FAR)) return 0;
    return 1;
}

INLINE int sound(const vec *vector, int64_t nr, float bias) {
    ivec far = {0};
    for (int64_t w = 0; w < nr; w++) far |= ~((vector[w] <= FAR) & (vector[w] >= -FAR));
    int any = !(__builtin_fabsf(bias) <= FAR);
    for (int i = 0; i < LANES; i++) any |= far[i];
    return !any;
}

/* Whether row `who` of the table is there, and its items are in the catalogue and increase. */
static int ordered(const job *j, int64_t who) {
    const int64_t first = j->indptr[who], end = j->indptr[who + 1];
    if (first < 0 || end < first || end > j->plays || end - first > j->n_items) return 0;
    if (first == end) return 1;
    const int32_t *history = j->indices + first;
    int fine = (history[0] >= 0) & (history[end - first - 1] < j->n_items);
    for (int64_t i = 1; i < end - first; i++) fine &= history[i - 1] < history[i];
    return fine;
}

typedef struct {
    const uint32_t *positives;
    int64_t count, epochs;
    int part;
} passes;

/* Train one device; a status. */
INLINE int train(lane *l, job *j, int64_t nr, int pairs, int64_t k) {
    const int64_t who = j->people ? j->people[k] : k;
    if (!ordered(j, who)) return STATUS_HISTORY;
    const int64_t first = j->indptr[who];
    device d = {j->indices + first, j->indptr[who + 1] - first, (uint64_t)j->n_items, j->keys[k], 0, 0};
    /* Samples of an epoch and slots are counted in 31 bits. */
    if (d.n && j->negatives > (((int64_t)1 << 31) - 1) / d.n - 1) return STATUS_TOO_MANY;
    if (!lane_plays(l, d.n) || !lane_rows(l, d.n)) return STATUS_MEMORY;
    for (int64_t i = 0; i < d.n; i++) l->slot_of[d.history[i]] = (uint32_t)i, l->item_of[i] = d.history[i];
    d.used = (uint32_t)d.n;

    person p;
    p.bias = 0.0f;
    float *kept = j->privates ? j->privates + (size_t)k * (size_t)j->private_width : NULL;
    memset(p.vector, 0, (size_t)nr * 4 * LANES);
    if (kept && j->order != ORDER_REBUILD) {
        memcpy(p.vector, kept, (size_t)j->dim * 4);
        if (j->bias) p.bias = kept[j->dim];
    }

    passes all_passes[2];
    int kinds = 0, same = 0;
    const int64_t support = split_history(l, &d, j->order == ORDER_REBUILD ? j->support : 1.0, &same);
    if (j->order == ORDER_REBUILD) {
        all_passes[kinds++] = (passes){l->split, support, j->rebuild_epochs, PART_PERSON};
        all_passes[kinds++] =
            (passes){same ? l->split : l->split + support, same ? d.n : d.n - support, j->epochs, PART_ITEMS};
    } else {
        all_passes[kinds++] =
            (passes){l->split, d.n, j->epochs, j->order == ORDER_TOGETHER ? PART_BOTH : PART_ALTERNATE};
    }

    const float *weights = j->weights ? j->weights + first : NULL;
    uint32_t gathered = 0;
    int64_t number = 0;
    for (int i = 0; i < kinds; i++)
        for (int64_t epoch = 0; epoch < all_passes[i].epochs; epoch++) {
            const int64_t size = draw_epoch(l, &d, j, all_passes[i].positives, all_passes[i].count);
            if (size < 0) return STATUS_MEMORY;
            gather(l, j, nr, gathered, d.used, number);
            gathered = d.used;
            const uint32_t *b = pairs ? l->others : l->order;
            for (int64_t at = 0; at < size; at += j->batch) {
                const int64_t nb = size - at < j->batch ? size - at : j->batch;
                step(l, j, nr, pairs, l->order + at, b + at, nb, all_passes[i].part, &p, weights, number);
                number += all_passes[i].part != PART_PERSON;
            }
        }
    gather(l, j, nr, gathered, d.used, number);
    if (j->prox != 0.0f)
        for (uint32_t s = 0; s < d.used; s++) decay(l, j, nr, s, number);

    if (j->moved_first) hand_out(l, j, k, d.used, 0);
    const int wanted = j->ring_bits || j->moved_first;
    const int fits = j->dim == nr * LANES;
    double length = 0.0;
    if (wanted && fits && nr * LANES == 32)
        length = root(differences_32(l, j, d.used));
    else if (wanted && fits && nr * LANES == 64)
        length = root(differences_64(l, j, d.used));
    else if (wanted)
        length = root(differences_any(l, j, d.used));
    if (!(sound(p.vector, nr, p.bias) && (length <= FAR || near(l->arena, (size_t)d.used * (size_t)l->stride)))) {
        if (j->moved_first) hand_out(l, j, k, d.used, 1);
        if (kept && j->order == ORDER_REBUILD) memset(kept, 0, (size_t)(j->dim + j->bias) * 4);
        return STATUS_OK; /* a training that left the range of numbers moves nothing */
    }
    if (j->ring_bits) {
        const int status = fits && nr * LANES == 32   ? add_update_32(l, j, &d, length)
                           : fits && nr * LANES == 64 ? add_update_64(l, j, &d, length)
                                                      : add_update_any(l, j, &d, length);
        if (status != STATUS_OK) return status;
    }
    if (kept) {
        memcpy(kept, p.vector, (size_t)j->dim * 4);
        if (j->bias) kept[j->dim] = p.bias;
    }
    return STATUS_OK;
}

/* Functions of their own, one a length of vectors and a loss, so that both are known to the compiler. */
#define TRAINER(dim)                                                                                                   \
    static int train_##dim(lane *l, job *j, int64_t k) {                                                               \
        return j->loss == LOSS_BPR ? train(l, j, dim / LANES, 1, k) : train(l, j, dim / LANES, 0, k);                  \
    }
TRAINER(16)
TRAINER(32)
TRAINER(64)
TRAINER(128)

static int train_any(lane *l, job *j, int64_t k) {
    return j->loss == LOSS_BPR ? train(l, j, l->stride / LANES, 1, k) : train(l, j, l->stride / LANES, 0, k);
}

int64_t NAMED(cohort_run_, VARIANT)(job *j, lane *l, int64_t most) {
    int (*trainer)(lane *, job *, int64_t) = train_any;
    switch (l->stride) {
        case 16: trainer = train_16; break;
        case 32: trainer = train_32; break;
        case 64: trainer = train_64; break;
        case 128: trainer = train_128; break;
    }
    int64_t done = 0;
    while (done < most && atomic_load_explicit(&j->status, memory_order_relaxed) == STATUS_OK) {
        const int64_t k = atomic_fetch_add_explicit(&j->next, 1, memory_order_relaxed);
        if (k >= j->devices) break;
        const int status = trainer(l, j, k);
        if (status != STATUS_OK) {
            int32_t fine = STATUS_OK;
            if (atomic_compare_exchange_strong(&j->status, &fine, status)) j->failed = k;
            break;
        }
        done++;
    }
    return done;
}
