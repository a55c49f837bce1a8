// SPDX-License-Identifier: Apache-2.0
/* The keys of `--disk` that say how a disk works: cache, engine, errors, queues, limits. Start-up,
 * one thread. */
#include "options.h"
#include <podvisor/cleanup.h>
#include <podvisor/quantity.h>
#include <string.h>

#define QUEUES_MAX 8                   /* VIRTIO_BLK_QUEUE_MAX */
#define RATE_MAX   (UINT64_C(1) << 40) /* LIMIT_RATE_MAX */

static int set_cache(struct disk_tuning *t, const char *value, struct error *err)
{
    static const struct flag_choice choices[] = {{"none", DISK_CACHE_NONE},
                                                 {"writethrough", DISK_CACHE_WRITETHROUGH},
                                                 {"writeback", DISK_CACHE_WRITEBACK}};
    int cache;
    int r = flags_choose(value, choices, ARRAY_SIZE(choices), &cache, err);
    if (r == 0)
        t->cache = (enum disk_cache)cache;
    return r;
}

static int set_io(struct disk_tuning *t, const char *value, struct error *err)
{
    static const struct flag_choice choices[] = {{"native", MACHINE_DISK_IO_NATIVE},
                                                 {"threads", MACHINE_DISK_IO_THREADS},
                                                 {"io_uring", MACHINE_DISK_IO_URING},
                                                 {"aio", MACHINE_DISK_IO_AIO}};
    int io;
    int r = flags_choose(value, choices, ARRAY_SIZE(choices), &io, err);
    if (r == 0)
        t->io = (enum machine_disk_io)io;
    return r;
}

static int set_error_policy(struct disk_tuning *t, const char *value, struct error *err)
{
    static const struct flag_choice choices[] = {{"report", MACHINE_ERROR_REPORT},
                                                 {"stop", MACHINE_ERROR_STOP},
                                                 {"enospace", MACHINE_ERROR_ENOSPACE},
                                                 {"ignore", MACHINE_ERROR_IGNORE}};
    int policy;
    int r = flags_choose(value, choices, ARRAY_SIZE(choices), &policy, err);
    if (r == 0) {
        t->error_policy = (enum machine_error_policy)policy;
        t->has_error_policy = true;
    }
    return r;
}

static int set_queues(struct disk_tuning *t, const char *value, struct error *err)
{
    unsigned long n;
    int r = flags_number(value, 1, QUEUES_MAX, &n, err);
    if (r == 0)
        t->queues = (unsigned)n;
    return r;
}

static int set_rate(uint64_t *field, const char *value, struct error *err)
{
    uint64_t n;
    int r = quantity_parse(value, &n, err);
    if (r < 0)
        return r;
    if (n == 0 || n > RATE_MAX)
        return error_set(err, EINVAL, "'%s' is not from 1 to 1Ti", value);
    *field = n;
    return 0;
}

static int set_iops(struct disk_tuning *t, const char *value, struct error *err)
{
    return set_rate(&t->iops, value, err);
}

static int set_iops_burst(struct disk_tuning *t, const char *value, struct error *err)
{
    return set_rate(&t->iops_burst, value, err);
}

static int set_bps(struct disk_tuning *t, const char *value, struct error *err)
{
    return set_rate(&t->bps, value, err);
}

static int set_bps_burst(struct disk_tuning *t, const char *value, struct error *err)
{
    return set_rate(&t->bps_burst, value, err);
}

/* Each stands alone, or says on or off. `direct` is the older word for cache=none. */
static int set_switch(struct disk_tuning *t, const char *key, const char *value, struct error *err)
{
    bool on = false;
    int r = options_parse_switch(key, value, &on, err);
    if (r == 0 && strcmp(key, "dedicated-io-thread") == 0)
        t->dedicated_io_thread = on;
    else if (r == 0 && on)
        t->cache = DISK_CACHE_NONE;
    return r < 0 ? r : 1;
}

int options_set_disk_tuning(struct disk_tuning *tuning, const char *key, const char *value,
                            struct error *err)
{
    static const struct {
        const char *key;
        int (*set)(struct disk_tuning *t, const char *value, struct error *err);
    } keys[] = {{"cache", set_cache},   {"io", set_io},
                {"queues", set_queues}, {"error-policy", set_error_policy},
                {"iops", set_iops},     {"iops-burst", set_iops_burst},
                {"bps", set_bps},       {"bps-burst", set_bps_burst}};
    if (strcmp(key, "direct") == 0 || strcmp(key, "dedicated-io-thread") == 0)
        return set_switch(tuning, key, value, err);
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        if (strcmp(key, keys[i].key) != 0)
            continue;
        if (value == NULL || *value == '\0')
            return error_set(err, EINVAL, "%s needs a value: %s=...", key, key);
        if (keys[i].set(tuning, value, err) < 0)
            return error_wrap(err, "%s", key);
        return 1;
    }
    return 0;
}

int options_check_disk_tuning(const struct disk_tuning *t, struct error *err)
{
    if (t->iops_burst != 0 && t->iops == 0)
        return error_set(err, EINVAL, "iops-burst is for a disk with a limit: add iops=N");
    if (t->bps_burst != 0 && t->bps == 0)
        return error_set(err, EINVAL, "bps-burst is for a disk with a limit: add bps=N");
    return 0;
}
