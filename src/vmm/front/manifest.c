// SPDX-License-Identifier: Apache-2.0
/*
 * From a KubeVirt manifest to a plan: what this host can provide by itself (host disks, empty
 * disks), and what a flag must give because only a cluster has it (container images, claims, pod
 * networks), or the pod (pod.c). Start-up, one thread; the manifest is read once and kept.
 */
#include "manifest.h"
#include "plan.h"
#include "pod.h"
#include <fcntl.h>
#include <podvisor/cleanup.h>
#include <podvisor/log.h>
#include <podvisor/vmspec.h>
#include <string.h>
#include <sys/stat.h>

#define MANIFEST_MAX (4 << 20) /* bytes; the reader's own bound */

static int read_manifest(const char *path, char **ret_text, size_t *ret_len, struct error *err)
{
    struct stat st;
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) < 0)
        return error_sys(err, errno, "cannot open the manifest %s", path);
    if (!S_ISREG(st.st_mode))
        return error_set(err, EINVAL, "the manifest %s is not a regular file", path);
    if (st.st_size > MANIFEST_MAX)
        return error_set(err, E2BIG, "the manifest %s has more than 4 MiB; is it one?", path);
    cleanup_free char *text = malloc((size_t)st.st_size + 1);
    if (text == NULL)
        return error_sys(err, ENOMEM, "cannot read the manifest %s", path);
    ssize_t n = pread(fd, text, (size_t)st.st_size, 0);
    if (n < 0)
        return error_sys(err, errno, "cannot read the manifest %s", path);
    text[n] = '\0';
    *ret_text = steal_ptr(text);
    *ret_len = (size_t)n;
    return 0;
}

static int load_spec(const char *path, struct vmspec **ret, struct vmspec_diagnostics *diag,
                     struct error *err)
{
    cleanup_free char *text = NULL;
    size_t len = 0;
    int r = read_manifest(path, &text, &len, err);
    if (r < 0)
        return r;
    r = vmspec_from_yaml(text, len, ret, diag, err);
    return r < 0 ? error_wrap(err, "%s", path) : 0;
}

static int load_pod_spec(const char *text, struct vmspec **ret, struct vmspec_diagnostics *diag,
                         struct error *err)
{
    cleanup_json cJSON *tree = NULL;
    int r = json_parse(text, strlen(text), NULL, &tree, err);
    if (r == 0)
        r = vmspec_from_object(tree, ret, diag, err);
    if (r < 0)
        error_wrap(err, POD_ENV_VMI);
    return r;
}

/* Where a machine's own part begins in the manifest. */
static const char *spec_prefix(const struct vmspec *spec)
{
    return spec->is_instance ? "spec" : "spec.template.spec";
}

/* What is to say about the manifest; a start that fails says only why. */
static struct vmspec_diagnostics diagnostics;
static const char *source;

static void warn(const struct vmspec *spec, const char *field, const char *message)
{
    char path[128];
    snprintf(path, sizeof(path), "%s.%s", spec_prefix(spec), field);
    vmspec_diagnose(&diagnostics, VMSPEC_WARNING, path, "%s", message);
}

static int read_basics(struct plan *plan, const struct vmspec *spec,
                       const struct run_options *options, struct error *err)
{
    if (options->name == NULL && options->pod) {
        /* For people only: a cluster's longer names are told apart by the pod. */
        snprintf(plan->name, sizeof(plan->name), "%s", spec->name);
    } else if (options->name == NULL) {
        int r = plan_copy(plan->name, sizeof(plan->name), spec->name, "machine's name", err);
        if (r < 0)
            return error_hint(err, "give a shorter one with --name");
    }
    if (options->pod) /* the process has the same number in every pod */
        snprintf(plan->holder, sizeof(plan->holder), "machine %s/%s",
                 spec->namespace_ != NULL ? spec->namespace_ : "", spec->name);
    memcpy(plan->uuid, spec->uuid, sizeof(plan->uuid));
    plan->cpus = spec->cpu.count;
    plan->memory = spec->memory.guest;
    plan->memory_backing = spec->memory.huge_page_size == 0         ? MACHINE_MEMORY_ANONYMOUS
                           : spec->memory.huge_page_size == 2 << 20 ? MACHINE_MEMORY_HUGE_2M
                                                                    : MACHINE_MEMORY_HUGE_1G;
    plan->rng = spec->rng;
    plan->balloon = spec->balloon;
    plan->console = spec->serial_console ? CONSOLE_STDIO : CONSOLE_OFF;
    plan->grace_period_seconds = spec->grace_period_seconds;
    plan->start_paused = spec->start_paused;
    plan->reboot_terminates = spec->reboot_terminates;
    static const enum plan_io_policy policy[] = {
        [VMSPEC_IO_THREADS_NONE] = PLAN_IO_NONE,
        [VMSPEC_IO_THREADS_SHARED] = PLAN_IO_SHARED,
        [VMSPEC_IO_THREADS_AUTO] = PLAN_IO_AUTO,
        [VMSPEC_IO_THREADS_POOL] = PLAN_IO_POOL,
    };
    plan->io_policy = policy[spec->io_threads];
    plan->io_pool_threads = spec->io_pool_threads;
    plan->io_with_emulator = spec->cpu.dedicated && spec->cpu.isolate_emulator_thread;
    plan->block_multi_queue = spec->block_multi_queue;
    /* A pod's standard output is its log. */
    if (options->pod && !spec->log_serial_console)
        plan->console = CONSOLE_OFF;
    return 0;
}

