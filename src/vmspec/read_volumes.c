// SPDX-License-Identifier: Apache-2.0
/*
 * spec.volumes of a manifest. Checks and their words are those of KubeVirt's
 * validateVolumes() (pkg/virt-api/.../vmi-create-admitter.go). One thread at a time.
 */
#include "reader.h"

#include <podvisor/str.h>
#include <string.h>

#define CLOUD_INIT_MAX   2048 /* bytes inline; more goes into a secret */
#define VOLUME_LABEL_MAX 32

struct source {
    const char *key;
    enum vmspec_volume_kind kind;
    void (*read)(struct reader *r, struct vmspec_volume *v, const struct json_path *path);
};

static char *copy_text(const cJSON *obj, const char *key)
{
    return xstrdup(read_text(obj, key));
}

/* As copy_text(), and reports its absence. */
static char *copy_required(struct reader *r, const cJSON *obj, const char *key,
                           const struct json_path *path)
{
    char *text = copy_text(obj, key);
    if (text == NULL)
        report(r, VMSPEC_ERROR, AT_KEY(path, key), "%s is a required field",
               PATH_TEXT(AT_KEY(path, key)));
    return text;
}

static void read_host_disk(struct reader *r, struct vmspec_volume *v, const struct json_path *path)
{
    const char *type = read_text(v->source, "type");
    v->host_disk.format = VMSPEC_FORMAT_RAW;
    v->host_disk.path = copy_text(v->source, "path");
    v->host_disk.shared = read_flag(v->source, "shared", false);
    v->host_disk.create = str_equal(type, "DiskOrCreate");
    if (v->host_disk.path == NULL)
        report(r, VMSPEC_ERROR, AT_KEY(path, "path"), "%s is required for hostDisk volume",
               PATH_TEXT(AT_KEY(path, "path")));
    if (!v->host_disk.create && !str_equal(type, "Disk"))
        report(r, VMSPEC_ERROR, AT_KEY(path, "type"),
               "%s has invalid value '%s', allowed are 'Disk' or 'DiskOrCreate'",
               PATH_TEXT(AT_KEY(path, "type")), type != NULL ? type : "");
    read_quantity(r, v->source, "capacity", path, &v->host_disk.capacity);
    if (!v->host_disk.create && v->host_disk.capacity != 0)
        report(r, VMSPEC_ERROR, AT_KEY(path, "capacity"),
               "%s is allowed to pass only with %s equal to 'DiskOrCreate'",
               PATH_TEXT(AT_KEY(path, "capacity")), PATH_TEXT(AT_KEY(path, "type")));
}

static void read_claim(struct reader *r, struct vmspec_volume *v, const struct json_path *path)
{
    v->claim.claim = copy_required(r, v->source, "claimName", path);
    v->claim.readonly = read_flag(v->source, "readOnly", false);
}

static void read_data_volume(struct reader *r, struct vmspec_volume *v,
                             const struct json_path *path)
{
    v->claim.claim = copy_text(v->source, "name");
    if (v->claim.claim == NULL)
        report(r, VMSPEC_ERROR, AT_KEY(path, "name"), "DataVolume 'name' must be set");
    else
        report(r, VMSPEC_WARNING, path,
               "the claim '%.253s' is taken as it is; nothing waits until CDI has filled it",
               v->claim.claim);
}

static void read_ephemeral(struct reader *r, struct vmspec_volume *v, const struct json_path *path)
{
    const cJSON *claim = json_get(v->source, "persistentVolumeClaim");
    v->claim.readonly = true; /* the claim is; writes go to the copy */
    v->claim.claim = copy_required(r, claim, "claimName", AT_KEY(path, "persistentVolumeClaim"));
}

static void read_container_disk(struct reader *r, struct vmspec_volume *v,
                                const struct json_path *path)
{
    v->container_disk.image = copy_required(r, v->source, "image", path);
    v->container_disk.path = copy_text(v->source, "path");
    v->container_disk.pull_policy = copy_text(v->source, "imagePullPolicy");
    v->container_disk.pull_secret = copy_text(v->source, "imagePullSecret");
    if (v->container_disk.path != NULL)
        check_image_path(r, path, v->container_disk.path);
}

static void read_empty_disk(struct reader *r, struct vmspec_volume *v, const struct json_path *path)
{
    if (read_quantity(r, v->source, "capacity", path, &v->empty_disk.capacity) &&
        v->empty_disk.capacity < 512)
        report(r, VMSPEC_ERROR, AT_KEY(path, "capacity"), "must be at least one sector of 512");
    else if (json_get(v->source, "capacity") == NULL)
        report(r, VMSPEC_ERROR, AT_KEY(path, "capacity"), "%s is a required field",
               PATH_TEXT(AT_KEY(path, "capacity")));
}

