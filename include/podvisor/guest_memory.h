// SPDX-License-Identifier: Apache-2.0
/*
 * Guest RAM as devices and loaders see it: a few regions of guest-physical addresses (GPA) that are
 * mapped in this process (HVA), and the one checked translation between the two. Only RAM is ever
 * returned, so a device can never be pointed at another device. Regions are fixed before threads
 * start; the translation may be used by any thread. The guest may change the bytes at any time:
 * read a value once, into a local, then check it.
 */
#ifndef PODVISOR_GUEST_MEMORY_H
#define PODVISOR_GUEST_MEMORY_H

#include <stdint.h>
#include <stdlib.h>

typedef uint64_t gpa_t;

#define GUEST_MEMORY_REGION_MAX 4

struct guest_memory_region {
    gpa_t base;
    uint64_t size; /* bytes; base + size does not overflow */
    uint8_t *hva;
};

struct guest_memory {
    struct guest_memory_region region[GUEST_MEMORY_REGION_MAX];
    unsigned region_count;
};

/*
 * Returns the host address of the `len` bytes at `gpa`, or NULL unless all of them lie in one
 * region. `len` 0 is allowed for any address inside a region or at its end.
 */
static inline void *guest_memory_at(const struct guest_memory *mem, gpa_t gpa, uint64_t len)
{
    for (unsigned i = 0; i < mem->region_count; i++) {
        const struct guest_memory_region *r = &mem->region[i];
        /* Subtractions only: nothing here can wrap, whatever the guest chose. */
        if (gpa >= r->base && gpa - r->base <= r->size && len <= r->size - (gpa - r->base))
            return r->hva + (gpa - r->base);
    }
    return NULL;
}

/* Sum of all regions, bytes. */
static inline uint64_t guest_memory_size(const struct guest_memory *mem)
{
    uint64_t size = 0;
    for (unsigned i = 0; i < mem->region_count; i++)
        size += mem->region[i].size;
    return size;
}

#endif
