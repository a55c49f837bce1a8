// SPDX-License-Identifier: Apache-2.0
/*
 * Volumes that are files, as the kubelet mounts them into compute, where vmm makes disks of them:
 * docs/pod.md, "Volumes and paths". The operator itself never reads a secret or a config map.
 */
#include "pod_internal.h"
#include "tree.h"
#include <podvisor/cleanup.h>
#include <podvisor/str.h>

/*
 * Seconds that a service account's token lasts. With this number, an API server in its default
 * configuration gives a year (pkg/kubeapiserver/options/authentication.go,
 * WarnOnlyBoundTokenExpirationPeriod): the disk is made once.
 */
#define TOKEN_SECONDS 3607

static cJSON *push_volume(cJSON *volumes, size_t index, const char *suffix)
{
    cJSON *item = tree_push(volumes, tree_object());
    tree_put_format(item, "name", "volume%zu%s", index, suffix);
    return item;
}

static void put_secret(cJSON *item, const char *name, bool optional)
{
    cJSON *secret = tree_put(item, "secret", tree_object());
    tree_put_string(secret, "secretName", name);
    if (optional)
        tree_put_bool(secret, "optional", true);
}

static void put_config_map(cJSON *item, const char *name, bool optional)
{
    cJSON *map = tree_put(item, "configMap", tree_object());
    tree_put_string(map, "name", name);
    if (optional)
        tree_put_bool(map, "optional", true);
}

/* What a pod that asks for its account's token finds in /var/run/secrets, but in compute alone. */
static void put_account(cJSON *item)
{
    cJSON *sources = tree_put(tree_put(item, "projected", tree_object()), "sources", tree_array());
    cJSON *token =
        tree_put(tree_push(sources, tree_object()), "serviceAccountToken", tree_object());
    tree_put_string(token, "path", "token");
    tree_put_int(token, "expirationSeconds", TOKEN_SECONDS);
    cJSON *map = tree_put(tree_push(sources, tree_object()), "configMap", tree_object());
    tree_put_string(map, "name", "kube-root-ca.crt");
    cJSON *key = tree_push(tree_put(map, "items", tree_array()), tree_object());
    tree_put_string(key, "key", "ca.crt");
    tree_put_string(key, "path", "ca.crt");
    cJSON *api = tree_put(tree_push(sources, tree_object()), "downwardAPI", tree_object());
    cJSON *file = tree_push(tree_put(api, "items", tree_array()), tree_object());
    tree_put_string(file, "path", "namespace");
    cJSON *field = tree_put(file, "fieldRef", tree_object());
    tree_put_string(field, "apiVersion", "v1");
    tree_put_string(field, "fieldPath", "metadata.namespace");
}

static void push_cloud_init(cJSON *volumes, size_t index, const struct vmspec_volume *volume)
{
    if (volume->cloud_init.user_data_secret != NULL)
        put_secret(push_volume(volumes, index, "-userdata"), volume->cloud_init.user_data_secret,
                   false);
    if (volume->cloud_init.network_data_secret != NULL)
        put_secret(push_volume(volumes, index, "-networkdata"),
                   volume->cloud_init.network_data_secret, false);
}

static void push_credentials(cJSON *volumes, const struct vmspec *spec)
{
    for (size_t i = 0; i < spec->credentials.count; i++) {
        cJSON *item = tree_push(volumes, tree_object());
        tree_put_format(item, "name", "credential%zu", i);
        put_secret(item, spec->credentials.item[i].secret, false);
    }
}

void pod_add_file_volumes(const struct vmspec *spec, cJSON *volumes)
{
    push_credentials(volumes, spec);
    for (size_t i = 0; i < spec->volumes.count; i++) {
        const struct vmspec_volume *volume = &spec->volumes.item[i];
        switch (volume->kind) {
        case VMSPEC_VOLUME_CLOUD_INIT_NO_CLOUD:
        case VMSPEC_VOLUME_CLOUD_INIT_CONFIG_DRIVE:
            push_cloud_init(volumes, i, volume);
            break;
        case VMSPEC_VOLUME_CONFIG_MAP:
            put_config_map(push_volume(volumes, i, ""), volume->files.name, volume->files.optional);
            break;
        case VMSPEC_VOLUME_SECRET:
            put_secret(push_volume(volumes, i, ""), volume->files.name, volume->files.optional);
            break;
        case VMSPEC_VOLUME_SYSPREP:
            if (volume->files.is_secret)
                put_secret(push_volume(volumes, i, ""), volume->files.name, false);
            else
                put_config_map(push_volume(volumes, i, ""), volume->files.name, false);
            break;
        case VMSPEC_VOLUME_DOWNWARD_API:
            tree_put_copy(tree_put(push_volume(volumes, i, ""), "downwardAPI", tree_object()),
                          "items", json_get(volume->source, "fields"));
            break;
        case VMSPEC_VOLUME_SERVICE_ACCOUNT:
            put_account(push_volume(volumes, i, ""));
            break;
        default:
            break;
        }
    }
}

