// SPDX-License-Identifier: Apache-2.0
/*
 * From a volume to the files on its disk and the image of them: names, labels and layouts are
 * KubeVirt's (pkg/cloud-init, pkg/config). See seed.h.
 */
#include "seed.h"
#include "cloud_init.h"
#include "pod.h"
#include <fcntl.h>
#include <podvisor/cleanup.h>
#include <podvisor/log.h>
#include <podvisor/str.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>

#define DEFAULT_LABEL "cfgdata"
#define SYSPREP_LABEL "unattendCD"

/* Where one kind of data can come from: at most one is given, the manifest's reader saw to that. */
struct data_source {
    const char *what;           /* for messages: the manifest's word for a secret's */
    const char *plain, *base64; /* NULL: none */
    const char *secret;         /* its name; NULL: none */
    const char *folder;         /* where the pod has that secret, below the volume's */
    const char *key, *other_key;
};

/* A secret without the key is as one without data: KubeVirt starts the machine if there is other.
 */
static int read_secret(const struct plan_disk *disk, const struct data_source *source,
                       struct seed_files *files, struct error *err)
{
    cleanup_free char *folder = xasprintf("%s/%s", disk->path, source->folder);
    int r = seed_read_key(folder, source->key, source->other_key, source->key, files, err);
    if (r < 0)
        return error_wrap(err, "%s %s", source->what, source->secret);
    if (r == 0)
        log_warn("", "disk %s: the secret %s has neither a key %s nor %s", disk->name,
                 source->secret, source->key, source->other_key);
    return 0;
}

/* Adds the data as one file, or nothing. */
static int read_source(const struct plan_disk *disk, const struct data_source *source,
                       struct seed_files *files, struct error *err)
{
    if (source->secret != NULL)
        return read_secret(disk, source, files, err);
    if (source->plain != NULL)
        seed_files_add(files, source->key, source->plain, strlen(source->plain));
    if (source->plain != NULL || source->base64 == NULL)
        return 0;
    cleanup_free char *data = NULL;
    size_t len;
    int r = cloud_init_decode(source->base64, &data, &len, err);
    if (r < 0)
        return error_wrap(err, "%sBase64", source->key);
    seed_files_add(files, source->key, data, len);
    return 0;
}

/* The SSH keys that go into this volume; outside of a pod there are none. */
static int read_keys(const struct plan_disk *disk, struct seed_files *keys, struct error *err)
{
    const struct vmspec *spec = disk->spec;
    for (size_t i = 0; disk->path[0] != '\0' && i < spec->credentials.count; i++) {
        const struct vmspec_credential *credential = &spec->credentials.item[i];
        if (!vmspec_credential_is_for(credential, disk->volume))
            continue;
        cleanup_free char *folder = xasprintf(POD_CREDENTIALS "/%zu", i);
        int r = seed_read_folder(folder, keys, err);
        if (r < 0)
            return error_wrap(err, "accessCredentials[%s]", credential->secret);
    }
    return 0;
}

static const struct iso_file *first_of(const struct seed_files *files)
{
    return files->list.count > 0 && files->list.item[0].len > 0 ? &files->list.item[0] : NULL;
}

static int read_cloud_init(const struct plan_disk *disk, struct seed_files *files,
                           struct error *err)
{
    const struct vmspec *spec = disk->spec;
    const struct vmspec_volume *v = disk->volume;
    const struct data_source user = {"secretRef",
                                     v->cloud_init.user_data,
                                     v->cloud_init.user_data_base64,
                                     v->cloud_init.user_data_secret,
                                     SEED_USER_DATA,
                                     "userdata",
                                     "userData"};
    const struct data_source network = {"networkDataSecretRef",
                                        v->cloud_init.network_data,
                                        v->cloud_init.network_data_base64,
                                        v->cloud_init.network_data_secret,
                                        SEED_NETWORK_DATA,
                                        "networkdata",
                                        "networkData"};
    cleanup_seed_files struct seed_files user_data = {0}, network_data = {0}, keys = {0};
    int r = read_source(disk, &user, &user_data, err);
    if (r == 0)
        r = read_source(disk, &network, &network_data, err);
    if (r == 0)
        r = read_keys(disk, &keys, err);
    if (r < 0)
        return r;
    cleanup_free char *hostname = vmspec_hostname(spec);
    struct cloud_init cloud_init = {
        .config_drive = v->kind == VMSPEC_VOLUME_CLOUD_INIT_CONFIG_DRIVE,
        .name = spec->name,
        .namespace_ = spec->namespace_,
        .hostname = hostname,
        .user_data = first_of(&user_data),
        .network_data = first_of(&network_data),
        .keys = keys.list.item,
        .key_count = keys.list.count,
    };
    memcpy(cloud_init.uuid, spec->uuid, sizeof(cloud_init.uuid));
    if (cloud_init.user_data == NULL && cloud_init.network_data == NULL)
        return error_set(err, EINVAL, "there is neither user data nor network data");
    return cloud_init_files(&cloud_init, files, err);
}