static int read_kernel(struct plan *plan, const struct vmspec *spec,
                       const struct run_options *options, struct error *err)
{
    const struct vmspec_kernel *kernel = &spec->kernel;
    if (!kernel->given)
        return 0;
    if (kernel->args != NULL)
        plan->cmdline = kernel->args;
    if (options->kernel != NULL)
        return 0;
    plan->kernel = kernel->kernel_path;
    plan->initrd = kernel->initrd_path;
    if (kernel->image == NULL)
        return 0;
    if (!options->pod)
        return error_set(err, EINVAL,
                         "%s.domain.firmware.kernelBoot.container: the image %s can only be pulled "
                         "in a cluster; give its files with --kernel FILE%s",
                         spec_prefix(spec), kernel->image,
                         kernel->initrd_path != NULL ? " --initrd FILE" : "");
    plan->kernel_image = plan->kernel != NULL ? kernel->image : NULL;
    plan->initrd_image = plan->initrd != NULL ? kernel->image : NULL;
    return 0;
}

static bool is_cloud_init(const struct vmspec_volume *volume)
{
    return volume->kind == VMSPEC_VOLUME_CLOUD_INIT_NO_CLOUD ||
           volume->kind == VMSPEC_VOLUME_CLOUD_INIT_CONFIG_DRIVE;
}

/* Cloud-init whose data is all in the manifest. */
static bool is_inline(const struct vmspec_volume *volume)
{
    return is_cloud_init(volume) && volume->cloud_init.user_data_secret == NULL &&
           volume->cloud_init.network_data_secret == NULL;
}

static int read_pod_volume(struct plan_disk *disk, const struct vmspec *spec,
                           const struct vmspec_disk *from, const struct run_options *options,
                           struct error *err)
{
    const struct vmspec_volume *volume = vmspec_disk_volume(spec, from);
    char field[64];
    snprintf(field, sizeof(field), "volumes[%zu].%s", from->volume,
             vmspec_volume_kind_name(volume->kind));
    disk->shared = from->shareable;
    int r = pod_place_volume(options, volume, disk, err);
    return r < 0 ? error_wrap(err, "%s.%s", spec_prefix(spec), field) : 0;
}

static void warn_credentials(const struct vmspec *spec, const struct vmspec_volume *volume)
{
    for (size_t i = 0; i < spec->credentials.count; i++) {
        if (vmspec_credential_is_for(&spec->credentials.item[i], volume))
            warn(spec, "accessCredentials",
                 "its keys are not put into the guest: only a cluster has the secret");
    }
}

/* What this host can provide; everything else is an error that names the flag. */
static int read_volume(struct plan_disk *disk, const struct vmspec *spec,
                       const struct vmspec_disk *from, struct error *err)
{
    const struct vmspec_volume *volume = vmspec_disk_volume(spec, from);
    switch (volume->kind) {
    case VMSPEC_VOLUME_HOST_DISK:
        disk->create = volume->host_disk.create;
        disk->capacity = volume->host_disk.capacity;
        disk->shared = from->shareable; /* hostDisk.shared is about nodes, not about machines */
        return plan_copy(disk->path, sizeof(disk->path), volume->host_disk.path, "host disk's path",
                         err);
    case VMSPEC_VOLUME_EMPTY_DISK:
        disk->source = PLAN_TEMPORARY;
        disk->try_direct = false; /* it need not outlive the machine */
        disk->capacity = volume->empty_disk.capacity;
        return 0;
    default:
        if (is_inline(volume)) {
            warn_credentials(spec, volume);
            disk->source = PLAN_SEED;
            return 0;
        }
        error_set(err, EINVAL, "%s.volumes[%zu].%s: only a cluster can provide it",
                  spec_prefix(spec), from->volume, vmspec_volume_kind_name(volume->kind));
        error_hint(err, "give a file for it: --disk name=%s,path=FILE", from->name);
        if (is_cloud_init(volume))
            return error_hint(err, "`cloud-localds` makes one from user data");
        return -EINVAL;
    }
}

