// SPDX-License-Identifier: Apache-2.0
/*
 * All devices of one machine: buses, PCI root, platform devices, and a virtio-pci function for each
 * disk, card, console, entropy source and balloon. Assembles them from struct machine_config, wires
 * their interrupts and notifications to KVM, and resets them together. Main thread unless said.
 */
#ifndef PODVISOR_VMM_DEVICES_H
#define PODVISOR_VMM_DEVICES_H

#include "../platform/debug_exit.h"
#include "../platform/ioapic.h"
#include "../platform/pci_root.h"
#include "../platform/power.h"
#include "../platform/pvpanic.h"
#include "../platform/rtc.h"
#include "../platform/serial.h"
#include "balloon.h"
#include "blk.h"
#include "console.h"
#include "irq.h"
#include "net.h"
#include "rng.h"
#include "virtio_pci.h"
#include <podvisor/log.h>
#include <podvisor/machine_config.h>

#define MACHINE_VIRTIO_MAX (MACHINE_DISK_MAX + MACHINE_NET_MAX + 3)

struct machine;
struct json_writer;

/* A virtio device in its PCI slot. */
struct machine_function {
    struct virtio_pci pci;
    struct irq_function irq;
};

struct machine_devices {
    struct machine *machine;
    struct bus pio, mmio;
    struct pci_root pci;
    struct ioapic ioapic;
    struct serial serial;
    struct rtc rtc;
    struct pvpanic pvpanic;
    struct debug_exit debug_exit;
    struct power power;

    struct virtio_blk disk[MACHINE_DISK_MAX];
    struct image image[MACHINE_DISK_MAX];
    struct virtio_net net[MACHINE_NET_MAX];
    struct virtio_console console;
    struct virtio_rng rng;
    struct virtio_balloon balloon;
    unsigned disk_count, image_count, net_count;
    bool has_console, has_rng, has_balloon;

    struct machine_function function[MACHINE_VIRTIO_MAX];
    unsigned function_count;

    struct log_ratelimit crash_log, kick_log;
};

/* Builds everything `m->config` asks for. VM, memory and consoles of `m` exist. 0 or negative
 * errno. */
int machine_devices_create(struct machine_devices *devices, struct machine *m, struct error *err);

/* I/O thread number `io_thread`, at its end: its disks take no more requests. */
void machine_devices_end_disks(struct machine_devices *devices, unsigned io_thread);

/* I/O thread, after that and when nothing is in flight: has the images written to their ends. */
void machine_devices_save_disks(struct machine_devices *devices, unsigned io_thread,
                                struct engine *engine);

/* vCPU and I/O threads have ended. Harmless after a failed or no creation. */
void machine_devices_destroy(struct machine_devices *devices);

/* System reset, vCPUs parked: begin() asks the virtio devices, which finish what is in flight. */
void machine_devices_begin_reset(struct machine_devices *devices);
/* True when all of them have. */
bool machine_devices_quiet(struct machine_devices *devices);
/* Then this resets the rest. */
void machine_devices_reset(struct machine_devices *devices);

void machine_devices_press_button(struct machine_devices *devices);

/* Console input for the device that has the console; returns how much was taken. */
size_t machine_devices_console_input(struct machine_devices *devices, const uint8_t *bytes,
                                     size_t len);
/* The console can print more. */
void machine_devices_console_room(struct machine_devices *devices);

/* The guest should give up `bytes` of its memory. */
void machine_devices_set_balloon(struct machine_devices *devices, uint64_t bytes);

/* Members of the answers to `status` and `metrics`. */
void machine_devices_status(struct machine_devices *devices, struct json_writer *w);
void machine_devices_metrics(struct machine_devices *devices, struct json_writer *w);

#endif
