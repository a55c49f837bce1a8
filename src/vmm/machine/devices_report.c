// SPDX-License-Identifier: Apache-2.0
/* What `vmm ctl status` and `vmm ctl metrics` say of devices. Main thread; relaxed reads of
 * counters. */
#include "devices.h"
#include <podvisor/counter.h>
#include <podvisor/json_write.h>

static void write_common(struct json_writer *w, struct virtio_device *dev)
{
    json_write_string(w, "name", dev->name);
    json_write_uint64(w, "kicks", counter_read(&dev->counters.kicks));
    json_write_uint64(w, "interrupts", counter_read(&dev->counters.interrupts));
    json_write_uint64(w, "failures", counter_read(&dev->counters.failures));
    json_write_uint64(w, "resets", counter_read(&dev->counters.resets));
}

static const char *driver_state(struct virtio_device *dev)
{
    uint8_t status = virtio_device_get_status(dev);
    if (status & VIRTIO_CONFIG_S_NEEDS_RESET)
        return "needs-reset";
    if (status & VIRTIO_CONFIG_S_DRIVER_OK)
        return "running";
    return status == 0 ? "idle" : "negotiating";
}

void machine_devices_status(struct machine_devices *d, struct json_writer *w)
{
    json_write_array(w, "devices");
    for (unsigned i = 0; i < d->function_count; i++) {
        struct virtio_device *dev = d->function[i].pci.dev;
        json_write_object(w, NULL);
        json_write_string(w, "name", dev->name);
        json_write_string(w, "driver", driver_state(dev));
        json_write_end(w);
    }
    json_write_end(w);
    if (d->has_balloon) {
        json_write_object(w, "balloon");
        json_write_uint64(w, "targetBytes",
                          (uint64_t)virtio_balloon_target(&d->balloon) * VIRTIO_BALLOON_PAGE_SIZE);
        json_write_uint64(w, "actualBytes",
                          (uint64_t)virtio_balloon_actual(&d->balloon) * VIRTIO_BALLOON_PAGE_SIZE);
        json_write_end(w);
    }
}

static void write_disks(struct machine_devices *d, struct json_writer *w)
{
    json_write_array(w, "disks");
    for (unsigned i = 0; i < d->disk_count; i++) {
        struct virtio_blk_metrics metrics;
        virtio_blk_get_metrics(&d->disk[i], &metrics);
        json_write_object(w, NULL);
        write_common(w, virtio_blk_device(&d->disk[i]));
        json_write_uint64(w, "reads", metrics.reads);
        json_write_uint64(w, "readBytes", metrics.read_bytes);
        json_write_uint64(w, "writes", metrics.writes);
        json_write_uint64(w, "writtenBytes", metrics.write_bytes);
        json_write_uint64(w, "flushes", metrics.flushes);
        json_write_uint64(w, "errors", metrics.errors);
        json_write_uint64(w, "throttled", metrics.throttled);
        json_write_end(w);
    }
    json_write_end(w);
}

static void write_nets(struct machine_devices *d, struct json_writer *w)
{
    json_write_array(w, "networks");
    for (unsigned i = 0; i < d->net_count; i++) {
        const struct virtio_net_counters *c = &d->net[i].counters;
        json_write_object(w, NULL);
        write_common(w, &d->net[i].dev);
        json_write_uint64(w, "transmittedPackets", counter_read(&c->tx_packets));
        json_write_uint64(w, "transmittedBytes", counter_read(&c->tx_bytes));
        json_write_uint64(w, "transmitDropped", counter_read(&c->tx_dropped));
        json_write_uint64(w, "receivedPackets", counter_read(&c->rx_packets));
        json_write_uint64(w, "receivedBytes", counter_read(&c->rx_bytes));
        json_write_uint64(w, "receiveDropped", counter_read(&c->rx_dropped));
        json_write_end(w);
    }
    json_write_end(w);
}

static void write_balloon(struct machine_devices *d, struct json_writer *w)
{
    const struct virtio_balloon_counters *c = &d->balloon.counters;
    json_write_object(w, "balloon");
    write_common(w, &d->balloon.dev);
    json_write_uint64(w, "inflatedPages", counter_read(&c->inflated_pages));
    json_write_uint64(w, "deflatedPages", counter_read(&c->deflated_pages));
    json_write_uint64(w, "reportedBytes", counter_read(&c->reported_bytes));
    json_write_uint64(w, "badPages", counter_read(&c->bad_pages));
    static const struct {
        unsigned tag;
        const char *name;
    } stats[] = {
        {4, "guestFreeBytes"},
        {5, "guestTotalBytes"},
        {6, "guestAvailableBytes"},
        {7, "guestCacheBytes"},
    };
    for (unsigned i = 0; i < sizeof(stats) / sizeof(stats[0]); i++) {
        uint64_t value = counter_read(&d->balloon.stat[stats[i].tag]);
        if (value != UINT64_MAX)
            json_write_uint64(w, stats[i].name, value);
    }
    json_write_end(w);
    /* The next reader gets fresh figures. */
    virtio_balloon_refresh_stats(&d->balloon);
}

void machine_devices_metrics(struct machine_devices *d, struct json_writer *w)
{
    write_disks(d, w);
    write_nets(d, w);
    if (d->has_balloon)
        write_balloon(d, w);
    if (d->has_rng) {
        json_write_object(w, "rng");
        write_common(w, &d->rng.dev);
        json_write_end(w);
    }
}
