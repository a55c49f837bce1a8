// SPDX-License-Identifier: Apache-2.0
/*
 * An address space with devices in it: the machine has two, I/O ports and memory-mapped I/O. A
 * vCPU thread hands every exit to bus_read() or bus_write(), which find the device and call it.
 *
 * Regions are fixed: all are added before vCPU threads start and none is ever removed. Windows are
 * what a guest can move at run time (PCI BARs): their number, size and owner are as fixed as a
 * region's, only the base changes, and that is one atomic word. So a lookup takes no lock, no lock
 * is held while a device runs, and an access that races with a move reaches the window at its old
 * or at its new place.
 */
#ifndef PODVISOR_VMM_BUS_H
#define PODVISOR_VMM_BUS_H

#include <podvisor/error.h>
#include <podvisor/log.h>
#include <stdatomic.h>
#include <stdint.h>

#define BUS_REGION_MAX 24
#define BUS_WINDOW_MAX 64

struct bus_ops {
    /*
     * vCPU threads, concurrently: an access of `len` (1, 2, 4 or 8) bytes wholly inside the region,
     * `offset` bytes from its base. Either may be NULL: reads all ones, writes are ignored.
     */
    void (*read)(void *ctx, uint64_t offset, void *data, unsigned len);
    void (*write)(void *ctx, uint64_t offset, const void *data, unsigned len);
    /* Accesses wider than this many bytes are split, lowest address first; 0: never split. */
    unsigned width;
};

struct bus_region {
    const char *name;
    uint64_t base, size;
    const struct bus_ops *ops;
    void *ctx;
};

struct bus_window {
    uint64_t size;
    const struct bus_ops *ops;
    void *ctx;
    _Atomic uint64_t base; /* BUS_UNMAPPED: nowhere */
};

#define BUS_UNMAPPED UINT64_MAX

struct bus {
    const char *name;                         /* for logs: "pio", "mmio" */
    struct bus_region region[BUS_REGION_MAX]; /* sorted by base, disjoint */
    unsigned region_count;
    struct bus_window window[BUS_WINDOW_MAX]; /* in the order of adding; the first match wins */
    unsigned window_count;
    atomic_uint_fast64_t unclaimed; /* accesses that no device answered */
    struct log_ratelimit unclaimed_log;
};

/* Makes an empty bus. `name` is borrowed for the bus's life. */
void bus_init(struct bus *bus, const char *name);

/*
 * Start-up: adds a fixed region of `size` bytes at `base`. Everything passed is borrowed for the
 * bus's life. Returns 0, -EEXIST when it overlaps another region, -EINVAL when it is empty or
 * wraps, -ENOSPC when the bus is full.
 */
int bus_add(struct bus *bus, const char *name, uint64_t base, uint64_t size,
            const struct bus_ops *ops, void *ctx, struct error *err);

/*
 * Start-up: adds a window of `size` bytes that is mapped nowhere yet. Returns 0 and the window,
 * which lives as long as the bus, or -ENOSPC.
 */
int bus_add_window(struct bus *bus, uint64_t size, const struct bus_ops *ops, void *ctx,
                   struct bus_window **ret_window, struct error *err);

/*
 * Any thread; moves of one window are serialised by its owner. Maps the window at `base`, or
 * nowhere with BUS_UNMAPPED. Any base is allowed, the guest chose it: fixed regions win over
 * windows, the window added first wins over later ones, and what lies over RAM is never reached.
 */
void bus_window_move(struct bus_window *window, uint64_t base);

/*
 * vCPU threads: an access of `len` bytes at `addr`. What no device claims reads as all ones and
 * ignores writes: so do accesses that cross the end of a region and those of other than 1, 2, 4 or
 * 8 bytes. `data` holds at least `len` (at most 8) bytes, little-endian.
 */
void bus_read(struct bus *bus, uint64_t addr, void *data, unsigned len);
void bus_write(struct bus *bus, uint64_t addr, const void *data, unsigned len);

#endif