static void mount_files(cJSON *container, size_t index, const char *suffix, const char *path)
{
    cleanup_free char *name = xasprintf("volume%zu%s", index, suffix);
    pod_mount(container, name, path, true);
}

static void mount_credentials(cJSON *container, const struct vmspec *spec)
{
    for (size_t i = 0; i < spec->credentials.count; i++) {
        cleanup_free char *name = xasprintf("credential%zu", i);
        cleanup_free char *path = xasprintf(PATH_CREDENTIALS "%zu", i);
        pod_mount(container, name, path, true);
    }
}

void pod_mount_files(const struct vmspec *spec, cJSON *container)
{
    mount_credentials(container, spec);
    for (size_t i = 0; i < spec->volumes.count; i++) {
        const struct vmspec_volume *volume = &spec->volumes.item[i];
        if (!vmspec_volume_is_files(volume))
            continue;
        cleanup_free char *path = xasprintf(PATH_VOLUMES "%s", volume->name);
        if (volume->kind != VMSPEC_VOLUME_CLOUD_INIT_NO_CLOUD &&
            volume->kind != VMSPEC_VOLUME_CLOUD_INIT_CONFIG_DRIVE) {
            mount_files(container, i, "", path);
            continue;
        }
        cleanup_free char *user = xasprintf("%s/userdata", path);
        cleanup_free char *network = xasprintf("%s/networkdata", path);
        if (volume->cloud_init.user_data_secret != NULL)
            mount_files(container, i, "-userdata", user);
        if (volume->cloud_init.network_data_secret != NULL)
            mount_files(container, i, "-networkdata", network);
    }
}

static void add_object(char **words, const char *kind, const char *name)
{
    if (name == NULL)
        return;
    char *longer = *words != NULL ? xasprintf("%s, %s %s", *words, kind, name)
                                  : xasprintf("%s %s", kind, name);
    free(*words);
    *words = longer;
}

char *pod_mounted_objects(const struct vmspec *spec)
{
    char *words = NULL;
    for (size_t i = 0; i < spec->volumes.count; i++) {
        const struct vmspec_volume *volume = &spec->volumes.item[i];
        bool is_secret = volume->kind == VMSPEC_VOLUME_SECRET ||
                         (volume->kind == VMSPEC_VOLUME_SYSPREP && volume->files.is_secret);
        if (volume->kind == VMSPEC_VOLUME_CLOUD_INIT_NO_CLOUD ||
            volume->kind == VMSPEC_VOLUME_CLOUD_INIT_CONFIG_DRIVE) {
            add_object(&words, "secret", volume->cloud_init.user_data_secret);
            add_object(&words, "secret", volume->cloud_init.network_data_secret);
        } else if (is_secret || volume->kind == VMSPEC_VOLUME_CONFIG_MAP ||
                   volume->kind == VMSPEC_VOLUME_SYSPREP) {
            add_object(&words, is_secret ? "secret" : "configMap",
                       volume->files.optional ? NULL : volume->files.name);
        }
    }
    for (size_t i = 0; i < spec->credentials.count; i++)
        add_object(&words, "secret", spec->credentials.item[i].secret);
    return words;
}

const char *pod_account(const struct vmspec *spec)
{
    const char *own = tree_text(json_get(pod_specification(spec), "serviceAccountName"), "");
    if (*own != '\0')
        return own;
    for (size_t i = 0; i < spec->volumes.count; i++) {
        if (spec->volumes.item[i].kind == VMSPEC_VOLUME_SERVICE_ACCOUNT)
            return spec->volumes.item[i].files.name;
    }
    return NULL;
}
