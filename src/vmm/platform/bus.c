// SPDX-License-Identifier: Apache-2.0
/* Dispatch of port and memory-mapped accesses to devices; see bus.h for the threads. */
#include "bus.h"
#include <podvisor/cleanup.h>
#include <stdbool.h>
#include <string.h>

/* The device that an access reaches, and where in it. */
struct target {
    const struct bus_ops *ops;
    void *ctx;
    uint64_t offset;
};

/* Subtractions only: base + size may wrap for a window, whose base the guest chose. */
static bool contains(uint64_t base, uint64_t size, uint64_t addr, unsigned len)
{
    return addr >= base && addr - base < size && len <= size - (addr - base);
}

/* The last region whose base is not above `addr`, or -1. */
static int region_at_or_below(const struct bus *bus, uint64_t addr)
{
    unsigned low = 0, high = bus->region_count;
    while (low < high) {
        unsigned mid = low + (high - low) / 2;
        if (bus->region[mid].base <= addr)
            low = mid + 1;
        else
            high = mid;
    }
    return (int)low - 1;
}

static bool find(struct bus *bus, uint64_t addr, unsigned len, struct target *ret_target)
{
    int i = region_at_or_below(bus, addr);
    if (i >= 0) {
        const struct bus_region *r = &bus->region[i];
        if (contains(r->base, r->size, addr, len)) {
            *ret_target = (struct target){r->ops, r->ctx, addr - r->base};
            return true;
        }
    }
    for (unsigned w = 0; w < bus->window_count; w++) {
        struct bus_window *window = &bus->window[w];
        uint64_t base = atomic_load_explicit(&window->base, memory_order_acquire);
        if (base != BUS_UNMAPPED && contains(base, window->size, addr, len)) {
            *ret_target = (struct target){window->ops, window->ctx, addr - base};
            return true;
        }
    }
    return false;
}

static bool valid_len(unsigned len)
{
    return len == 1 || len == 2 || len == 4 || len == 8;
}

static unsigned step_of(const struct bus_ops *ops, unsigned len)
{
    return ops->width != 0 && len > ops->width ? ops->width : len;
}

static void note_unclaimed(struct bus *bus, bool write, uint64_t addr, unsigned len)
{
    atomic_fetch_add_explicit(&bus->unclaimed, 1, memory_order_relaxed);
    uint32_t suppressed;
    if (!log_enabled(LOG_LEVEL_DEBUG) || !log_ratelimit_allow(&bus->unclaimed_log, &suppressed))
        return;
    const struct log_field fields[] = {
        LOG_STR("access", write ? "write" : "read"),
        LOG_INT("address", addr),
        LOG_INT("bytes", len),
        LOG_INT("suppressed", suppressed),
    };
    log_write(LOG_LEVEL_DEBUG, bus->name, fields, ARRAY_SIZE(fields), "no device claims an access");
}

void bus_init(struct bus *bus, const char *name)
{
    memset(bus, 0, sizeof(*bus));
    bus->name = name;
}

int bus_add(struct bus *bus, const char *name, uint64_t base, uint64_t size,
            const struct bus_ops *ops, void *ctx, struct error *err)
{
    if (size == 0 || base + size < base)
        return error_set(err, EINVAL, "%s: region %s is empty or wraps", bus->name, name);
    if (bus->region_count == BUS_REGION_MAX)
        return error_set(err, ENOSPC, "%s: no room for region %s", bus->name, name);

    unsigned at = (unsigned)(region_at_or_below(bus, base) + 1);
    const struct bus_region *below = at > 0 ? &bus->region[at - 1] : NULL;
    const struct bus_region *above = at < bus->region_count ? &bus->region[at] : NULL;
    if (below != NULL && base - below->base < below->size)
        return error_set(err, EEXIST, "%s: %s overlaps %s", bus->name, name, below->name);
    if (above != NULL && above->base - base < size)
        return error_set(err, EEXIST, "%s: %s overlaps %s", bus->name, name, above->name);

    memmove(&bus->region[at + 1], &bus->region[at],
            (bus->region_count - at) * sizeof(bus->region[0]));
    bus->region[at] = (struct bus_region){name, base, size, ops, ctx};
    bus->region_count++;
    return 0;
}

int bus_add_window(struct bus *bus, uint64_t size, const struct bus_ops *ops, void *ctx,
                   struct bus_window **ret_window, struct error *err)
{
    if (bus->window_count == BUS_WINDOW_MAX)
        return error_set(err, ENOSPC, "%s: no room for another window", bus->name);
    struct bus_window *window = &bus->window[bus->window_count++];
    window->size = size;
    window->ops = ops;
    window->ctx = ctx;
    atomic_init(&window->base, BUS_UNMAPPED);
    *ret_window = window;
    return 0;
}

void bus_window_move(struct bus_window *window, uint64_t base)
{
    atomic_store_explicit(&window->base, base, memory_order_release);
}

void bus_read(struct bus *bus, uint64_t addr, void *data, unsigned len)
{
    memset(data, 0xff, len);
    struct target t;
    if (!valid_len(len) || !find(bus, addr, len, &t)) {
        note_unclaimed(bus, false, addr, len);
        return;
    }
    if (t.ops->read == NULL)
        return;
    unsigned step = step_of(t.ops, len);
    for (unsigned done = 0; done < len; done += step)
        t.ops->read(t.ctx, t.offset + done, (uint8_t *)data + done, step);
}

void bus_write(struct bus *bus, uint64_t addr, const void *data, unsigned len)
{
    struct target t;
    if (!valid_len(len) || !find(bus, addr, len, &t)) {
        note_unclaimed(bus, true, addr, len);
        return;
    }
    if (t.ops->write == NULL)
        return;
    unsigned step = step_of(t.ops, len);
    for (unsigned done = 0; done < len; done += step)
        t.ops->write(t.ctx, t.offset + done, (const uint8_t *)data + done, step);
}
