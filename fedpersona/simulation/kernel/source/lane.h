/* The memory of one thread: it grows to what the longest history needs, and is used for one device after another.
 *
 * Which items a device has looked up is a sparse set (Briggs and Torczon 1993): slot_of[item] counts only where that
 * slot is in use and is this item's. Nothing has to be cleared between devices, for 4 bytes an item. */
#ifndef FEDPERSONA_LANE_H
#define FEDPERSONA_LANE_H

#include <stdint.h>

struct lane {
    int64_t n_items, stride; /* floats of a row here: a multiple of 16 */
    uint32_t *slot_of;       /* (n_items,) */
    int64_t rows;            /* room for so many */
    int32_t *item_of;        /* (rows,) */
    float *arena;            /* (rows, stride): items as this device moves them */
    int32_t *decayed;        /* (rows,): steps up to which FedProx has pulled each back */
    uint32_t *bucket;        /* (rows,): slots by region of the catalogue */
    int64_t samples;         /* room for so many */
    uint32_t *order;         /* (samples + 16,): slot << 1 | played */
    uint32_t *others;        /* (samples + 16,): of pairs */
    float *slopes;           /* (samples + 16,) */
    int64_t plays;
    uint32_t *split;         /* (plays,) */
};

int lane_rows(struct lane *, int64_t rows);
int lane_samples(struct lane *, int64_t samples);
int lane_plays(struct lane *, int64_t plays);

#endif