/* Decoded length of base64 (RFC 4648 §4, padded, line breaks allowed as in Go), or -1. */
static int64_t base64_length(const char *text)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    int64_t count = 0, padding = 0;
    for (; *text != '\0'; text++) {
        if (*text == '\n' || *text == '\r')
            continue;
        if (*text == '=')
            padding++;
        else if (padding > 0 || strchr(digits, *text) == NULL)
            return -1;
        count++;
    }
    return count % 4 != 0 || padding > 2 ? -1 : count / 4 * 3 - padding;
}

struct data_source {
    const char *plain_key, *base64_key, *secret_key;
    const char *word; /* in "exceeds" */
    const char *only_one;
};

/* One of user data and network data; returns how many sources it has. */
static int read_data(struct reader *r, const cJSON *source, const struct json_path *path,
                     const struct data_source *keys, char **plain, char **base64, char **secret)
{
    *plain = copy_text(source, keys->plain_key);
    *base64 = copy_text(source, keys->base64_key);
    *secret = copy_text(json_get(source, keys->secret_key), "name");
    int count = (*plain != NULL) + (*base64 != NULL) + (*secret != NULL);
    int64_t len = *plain != NULL ? (int64_t)strlen(*plain) : 0;
    if (*base64 != NULL) {
        len = base64_length(*base64);
        if (len < 0)
            report(r, VMSPEC_ERROR, AT_KEY(path, keys->base64_key),
                   "%s is not a valid base64 value.", PATH_TEXT(AT_KEY(path, keys->base64_key)));
    }
    if (count > 1)
        report(r, VMSPEC_ERROR, path, "%s must have only one %s set.", PATH_TEXT(path),
               keys->only_one);
    if (len > CLOUD_INIT_MAX)
        report(r, VMSPEC_ERROR, path,
               "%s %s exceeds %d byte limit. Should use %sSecretRef for larger data.",
               PATH_TEXT(path), keys->word, CLOUD_INIT_MAX,
               keys->word[0] == 'u' ? "UserData" : "NetworkData");
    return count;
}

static void read_cloud_init(struct reader *r, struct vmspec_volume *v, const struct json_path *path)
{
    static const struct data_source user = {"userData", "userDataBase64", "secretRef", "userdata",
                                            "userdatasource"};
    static const struct data_source network = {"networkData", "networkDataBase64",
                                               "networkDataSecretRef", "networkdata",
                                               "networkdata source"};
    int count = read_data(r, v->source, path, &user, &v->cloud_init.user_data,
                          &v->cloud_init.user_data_base64, &v->cloud_init.user_data_secret);
    count += read_data(r, v->source, path, &network, &v->cloud_init.network_data,
                       &v->cloud_init.network_data_base64, &v->cloud_init.network_data_secret);
    if (count == 0)
        report(r, VMSPEC_ERROR, path,
               "%s must have at least one userdatasource or one networkdatasource set.",
               PATH_TEXT(path));
}

/* What an ISO 9660 volume can be called, by ECMA-119 §8.4.7 with the characters that everybody
 * uses. */
static bool is_label(const char *text)
{
    size_t len = strlen(text);
    for (size_t i = 0; i < len; i++) {
        if (text[i] < 0x20 || text[i] > 0x7e)
            return false;
    }
    return len <= VOLUME_LABEL_MAX;
}

static void read_files(struct reader *r, struct vmspec_volume *v, const struct json_path *path)
{
    v->files.label = copy_text(v->source, "volumeLabel");
    if (v->files.label != NULL && !is_label(v->files.label))
        report(r, VMSPEC_ERROR, AT_KEY(path, "volumeLabel"),
               "must have at most %d ASCII characters", VOLUME_LABEL_MAX);
    v->files.optional = read_flag(v->source, "optional", false);
    if (v->kind == VMSPEC_VOLUME_CONFIG_MAP)
        v->files.name = copy_required(r, v->source, "name", path);
    else if (v->kind == VMSPEC_VOLUME_SECRET)
        v->files.name = copy_required(r, v->source, "secretName", path);
    else if (v->kind == VMSPEC_VOLUME_SERVICE_ACCOUNT)
        v->files.name = copy_required(r, v->source, "serviceAccountName", path);
}

static void read_sysprep(struct reader *r, struct vmspec_volume *v, const struct json_path *path)
{
    const cJSON *secret = json_get(v->source, "secret");
    const cJSON *config_map = json_get(v->source, "configMap");
    v->files.is_secret = secret != NULL;
    v->files.name = copy_text(secret != NULL ? secret : config_map, "name");
    if ((secret != NULL) == (config_map != NULL) || v->files.name == NULL)
        report(r, VMSPEC_ERROR, path, "must name either a secret or a configMap");
}