static int find_disk_option(const struct run_options *options, const char *name)
{
    for (unsigned i = 0; i < options->disk_count; i++) {
        if (options->disk[i].name != NULL && strcmp(options->disk[i].name, name) == 0)
            return (int)i;
    }
    return -1;
}

static void read_tuning(struct plan_disk *disk, const struct vmspec_disk *from)
{
    static const enum disk_cache cache[] = {
        [VMSPEC_CACHE_DEFAULT] = DISK_CACHE_UNSET,
        [VMSPEC_CACHE_NONE] = DISK_CACHE_NONE,
        [VMSPEC_CACHE_WRITETHROUGH] = DISK_CACHE_WRITETHROUGH,
        [VMSPEC_CACHE_WRITEBACK] = DISK_CACHE_WRITEBACK,
    };
    static const enum machine_disk_io io[] = {
        [VMSPEC_IO_DEFAULT] = MACHINE_DISK_IO_DEFAULT,
        [VMSPEC_IO_NATIVE] = MACHINE_DISK_IO_NATIVE,
        [VMSPEC_IO_THREADS] = MACHINE_DISK_IO_THREADS,
    };
    static const enum machine_error_policy policy[] = {
        [VMSPEC_ERROR_STOP] = MACHINE_ERROR_STOP,
        [VMSPEC_ERROR_REPORT] = MACHINE_ERROR_REPORT,
        [VMSPEC_ERROR_IGNORE] = MACHINE_ERROR_IGNORE,
        [VMSPEC_ERROR_ENOSPACE] = MACHINE_ERROR_ENOSPACE,
    };
    plan_set_cache(disk, cache[from->cache]);
    disk->tuning.io = io[from->io];
    disk->tuning.error_policy = policy[from->error_policy];
    disk->tuning.dedicated_io_thread = from->dedicated_io_thread;
}

static int read_disk(struct plan *plan, const struct vmspec *spec, const struct vmspec_disk *from,
                     const struct run_options *options, uint32_t *used, struct error *err)
{
    if (plan->disk_count == MACHINE_DISK_MAX)
        return error_set(err, EINVAL, "%s.domain.devices.disks: more than %d", spec_prefix(spec),
                         MACHINE_DISK_MAX);
    struct plan_disk *disk = &plan->disk[plan->disk_count];
    *disk = (struct plan_disk){
        .readonly = from->readonly || from->kind == VMSPEC_CDROM,
        .discard = true,
        .logical_block_size = from->logical_block_size,
        .physical_block_size = from->physical_block_size,
        .spec = spec,
        .volume = vmspec_disk_volume(spec, from),
        .discard_granularity = from->discard_granularity,
        .match_volume = from->match_volume_block_size,
    };
    read_tuning(disk, from);
    int r = plan_copy(disk->name, sizeof(disk->name), from->name, "disk's name", err);
    if (r < 0)
        return r;
    if (from->serial != NULL)
        snprintf(disk->serial, sizeof(disk->serial), "%s", from->serial);
    int option = find_disk_option(options, from->name);
    if (option >= 0) {
        *used |= 1u << option;
        r = plan_override_disk(disk, &options->disk[option], err);
    } else if (options->pod) {
        r = read_pod_volume(disk, spec, from, options, err);
    } else {
        r = read_volume(disk, spec, from, err);
    }
    if (r == 0)
        plan->disk_count++;
    return r;
}

static int find_net_option(const struct run_options *options, const char *name)
{
    for (unsigned i = 0; i < options->net_count; i++) {
        if (options->net[i].name != NULL && strcmp(options->net[i].name, name) == 0)
            return (int)i;
    }
    return -1;
}

static int read_pod_interface(struct plan *plan, const struct vmspec *spec, size_t index,
                              struct error *err)
{
    const char *name = spec->interfaces.item[index].name;
    if (plan->net_count == MACHINE_NET_MAX)
        return error_set(err, EINVAL, "%s.domain.devices.interfaces: more than %d",
                         spec_prefix(spec), MACHINE_NET_MAX);
    struct plan_net *net = &plan->net[plan->net_count];
    *net = (struct plan_net){.mtu = 0};
    int r = plan_copy(net->name, sizeof(net->name), name, "network card's name", err);
    if (r == 0)
        r = pod_read_lease(name, net, err);
    if (r < 0)
        return error_wrap(err, "%s.domain.devices.interfaces[%zu]", spec_prefix(spec), index);
    plan->net_count++;
    return 0;
}

