// SPDX-License-Identifier: Apache-2.0
/* Guest RAM: mapping with guard pages, KVM slots, release. See memory.h for threads and rules. */
#include "memory.h"
#include "../kvm/kvm.h"
#include "../layout.h"
#include <podvisor/cleanup.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MFD_HUGE_SHIFT
#define MFD_HUGE_SHIFT 26
#endif
#define HUGE_2M_LOG 21
#define HUGE_1G_LOG 30

#define LOW_MEMORY (UINT64_C(16) << 20)
#define GUARD_SIZE (UINT64_C(2) << 20) /* also keeps RAM aligned for huge pages */

static unsigned huge_page_log(enum machine_memory_backing backing)
{
    switch (backing) {
    case MACHINE_MEMORY_HUGE_2M:
        return HUGE_2M_LOG;
    case MACHINE_MEMORY_HUGE_1G:
        return HUGE_1G_LOG;
    case MACHINE_MEMORY_ANONYMOUS:
    case MACHINE_MEMORY_MEMFD:
        break;
    }
    return 0;
}

/* An address range of `size` bytes at a multiple of `align`, inaccessible, guard pages on both
 * sides. */
static uint8_t *reserve_range(uint64_t size, uint64_t align)
{
    uint64_t total = size + align + 2 * GUARD_SIZE;
    uint8_t *p = mmap(NULL, total, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    uintptr_t start = ((uintptr_t)p + GUARD_SIZE + align - 1) & ~(uintptr_t)(align - 1);
    uint8_t *ram = p + (start - (uintptr_t)p);
    /* What alignment left over before and behind is given back. */
    uint8_t *low = ram - GUARD_SIZE, *high = ram + size + GUARD_SIZE;
    if (low > p)
        munmap(p, (size_t)(low - p));
    if (high < p + total)
        munmap(high, (size_t)(p + total - high));
    return ram;
}

static int map_region(struct machine_memory *mem, gpa_t base, uint64_t size, uint64_t file_offset,
                      struct error *err)
{
    unsigned log = huge_page_log(mem->backing);
    uint8_t *ram = reserve_range(size, log > HUGE_2M_LOG ? UINT64_C(1) << log : UINT64_C(2) << 20);
    if (ram == NULL)
        return error_sys(err, errno, "cannot reserve %llu MiB of address space for guest memory",
                         (unsigned long long)(size >> 20));
    int flags = MAP_FIXED;
    if (mem->fd >= 0)
        flags |= MAP_SHARED;
    else
        flags |= MAP_PRIVATE | MAP_ANONYMOUS;
    if (log != 0)
        flags |= mem->fd >= 0 ? 0 : MAP_HUGETLB | (int)(log << MFD_HUGE_SHIFT);
    else
        flags |= MAP_NORESERVE;
    if (mmap(ram, size, PROT_READ | PROT_WRITE, flags, mem->fd, (off_t)file_offset) == MAP_FAILED) {
        int code = errno;
        error_sys(err, code, "cannot map %llu MiB of guest memory",
                  (unsigned long long)(size >> 20));
        if (log != 0)
            error_hint(err,
                       "reserve huge pages: /sys/kernel/mm/hugepages/hugepages-%ukB/nr_hugepages",
                       1u << (log - 10));
        munmap(ram - GUARD_SIZE, size + 2 * GUARD_SIZE);
        return -code;
    }
    /*
     * Advice only: a kernel without transparent huge pages just refuses. Not for the first 16 MiB,
     * where a few pages of tables are written before the guest starts and where Linux puts next to
     * nothing: zeroing 2 MiB for each of them would take longer than all else that happens before
     * the guest.
     */
    uint64_t small = base == 0 ? LOW_MEMORY : 0;
    if (log == 0 && size > small)
        (void)madvise(ram + small, size - small, MADV_HUGEPAGE);
    (void)madvise(ram, size, MADV_DONTDUMP);
    mem->guest.region[mem->guest.region_count++] =
        (struct guest_memory_region){.base = base, .size = size, .hva = ram};
    return 0;
}

int machine_memory_map(struct machine_memory *mem, uint64_t size,
                       enum machine_memory_backing backing, struct error *err)
{
    memset(mem, 0, sizeof(*mem));
    mem->backing = backing;
    mem->fd = -1;
    if (backing == MACHINE_MEMORY_MEMFD) {
        mem->fd = memfd_create("guest-ram", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        if (mem->fd < 0 || ftruncate(mem->fd, (off_t)size) < 0)
            return error_sys(err, errno, "cannot create a memfd of %llu MiB for guest memory",
                             (unsigned long long)(size >> 20));
    }
    uint64_t low = size < LAYOUT_HOLE_BASE ? size : LAYOUT_HOLE_BASE;
    int r = map_region(mem, 0, low, 0, err);
    if (r == 0 && size > low)
        r = map_region(mem, LAYOUT_HOLE_END, size - low, low, err);
    if (r < 0)
        machine_memory_unmap(mem);
    return r;
}

int machine_memory_register(const struct machine_memory *mem, int vm_fd, struct error *err)
{
    for (unsigned i = 0; i < mem->guest.region_count; i++) {
        const struct guest_memory_region *region = &mem->guest.region[i];
        int r = kvm_vm_set_user_memory_region(vm_fd, i, region->base, region->size, region->hva);
        if (r < 0)
            return error_sys(err, -r, "KVM refuses guest memory at 0x%llx (%llu MiB)",
                             (unsigned long long)region->base,
                             (unsigned long long)(region->size >> 20));
    }
    return 0;
}

int machine_memory_release(const struct machine_memory *mem, void *hva, uint64_t len)
{
    /* A shared mapping keeps its pages in the file: they go only when the file's range does. */
    int advice = mem->fd >= 0 ? MADV_REMOVE : MADV_DONTNEED;
    return madvise(hva, len, advice) < 0 ? -errno : 0;
}

void machine_memory_clear(const struct machine_memory *mem)
{
    for (unsigned i = 0; i < mem->guest.region_count; i++) {
        const struct guest_memory_region *region = &mem->guest.region[i];
        /* Kernels before 5.18 do not give huge pages back piecemeal. */
        if (machine_memory_release(mem, region->hva, region->size) < 0)
            memset(region->hva, 0, region->size);
    }
}

void machine_memory_unmap(struct machine_memory *mem)
{
    for (unsigned i = 0; i < mem->guest.region_count; i++) {
        struct guest_memory_region *region = &mem->guest.region[i];
        munmap(region->hva - GUARD_SIZE, region->size + 2 * GUARD_SIZE);
    }
    mem->guest.region_count = 0;
    if (mem->fd >= 0)
        close(steal_fd(&mem->fd));
}
