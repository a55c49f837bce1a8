// SPDX-License-Identifier: Apache-2.0
/*
 * What `vmm run` is about to do: names, sizes and paths, checked as far as that is possible without
 * opening anything. Put together from flags, from a manifest (manifest.c), or from both.
 */
#ifndef PODVISOR_FRONT_PLAN_H
#define PODVISOR_FRONT_PLAN_H

#include "options.h"
#include <podvisor/vmspec.h>

#define PLAN_PATH_MAX 4096
#define TAP_NAME_MAX  16 /* IFNAMSIZ, with NUL */

/* "machine NAMESPACE/NAME", of at most 63 and 253 characters, with NUL. */
#define PLAN_HOLDER_MAX 336

/* Where a disk comes from. */
enum plan_source {
    PLAN_PATH,        /* a file or block device of the user's */
    PLAN_TEMPORARY,   /* a file of `capacity` without a name */
    PLAN_CLAIM_FILE,  /* the disk image of a pod's volume: regular, no symbolic link; made if absent
                       */
    PLAN_CLAIM_BLOCK, /* the block device of a pod's volume */
    PLAN_HOST_FILE,   /* as PLAN_CLAIM_FILE in a folder of the node; made with `capacity` */
    PLAN_IMAGE,       /* a file of a container image, by descriptor: images.h */
    PLAN_SEED,        /* made of files at the start: seed.h */
};

struct plan_disk {
    char name[MACHINE_NAME_MAX];
    enum plan_source source;
    char path[PLAN_PATH_MAX];  /* unless PLAN_TEMPORARY or PLAN_IMAGE; PLAN_SEED: the folder of the
                                  volume's files in a pod, "" elsewhere */
    const char *image;         /* PLAN_IMAGE: the image's name */
    const struct vmspec *spec; /* PLAN_SEED: the manifest, and its volume; borrowed */
    const struct vmspec_volume *volume;
    /* The guest writes to this file, a new one, and what is named above is only read; "": none. */
    char overlay[PLAN_PATH_MAX];
    enum machine_disk_format format;
    unsigned backing_count; /* images below it, by path; the uppermost first */
    struct backing_option backing[MACHINE_BACKING_MAX];
    bool readonly, discard, shared;
    bool direct;       /* past the host's page cache */
    bool try_direct;   /* likewise where the file system can, else writethrough */
    bool writethrough; /* every write is durable before it completes */
    bool match_volume; /* block sizes as what lies under it has them */
    struct disk_tuning tuning;
    bool create;       /* make a sparse file of `capacity` if there is none */
    uint64_t capacity; /* bytes; 0: whatever the file has. PLAN_CLAIM_FILE: the claim's */
    uint32_t logical_block_size, physical_block_size, discard_granularity; /* 0: default */
    uint32_t io_thread;                                                    /* plan_assign_io() */
    char serial[MACHINE_SERIAL_MAX];
};

struct plan_net {
    char name[MACHINE_NAME_MAX];
    char tap[TAP_NAME_MAX];
    uint8_t mac[6];
    uint16_t mtu;
    struct lease lease; /* zero: nobody here answers the guest's DHCP requests */
};

/* How disks get threads: KubeVirt's ioThreadsPolicy. */
enum plan_io_policy {
    PLAN_IO_NONE,   /* all on the first, which also serves network cards and the rest */
    PLAN_IO_SHARED, /* one for all disks that have none of their own */
    PLAN_IO_AUTO,   /* two a virtual CPU, as far as there are disks for them */
    PLAN_IO_POOL,   /* `io_pool_threads` for all disks */
};

struct plan {
    char name[MACHINE_NAME_MAX];
    char holder[PLAN_HOLDER_MAX]; /* who this is to others that find a disk in use */
    uint8_t uuid[16];
    uint32_t cpus;
    uint64_t memory; /* bytes, a multiple of 2 MiB */
    enum machine_memory_backing memory_backing;
    const char *kernel, *initrd;             /* NULL: none; borrowed from argv or the manifest */
    const char *kernel_image, *initrd_image; /* the container image they are in; NULL: this host */
    const char *cmdline;                     /* never NULL */
    unsigned disk_count, net_count;
    struct plan_disk disk[MACHINE_DISK_MAX];
    struct plan_net net[MACHINE_NET_MAX];
    enum plan_io_policy io_policy;
    uint32_t io_pool_threads;
    bool io_with_emulator;  /* PLAN_IO_AUTO: they share the processor reserved for the monitor */
    bool block_multi_queue; /* a queue for each virtual CPU */
    uint32_t io_threads;    /* plan_assign_io() */
    bool rng, balloon;
    enum console_target console;
    const char *console_path;
    enum machine_console_device console_device;
    const char *control, *termination_message;
    uint32_t grace_period_seconds;
    enum log_format log_format;
    enum log_level log_level;
    enum machine_sandbox sandbox;
    bool debug_exit, start_paused, reboot_terminates;
};

/* Why a machine without a kernel is refused, after whatever names the machine. */
#define PLAN_NO_FIRMWARE \
    "firmware that would boot a disk is not supported; give a kernel with --kernel FILE"

/*
 * Fills *plan (large: keep it static) from flags and, if there is one, their manifest. What
 * `options` point to must live as long. Returns 0 or a negative errno; *plan is undefined then.
 */
int plan_make(const struct run_options *options, struct plan *plan, struct error *err);

/* Gives each disk its queues and its thread: plan_io.c. */
void plan_assign_io(struct plan *plan);

/* Puts a cache mode on a disk; UNSET is what a manifest without one means. */
void plan_set_cache(struct plan_disk *disk, enum disk_cache cache);

/* Copies a name into a fixed field. -EINVAL when it does not fit or is empty. */
int plan_copy(char *field, size_t size, const char *text, const char *what, struct error *err);

/* Adds what a `--disk` or `--net` says as a new device. */
int plan_add_disk(struct plan *plan, const struct disk_option *option, struct error *err);
int plan_add_net(struct plan *plan, const struct net_option *option, struct error *err);

/* Puts what a `--disk` says over a disk that is there. */
int plan_override_disk(struct plan_disk *disk, const struct disk_option *option, struct error *err);

/*
 * manifest.c: everything that the manifest says and no flag overrides; marks in `used_disks` and
 * `used_nets` (bit n: option n) the flags that gave a file or a tap to something in it.
 */
int plan_read_manifest(struct plan *plan, const struct run_options *options, uint32_t *used_disks,
                       uint32_t *used_nets, struct error *err);

#endif
