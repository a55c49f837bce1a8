// SPDX-License-Identifier: Apache-2.0
/*
 * spec.domain.devices.disks of a manifest, joined with the volumes. Checks and their words are
 * those of KubeVirt's validateDisks() and validateBootOrder(); a volume that neither a disk nor a
 * file system names gets an automatic disk, as KubeVirt's mutating webhook gives it one. One thread
 * at a time.
 */
#include "reader.h"

#include <podvisor/cleanup.h>
#include <podvisor/str.h>
#include <string.h>

#define SERIAL_MAX     256
#define BLOCK_SIZE_MIN 512u
#define BLOCK_SIZE_MAX (2u << 20)

/* The place of a word in a list; a word that is absent (NULL) is the first. */
static bool find_word(const char *word, const char *const *words, size_t count, unsigned *ret_index)
{
    for (unsigned i = 0; i < count; i++) {
        if (word == NULL || str_equal(words[i], word)) {
            *ret_index = i;
            return true;
        }
    }
    return false;
}

/* A SCSI device passed through is a disk in the end; its commands are what the guest misses. */
static void read_lun(struct reader *r, struct vmspec_disk *d, const cJSON *lun,
                     const struct json_path *path)
{
    struct json_path *at = AT_KEY(path, "lun");
    const struct vmspec_volume *v = &r->spec->volumes.item[d->volume];
    d->readonly = read_flag(lun, "readonly", false);
    if (v->kind != VMSPEC_VOLUME_PVC && v->kind != VMSPEC_VOLUME_DATA_VOLUME)
        report(r, VMSPEC_ERROR, at,
               "%s can only be mapped to a DataVolume or PersistentVolumeClaim volume.",
               PATH_TEXT(at));
    else if (!read_flag(lun, "reservation", false))
        report(r, VMSPEC_WARNING, at,
               "SCSI commands are not passed through; the guest sees a virtio disk");
}

static void read_bus(struct reader *r, const cJSON *obj, const char *kind, bool readonly,
                     const struct json_path *path)
{
    const char *bus = read_text(json_get(obj, kind), "bus");
    if (bus == NULL)
        return;
    struct json_path target = {.parent = path, .key = kind};
    struct json_path *at = AT_KEY(&target, "bus");
    bool cdrom = str_equal(kind, "cdrom");
    if (str_equal(bus, "ide"))
        report(r, VMSPEC_ERROR, at, "IDE bus is not supported");
    else if (str_equal(bus, "virtio") && cdrom)
        report(r, VMSPEC_ERROR, at, "Bus type %s is invalid for CD-ROM device", bus);
    else if (str_equal(bus, "sata") && !cdrom && readonly)
        report(r, VMSPEC_ERROR, at, "%s hard-disks do not support read-only.", bus);
    else if (str_equal(bus, "sata") || str_equal(bus, "scsi") || str_equal(bus, "usb"))
        report(r, VMSPEC_WARNING, at, "a %s bus is not supported; the guest sees a virtio disk",
               bus);
    else if (!str_equal(bus, "virtio"))
        report(r, VMSPEC_ERROR, at,
               "%s is set with an unrecognized bus %s, must be one of: [virtio scsi sata usb]",
               PATH_TEXT(path), bus);
    if (read_flag(obj, "dedicatedIOThread", false) && !str_equal(bus, "virtio"))
        report(r, VMSPEC_ERROR, path, "IOThreads are not supported for disks on a %s bus", bus);
}

