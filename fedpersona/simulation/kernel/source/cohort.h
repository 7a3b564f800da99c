/* What Python hands to the compiled cohort kernel: one struct, whose version and size are checked before it is used.
 *
 * The fields are those of fedpersona/simulation/kernel/job.py, in the same order. */
#ifndef FEDPERSONA_COHORT_H
#define FEDPERSONA_COHORT_H

#include <stdatomic.h>
#include <stdint.h>

#define KERNEL_VERSION 2

enum { LOSS_BCE, LOSS_BPR };
enum { ORDER_TOGETHER, ORDER_ALTERNATE, ORDER_REBUILD };
enum { STATUS_OK, STATUS_STOPPED, STATUS_BOUND, STATUS_MEMORY, STATUS_TOO_MANY, STATUS_HISTORY };

typedef struct {
    uint32_t version, size;
    /* Histories: device k is row people[k] of a compressed sparse table. */
    int64_t devices;
    const int64_t *people;
    const int64_t *indptr;
    const int32_t *indices;
    int64_t plays; /* of the whole table */
    const float *weights; /* of the plays, where a person is rebuilt; or NULL */
    const uint64_t *keys; /* begin the draws of each device */
    /* Items, and what each device keeps: a vector and perhaps a bias; or NULL, it begins with nothing and keeps it. */
    int64_t n_items, dim;
    const float *items;
    float *privates;
    int64_t private_width;
    /* The recipe of fedpersona/taste/gradient/descent.py. */
    int64_t epochs, rebuild_epochs, batch, negatives;
    double support;
    float lr, item_lr, prox;
    int32_t loss, order, bias;
    /* The sum of the updates in fixed point; of none where ring_bits is 0. */
    int32_t ring_bits, toward_zero;
    double longest, clip, measure, bound, scale;
    uint64_t rounding_key;
    void *sum; /* int32 or int64, (n_items, dim) */
    void *locks;
    int64_t threads;
    /* Where items that moved are wanted: device k's begin at moved_first[k]; or NULL. */
    const int64_t *moved_first;
    int64_t *moved_count;
    int32_t *moved_items;
    float *moved_rows;
    /* How far it is. */
    _Atomic int64_t next;
    _Atomic int32_t status;
    int64_t failed;
} job;

typedef struct lane lane; /* the memory of one thread */

typedef int64_t run_function(job *, lane *, int64_t);
run_function cohort_run_plain, cohort_run_v3, cohort_run_v4;

#define LOCKS 256
#define LOCK_BYTES 64 /* a cache line each */

#endif
