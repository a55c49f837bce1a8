// SPDX-License-Identifier: Apache-2.0
#include "overhead.h"

#define MIB (UINT64_C(1) << 20)

/* Measured in the pod's cgroup (docs/figures.md): 3.6 MiB with one vCPU and 128 MiB of memory that
 * is not touched yet, 3.8 MiB with eight; the rest is room for the kernel's own and bursts. */
#define OVERHEAD_FIXED  (6 * MIB)
#define OVERHEAD_VCPU   (MIB / 4)
#define OVERHEAD_DEVICE (MIB / 4) /* rings, buffers and a thread's stack for a disk or a card */

/* What a config map or a secret can hold: the disk that is made of it is memory. */
#define OVERHEAD_OBJECT MIB

/*
 * The most that qcow2 images use of what src/storage/qcow2.c lists, with disks up to 1 TiB. An
 * overlay has clusters of 64 KiB, none compressed: 4 MiB of L2 tables, 0.5 MiB of refcounts, 0.75
 * MiB of tables, 0.25 MiB to copy with. The image of a containerDisk is only read, and its author's
 * choice: 4 MiB of L2 tables, and 6.5 MiB to unpack clusters of 2 MiB. (Of a common one, a disk of
 * 16 GiB and clusters of 64 KiB, both together use less than 7 MiB.)
 */
#define OVERHEAD_OVERLAY (MIB * 11 / 2)
#define OVERHEAD_IMAGE   (MIB * 21 / 2)

/* 8 bytes for each 4 KiB twice: what maps the guest for the processor, and for the process. */
#define PAGE_TABLE_SHARE 256

static unsigned objects_of(const struct vmspec_volume *volume)
{
    switch (volume->kind) {
    case VMSPEC_VOLUME_CONFIG_MAP:
    case VMSPEC_VOLUME_SECRET:
    case VMSPEC_VOLUME_SYSPREP:
        return 1;
    case VMSPEC_VOLUME_CLOUD_INIT_NO_CLOUD:
    case VMSPEC_VOLUME_CLOUD_INIT_CONFIG_DRIVE:
        return (volume->cloud_init.user_data_secret != NULL ? 1u : 0u) +
               (volume->cloud_init.network_data_secret != NULL ? 1u : 0u);
    default:
        return 0;
    }
}

static uint64_t objects(const struct vmspec *spec)
{
    uint64_t count = spec->credentials.count;
    for (size_t i = 0; i < spec->volumes.count; i++)
        count += objects_of(&spec->volumes.item[i]);
    return count;
}

static uint64_t qcow2_images(const struct vmspec *spec)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < spec->disks.count; i++) {
        switch (vmspec_disk_volume(spec, &spec->disks.item[i])->kind) {
        case VMSPEC_VOLUME_CONTAINER_DISK:
            bytes += OVERHEAD_OVERLAY + OVERHEAD_IMAGE;
            break;
        case VMSPEC_VOLUME_EPHEMERAL: /* over a raw disk */
            bytes += OVERHEAD_OVERLAY;
            break;
        default:
            break;
        }
    }
    return bytes;
}

uint64_t memory_overhead(const struct vmspec *spec)
{
    return OVERHEAD_FIXED + spec->cpu.count * OVERHEAD_VCPU +
           (spec->disks.count + spec->interfaces.count) * OVERHEAD_DEVICE +
           objects(spec) * OVERHEAD_OBJECT + qcow2_images(spec) +
           spec->memory.guest / PAGE_TABLE_SHARE;
}

uint64_t memory_request(const struct vmspec *spec)
{
    uint64_t overhead = memory_overhead(spec);
    return spec->memory.huge_page_size != 0 ? overhead : spec->memory.guest + overhead;
}
