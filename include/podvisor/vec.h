// SPDX-License-Identifier: Apache-2.0
/*
 * Growing arrays for the front and the operator:
 *     VEC(struct disk) disks = {0};
 *     struct disk *d = vec_add(&disks);
 *     vec_free(&disks);
 * Adding moves the items: pointers to them last until the next vec_add(). Aborts when out of
 * memory.
 */
#ifndef PODVISOR_VEC_H
#define PODVISOR_VEC_H

#include <stddef.h>
#include <stdlib.h>

#define VEC(type)               \
    struct {                    \
        type *item;             \
        size_t count, capacity; \
    }

/* Makes room for one item more and zeroes it. Returns the array, which may have moved. */
void *vec_grow(void *item, size_t count, size_t *capacity, size_t item_size);

/* Appends a zeroed item and returns its address. (Items that are pointers are meant as such.) */
#define vec_add(vec)                                                                               \
    ({                                                                                             \
        /* NOLINTNEXTLINE(bugprone-sizeof-expression) */                                           \
        (vec)->item = vec_grow((vec)->item, (vec)->count, &(vec)->capacity, sizeof(*(vec)->item)); \
        &(vec)->item[(vec)->count++];                                                              \
    })

/* Frees the array (not what the items own) and makes it empty. */
#define vec_free(vec)                       \
    do {                                    \
        free((vec)->item);                  \
        (vec)->item = NULL;                 \
        (vec)->count = (vec)->capacity = 0; \
    } while (0)

#endif
