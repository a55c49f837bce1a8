// SPDX-License-Identifier: Apache-2.0
/*
 * What the flags of `vmm run` say, before any manifest and before anything is opened. Strings are
 * argv's. A pointer that is NULL and a `has_` that is false mean: not said.
 */
#ifndef PODVISOR_FRONT_OPTIONS_H
#define PODVISOR_FRONT_OPTIONS_H

#include "flags.h"
#include <podvisor/log.h>
#include <podvisor/machine_config.h>
#include <stdbool.h>
#include <stdint.h>

/* An image below a disk's own. */
struct backing_option {
    const char *path;
    bool has_format;
    enum machine_disk_format format;
};

enum disk_cache {
    DISK_CACHE_UNSET,
    DISK_CACHE_NONE,
    DISK_CACHE_WRITETHROUGH,
    DISK_CACHE_WRITEBACK
};

/* How a disk works rather than what it is; 0: not said. */
struct disk_tuning {
    enum disk_cache cache;
    enum machine_disk_io io;
    bool has_error_policy, dedicated_io_thread;
    enum machine_error_policy error_policy;
    unsigned queues;
    uint64_t iops, iops_burst, bps, bps_burst; /* a second, and at once */
};

struct disk_option {
    const char *name, *path, *serial;
    bool has_format;
    enum machine_disk_format format;
    unsigned backing_count;
    struct backing_option backing[MACHINE_BACKING_MAX]; /* the uppermost first */
    bool readonly;
    bool has_discard, discard;
    struct disk_tuning tuning;
};

struct net_option {
    const char *name, *tap;
    bool has_mac;
    uint8_t mac[6];
    uint16_t mtu; /* 0: not said */
};

enum console_target { CONSOLE_STDIO, CONSOLE_OFF, CONSOLE_FILE };

struct run_options {
    bool pod;               /* everything not said is where docs/pod.md has it */
    unsigned image_timeout; /* seconds */
    const char *manifest;
    const char *vmi;         /* of a pod: the manifest itself, as JSON; NULL: `manifest` names it */
    const char *claim_sizes; /* of a pod: JSON, quantities by volume; NULL: not known */
    const char *name;
    const char *kernel, *initrd, *cmdline;
    uint32_t cpus;   /* 0: not said */
    uint64_t memory; /* bytes; 0: not said */
    bool has_memory_backing;
    enum machine_memory_backing memory_backing;
    unsigned disk_count, net_count;
    struct disk_option disk[MACHINE_DISK_MAX];
    struct net_option net[MACHINE_NET_MAX];
    bool no_rng, no_balloon;
    bool has_console;
    enum console_target console;
    const char *console_path;
    enum machine_console_device console_device;
    const char *control;
    const char *termination_message;
    bool has_grace_period;
    uint32_t grace_period_seconds;
    enum log_format log_format;
    bool has_log_level;
    enum log_level log_level;
    enum machine_sandbox sandbox;
    bool debug_exit;
};

/* The flags of `vmm run`; their functions fill a struct run_options. */
extern const struct flag run_flags[];

/* A word after the key that is on, off or absent (on). */
int options_parse_switch(const char *key, const char *value, bool *ret, struct error *err);

/*
 * The keys of --disk that say how it works (options_disk.c). Returns 1 when `key` was one of them,
 * 0 when it is none, or a negative errno. `value` may be NULL.
 */
int options_set_disk_tuning(struct disk_tuning *tuning, const char *key, const char *value,
                            struct error *err);

/* Words that contradict each other. Returns 0 or -EINVAL. */
int options_check_disk_tuning(const struct disk_tuning *tuning, struct error *err);

#define DISK_TUNING_KEYS                                                              \
    "cache", "direct", "io", "error-policy", "queues", "dedicated-io-thread", "iops", \
        "iops-burst", "bps", "bps-burst"

/* "error", "warning"...: also for what the environment says. */
int options_set_log_level(struct run_options *options, const char *word, struct error *err);

/* Everything not said. */
void run_options_init(struct run_options *options);

#endif
