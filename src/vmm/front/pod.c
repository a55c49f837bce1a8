// SPDX-License-Identifier: Apache-2.0
/* docs/pod.md as seen from the container compute; start-up, one thread. See pod.h. */
#include "pod.h"
#include "open_lease.h"
#include <podvisor/cleanup.h>
#include <podvisor/json.h>
#include <podvisor/quantity.h>
#include <podvisor/str.h>
#include <string.h>
#include <unistd.h>

int pod_begin(struct run_options *options, struct images *images, struct error *err)
{
    int r = images_listen(images, POD_IMAGES, options->image_timeout, err);
    if (options->control == NULL)
        options->control = POD_CONTROL;
    if (options->termination_message == NULL && access(POD_TERMINATION, F_OK) == 0)
        options->termination_message = POD_TERMINATION;
    options->claim_sizes = secure_getenv(POD_ENV_CLAIM_SIZES);
    const char *level = secure_getenv(POD_ENV_LOG);
    if (r == 0 && !options->has_log_level && level != NULL && *level != '\0') {
        r = options_set_log_level(options, level, err);
        if (r < 0)
            error_wrap(err, POD_ENV_LOG);
    }
    if (r < 0 || options->manifest != NULL)
        return r;
    options->vmi = secure_getenv(POD_ENV_VMI);
    if (options->vmi == NULL)
        return error_set(err, EINVAL,
                         POD_ENV_VMI " is not set: --pod is for the pods that the operator makes; "
                                     "elsewhere name a manifest");
    return 0;
}

/* How large the operator says that a claim is; 0: it does not say. */
static int read_claim_size(const char *sizes, const char *volume, uint64_t *ret, struct error *err)
{
    cleanup_json cJSON *tree = NULL;
    const char *text = NULL;
    *ret = 0;
    if (sizes == NULL || *sizes == '\0')
        return 0;
    int r = json_parse(sizes, strlen(sizes), NULL, &tree, err);
    if (r == 0)
        r = json_get_string(tree, volume, NULL, &text, err);
    if (r > 0)
        r = quantity_parse(text, ret, err);
    return r < 0 ? error_wrap(err, POD_ENV_CLAIM_SIZES) : 0;
}

/* A name in the pod's own folder, as the kubelet counts and limits what has one. */
static int place_file(const struct vmspec_volume *volume, const char *ending, char *field,
                      struct error *err)
{
    const char *folder = secure_getenv("TMPDIR");
    cleanup_free char *path = xasprintf(
        "%s/%s.%s", folder != NULL && *folder != '\0' ? folder : "/var/tmp", volume->name, ending);
    return plan_copy(field, PLAN_PATH_MAX, path, "disk's path", err);
}

static int place_overlay(const struct vmspec_volume *volume, struct plan_disk *disk,
                         struct error *err)
{
    return place_file(volume, "qcow2", disk->overlay, err);
}

static int place_claim(const struct run_options *options, const struct vmspec_volume *volume,
                       struct plan_disk *disk, struct error *err)
{
    char path[PLAN_PATH_MAX];
    bool ephemeral = volume->kind == VMSPEC_VOLUME_EPHEMERAL;
    disk->readonly = disk->readonly || (volume->claim.readonly && !ephemeral);
    if (ephemeral && !disk->readonly) {
        int r = place_overlay(volume, disk, err);
        if (r < 0)
            return r;
    }
    snprintf(path, sizeof(path), POD_DEVICES "/%s", volume->name);
    if (access(path, F_OK) == 0) {
        disk->source = PLAN_CLAIM_BLOCK;
        return plan_copy(disk->path, sizeof(disk->path), path, "device's path", err);
    }
    snprintf(path, sizeof(path), POD_VOLUMES "/%s", volume->name);
    if (access(path, F_OK) != 0)
        return error_set(err, ENOENT, "the pod has neither %s nor " POD_DEVICES "/%s", path,
                         volume->name);
    snprintf(path, sizeof(path), POD_VOLUMES "/%s/disk.img", volume->name);
    disk->source = PLAN_CLAIM_FILE;
    disk->create = !disk->readonly && !ephemeral;
    int r = read_claim_size(options->claim_sizes, volume->name, &disk->capacity, err);
    return r < 0 ? r : plan_copy(disk->path, sizeof(disk->path), path, "disk's path", err);
}

