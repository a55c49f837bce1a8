// SPDX-License-Identifier: Apache-2.0
/*
 * Assembly of a machine's devices and the glue between them and KVM, the console hub and the
 * machine's events. Construction on the main thread; callbacks on the thread that each says.
 */
#include "devices.h"
#include "disk_image.h"
#include "machine.h"
#include <podvisor/cleanup.h>
#include <podvisor/log.h>
#include <string.h>

/* vCPU thread: ports and pages that end or restart the machine. The vCPU must not go on meanwhile.
 */

static void stop_here(struct machine *m, unsigned event)
{
    machine_report(m, event);
    vcpu_group_hold(&m->vcpus);
}

static void power_off(void *ctx)
{
    stop_here(ctx, MACHINE_EVENT_POWER_OFF);
}

static void power_reset(void *ctx)
{
    stop_here(ctx, MACHINE_EVENT_RESET);
}

static void power_set_irq(void *ctx, bool level)
{
    struct machine *m = ctx;
    ioapic_set_pin(&m->devices.ioapic, LAYOUT_GSI_GED, level);
}

static const struct power_ops power_ops = {
    .off = power_off,
    .reset = power_reset,
    .set_irq = power_set_irq,
};

static void guest_panicked(void *ctx, uint8_t events)
{
    struct machine *m = ctx;
    uint32_t suppressed;
    /* A guest that boots its own crash kernel is let do so. */
    if (events & PVPANIC_PANICKED)
        machine_report(m, MACHINE_EVENT_PANIC);
    else if (log_ratelimit_allow(&m->devices.crash_log, &suppressed))
        log_warn("pvpanic", "the guest crashed and starts its crash kernel");
}

static void debug_exit_written(void *ctx, uint32_t code)
{
    struct machine *m = ctx;
    atomic_store(&m->debug_exit_code, (int)(code & 0xff));
    stop_here(m, MACHINE_EVENT_DEBUG_EXIT);
}

/* I/O APIC to KVM. */

static void ioapic_route(void *ctx, unsigned pin, const struct msi_message *msg)
{
    struct machine *m = ctx;
    irq_route_pin(&m->irq, pin, msg);
}

static void ioapic_deliver(void *ctx, unsigned pin, const struct msi_message *msg)
{
    (void)pin;
    struct machine *m = ctx;
    irq_deliver(&m->irq, msg);
}

static const struct ioapic_ops ioapic_ops = {
    .route = ioapic_route,
    .deliver = ioapic_deliver,
};

/* Serial port to console hub. */

static void serial_output(void *ctx, const uint8_t *data, size_t len)
{
    struct machine *m = ctx;
    console_output(m->console, data, len);
}

static void serial_set_irq(void *ctx, bool level)
{
    struct machine *m = ctx;
    ioapic_set_pin(&m->devices.ioapic, LAYOUT_GSI_COM1, level);
}

static void serial_input_room(void *ctx)
{
    struct machine *m = ctx;
    console_input_ready(m->console);
}

static const struct serial_ops serial_ops = {
    .output = serial_output,
    .set_irq = serial_set_irq,
    .input_room = serial_input_room,
};

/* virtio-console to console hub. */

static size_t hvc_room(void *ctx, size_t wanted)
{
    struct machine *m = ctx;
    return console_output_room(m->console, wanted);
}

static void hvc_output(void *ctx, const void *bytes, size_t len)
{
    struct machine *m = ctx;
    console_output(m->console, bytes, len);
}

static void hvc_input_ready(void *ctx)
{
    struct machine *m = ctx;
    console_input_ready(m->console);
}

static const struct virtio_console_ops hvc_ops = {
    .room = hvc_room,
    .output = hvc_output,
    .input_ready = hvc_input_ready,
};

/* I/O thread: memory that the guest gives back. */
static int release_memory(void *ctx, void *hva, uint64_t len)
{
    struct machine *m = ctx;
    return machine_memory_release(&m->memory, hva, len);
}

/* Queue notifications become eventfd writes inside KVM. */
static void set_kick(void *ctx, bool add, uint64_t gpa, int fd)
{
    struct machine *m = ctx;
    uint32_t suppressed;
    int r = kvm_vm_ioeventfd(m->vm_fd, fd, gpa, add);
    /* Two BARs in one place are enough for this, and a guest can put them there all day. */
    if (r < 0 && add && log_ratelimit_allow(&m->devices.kick_log, &suppressed))
        log_warn("irq", "KVM refuses an ioeventfd, notifications will be slow: %s", strerror(-r));
}

static const struct virtio_pci_kick_ops kick_ops = {.set = set_kick};

/* Construction. */

