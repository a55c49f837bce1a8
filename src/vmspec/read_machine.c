// SPDX-License-Identifier: Apache-2.0
/*
 * Firmware, kernel boot, clock, the devices that have no list, and what an instance says about its
 * life, after KubeVirt's vmi-create-admitter.go. One thread at a time.
 */
#include "read_machine.h"
#include "uuid.h"

#include <podvisor/cleanup.h>
#include <podvisor/str.h>
#include <string.h>

#define DEFAULT_GRACE_PERIOD 30 /* seconds; KubeVirt's, as Kubernetes' */

/* --- firmware --- */

static void read_bootloader(struct reader *r, const cJSON *firmware,
                            const struct json_path *firmware_path)
{
    const cJSON *bootloader = json_get(firmware, "bootloader");
    const cJSON *efi = json_get(bootloader, "efi");
    struct json_path path = {.parent = firmware_path, .key = "bootloader"};
    if (efi == NULL)
        return;
    r->spec->boot = VMSPEC_BOOT_EFI;
    if (json_get(bootloader, "bios") != NULL)
        report(r, VMSPEC_ERROR, &path,
               "%s has both EFI and BIOS configured, but they are mutually exclusive.",
               PATH_TEXT(&path));
    if (read_flag(efi, "secureBoot", true))
        report(r, VMSPEC_ERROR, AT_KEY(AT_KEY(&path, "efi"), "secureBoot"),
               "secure boot, which is the default with EFI, is not supported; set it to false");
}

static void read_kernel(struct reader *r, const cJSON *firmware,
                        const struct json_path *firmware_path)
{
    const cJSON *boot = json_get(firmware, "kernelBoot");
    const cJSON *container = json_get(boot, "container");
    struct json_path boot_path = {.parent = firmware_path, .key = "kernelBoot"};
    struct json_path path = {.parent = &boot_path, .key = "container"};
    struct vmspec_kernel *k = &r->spec->kernel;
    k->args = xstrdup(read_text(boot, "kernelArgs"));
    if (container == NULL) {
        if (k->args != NULL)
            report(r, VMSPEC_ERROR, AT_KEY(&boot_path, "kernelArgs"),
                   "kernel arguments cannot be provided without an external kernel");
        return;
    }
    if (k->args != NULL && strlen(k->args) >= MACHINE_CMDLINE_MAX)
        report(r, VMSPEC_ERROR, AT_KEY(&boot_path, "kernelArgs"), "longer than %d characters",
               MACHINE_CMDLINE_MAX - 1);
    k->image = xstrdup(read_text(container, "image"));
    k->pull_policy = xstrdup(read_text(container, "imagePullPolicy"));
    k->pull_secret = xstrdup(read_text(container, "imagePullSecret"));
    k->kernel_path = xstrdup(read_text(container, "kernelPath"));
    k->initrd_path = xstrdup(read_text(container, "initrdPath"));
    k->given = k->kernel_path != NULL;
    if (k->image == NULL)
        report(r, VMSPEC_ERROR, AT_KEY(&path, "image"), "%s must be defined with an image",
               PATH_TEXT(&path));
    if (k->kernel_path == NULL && k->initrd_path == NULL)
        report(r, VMSPEC_ERROR, &path,
               "%s must be defined with at least one of the following: kernelPath, initrdPath",
               PATH_TEXT(&path));
    else if (k->kernel_path == NULL)
        report(r, VMSPEC_ERROR, AT_KEY(&path, "initrdPath"),
               "an initial RAM disk without a kernel is not supported");
    if (k->kernel_path != NULL)
        check_image_path(r, AT_KEY(&path, "kernelPath"), k->kernel_path);
    if (k->initrd_path != NULL)
        check_image_path(r, AT_KEY(&path, "initrdPath"), k->initrd_path);
}

void read_firmware(struct reader *r)
{
    const cJSON *firmware = json_get(json_get(r->vmi, "domain"), "firmware");
    struct json_path domain = {.parent = r->path, .key = "domain"};
    struct json_path path = {.parent = &domain, .key = "firmware"};
    const char *uuid = read_text(firmware, "uuid");
    struct error err = ERROR_INIT;
    if (uuid != NULL && vmspec_parse_uuid(uuid, r->spec->uuid, &err) < 0)
        report(r, VMSPEC_ERROR, AT_KEY(&path, "uuid"), "%s", err.text);
    r->spec->uuid_given = uuid != NULL;
    if (uuid == NULL && r->spec->name != NULL)
        uuid_of_machine(r->spec->name, r->spec->uuid);
    read_bootloader(r, firmware, &path);
    read_kernel(r, firmware, &path);
}

