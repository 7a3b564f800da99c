/* Which of the compiled variants runs, and the memory of threads. */
#include <stdlib.h>
#include <string.h>
#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "cohort.h"
#include "lane.h"

#define EXPORT __attribute__((visibility("default")))

/* Variants, best last; each gives the same bits. */
EXPORT int32_t kernel_variants(void) {
#if defined(HAVE_V4)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        return 3;
#endif
#if defined(HAVE_V3)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("fma")) return 2;
#endif
    return 1;
}

EXPORT uint32_t kernel_version(void) { return KERNEL_VERSION; }

EXPORT uint32_t kernel_job_size(void) { return sizeof(job); }

EXPORT uint32_t kernel_lock_bytes(void) { return LOCKS * LOCK_BYTES; }

/* Train devices from job->next on, at most so many; return how many were, 0 where none is left or one failed. */
EXPORT int64_t kernel_run(job *j, lane *l, int64_t most, int32_t variant) {
    if (j->version != KERNEL_VERSION || j->size != sizeof(job)) return -1;
#if defined(HAVE_V4)
    if (variant == 3) return cohort_run_v4(j, l, most);
#endif
#if defined(HAVE_V3)
    if (variant == 2) return cohort_run_v3(j, l, most);
#endif
    (void)variant;
    return cohort_run_plain(j, l, most);
}

static void *fresh(size_t bytes) {
    const size_t page = (size_t)1 << 21, grain = bytes >= page ? page : 64;
    void *memory = aligned_alloc(grain, (bytes + grain - 1) / grain * grain + (bytes ? 0 : grain));
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    if (memory && grain == page) madvise(memory, (bytes + grain - 1) / grain * grain, MADV_HUGEPAGE);
#endif
    return memory;
}

static int grown(void **memory, size_t used, size_t bytes) {
    void *larger = fresh(bytes);
    if (!larger) return 0;
    if (used) memcpy(larger, *memory, used);
    free(*memory);
    *memory = larger;
    return 1;
}

int lane_rows(lane *l, int64_t rows) {
    if (rows > l->n_items) rows = l->n_items;
    if (rows <= l->rows) return 1;
    if (rows < l->rows + l->rows / 2) rows = l->rows + l->rows / 2;
    if (rows > l->n_items) rows = l->n_items;
    const size_t now = (size_t)l->rows, then = (size_t)rows + 16, row = (size_t)l->stride * 4;
    if (!(grown((void **)&l->item_of, now * 4, then * 4) && grown((void **)&l->decayed, now * 4, then * 4) &&
          grown((void **)&l->bucket, 0, then * 4) && grown((void **)&l->arena, now * row, then * row)))
        return 0;
    l->rows = rows;
    return 1;
}

int lane_samples(lane *l, int64_t samples) {
    if (samples <= l->samples) return 1;
    const size_t then = ((size_t)samples + 16) * 4;
    if (!(grown((void **)&l->order, 0, then) && grown((void **)&l->others, 0, then) &&
          grown((void **)&l->slopes, 0, then)))
        return 0;
    l->samples = samples;
    return 1;
}

int lane_plays(lane *l, int64_t plays) {
    if (plays <= l->plays) return 1;
    if (!grown((void **)&l->split, 0, (size_t)plays * 4)) return 0;
    l->plays = plays;
    return 1;
}

EXPORT void lane_free(lane *l) {
    if (!l) return;
    free(l->slot_of);
    free(l->item_of);
    free(l->arena);
    free(l->decayed);
    free(l->bucket);
    free(l->order);
    free(l->others);
    free(l->slopes);
    free(l->split);
    free(l);
}

EXPORT lane *lane_new(int64_t n_items, int64_t dim) {
    lane *l = calloc(1, sizeof(lane));
    if (!l) return NULL;
    l->n_items = n_items;
    l->stride = (dim + 15) / 16 * 16;
    l->slot_of = fresh((size_t)n_items * 4);
    if (!l->slot_of) {
        lane_free(l);
        return NULL;
    }
    memset(l->slot_of, 0, (size_t)n_items * 4);
    return l;
}

/* Add a sum of 32-bit integers to one of 64 bits, and clear it. */
EXPORT void kernel_drain(int64_t *restrict total, int32_t *restrict sum, int64_t entries) {
    for (int64_t i = 0; i < entries; i++) total[i] += sum[i];
    memset(sum, 0, (size_t)entries * 4);
}
