// SPDX-License-Identifier: Apache-2.0
/* Flags and defaults to a plan, and the checks across them; start-up, one thread. See plan.h. */
#include "plan.h"
#include <podvisor/cleanup.h>
#include <podvisor/vmspec.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#define MEMORY_DEFAULT (UINT64_C(512) << 20)
#define MEMORY_UNIT    (UINT64_C(2) << 20)
#define GIB            (UINT64_C(1) << 30)
#define GRACE_DEFAULT  30

int plan_copy(char *field, size_t size, const char *text, const char *what, struct error *err)
{
    size_t len = strlen(text);
    if (len == 0 || len >= size)
        return error_set(err, EINVAL, "the %s '%.80s' must have 1 to %zu characters", what, text,
                         size - 1);
    memcpy(field, text, len + 1);
    return 0;
}

void plan_set_cache(struct plan_disk *disk, enum disk_cache cache)
{
    disk->direct = cache == DISK_CACHE_NONE;
    disk->try_direct = cache == DISK_CACHE_UNSET;
    disk->writethrough = cache == DISK_CACHE_WRITETHROUGH;
}

static void override_tuning(struct plan_disk *disk, const struct disk_tuning *flags)
{
    struct disk_tuning *t = &disk->tuning;
    if (flags->cache != DISK_CACHE_UNSET)
        plan_set_cache(disk, flags->cache);
    if (flags->io != MACHINE_DISK_IO_DEFAULT)
        t->io = flags->io;
    if (flags->has_error_policy)
        t->error_policy = flags->error_policy;
    if (flags->queues != 0)
        t->queues = flags->queues;
    t->dedicated_io_thread = t->dedicated_io_thread || flags->dedicated_io_thread;
    t->iops = flags->iops;
    t->iops_burst = flags->iops_burst;
    t->bps = flags->bps;
    t->bps_burst = flags->bps_burst;
}

int plan_override_disk(struct plan_disk *disk, const struct disk_option *option, struct error *err)
{
    int r = plan_copy(disk->path, sizeof(disk->path), option->path, "disk's path", err);
    if (r == 0 && option->serial != NULL)
        r = plan_copy(disk->serial, sizeof(disk->serial), option->serial, "serial", err);
    disk->source = PLAN_PATH;
    disk->format = option->format;
    disk->backing_count = option->backing_count;
    memcpy(disk->backing, option->backing, sizeof(disk->backing));
    disk->create = false;
    disk->capacity = 0;
    disk->readonly = disk->readonly || option->readonly;
    if (option->has_discard)
        disk->discard = option->discard;
    override_tuning(disk, &option->tuning);
    if (r == 0 && disk->shared && disk->format == MACHINE_DISK_QCOW2 && !disk->readonly)
        r = error_set(
            err, EINVAL,
            "disk %s is shareable, and a qcow2 image has one writer; give it a raw one, or "
            "add readonly",
            disk->name);
    return r;
}

int plan_add_disk(struct plan *plan, const struct disk_option *option, struct error *err)
{
    if (plan->disk_count == MACHINE_DISK_MAX)
        return error_set(err, EINVAL, "more than %d disks", MACHINE_DISK_MAX);
    struct plan_disk *disk = &plan->disk[plan->disk_count];
    *disk = (struct plan_disk){.discard = true};
    snprintf(disk->name, sizeof(disk->name), "disk%u", plan->disk_count);
    int r = 0;
    if (option->name != NULL)
        r = plan_copy(disk->name, sizeof(disk->name), option->name, "disk's name", err);
    if (r == 0)
        r = plan_override_disk(disk, option, err);
    if (r == 0)
        plan->disk_count++;
    return r;
}

/* 128 bits of FNV-1a: not secret, only stable and spread. */
static void hash_bytes(unsigned __int128 *hash, const char *text)
{
    const unsigned __int128 prime = ((unsigned __int128)1 << 88) | 0x13b;
    do {
        *hash = (*hash ^ (uint8_t)*text) * prime;
    } while (*text++ != '\0');
}

#define HASH_START (((unsigned __int128)0x6c62272e07bb0142u << 64) | 0x62b821756295c58du)