static int create_platform(struct machine_devices *d, struct error *err)
{
    struct machine *m = d->machine;
    bus_init(&d->pio, "pio");
    bus_init(&d->mmio, "mmio");
    int r = ioapic_init(&d->ioapic, &d->mmio, &ioapic_ops, m, err);
    if (r == 0)
        r = serial_init(&d->serial, &d->pio, LAYOUT_PORT_COM1, &serial_ops, m, err);
    if (r == 0)
        r = rtc_init(&d->rtc, &d->pio, err);
    if (r == 0)
        r = pvpanic_init(&d->pvpanic, &d->pio, guest_panicked, m, err);
    if (r == 0)
        r = power_init(&d->power, &d->pio, &power_ops, m, err);
    if (r == 0 && m->config->debug_exit)
        r = debug_exit_init(&d->debug_exit, &d->pio, debug_exit_written, m, err);
    if (r == 0)
        r = pci_root_init(&d->pci, &d->pio, &d->mmio, power_reset, m, err);
    return r;
}

/* Puts a virtio device into the next PCI slot. */
static int add_function(struct machine_devices *d, struct virtio_device *dev, struct error *err)
{
    struct machine *m = d->machine;
    struct machine_function *f = &d->function[d->function_count];
    int r = irq_function_init(&f->irq, &m->irq, dev->queue_count + 1, err);
    if (r == 0)
        r = virtio_pci_init(&f->pci, dev, &irq_function_ops, &f->irq, &kick_ops, m, err);
    if (r < 0)
        return r;
    d->function_count++;
    return pci_root_add(&d->pci, &f->pci.fn, err);
}

static enum virtio_blk_error_policy error_policy(const struct machine_disk *config)
{
    static const enum virtio_blk_error_policy policy[] = {
        [MACHINE_ERROR_REPORT] = VIRTIO_BLK_ERROR_REPORT,
        [MACHINE_ERROR_STOP] = VIRTIO_BLK_ERROR_STOP,
        [MACHINE_ERROR_ENOSPACE] = VIRTIO_BLK_ERROR_ENOSPACE,
        [MACHINE_ERROR_IGNORE] = VIRTIO_BLK_ERROR_IGNORE,
    };
    return config->error_policy < ARRAY_SIZE(policy) ? policy[config->error_policy]
                                                     : VIRTIO_BLK_ERROR_REPORT;
}

static int create_disk(struct machine_devices *d, const struct machine_disk *config,
                       struct error *err)
{
    struct machine *m = d->machine;
    if (config->io_thread >= m->io_count)
        return error_set(err, EINVAL, "disk '%s' is on an I/O thread that is not there",
                         config->name);
    struct machine_io *io = &m->io[config->io_thread];
    struct image *image = &d->image[d->image_count];
    int r = disk_image_init(image, config, err);
    if (r < 0)
        return error_wrap(err, "disk '%s'", config->name);
    d->image_count++;
    struct virtio_blk_options blk = {
        .name = config->name,
        .image = image,
        .engine = machine_io_engine(io, config),
        .serial = config->serial,
        .logical_block_size = config->logical_block_size,
        .physical_block_size = config->physical_block_size,
        .discard_granularity = config->discard_granularity,
        .num_queues = config->num_queues,
        .writethrough = config->writethrough,
        .error_policy = error_policy(config),
        .limits = {config->iops, config->iops_burst, config->bps, config->bps_burst},
        .ops = &io_error_blk_ops,
        .ctx = m,
    };
    struct virtio_blk *disk = &d->disk[d->disk_count];
    r = virtio_blk_init(disk, &blk, &m->memory.guest, &io->thread.loop, err);
    if (r < 0)
        return r;
    d->disk_count++;
    return add_function(d, virtio_blk_device(disk), err);
}

static int create_disks(struct machine_devices *d, struct error *err)
{
    struct machine *m = d->machine;
    int r = 0;
    for (unsigned i = 0; r == 0 && i < m->io_count; i++)
        r = machine_io_open_engines(&m->io[i], err);
    for (unsigned i = 0; r == 0 && i < m->config->disk_count; i++)
        r = create_disk(d, &m->config->disk[i], err);
    return r;
}

static int create_nets(struct machine_devices *d, struct error *err)
{
    struct machine *m = d->machine;
    int r = 0;
    for (unsigned i = 0; r == 0 && i < m->config->net_count; i++) {
        const struct machine_net *config = &m->config->net[i];
        struct virtio_net_options net = {
            .name = config->name,
            .tap_fd = config->tap_fd,
            .mtu = config->mtu,
            .offload = config->offload,
            .offload_uso = config->offload_uso,
            .lease = &config->lease,
        };
        memcpy(net.mac, config->mac, sizeof(net.mac));
        r = virtio_net_init(&d->net[i], &net, &m->memory.guest, &m->io[0].thread.loop, err);
        if (r == 0) {
            d->net_count++;
            r = add_function(d, &d->net[i].dev, err);
        }
    }
    return r;
}