/* Disk or CD-ROM, whether the guest may write. */
static void read_target(struct reader *r, struct vmspec_disk *d, const cJSON *obj,
                        const struct json_path *path)
{
    const cJSON *disk = json_get(obj, "disk"), *cdrom = json_get(obj, "cdrom");
    const cJSON *lun = json_get(obj, "lun");
    if ((disk != NULL) + (cdrom != NULL) + (lun != NULL) > 1)
        report(r, VMSPEC_ERROR, path, "%s can only have a single target type defined",
               PATH_TEXT(path));
    d->kind = cdrom != NULL ? VMSPEC_CDROM : VMSPEC_DISK;
    if (cdrom != NULL) {
        d->readonly = read_flag(cdrom, "readonly", true);
        const char *tray = read_text(cdrom, "tray");
        if (str_equal(tray, "open"))
            report(r, VMSPEC_WARNING, AT_KEY(AT_KEY(path, "cdrom"), "tray"),
                   "an open tray is not supported; the disk is there");
        read_bus(r, obj, "cdrom", d->readonly, path);
    } else if (lun != NULL) {
        read_lun(r, d, lun, path);
    } else {
        d->readonly = read_flag(disk, "readonly", false);
        read_bus(r, obj, "disk", d->readonly, path);
    }
}