/* The same name gives the same UUID, here and in a manifest. */
static int derive_uuid(const char *name, uint8_t uuid[16], struct error *err)
{
    cleanup_vmspec struct vmspec *spec = NULL;
    int r = vmspec_new(name, &spec, err);
    if (r < 0)
        return error_wrap(err, "the machine's name");
    memcpy(uuid, spec->uuid, sizeof(spec->uuid));
    return 0;
}

/* A locally administered address, the same at every start. The tap is part of it, so that two
 * machines that nobody named do not meet with one address on one bridge. */
static void derive_mac(const char *machine, const char *name, const char *tap, uint8_t mac[6])
{
    unsigned __int128 hash = HASH_START;
    hash_bytes(&hash, machine);
    hash_bytes(&hash, name);
    hash_bytes(&hash, tap);
    memcpy(mac, &hash, 6);
    mac[0] = 0x02;
}

int plan_add_net(struct plan *plan, const struct net_option *option, struct error *err)
{
    if (plan->net_count == MACHINE_NET_MAX)
        return error_set(err, EINVAL, "more than %d network cards", MACHINE_NET_MAX);
    struct plan_net *net = &plan->net[plan->net_count];
    *net = (struct plan_net){.mtu = option->mtu};
    snprintf(net->name, sizeof(net->name), "net%u", plan->net_count);
    int r = 0;
    if (option->name != NULL)
        r = plan_copy(net->name, sizeof(net->name), option->name, "network card's name", err);
    if (r == 0)
        r = plan_copy(net->tap, sizeof(net->tap), option->tap, "tap's name", err);
    if (r < 0)
        return r;
    if (option->has_mac)
        memcpy(net->mac, option->mac, sizeof(net->mac));
    else
        derive_mac(plan->name, net->name, net->tap, net->mac);
    plan->net_count++;
    return 0;
}

static void apply_flags(struct plan *plan, const struct run_options *o)
{
    if (o->cpus != 0)
        plan->cpus = o->cpus;
    if (o->memory != 0)
        plan->memory = o->memory;
    if (o->has_memory_backing)
        plan->memory_backing = o->memory_backing;
    if (o->kernel != NULL) {
        plan->kernel = o->kernel;
        plan->initrd = NULL; /* that of another kernel is of no use */
        plan->kernel_image = plan->initrd_image = NULL;
    }
    if (o->initrd != NULL) {
        plan->initrd = o->initrd;
        plan->initrd_image = NULL;
    }
    if (o->cmdline != NULL)
        plan->cmdline = o->cmdline;
    if (o->has_grace_period)
        plan->grace_period_seconds = o->grace_period_seconds;
    plan->rng = plan->rng && !o->no_rng;
    plan->balloon = plan->balloon && !o->no_balloon;
    if (o->has_console)
        plan->console = o->console;
    plan->console_path = o->console_path;
    plan->console_device = o->console_device;
    plan->control = o->control;
    plan->termination_message = o->termination_message;
    plan->log_format = o->log_format;
    plan->log_level = o->log_level;
    plan->sandbox = o->sandbox;
    plan->debug_exit = o->debug_exit;
}

static int check_names(const struct plan *plan, struct error *err)
{
    for (unsigned i = 0; i < plan->disk_count + plan->net_count; i++) {
        const char *name =
            i < plan->disk_count ? plan->disk[i].name : plan->net[i - plan->disk_count].name;
        for (unsigned k = 0; k < i; k++) {
            const char *other =
                k < plan->disk_count ? plan->disk[k].name : plan->net[k - plan->disk_count].name;
            if (strcmp(name, other) == 0)
                return error_set(err, EINVAL,
                                 "two devices have the name '%s'; give one of them another with "
                                 "name=",
                                 name);
        }
    }
    for (unsigned i = 0; i < plan->net_count; i++) {
        for (unsigned k = 0; k < i; k++) {
            if (memcmp(plan->net[i].mac, plan->net[k].mac, 6) == 0)
                return error_set(err, EINVAL,
                                 "network cards '%s' and '%s' have the same MAC "
                                 "address; change one of them",
                                 plan->net[k].name, plan->net[i].name);
        }
    }
    return 0;
}