/* Memory of hugetlbfs: a part of a page cannot be given back, and a whole one not be had again for
 * sure. */
static bool huge_pages(const struct machine_config *config)
{
    return config->memory_backing == MACHINE_MEMORY_HUGE_2M ||
           config->memory_backing == MACHINE_MEMORY_HUGE_1G;
}

static int create_others(struct machine_devices *d, struct error *err)
{
    struct machine *m = d->machine;
    const struct guest_memory *mem = &m->memory.guest;
    int r = 0;
    if (m->config->console_device == MACHINE_CONSOLE_VIRTIO) {
        r = virtio_console_init(&d->console, "console", &hvc_ops, m, mem, &m->io[0].thread.loop,
                                err);
        d->has_console = r == 0;
        if (r == 0)
            r = add_function(d, &d->console.dev, err);
    }
    if (r == 0 && m->config->rng) {
        r = virtio_rng_init(&d->rng, "rng", mem, &m->io[0].thread.loop, err);
        d->has_rng = r == 0;
        if (r == 0)
            r = add_function(d, &d->rng.dev, err);
    }
    if (r == 0 && m->config->balloon) {
        struct virtio_balloon_options balloon = {
            .name = "balloon",
            .deflate_on_oom = m->config->balloon_deflate_on_oom,
            .page_reporting = m->config->free_page_reporting && !huge_pages(m->config),
            .release = release_memory,
            .ctx = m,
        };
        r = virtio_balloon_init(&d->balloon, &balloon, mem, &m->io[0].thread.loop, err);
        d->has_balloon = r == 0;
        if (r == 0)
            r = add_function(d, &d->balloon.dev, err);
    }
    return r;
}

int machine_devices_create(struct machine_devices *d, struct machine *m, struct error *err)
{
    d->machine = m;
    int r = create_platform(d, err);
    if (r == 0)
        r = create_disks(d, err);
    if (r == 0)
        r = create_nets(d, err);
    if (r == 0)
        r = create_others(d, err);
    return r;
}

void machine_devices_end_disks(struct machine_devices *d, unsigned io_thread)
{
    for (unsigned i = 0; i < d->disk_count; i++) {
        if (d->machine->config->disk[i].io_thread == io_thread)
            virtio_blk_end(&d->disk[i]);
    }
}

void machine_devices_save_disks(struct machine_devices *d, unsigned io_thread,
                                struct engine *engine)
{
    for (unsigned i = 0; i < d->image_count; i++) {
        if (d->machine->config->disk[i].io_thread == io_thread)
            disk_image_save(&d->image[i], engine);
    }
}

void machine_devices_destroy(struct machine_devices *d)
{
    if (d->machine == NULL)
        return;
    for (unsigned i = 0; i < d->disk_count; i++)
        virtio_blk_done(&d->disk[i]);
    for (unsigned i = 0; i < d->machine->io_count; i++)
        machine_io_close_engines(&d->machine->io[i]);
    for (unsigned i = 0; i < d->image_count; i++)
        image_done(&d->image[i]);
    for (unsigned i = 0; i < d->net_count; i++)
        virtio_net_done(&d->net[i]);
    if (d->has_console)
        virtio_console_done(&d->console);
    if (d->has_rng)
        virtio_rng_done(&d->rng);
    if (d->has_balloon)
        virtio_balloon_done(&d->balloon);
}

/* System reset. */

void machine_devices_begin_reset(struct machine_devices *d)
{
    for (unsigned i = 0; i < d->function_count; i++)
        virtio_pci_reset(&d->function[i].pci);
}

bool machine_devices_quiet(struct machine_devices *d)
{
    for (unsigned i = 0; i < d->function_count; i++) {
        if (virtio_device_get_status(d->function[i].pci.dev) != 0)
            return false;
    }
    return true;
}

void machine_devices_reset(struct machine_devices *d)
{
    serial_reset(&d->serial);
    ioapic_reset(&d->ioapic);
    pci_root_reset(&d->pci);
}

void machine_devices_press_button(struct machine_devices *d)
{
    power_press_button(&d->power);
}

/* Console and balloon. */

size_t machine_devices_console_input(struct machine_devices *d, const uint8_t *bytes, size_t len)
{
    if (d->has_console)
        return virtio_console_input(&d->console, bytes, len);
    return serial_input(&d->serial, bytes, len);
}

void machine_devices_console_room(struct machine_devices *d)
{
    if (d->has_console)
        virtio_console_output_room(&d->console);
}

void machine_devices_set_balloon(struct machine_devices *d, uint64_t bytes)
{
    virtio_balloon_set_target(&d->balloon, (uint32_t)(bytes / VIRTIO_BALLOON_PAGE_SIZE));
}