/* --- devices --- */

static void check_tpm(struct reader *r, const cJSON *tpm, const struct json_path *path)
{
    if (tpm == NULL || !read_flag(tpm, "enabled", true))
        return;
    if (read_flag(tpm, "persistent", false))
        report(r, VMSPEC_ERROR, path,
               "a TPM is not supported, and the guest would lose what it keeps there");
    else
        report(r, VMSPEC_WARNING, path, "a TPM is not supported");
}

static void check_panic_devices(struct reader *r, const cJSON *list, const struct json_path *path)
{
    struct json_path element = {.parent = path};
    json_for_each (obj, list) {
        const char *model = read_text(obj, "model");
        if (str_equal(model, "hyperv") || str_equal(model, "pvpanic"))
            report(r, VMSPEC_WARNING, AT_KEY(&element, "model"),
                   "the model %s is not supported; the machine has the isa model", model);
        else if (model != NULL && !str_equal(model, "isa"))
            report(r, VMSPEC_ERROR, AT_KEY(&element, "model"), "invalid PanicDeviceModel(%s)",
                   model);
        element.index++;
    }
}

void read_devices(struct reader *r)
{
    const cJSON *devices = json_get(json_get(r->vmi, "domain"), "devices");
    struct json_path domain = {.parent = r->path, .key = "domain"};
    struct json_path path = {.parent = &domain, .key = "devices"};
    struct vmspec *spec = r->spec;
    spec->rng = json_get(devices, "rng") != NULL;
    spec->balloon = read_flag(devices, "autoattachMemBalloon", true);
    spec->serial_console = read_flag(devices, "autoattachSerialConsole", true);
    spec->log_serial_console = read_flag(devices, "logSerialConsole", true);
    spec->block_multi_queue = read_flag(devices, "blockMultiQueue", false);
    check_tpm(r, json_get(devices, "tpm"), AT_KEY(&path, "tpm"));
    check_panic_devices(r, json_get(devices, "panicDevices"), AT_KEY(&path, "panicDevices"));
}

/* --- the instance --- */

static void read_clock(struct reader *r, const cJSON *domain, const struct json_path *domain_path)
{
    const cJSON *clock = json_get(domain, "clock");
    struct json_path path = {.parent = domain_path, .key = "clock"};
    const char *timezone = read_text(clock, "timezone");
    if (timezone != NULL && !str_equal(timezone, "UTC"))
        report(r, VMSPEC_WARNING, AT_KEY(&path, "timezone"),
               "a clock in local time is not supported; the guest's clock runs in UTC");
    if (read_integer(json_get(clock, "utc"), "offsetSeconds", 0) != 0)
        report(r, VMSPEC_WARNING, AT_KEY(AT_KEY(&path, "utc"), "offsetSeconds"),
               "a clock offset is not supported; the guest's clock runs in UTC");
}

static bool is_one_of(const char *word, const char *const *words)
{
    for (; *words != NULL; words++) {
        if (str_equal(word, *words))
            return true;
    }
    return false;
}

static void read_io_threads(struct reader *r, const cJSON *domain, const struct json_path *path)
{
    static const struct {
        const char *word;
        enum vmspec_io_threads policy;
    } policies[] = {{"shared", VMSPEC_IO_THREADS_SHARED},
                    {"auto", VMSPEC_IO_THREADS_AUTO},
                    {"supplementalPool", VMSPEC_IO_THREADS_POOL}};
    const char *word = read_text(domain, "ioThreadsPolicy");
    int64_t threads = read_integer(json_get(domain, "ioThreads"), "supplementalPoolThreadCount", 0);
    for (size_t i = 0; i < ARRAY_SIZE(policies); i++) {
        if (str_equal(word, policies[i].word))
            r->spec->io_threads = policies[i].policy;
    }
    if (word != NULL && r->spec->io_threads == VMSPEC_IO_THREADS_NONE)
        report(r, VMSPEC_ERROR, AT_KEY(path, "ioThreadsPolicy"), "Invalid IOThreadsPolicy (%s)",
               word);
    if (r->spec->io_threads != VMSPEC_IO_THREADS_POOL)
        return;
    struct json_path pool = {.parent = path, .key = "ioThreads"};
    if (threads < 1 || threads > UINT32_MAX)
        report(r, VMSPEC_ERROR, AT_KEY(&pool, "count"),
               "the number of iothreads needs to be set and positive for the dedicated policy");
    else
        r->spec->io_pool_threads = (uint32_t)threads;
}

