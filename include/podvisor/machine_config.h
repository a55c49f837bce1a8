// SPDX-License-Identifier: Apache-2.0
/*
 * The contract between the two halves of vmm (docs/adr/0001): `vmm`, the front, parses and opens
 * everything and writes this flat structure into a sealed memfd; `vmm-monitor`, which holds no
 * parser of files, is exec'ed in its place with the number of that descriptor and runs the machine.
 * Both are built together; `magic`, `version` and `size` only catch a mixed installation.
 *
 * All descriptors are inherited over exec. -1 means absent. Strings are NUL-terminated.
 */
#ifndef PODVISOR_MACHINE_CONFIG_H
#define PODVISOR_MACHINE_CONFIG_H

#include <podvisor/lease.h>
#include <stdbool.h>
#include <stdint.h>

#define MACHINE_CONFIG_MAGIC   0x31434d56u /* "VMC1" */
#define MACHINE_CONFIG_VERSION 5u

#define MACHINE_CPU_MAX     64
#define MACHINE_DISK_MAX    16
#define MACHINE_NET_MAX     8
#define MACHINE_IO_MAX      16 /* I/O threads: the first, and those for disks */
#define MACHINE_KEEP_MAX    (MACHINE_DISK_MAX + 2)
#define MACHINE_BACKING_MAX 4    /* images below a disk's own */
#define MACHINE_NAME_MAX    64   /* with NUL */
#define MACHINE_CMDLINE_MAX 4096 /* with NUL */
#define MACHINE_SERIAL_MAX  21   /* virtio 1.2 §5.2.6.1: 20 bytes, and NUL */

enum machine_memory_backing {
    MACHINE_MEMORY_ANONYMOUS, /* private, transparent huge pages */
    MACHINE_MEMORY_MEMFD,     /* shared, for device back ends in other processes */
    MACHINE_MEMORY_HUGE_2M,   /* hugetlbfs */
    MACHINE_MEMORY_HUGE_1G,
};

enum machine_sandbox { MACHINE_SANDBOX_ON, MACHINE_SANDBOX_LOG, MACHINE_SANDBOX_OFF };

enum machine_console_device { MACHINE_CONSOLE_SERIAL, MACHINE_CONSOLE_VIRTIO };

enum machine_disk_format { MACHINE_DISK_RAW, MACHINE_DISK_QCOW2 };

/* An image below another, for reading only: what that one does not have is there. */
struct machine_backing {
    int32_t fd;
    uint8_t format; /* enum machine_disk_format */
};

/* How a disk's file is reached. */
enum machine_disk_io {
    MACHINE_DISK_IO_DEFAULT, /* the kernel's asynchronous I/O for direct disks, else threads */
    MACHINE_DISK_IO_THREADS,
    MACHINE_DISK_IO_NATIVE, /* io_uring, else Linux AIO, else threads */
    MACHINE_DISK_IO_URING,  /* io_uring, else threads */
    MACHINE_DISK_IO_AIO,    /* Linux AIO, else threads */
};

/* What becomes of a request that the host cannot do. */
enum machine_error_policy {
    MACHINE_ERROR_REPORT,   /* the guest is told */
    MACHINE_ERROR_STOP,     /* the guest is paused; the request is tried again when it goes on */
    MACHINE_ERROR_ENOSPACE, /* likewise when there is no space, else the guest is told */
    MACHINE_ERROR_IGNORE,
};

struct machine_disk {
    char name[MACHINE_NAME_MAX];
    int32_t fd;
    uint8_t format; /* enum machine_disk_format */
    uint8_t backing_count;
    struct machine_backing backing[MACHINE_BACKING_MAX]; /* the uppermost first */
    uint8_t readonly;
    uint8_t direct;       /* fd was opened O_DIRECT */
    uint8_t block_device; /* else a regular file */
    uint8_t discard;      /* pass discards down */
    uint32_t logical_block_size;
    uint32_t physical_block_size;
    uint64_t size; /* bytes, a multiple of 512 */
    char serial[MACHINE_SERIAL_MAX];
    uint8_t io;                   /* enum machine_disk_io */
    uint8_t error_policy;         /* enum machine_error_policy */
    uint8_t writethrough;         /* every write is durable before it completes */
    uint8_t num_queues;           /* 0: one */
    uint32_t io_thread;           /* below machine_config.io_threads */
    uint32_t discard_granularity; /* bytes; 0: default */
    uint64_t iops, iops_burst;    /* limits: requests a second, and at once; 0: none */
    uint64_t bps, bps_burst;      /* likewise bytes */
};

struct machine_net {
    char name[MACHINE_NAME_MAX];
    int32_t tap_fd; /* IFF_TAP | IFF_NO_PI | IFF_VNET_HDR, vnet header 12 bytes, non-blocking */
    uint8_t mac[6];
    uint16_t mtu;        /* 0: not announced */
    uint8_t offload;     /* the tap took checksum and segmentation offloads */
    uint8_t offload_uso; /* and UDP segmentation (Linux >= 6.2) */
    struct lease lease;  /* what the guest's DHCP requests are answered with */
};

struct machine_config {
    uint32_t magic, version, size;

    char name[MACHINE_NAME_MAX];
    uint8_t uuid[16];

    uint32_t cpus;
    uint8_t no_hypercalls;   /* they hang on this host (kvm_pvm): do not offer them */
    uint32_t memory_backing; /* enum machine_memory_backing */
    uint64_t memory;         /* bytes, a multiple of 2 MiB */

    int32_t kvm_fd;
    int32_t kernel_fd;
    int32_t initrd_fd;
    char cmdline[MACHINE_CMDLINE_MAX];

    uint32_t io_threads; /* 1 to MACHINE_IO_MAX; the first also serves all that is no disk */
    uint32_t disk_count, net_count;
    struct machine_disk disk[MACHINE_DISK_MAX];
    struct machine_net net[MACHINE_NET_MAX];

    uint8_t rng, balloon;
    uint8_t balloon_deflate_on_oom, free_page_reporting;

    uint32_t console_device;     /* enum machine_console_device */
    int32_t console_in_fd;       /* -1: no input */
    int32_t console_out_fd;      /* -1: only the ring buffer and attached clients */
    uint8_t console_is_terminal; /* console_in_fd is one: src/vmm/control/terminal.h, in and out */

    int32_t control_fd;            /* listening UNIX socket */
    int32_t termination_fd;        /* one JSON line goes there at the end */
    uint32_t grace_period_seconds; /* after SIGTERM pressed the power button */

    uint32_t log_format, log_level; /* enum log_format, enum log_level */
    uint32_t sandbox;               /* enum machine_sandbox */
    uint8_t debug_exit;             /* isa-debug-exit at port 0xf4 */
    uint8_t start_paused;           /* the guest waits for the request `resume` */
    uint8_t reboot_terminates;      /* a reboot by the guest ends the process, exit code 0 */
    uint64_t exec_time_ns;          /* CLOCK_MONOTONIC when the front started; for metrics */

    /* Held open, and nothing else: whoever is at their other ends lives as long as the machine. */
    uint32_t keep_fd_count;
    int32_t keep_fd[MACHINE_KEEP_MAX];
};

#endif