/* Windows Setup looks for these on every disk; one without is a mistake. */
static int check_sysprep(const struct seed_files *files, struct error *err)
{
    for (size_t i = 0; i < files->list.count; i++) {
        if (strcasecmp(files->list.item[i].path, "autounattend.xml") == 0 ||
            strcasecmp(files->list.item[i].path, "unattend.xml") == 0)
            return 0;
    }
    return error_set(err, EINVAL,
                     "Sysprep drive should contain autounattend.xml or unattend.xml but neither "
                     "were found.");
}

static int read_files(const struct plan_disk *disk, struct seed_files *files, struct error *err)
{
    int r = seed_read_folder(disk->path, files, err);
    if (r == 0 && disk->volume->kind == VMSPEC_VOLUME_SYSPREP)
        r = check_sysprep(files, err);
    return r;
}

static const char *label_of(const struct vmspec_volume *volume)
{
    switch (volume->kind) {
    case VMSPEC_VOLUME_CLOUD_INIT_NO_CLOUD:
        return CLOUD_INIT_NO_CLOUD_LABEL;
    case VMSPEC_VOLUME_CLOUD_INIT_CONFIG_DRIVE:
        return CLOUD_INIT_CONFIG_DRIVE_LABEL;
    case VMSPEC_VOLUME_SYSPREP:
        return SYSPREP_LABEL;
    default:
        return volume->files.label != NULL ? volume->files.label : DEFAULT_LABEL;
    }
}

/* The system area stays a hole, so that it takes no memory. */
static int seal_image(const uint8_t *image, size_t len, int *ret_fd, struct error *err)
{
    cleanup_close int fd = memfd_create("seed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || ftruncate(fd, (off_t)len) < 0)
        return error_sys(err, errno, "cannot make memory of %zu bytes for it", len);
    for (size_t at = ISO_SYSTEM_AREA; at < len;) {
        ssize_t n = pwrite(fd, image + at, len - at, (off_t)at);
        if (n <= 0)
            return error_sys(err, n < 0 ? errno : EIO, "cannot write its %zu bytes", len);
        at += (size_t)n;
    }
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0)
        return error_sys(err, errno, "cannot seal its memory");
    *ret_fd = steal_fd(&fd);
    return 0;
}

int seed_make(const struct plan_disk *disk, int *ret_fd, struct error *err)
{
    const struct vmspec_volume *volume = disk->volume;
    cleanup_seed_files struct seed_files files = {0};
    cleanup_free uint8_t *image = NULL;
    size_t len = 0;
    bool cloud_init = volume->kind == VMSPEC_VOLUME_CLOUD_INIT_NO_CLOUD ||
                      volume->kind == VMSPEC_VOLUME_CLOUD_INIT_CONFIG_DRIVE;
    bool is_public =
        volume->kind == VMSPEC_VOLUME_CONFIG_MAP || volume->kind == VMSPEC_VOLUME_DOWNWARD_API;
    int r = cloud_init ? read_cloud_init(disk, &files, err) : read_files(disk, &files, err);
    if (r == 0)
        r = iso_write(label_of(volume), !is_public, files.list.item, files.list.count, &image, &len,
                      err);
    return r < 0 ? r : seal_image(image, len, ret_fd, err);
}