static const struct source sources[] = {
    {"hostDisk", VMSPEC_VOLUME_HOST_DISK, read_host_disk},
    {"persistentVolumeClaim", VMSPEC_VOLUME_PVC, read_claim},
    {"dataVolume", VMSPEC_VOLUME_DATA_VOLUME, read_data_volume},
    {"ephemeral", VMSPEC_VOLUME_EPHEMERAL, read_ephemeral},
    {"containerDisk", VMSPEC_VOLUME_CONTAINER_DISK, read_container_disk},
    {"emptyDisk", VMSPEC_VOLUME_EMPTY_DISK, read_empty_disk},
    {"cloudInitNoCloud", VMSPEC_VOLUME_CLOUD_INIT_NO_CLOUD, read_cloud_init},
    {"cloudInitConfigDrive", VMSPEC_VOLUME_CLOUD_INIT_CONFIG_DRIVE, read_cloud_init},
    {"configMap", VMSPEC_VOLUME_CONFIG_MAP, read_files},
    {"secret", VMSPEC_VOLUME_SECRET, read_files},
    {"downwardAPI", VMSPEC_VOLUME_DOWNWARD_API, read_files},
    {"serviceAccount", VMSPEC_VOLUME_SERVICE_ACCOUNT, read_files},
    {"sysprep", VMSPEC_VOLUME_SYSPREP, read_sysprep},
    {"memoryDump", VMSPEC_VOLUME_MEMORY_DUMP, read_claim},
    {"downwardMetrics", VMSPEC_VOLUME_UNSUPPORTED, NULL},
    {"containerPath", VMSPEC_VOLUME_UNSUPPORTED, NULL},
};

const char *vmspec_volume_kind_name(enum vmspec_volume_kind kind)
{
    for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++) {
        if (sources[i].kind == kind && kind != VMSPEC_VOLUME_UNSUPPORTED)
            return sources[i].key;
    }
    return "unsupported";
}

bool vmspec_volume_is_files(const struct vmspec_volume *volume)
{
    return volume->kind >= VMSPEC_VOLUME_CLOUD_INIT_NO_CLOUD &&
           volume->kind <= VMSPEC_VOLUME_SYSPREP;
}

static void read_source(struct reader *r, struct vmspec_volume *v, const cJSON *obj,
                        const struct json_path *path)
{
    const struct source *found = NULL;
    unsigned count = 0;
    for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++) {
        if (json_get(obj, sources[i].key) != NULL) {
            found = &sources[i];
            count++;
        }
    }
    v->kind = VMSPEC_VOLUME_UNSUPPORTED;
    if (count != 1) {
        report(r, VMSPEC_ERROR, path, "%s must have exactly one source type set", PATH_TEXT(path));
        return;
    }
    v->source = json_get(obj, found->key);
    v->kind = found->kind;
    if (found->read != NULL)
        found->read(r, v, AT_KEY(path, found->key));
}

static void read_volume(struct reader *r, const cJSON *obj, const struct json_path *path)
{
    const char *name = read_name(r, obj, path);
    if (name == NULL)
        return;
    if (!str_is_dns_label(name))
        report(r, VMSPEC_ERROR, AT_KEY(path, "name"),
               "'%s' must be an RFC 1123 label: 1 to 63 of a-z, 0-9 and '-'", name);
    for (size_t i = 0; i < r->spec->volumes.count; i++) {
        if (str_equal(r->spec->volumes.item[i].name, name)) {
            report(r, VMSPEC_ERROR, AT_KEY(path, "name"), "%s and %s must not have the same Name.",
                   PATH_TEXT(path), PATH_TEXT(AT_INDEX(path->parent, (unsigned)i)));
            return;
        }
    }
    struct vmspec_volume *v = vec_add(&r->spec->volumes);
    v->name = xstrdup(name);
    read_source(r, v, obj, path);
}

static void check_at_most_one(struct reader *r, enum vmspec_volume_kind kind, const char *words,
                              const struct json_path *path)
{
    unsigned count = 0;
    for (size_t i = 0; i < r->spec->volumes.count; i++)
        count += r->spec->volumes.item[i].kind == kind ? 1 : 0;
    if (count > 1)
        report(r, VMSPEC_ERROR, path, "%s must have max one %s volume set", PATH_TEXT(path), words);
}

void read_volumes(struct reader *r)
{
    struct json_path path = {.parent = r->path, .key = "volumes"};
    struct json_path element = {.parent = &path};
    json_for_each (obj, json_get(r->vmi, "volumes")) {
        read_volume(r, obj, &element);
        element.index++;
    }
    check_at_most_one(r, VMSPEC_VOLUME_SERVICE_ACCOUNT, "serviceAccount", &path);
    check_at_most_one(r, VMSPEC_VOLUME_MEMORY_DUMP, "memory dump", &path);
}