static int read_interface(struct plan *plan, const struct vmspec *spec, size_t index,
                          const struct run_options *options, uint32_t *used, struct error *err)
{
    const struct vmspec_interface *nic = &spec->interfaces.item[index];
    int option = find_net_option(options, nic->name);
    if (nic->link == VMSPEC_LINK_ABSENT)
        return 0;
    if (option < 0 && options->pod)
        return read_pod_interface(plan, spec, index, err);
    if (option < 0 && nic->automatic) {
        if (options->net_count == 0)
            warn(spec, "domain.devices.interfaces",
                 "the machine has no network card: the pod network exists only in a cluster; --net "
                 "tap=NAME gives one");
        return 0;
    }
    if (option < 0)
        return error_set(err, EINVAL,
                         "%s.domain.devices.interfaces[%zu]: its network exists only in a cluster; "
                         "give a tap for it: --net name=%s,tap=NAME",
                         spec_prefix(spec), index, nic->name);
    *used |= 1u << option;
    struct net_option net = options->net[option];
    if (!net.has_mac) {
        vmspec_interface_mac(spec, nic, net.mac);
        net.has_mac = true;
    }
    return plan_add_net(plan, &net, err);
}

int plan_read_manifest(struct plan *plan, const struct run_options *options, uint32_t *used_disks,
                       uint32_t *used_nets, struct error *err)
{
    static struct vmspec *spec; /* strings of the last plan point into it until the exec */
    vmspec_free(steal_ptr(spec));
    vmspec_diagnostics_done(&diagnostics);
    source = options->vmi != NULL ? POD_ENV_VMI : options->manifest;
    int r = options->vmi != NULL ? load_pod_spec(options->vmi, &spec, &diagnostics, err)
                                 : load_spec(options->manifest, &spec, &diagnostics, err);
    if (r == 0)
        r = read_basics(plan, spec, options, err);
    if (r == 0)
        r = read_kernel(plan, spec, options, err);
    for (size_t i = 0; r == 0 && i < spec->disks.count; i++)
        r = read_disk(plan, spec, &spec->disks.item[i], options, used_disks, err);
    for (size_t i = 0; r == 0 && i < spec->interfaces.count; i++)
        r = read_interface(plan, spec, i, options, used_nets, err);
    return r;
}

void manifest_log_warnings(void)
{
    for (size_t i = 0; i < diagnostics.list.count; i++)
        log_warn("", "%s: %s: %s", source, diagnostics.list.item[i].path,
                 diagnostics.list.item[i].message);
}

static void print_spec(const struct vmspec *spec)
{
    printf("manifest: %s %s%s%s\n", spec->is_instance ? "VirtualMachineInstance" : "VirtualMachine",
           spec->namespace_ != NULL ? spec->namespace_ : "", spec->namespace_ != NULL ? "/" : "",
           spec->name);
    printf("cpus: %u\nmemory: %llu MiB\n", spec->cpu.count,
           (unsigned long long)spec->memory.guest >> 20);
    if (spec->kernel.given)
        printf("boot: kernel\n");
    else
        printf("boot: %s firmware, which `vmm run` refuses: %s\n",
               spec->boot == VMSPEC_BOOT_EFI ? "UEFI" : "BIOS", PLAN_NO_FIRMWARE);
    for (size_t i = 0; i < spec->disks.count; i++) {
        const struct vmspec_disk *disk = &spec->disks.item[i];
        printf("disk: %s, %s%s\n", disk->name,
               vmspec_volume_kind_name(vmspec_disk_volume(spec, disk)->kind),
               disk->readonly ? ", read-only" : "");
    }
    for (size_t i = 0; i < spec->interfaces.count; i++) {
        const struct vmspec_interface *nic = &spec->interfaces.item[i];
        uint8_t m[6];
        vmspec_interface_mac(spec, nic, m);
        printf("network card: %s, %02x:%02x:%02x:%02x:%02x:%02x\n", nic->name, m[0], m[1], m[2],
               m[3], m[4], m[5]);
    }
}

int manifest_inspect(const char *path, struct error *err)
{
    cleanup_vmspec struct vmspec *spec = NULL;
    struct vmspec_diagnostics diag = {.errors = 0};
    int r = load_spec(path, &spec, &diag, err);
    if (r == 0)
        print_spec(spec);
    for (size_t i = 0; i < diag.list.count; i++) {
        const struct vmspec_diagnostic *d = &diag.list.item[i];
        printf("%s: %s%s%s\n", d->severity == VMSPEC_ERROR ? "error" : "warning", d->path,
               *d->path != '\0' ? ": " : "", d->message);
    }
    bool listed = diag.errors > 0;
    vmspec_diagnostics_done(&diag);
    return r < 0 && !listed ? r : r < 0;
}