/* The operator mounts the folder that the file is in, and has looked at the path. */
static int place_host_disk(const struct vmspec_volume *volume, struct plan_disk *disk,
                           struct error *err)
{
    const char *slash = strrchr(volume->host_disk.path, '/');
    cleanup_free char *path = xasprintf(POD_VOLUMES "/%s/%s", volume->name,
                                        slash != NULL ? slash + 1 : volume->host_disk.path);
    disk->source = PLAN_HOST_FILE;
    disk->create = volume->host_disk.create;
    disk->capacity = volume->host_disk.capacity;
    return plan_copy(disk->path, sizeof(disk->path), path, "disk's path", err);
}

/*
 * With a name, unlike elsewhere: the kubelet counts what it finds in the pod's folders, and without
 * that a guest could fill the node's disk with no limit of the pod's and other pods evicted for it.
 */
static int place_empty_disk(const struct vmspec_volume *volume, struct plan_disk *disk,
                            struct error *err)
{
    disk->source = PLAN_PATH;
    disk->create = true;
    disk->capacity = volume->empty_disk.capacity;
    return place_file(volume, "img", disk->path, err);
}

/* The image is everybody's: the guest writes over it, to a file that goes with the pod. */
static int place_container_disk(const struct vmspec_volume *volume, struct plan_disk *disk,
                                struct error *err)
{
    disk->source = PLAN_IMAGE;
    disk->image = volume->container_disk.image;
    return disk->readonly ? 0 : place_overlay(volume, disk, err);
}

static int place_other(const struct vmspec_volume *volume, struct plan_disk *disk,
                       struct error *err)
{
    char path[PLAN_PATH_MAX];
    if (!vmspec_volume_is_files(volume))
        return error_set(err, ENOTSUP, "a volume of this kind cannot be a disk");
    snprintf(path, sizeof(path), POD_VOLUMES "/%s", volume->name);
    disk->source = PLAN_SEED;
    return plan_copy(disk->path, sizeof(disk->path), path, "volume's folder", err);
}

int pod_place_volume(const struct run_options *options, const struct vmspec_volume *volume,
                     struct plan_disk *disk, struct error *err)
{
    if (!str_is_dns_label(volume->name))
        return error_set(err, EINVAL, "'%.80s' cannot be the name of a pod's volume", volume->name);
    switch (volume->kind) {
    case VMSPEC_VOLUME_PVC:
    case VMSPEC_VOLUME_DATA_VOLUME:
    case VMSPEC_VOLUME_EPHEMERAL:
        return place_claim(options, volume, disk, err);
    case VMSPEC_VOLUME_HOST_DISK:
        return place_host_disk(volume, disk, err);
    case VMSPEC_VOLUME_CONTAINER_DISK:
        return place_container_disk(volume, disk, err);
    case VMSPEC_VOLUME_EMPTY_DISK:
        return place_empty_disk(volume, disk, err);
    default:
        return place_other(volume, disk, err);
    }
}

int pod_read_lease(const char *name, struct plan_net *net, struct error *err)
{
    struct lease_file file;
    int r = lease_read(LEASE_FOLDER, name, &file, err);
    if (r == -ENOENT)
        return error_hint(err, "did the container podnet make this card?");
    if (r < 0)
        return r;
    memcpy(net->tap, file.tap, sizeof(net->tap));
    memcpy(net->mac, file.mac, sizeof(net->mac));
    net->mtu = file.mtu;
    net->lease = file.lease;
    return 0;
}

const char *pod_control(void)
{
    return getenv(POD_ENV_VMI) != NULL || access(POD_CONTROL, F_OK) == 0 ? POD_CONTROL : NULL;
}
