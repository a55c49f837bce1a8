// SPDX-License-Identifier: Apache-2.0
/*
 * Machines that a command line puts together, alone or on top of a manifest, with the checks that a
 * manifest gets. See podvisor/vmspec.h. One thread at a time.
 */
#include "limits.h"
#include "uuid.h"

#include <net/if.h>
#include <podvisor/cleanup.h>
#include <podvisor/quantity.h>
#include <podvisor/str.h>
#include <stdio.h>
#include <string.h>

static void replace(char **str, const char *with)
{
    char *copy = xstrdup(with);
    free(*str);
    *str = copy;
}

int vmspec_set_name(struct vmspec *spec, const char *name, struct error *err)
{
    if (!str_is_dns_subdomain(name))
        return error_set(err, EINVAL,
                         "the name '%.64s' must be labels of a-z, 0-9 and '-' joined by '.', at "
                         "most 253 characters",
                         name);
    replace(&spec->name, name);
    if (!spec->uuid_given)
        uuid_of_machine(name, spec->uuid);
    return 0;
}

int vmspec_new(const char *name, struct vmspec **ret, struct error *err)
{
    cleanup_vmspec struct vmspec *spec = xcalloc(1, sizeof(*spec));
    int r = vmspec_set_name(spec, name, err);
    if (r < 0)
        return r;
    spec->cpu = (struct vmspec_cpu){.sockets = 1, .cores = 1, .threads = 1, .count = 1};
    spec->balloon = true;
    spec->serial_console = true;
    spec->log_serial_console = true;
    spec->grace_period_seconds = 30;
    *ret = steal_ptr(spec);
    return 0;
}

int vmspec_set_cpus(struct vmspec *spec, uint32_t count, struct error *err)
{
    if (count < 1 || count > MACHINE_CPU_MAX)
        return error_set(err, ERANGE, "a machine has 1 to %d CPUs, not %u", MACHINE_CPU_MAX, count);
    spec->cpu.sockets = count;
    spec->cpu.cores = spec->cpu.threads = 1;
    spec->cpu.count = count;
    return 0;
}

int vmspec_set_memory(struct vmspec *spec, const char *quantity, struct error *err)
{
    uint64_t bytes;
    int r = quantity_parse(quantity, &bytes, err);
    if (r < 0)
        return error_wrap(err, "memory");
    r = check_memory_size(bytes, err);
    if (r < 0)
        return error_wrap(err, "memory '%s'", quantity);
    spec->memory.guest = align_memory(bytes);
    return 0;
}

int vmspec_set_huge_pages(struct vmspec *spec, const char *quantity, struct error *err)
{
    uint64_t bytes = 0;
    if (quantity != NULL) {
        int r = quantity_parse(quantity, &bytes, err);
        if (r == 0)
            r = check_huge_page_size(bytes, err);
        if (r < 0)
            return r;
    }
    spec->memory.huge_page_size = bytes;
    return 0;
}

int vmspec_set_kernel(struct vmspec *spec, const char *kernel_path, const char *initrd_path,
                      const char *args, struct error *err)
{
    if (args != NULL && strlen(args) >= MACHINE_CMDLINE_MAX)
        return error_set(err, EINVAL, "the kernel command line is longer than %d characters",
                         MACHINE_CMDLINE_MAX - 1);
    spec->kernel.given = true;
    replace(&spec->kernel.kernel_path, kernel_path);
    replace(&spec->kernel.initrd_path, initrd_path);
    replace(&spec->kernel.args, args);
    replace(&spec->kernel.image, NULL);
    replace(&spec->kernel.pull_policy, NULL);
    replace(&spec->kernel.pull_secret, NULL);
    return 0;
}

static bool has_volume(const struct vmspec *spec, const char *name)
{
    for (size_t i = 0; i < spec->volumes.count; i++) {
        if (str_equal(spec->volumes.item[i].name, name))
            return true;
    }
    return false;
}

static bool has_network(const struct vmspec *spec, const char *name)
{
    for (size_t i = 0; i < spec->networks.count; i++) {
        if (str_equal(spec->networks.item[i].name, name))
            return true;
    }
    return false;
}

