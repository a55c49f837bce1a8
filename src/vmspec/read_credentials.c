// SPDX-License-Identifier: Apache-2.0
/*
 * spec.accessCredentials of a manifest. Checks and their words are those of KubeVirt's
 * validateAccessCredentials() (pkg/virt-api/.../vmi-create-admitter.go). One thread at a time.
 */
#include "reader.h"

#include <podvisor/str.h>

static bool has_volume(const struct vmspec *spec, enum vmspec_volume_kind kind)
{
    for (size_t i = 0; i < spec->volumes.count; i++) {
        if (spec->volumes.item[i].kind == kind)
            return true;
    }
    return false;
}

static void check_volume(struct reader *r, const cJSON *method, const char *key,
                         enum vmspec_volume_kind kind, const struct json_path *path)
{
    if (json_get(method, key) != NULL && !has_volume(r->spec, kind))
        report(r, VMSPEC_ERROR, AT_KEY(AT_KEY(path, "sshPublicKey"), "propagationMethod"),
               "%s requires a %s volume to exist when the %s propagationMethod is in use.",
               PATH_TEXT(path), key, key);
}

/* One of the two kinds of credentials: where it comes from, and how it gets into the guest. */
static void check_parts(struct reader *r, const cJSON *obj, const char *kind,
                        const struct json_path *path)
{
    const cJSON *method = json_get(obj, "propagationMethod");
    unsigned methods = 0;
    json_for_each (item, method)
        methods += cJSON_IsNull(item) ? 0 : 1;
    if (json_get(json_get(obj, "source"), "secret") == NULL)
        report(r, VMSPEC_ERROR, AT_KEY(AT_KEY(path, kind), "source"),
               "%s must have exactly one source set", PATH_TEXT(path));
    if (methods != 1)
        report(r, VMSPEC_ERROR, AT_KEY(AT_KEY(path, kind), "propagationMethod"),
               "%s must have exactly one propagationMethod set", PATH_TEXT(path));
}

static void read_key(struct reader *r, const cJSON *key, const struct json_path *path)
{
    const cJSON *method = json_get(key, "propagationMethod");
    const char *secret = read_text(json_get(json_get(key, "source"), "secret"), "secretName");
    bool config_drive = json_get(method, "configDrive") != NULL;
    check_parts(r, key, "sshPublicKey", path);
    check_volume(r, method, "noCloud", VMSPEC_VOLUME_CLOUD_INIT_NO_CLOUD, path);
    check_volume(r, method, "configDrive", VMSPEC_VOLUME_CLOUD_INIT_CONFIG_DRIVE, path);
    if (secret == NULL || (!config_drive && json_get(method, "noCloud") == NULL))
        return;
    struct vmspec_credential *credential = vec_add(&r->spec->credentials);
    credential->secret = xstrdup(secret);
    credential->config_drive = config_drive;
}

static void read_credential(struct reader *r, const cJSON *obj, const struct json_path *path)
{
    const cJSON *key = json_get(obj, "sshPublicKey");
    const cJSON *password = json_get(obj, "userPassword");
    if (key != NULL)
        read_key(r, key, path);
    if (password != NULL)
        check_parts(r, password, "userPassword", path);
    if ((key != NULL) == (password != NULL))
        report(r, VMSPEC_ERROR, path, "%s must have exactly one access credential type set",
               PATH_TEXT(path));
}

void read_credentials(struct reader *r)
{
    struct json_path path = {.parent = r->path, .key = "accessCredentials"};
    struct json_path element = {.parent = &path};
    json_for_each (obj, json_get(r->vmi, "accessCredentials")) {
        read_credential(r, obj, &element);
        element.index++;
    }
}

bool vmspec_credential_is_for(const struct vmspec_credential *credential,
                              const struct vmspec_volume *volume)
{
    return volume->kind == (credential->config_drive ? VMSPEC_VOLUME_CLOUD_INIT_CONFIG_DRIVE
                                                     : VMSPEC_VOLUME_CLOUD_INIT_NO_CLOUD);
}
