// SPDX-License-Identifier: Apache-2.0
/*
 * Cleanup attributes and ownership hand-over. A local declared with one of these frees what it owns
 * when its scope ends; steal_ptr() and steal_fd() move the ownership out.
 */
#ifndef PODVISOR_CLEANUP_H
#define PODVISOR_CLEANUP_H

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline void cleanup_free_fn(void *p)
{
    free(*(void **)p);
}

static inline void cleanup_close_fn(const int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

static inline void cleanup_fclose_fn(FILE **f)
{
    if (*f != NULL)
        fclose(*f);
}

#define cleanup_free   __attribute__((cleanup(cleanup_free_fn)))
#define cleanup_close  __attribute__((cleanup(cleanup_close_fn)))
#define cleanup_fclose __attribute__((cleanup(cleanup_fclose_fn)))

/* Takes the descriptor out of *fd, which becomes -1 (and so is no longer closed by cleanup_close).
 */
static inline int steal_fd(int *fd)
{
    int r = *fd;
    *fd = -1;
    return r;
}

/* Takes the pointer out of the variable, which becomes NULL. */
#define steal_ptr(ptr)                \
    ({                                \
        __typeof__(ptr) *p_ = &(ptr); \
        __typeof__(ptr) r_ = *p_;     \
        *p_ = NULL;                   \
        r_;                           \
    })

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#define container_of(ptr, type, member)                             \
    ({                                                              \
        __typeof__(((type *)0)->member) *member_ = (ptr);           \
        (type *)(void *)((char *)member_ - offsetof(type, member)); \
    })

#endif