/* The name given, or the first free "PREFIXn"; for free(). NULL with an error. */
static char *choose_name(const struct vmspec *spec, const char *given, const char *prefix,
                         bool (*taken)(const struct vmspec *, const char *), struct error *err)
{
    if (given != NULL && !str_is_dns_label(given)) {
        error_set(err, EINVAL, "the name '%.64s' must be 1 to 63 of a-z, 0-9 and '-'", given);
        return NULL;
    }
    if (given != NULL && taken(spec, given)) {
        error_set(err, EINVAL, "the name '%s' is taken", given);
        return NULL;
    }
    if (given != NULL)
        return xstrdup(given);
    char *name = xasprintf("%s0", prefix);
    for (unsigned n = 1; taken(spec, name); n++) {
        free(name);
        name = xasprintf("%s%u", prefix, n);
    }
    return name;
}

int vmspec_add_host_disk(struct vmspec *spec, const struct vmspec_host_disk *disk,
                         struct error *err)
{
    if (spec->disks.count == MACHINE_DISK_MAX)
        return error_set(err, EINVAL, "a machine has at most %d disks", MACHINE_DISK_MAX);
    if (disk->serial != NULL && strlen(disk->serial) >= MACHINE_SERIAL_MAX)
        return error_set(err, EINVAL, "the serial number '%.64s' is longer than %d characters",
                         disk->serial, MACHINE_SERIAL_MAX - 1);
    cleanup_free char *name = choose_name(spec, disk->name, "disk", has_volume, err);
    if (name == NULL)
        return -EINVAL;
    struct vmspec_volume *v = vec_add(&spec->volumes);
    v->name = xstrdup(name);
    v->kind = VMSPEC_VOLUME_HOST_DISK;
    v->host_disk.path = xstrdup(disk->path);
    v->host_disk.format = disk->format;
    struct vmspec_disk *d = vec_add(&spec->disks);
    d->name = steal_ptr(name);
    d->volume = spec->volumes.count - 1;
    d->readonly = disk->readonly;
    d->cache = disk->cache;
    d->serial = xstrdup(disk->serial);
    return 0;
}

/* Takes the default interface of a manifest away, with its network: it is the only one. */
static void drop_automatic_interface(struct vmspec *spec)
{
    if (spec->interfaces.count == 0 || !spec->interfaces.item[0].automatic)
        return;
    free(spec->interfaces.item[0].name);
    free(spec->networks.item[0].name);
    spec->interfaces.count = 0;
    spec->networks.count = 0;
}

int vmspec_add_tap(struct vmspec *spec, const struct vmspec_tap *tap, struct error *err)
{
    struct vmspec_interface nic = {.binding = VMSPEC_BINDING_BRIDGE};
    size_t len = strlen(tap->tap);
    if (len == 0 || len >= IFNAMSIZ || strpbrk(tap->tap, "/ \t\n%") != NULL)
        return error_set(err, EINVAL, "'%.64s' is not the name of a network interface", tap->tap);
    if (tap->mac != NULL) {
        int r = vmspec_parse_mac(tap->mac, nic.mac, err);
        if (r < 0)
            return r;
        nic.has_mac = true;
    }
    bool automatic = spec->interfaces.count > 0 && spec->interfaces.item[0].automatic;
    if (!automatic && spec->interfaces.count == MACHINE_NET_MAX)
        return error_set(err, EINVAL, "a machine has at most %d interfaces", MACHINE_NET_MAX);
    cleanup_free char *name = choose_name(spec, tap->name, "net", has_network, err);
    if (name == NULL)
        return -EINVAL;
    drop_automatic_interface(spec);
    struct vmspec_network *n = vec_add(&spec->networks);
    n->name = xstrdup(name);
    n->kind = VMSPEC_NETWORK_TAP;
    nic.name = steal_ptr(name);
    nic.network = spec->networks.count - 1;
    nic.tap = xstrdup(tap->tap);
    *(struct vmspec_interface *)vec_add(&spec->interfaces) = nic;
    return 0;
}

int vmspec_check(const struct vmspec *spec, struct error *err)
{
    uint64_t page = spec->memory.huge_page_size;
    if (spec->memory.guest == 0)
        return error_set(err, EINVAL, "no memory requested");
    if (page != 0 && spec->memory.guest % page != 0)
        return error_set(err, EINVAL, "the memory is not a multiple of the huge page size %s",
                         page == UINT64_C(1) << 30 ? "1Gi" : "2Mi");
    if (spec->disks.count > MACHINE_DISK_MAX || spec->interfaces.count > MACHINE_NET_MAX ||
        spec->cpu.count < 1 || spec->cpu.count > MACHINE_CPU_MAX)
        return error_set(err, EINVAL, "the machine has too many devices or CPUs");
    return 0;
}