static void read_serial(struct reader *r, struct vmspec_disk *d, const cJSON *obj,
                        const struct json_path *path)
{
    const char *serial = read_text(obj, "serial");
    if (serial == NULL)
        return;
    static const char allowed[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.+-";
    struct json_path *at = AT_KEY(path, "serial");
    if (strspn(serial, allowed) != strlen(serial))
        report(r, VMSPEC_ERROR, at,
               "%s must be made up of the following characters [A-Za-z0-9_.+-], if specified",
               PATH_TEXT(path));
    else if (strlen(serial) > SERIAL_MAX)
        report(r, VMSPEC_ERROR, at, "%s must be less than or equal to %d in length, if specified",
               PATH_TEXT(path), SERIAL_MAX);
    else if (strlen(serial) >= MACHINE_SERIAL_MAX)
        report(r, VMSPEC_WARNING, at, "the guest sees the first %d characters of the serial number",
               MACHINE_SERIAL_MAX - 1);
    d->serial = xstrdup(serial);
}

static void read_modes(struct reader *r, struct vmspec_disk *d, const cJSON *obj,
                       const struct json_path *path)
{
    static const char *const caches[] = {"", "none", "writethrough", "writeback"};
    static const char *const ios[] = {"", "native", "threads", "default"};
    static const char *const policies[] = {"stop", "report", "ignore", "enospace"};
    const char *cache = read_text(obj, "cache"), *io = read_text(obj, "io");
    const char *policy = read_text(obj, "errorPolicy");
    unsigned value = 0;
    if (!find_word(cache, caches, ARRAY_SIZE(caches), &value))
        report(r, VMSPEC_ERROR, AT_KEY(path, "cache"), "%s has invalid value %s",
               PATH_TEXT(AT_KEY(path, "cache")), cache);
    else
        d->cache = (enum vmspec_cache)value;
    if (!find_word(io, ios, ARRAY_SIZE(ios), &value))
        report(r, VMSPEC_ERROR, AT_KEY(path, "io"),
               "Disk IO mode for %s is not supported. Supported modes are: native, threads.",
               PATH_TEXT(path->parent));
    else
        d->io = value < 3 ? (enum vmspec_io)value : VMSPEC_IO_DEFAULT;
    if (!find_word(policy, policies, ARRAY_SIZE(policies), &value))
        report(r, VMSPEC_ERROR, AT_KEY(path, "errorPolicy"), "%s has invalid value \"%s\"",
               PATH_TEXT(AT_KEY(path, "errorPolicy")), policy);
    else
        d->error_policy = (enum vmspec_error_policy)value;
}

static bool check_block_size(struct reader *r, int64_t size, const struct json_path *path)
{
    if (size < BLOCK_SIZE_MIN)
        report(r, VMSPEC_ERROR, path,
               "Provided size of %lld is less than the supported minimum size of %u",
               (long long)size, BLOCK_SIZE_MIN);
    else if (size > BLOCK_SIZE_MAX)
        report(r, VMSPEC_ERROR, path,
               "Provided size of %lld is greater than the supported maximum size of %u",
               (long long)size, BLOCK_SIZE_MAX);
    else if ((size & (size - 1)) != 0)
        report(r, VMSPEC_ERROR, path, "Provided size of %lld is not a power of 2", (long long)size);
    else
        return true;
    return false;
}

static void read_block_size(struct reader *r, struct vmspec_disk *d, const cJSON *obj,
                            const struct json_path *disk_path)
{
    const cJSON *block_size = json_get(obj, "blockSize");
    const cJSON *match = json_get(block_size, "matchVolume");
    const cJSON *custom = json_get(block_size, "custom");
    struct json_path outer = {.parent = disk_path, .key = "blockSize"};
    struct json_path path = {.parent = &outer, .key = "custom"};
    d->match_volume_block_size = match != NULL && read_flag(match, "enabled", true);
    if (custom == NULL)
        return;
    if (d->match_volume_block_size) {
        report(r, VMSPEC_ERROR, &outer,
               "Block size matching can't be enabled together with a custom value");
        return;
    }
    int64_t logical = read_integer(custom, "logical", 0);
    int64_t physical = read_integer(custom, "physical", 0);
    int64_t discard = read_integer(custom, "discardGranularity", 0);
    if (logical > physical) {
        report(r, VMSPEC_ERROR, AT_KEY(&path, "logical"),
               "Logical size %lld must be the same or less than the physical size of %lld",
               (long long)logical, (long long)physical);
        return;
    }
    if (check_block_size(r, logical, AT_KEY(&path, "logical")))
        d->logical_block_size = (uint32_t)logical;
    if (check_block_size(r, physical, AT_KEY(&path, "physical")))
        d->physical_block_size = (uint32_t)physical;
    if (discard < 0 || discard > UINT32_MAX || (logical > 0 && discard % logical != 0))
        report(r, VMSPEC_ERROR, AT_KEY(&path, "discardGranularity"),
               "must be a multiple of the logical block size");
    else
        d->discard_granularity = (uint32_t)discard;
}

static void read_boot_order(struct reader *r, struct vmspec_disk *d, const cJSON *obj,
                            const struct json_path *path)
{
    if (json_get(obj, "bootOrder") == NULL)
        return;
    int64_t order = read_integer(obj, "bootOrder", 0);
    struct json_path *at = AT_KEY(path, "bootOrder");
    if (order < 1 || order > UINT32_MAX) {
        report(r, VMSPEC_ERROR, at, "%s must have a boot order > 0, if supplied", PATH_TEXT(path));
        return;
    }
    for (size_t i = 0; i < r->spec->disks.count; i++) {
        if (r->spec->disks.item[i].boot_order == order)
            report(r, VMSPEC_ERROR, at, "Boot order for %s already set for a different device.",
                   PATH_TEXT(at));
    }
    d->boot_order = (uint32_t)order;
}

/* Index of the volume of this name; volumes.count when there is none. */
static size_t find_volume(const struct vmspec *spec, const char *name)
{
    size_t i = 0;
    while (i < spec->volumes.count && !str_equal(spec->volumes.item[i].name, name))
        i++;
    return i;
}

/* False when there is no disk to make of it. */
static bool join_volume(struct reader *r, const cJSON *obj, const char *name,
                        const struct json_path *path, size_t *ret)
{
    size_t i = find_volume(r->spec, name);
    *ret = i;
    if (i < r->spec->volumes.count)
        return r->spec->volumes.item[i].kind != VMSPEC_VOLUME_UNSUPPORTED;
    if (json_get(obj, "cdrom") != NULL)
        report(r, VMSPEC_ERROR, AT_KEY(path, "name"),
               "DeclarativeHotplugVolumes feature gate not enabled, cannot define an empty CD-ROM "
               "disk");
    else
        report(r, VMSPEC_ERROR, AT_KEY(path, "name"), "%s '%s' not found.",
               PATH_TEXT(AT_KEY(path, "Name")), name);
    return false;
}

static bool check_disk_name(struct reader *r, const char *name, const struct json_path *path)
{
    if (!str_is_dns_label(name))
        report(r, VMSPEC_ERROR, AT_KEY(path, "name"),
               "'%s' must be an RFC 1123 label: 1 to 63 of a-z, 0-9 and '-'", name);
    for (size_t i = 0; i < r->spec->disks.count; i++) {
        if (str_equal(r->spec->disks.item[i].name, name)) {
            report(r, VMSPEC_ERROR, AT_KEY(path, "name"), "%s and %s must not have the same Name.",
                   PATH_TEXT(path), PATH_TEXT(AT_INDEX(path->parent, (unsigned)i)));
            return false;
        }
    }
    return true;
}

static void read_disk(struct reader *r, const cJSON *obj, const struct json_path *path)
{
    const char *name = read_name(r, obj, path);
    size_t volume;
    if (name == NULL || !check_disk_name(r, name, path) ||
        !join_volume(r, obj, name, path, &volume))
        return;
    struct vmspec_disk d = {.name = xstrdup(name), .volume = volume};
    read_target(r, &d, obj, path);
    read_serial(r, &d, obj, path);
    read_modes(r, &d, obj, path);
    read_block_size(r, &d, obj, path);
    read_boot_order(r, &d, obj, path);
    d.shareable = read_flag(obj, "shareable", false);
    d.dedicated_io_thread = read_flag(obj, "dedicatedIOThread", false);
    const struct vmspec_volume *v = &r->spec->volumes.item[volume];
    if (v->kind == VMSPEC_VOLUME_PVC && v->claim.readonly)
        d.readonly = true;
    if (d.shareable && d.cache == VMSPEC_CACHE_DEFAULT)
        d.cache = VMSPEC_CACHE_NONE; /* what another machine writes must be seen */
    if (d.shareable && d.cache != VMSPEC_CACHE_NONE)
        report(r, VMSPEC_ERROR, AT_KEY(path, "cache"), "a shareable disk requires cache = none");
    *(struct vmspec_disk *)vec_add(&r->spec->disks) = d;
}

static bool is_filesystem(const cJSON *filesystems, const char *name)
{
    json_for_each (obj, filesystems) {
        if (str_equal(read_text(obj, "name"), name))
            return true;
    }
    return false;
}

static bool has_disk(const struct vmspec *spec, size_t volume)
{
    for (size_t i = 0; i < spec->disks.count; i++) {
        if (spec->disks.item[i].volume == volume)
            return true;
    }
    return false;
}

static void add_automatic_disks(struct reader *r, const cJSON *filesystems)
{
    for (size_t i = 0; i < r->spec->volumes.count; i++) {
        const struct vmspec_volume *v = &r->spec->volumes.item[i];
        if (v->kind == VMSPEC_VOLUME_MEMORY_DUMP || v->kind == VMSPEC_VOLUME_UNSUPPORTED ||
            has_disk(r->spec, i) || is_filesystem(filesystems, v->name))
            continue;
        struct vmspec_disk *d = vec_add(&r->spec->disks);
        d->name = xstrdup(v->name);
        d->volume = i;
        d->automatic = true;
        d->readonly = v->kind == VMSPEC_VOLUME_PVC && v->claim.readonly;
    }
}

void read_disks(struct reader *r)
{
    const cJSON *devices = json_get(json_get(r->vmi, "domain"), "devices");
    struct json_path domain = {.parent = r->path, .key = "domain"};
    struct json_path outer = {.parent = &domain, .key = "devices"};
    struct json_path path = {.parent = &outer, .key = "disks"};
    struct json_path element = {.parent = &path};
    json_for_each (obj, json_get(devices, "disks")) {
        read_disk(r, obj, &element);
        element.index++;
    }
    add_automatic_disks(r, json_get(devices, "filesystems"));
    if (r->spec->disks.count > MACHINE_DISK_MAX)
        report(r, VMSPEC_ERROR, &path,
               "%zu disks, of which some may be automatic, are more than %d", r->spec->disks.count,
               MACHINE_DISK_MAX);
}