/* Free pages of a pool that was reserved beforehand; transparent huge pages need none of this. */
static int check_huge_pages(const struct plan *plan, struct error *err)
{
    bool large = plan->memory_backing == MACHINE_MEMORY_HUGE_1G;
    unsigned long kib = large ? 1048576 : 2048;
    char path[96];
    snprintf(path, sizeof(path), "/sys/kernel/mm/hugepages/hugepages-%lukB/free_hugepages", kib);
    unsigned long long have = 0, want = plan->memory / (kib * 1024);
    cleanup_fclose FILE *f = fopen(path, "re");
    if (f == NULL)
        return error_set(err, ENOTSUP,
                         "this host has no huge pages of %s; use --memory-backing "
                         "anonymous",
                         large ? "1 GiB" : "2 MiB");
    if (fscanf(f, "%llu", &have) != 1 || have < want)
        return error_set(err, ENOMEM,
                         "the machine needs %llu huge pages of %s and %llu are free; reserve them: "
                         "`echo %llu > /sys/kernel/mm/hugepages/hugepages-%lukB/nr_hugepages`",
                         want, large ? "1 GiB" : "2 MiB", have, want, kib);
    return 0;
}

static int check_memory(struct plan *plan, struct error *err)
{
    uint64_t unit = plan->memory_backing == MACHINE_MEMORY_HUGE_1G ? GIB : MEMORY_UNIT;
    struct sysinfo host;
    if (sysinfo(&host) < 0)
        return error_sys(err, errno, "cannot ask how much memory this host has");
    uint64_t total = (uint64_t)host.totalram * host.mem_unit;
    if (plan->memory > total)
        return error_set(err, ENOMEM,
                         "%llu MiB of memory are more than this host has (%llu MiB); give less "
                         "with --memory",
                         (unsigned long long)plan->memory >> 20, (unsigned long long)total >> 20);
    plan->memory = (plan->memory + unit - 1) / unit * unit;
    if (plan->memory_backing == MACHINE_MEMORY_HUGE_2M ||
        plan->memory_backing == MACHINE_MEMORY_HUGE_1G)
        return check_huge_pages(plan, err);
    return 0;
}

static int check(struct plan *plan, struct error *err)
{
    if (plan->kernel == NULL)
        return error_set(err, EINVAL, "there is no kernel to boot, and " PLAN_NO_FIRMWARE);
    if (plan->console == CONSOLE_FILE && plan->console_path == NULL)
        return error_set(err, EINVAL, "--console file needs a path: --console file=PATH");
    int r = check_names(plan, err);
    return r < 0 ? r : check_memory(plan, err);
}

static int add_devices(struct plan *plan, const struct run_options *o, uint32_t used_disks,
                       uint32_t used_nets, struct error *err)
{
    int r = 0;
    for (unsigned i = 0; r == 0 && i < o->disk_count; i++) {
        if ((used_disks & (1u << i)) == 0)
            r = plan_add_disk(plan, &o->disk[i], err);
        if (r < 0)
            error_wrap(err, "--disk");
    }
    for (unsigned i = 0; r == 0 && i < o->net_count; i++) {
        if ((used_nets & (1u << i)) == 0)
            r = plan_add_net(plan, &o->net[i], err);
        if (r < 0)
            error_wrap(err, "--net");
    }
    return r;
}

int plan_make(const struct run_options *options, struct plan *plan, struct error *err)
{
    memset(plan, 0, sizeof(*plan));
    plan->cpus = 1;
    plan->memory = MEMORY_DEFAULT;
    plan->rng = plan->balloon = true;
    plan->grace_period_seconds = GRACE_DEFAULT;
    plan->cmdline =
        options->console_device == MACHINE_CONSOLE_VIRTIO ? "console=hvc0" : "console=ttyS0";

    uint32_t used_disks = 0, used_nets = 0;
    int r = plan_copy(plan->name, sizeof(plan->name), options->name != NULL ? options->name : "vm",
                      "machine's name", err);
    if (r == 0)
        r = derive_uuid(plan->name, plan->uuid, err);
    if (r == 0 && (options->manifest != NULL || options->vmi != NULL))
        r = plan_read_manifest(plan, options, &used_disks, &used_nets, err);
    if (r == 0)
        r = add_devices(plan, options, used_disks, used_nets, err);
    if (r < 0)
        return r;
    apply_flags(plan, options);
    plan_assign_io(plan);
    if (*plan->holder == '\0')
        snprintf(plan->holder, sizeof(plan->holder), "machine %s, process %d", plan->name,
                 (int)getpid());
    return check(plan, err);
}