static void read_policies(struct reader *r, const cJSON *domain, const struct json_path *path)
{
    static const char *const evictions[] = {"None", "LiveMigrate", "LiveMigrateIfPossible",
                                            "External", NULL};
    const char *reboot = read_text(domain, "rebootPolicy");
    const char *start = read_text(r->vmi, "startStrategy");
    const char *eviction = read_text(r->vmi, "evictionStrategy");
    const char *architecture = read_text(r->vmi, "architecture");
    r->spec->reboot_terminates = str_equal(reboot, "Terminate");
    if (reboot != NULL && !r->spec->reboot_terminates && !str_equal(reboot, "Reboot"))
        report(r, VMSPEC_ERROR, AT_KEY(path, "rebootPolicy"), "must be Reboot or Terminate");
    r->spec->start_paused = str_equal(start, "Paused");
    if (start != NULL && !r->spec->start_paused)
        report(r, VMSPEC_ERROR, AT_KEY(r->path, "startStrategy"),
               "%s is set with an unrecognized option: %s",
               PATH_TEXT(AT_KEY(r->path, "startStrategy")), start);
    if (r->spec->start_paused && json_get(r->vmi, "livenessProbe") != NULL)
        report(r, VMSPEC_ERROR, AT_KEY(r->path, "startStrategy"),
               "either %s or %s should be provided.Pausing VMI with LivenessProbe is not supported",
               PATH_TEXT(AT_KEY(r->path, "startStrategy")),
               PATH_TEXT(AT_KEY(r->path, "livenessProbe")));
    if (eviction != NULL && !is_one_of(eviction, evictions))
        report(r, VMSPEC_ERROR, AT_KEY(r->path, "evictionStrategy"),
               "%s is set with an unrecognized option: %s",
               PATH_TEXT(AT_KEY(r->path, "evictionStrategy")), eviction);
    if (architecture != NULL && !str_equal(architecture, "amd64"))
        report(r, VMSPEC_ERROR, AT_KEY(r->path, "architecture"), "unsupported architecture: %s",
               architecture);
}

static void read_names(struct reader *r)
{
    const char *hostname = read_text(r->vmi, "hostname");
    const char *subdomain = read_text(r->vmi, "subdomain");
    if (hostname != NULL && !str_is_dns_label(hostname))
        report(r, VMSPEC_ERROR, AT_KEY(r->path, "hostname"),
               "%s does not conform to the kubernetes DNS_LABEL rules : 1 to 63 of a-z, 0-9 and "
               "'-', with neither end a '-'",
               PATH_TEXT(AT_KEY(r->path, "hostname")));
    if (subdomain != NULL && !str_is_dns_subdomain(subdomain))
        report(r, VMSPEC_ERROR, AT_KEY(r->path, "subdomain"),
               "%s does not conform to the kubernetes DNS_SUBDOMAIN rules : labels of a-z, 0-9 and "
               "'-' joined by '.', at most 253 characters",
               PATH_TEXT(AT_KEY(r->path, "subdomain")));
    r->spec->hostname = xstrdup(hostname);
    r->spec->subdomain = xstrdup(subdomain);
}

void read_instance(struct reader *r)
{
    const cJSON *domain = json_get(r->vmi, "domain");
    struct json_path path = {.parent = r->path, .key = "domain"};
    int64_t grace = read_integer(r->vmi, "terminationGracePeriodSeconds", DEFAULT_GRACE_PERIOD);
    if (grace < 0 || grace > UINT32_MAX)
        report(r, VMSPEC_ERROR, AT_KEY(r->path, "terminationGracePeriodSeconds"),
               "must be at least 0 and at most %u", UINT32_MAX);
    else
        r->spec->grace_period_seconds = (uint32_t)grace;
    read_names(r);
    read_clock(r, domain, &path);
    read_policies(r, domain, &path);
    read_io_threads(r, domain, &path);
}
