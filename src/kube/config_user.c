// SPDX-License-Identifier: Apache-2.0
/*
 * One cluster and one user of a kubeconfig (client-go's clientcmd/api v1) into a configuration.
 * Start-up, one thread; the trees are outside input.
 */
#include "config.h"
#include <gnutls/gnutls.h>
#include <podvisor/cleanup.h>
#include <podvisor/str.h>
#include <string.h>

#define EXEC_EXTENSION "client.authentication.k8s.io/exec"

/* A string member as our own copy; *ret stays NULL when it is absent or empty. */
static int get_text(const cJSON *object, const char *key, const struct json_path *path, char **ret,
                    struct error *err)
{
    const char *text = NULL;
    int r = json_get_string(object, key, path, &text, err);
    if (r <= 0 || *text == '\0')
        return r < 0 ? r : 0;
    free(*ret);
    *ret = xstrdup(text);
    return 0;
}

/* The same for a text that is sent in a header. */
static int get_header_text(const cJSON *object, const char *key, const struct json_path *path,
                           char **ret, struct error *err)
{
    int r = get_text(object, key, path, ret, err);
    return r < 0 || *ret == NULL ? r : kube_config_check_header(key, *ret, err);
}

static char *resolve(const char *dir, const char *path)
{
    return *path == '/' ? xstrdup(path) : xasprintf("%s/%s", dir, path);
}

static int get_file(const cJSON *object, const char *key, const char *dir,
                    const struct json_path *path, char **ret, struct error *err)
{
    cleanup_free char *name = NULL;
    int r = get_text(object, key, path, &name, err);
    if (r == 0 && name != NULL)
        *ret = resolve(dir, name);
    return r;
}

/* Base64 as Go's encoding/json reads a []byte: line ends inside it do not count. */
static int decode(const char *key, const char *text, struct kube_material *ret, struct error *err)
{
    cleanup_free char *packed = xcalloc(strlen(text) + 1, 1);
    size_t len = 0;
    for (const char *c = text; *c != '\0'; c++) {
        if (*c != '\r' && *c != '\n')
            packed[len++] = *c;
    }
    gnutls_datum_t in = {.data = (unsigned char *)packed, .size = (unsigned)len}, out = {0};
    int r = len % 4 != 0 ? GNUTLS_E_BASE64_DECODING_ERROR : gnutls_base64_decode2(&in, &out);
    if (r < 0)
        return error_set(err, EINVAL, "%s is no base64", key);
    ret->data = xcalloc(out.size + 1, 1);
    memcpy(ret->data, out.data, out.size);
    ret->len = out.size;
    gnutls_memset(out.data, 0, out.size);
    gnutls_free(out.data);
    return 0;
}

/* KEY-data beats KEY. */
static int get_material(const cJSON *object, const char *key, const char *data_key, const char *dir,
                        const struct json_path *path, struct kube_material *ret, struct error *err)
{
    const char *data = NULL;
    int r = json_get_string(object, data_key, path, &data, err);
    if (r < 0)
        return r;
    if (r == 1 && *data != '\0')
        return decode(data_key, data, ret, err);
    return get_file(object, key, dir, path, &ret->path, err);
}

static int check_proxy(const struct kube_config *config, struct error *err)
{
    static const char *const schemes[] = {"http://", "https://", "socks5://", "socks5h://"};
    if (config->proxy_url == NULL)
        return 0;
    for (size_t i = 0; i < ARRAY_SIZE(schemes); i++) {
        if (str_starts_with(config->proxy_url, schemes[i]))
            return 0;
    }
    return error_set(err, EINVAL, "proxy-url %s does not begin with http://, https:// or socks5://",
                     config->proxy_url);
}

int kube_config_read_cluster(struct kube_config *config, const cJSON *cluster, const char *dir,
                             const struct json_path *path, struct error *err)
{
    cleanup_free char *server = NULL;
    int r;
    if ((r = get_text(cluster, "server", path, &server, err)) < 0 ||
        (r = get_material(cluster, "certificate-authority", "certificate-authority-data", dir, path,
                          &config->ca, err)) < 0 ||
        (r = json_get_bool(cluster, "insecure-skip-tls-verify", path, &config->insecure, err)) <
            0 ||
        (r = json_get_bool(cluster, "disable-compression", path, &config->no_compression, err)) <
            0 ||
        (r = get_header_text(cluster, "tls-server-name", path, &config->tls_server_name, err)) <
            0 ||
        (r = get_header_text(cluster, "proxy-url", path, &config->proxy_url, err)) < 0 ||
        (r = check_proxy(config, err)) < 0)
        return r;
    if (server == NULL)
        return error_set(err, EINVAL, "no server is named");
    return kube_config_set_server(config, server, err);
}

/* --- exec plugins ----------------------------------------------------------------------------- */

static int read_args(struct kube_exec_config *exec, const cJSON *object,
                     const struct json_path *path, struct error *err)
{
    const cJSON *list = NULL;
    int r = json_get_array(object, "args", path, &list, err);
    json_for_each (item, list) {
        if (!cJSON_IsString(item))
            return error_set(err, EINVAL, "exec.args must be strings, not %s",
                             json_item_type_name(item));
        *vec_add(&exec->args) = xstrdup(item->valuestring);
    }
    return r < 0 ? r : 0;
}

static int read_env(struct kube_exec_config *exec, const cJSON *object,
                    const struct json_path *path, struct error *err)
{
    const cJSON *list = NULL;
    int r = json_get_array(object, "env", path, &list, err);
    if (r < 0)
        return r;
    json_for_each (item, list) {
        struct kube_pair *pair = vec_add(&exec->env);
        if ((r = get_text(item, "name", path, &pair->key, err)) < 0 ||
            (r = get_text(item, "value", path, &pair->value, err)) < 0)
            return r;
        if (pair->key == NULL || strchr(pair->key, '=') != NULL)
            return error_set(err, EINVAL, "exec.env has an entry without a proper name");
        if (pair->value == NULL)
            pair->value = xstrdup("");
    }
    return 0;
}

static int read_interactive(struct kube_exec_config *exec, const cJSON *object,
                            const struct json_path *path, struct error *err)
{
    static const char *const modes[] = {[KUBE_INTERACTIVE_NEVER] = "Never",
                                        [KUBE_INTERACTIVE_IF_TTY] = "IfAvailable",
                                        [KUBE_INTERACTIVE_ALWAYS] = "Always"};
    const char *mode = "IfAvailable";
    int r = json_get_string(object, "interactiveMode", path, &mode, err);
    if (r < 0)
        return r;
    for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
        if (strcmp(mode, modes[i]) == 0) {
            exec->interactive = (enum kube_interactive)i;
            return 0;
        }
    }
    return error_set(err, EINVAL,
                     "exec.interactiveMode is \"%s\", not Never, IfAvailable or Always", mode);
}

/* The folder counts only for a command with a '/', as in a shell. */
static void resolve_command(struct kube_exec_config *exec, const char *dir)
{
    if (strchr(exec->command, '/') == NULL)
        return;
    char *command = resolve(dir, exec->command);
    free(exec->command);
    exec->command = command;
}

static int check_exec(const struct kube_exec_config *exec, struct error *err)
{
    if (exec->command == NULL)
        return error_set(err, EINVAL, "exec names no command");
    if (!str_equal(exec->api_version, "client.authentication.k8s.io/v1") &&
        !str_equal(exec->api_version, "client.authentication.k8s.io/v1beta1"))
        return error_set(err, EINVAL,
                         "exec.apiVersion is \"%s\"; client.authentication.k8s.io/v1 and v1beta1 "
                         "are supported",
                         exec->api_version != NULL ? exec->api_version : "");
    return 0;
}

/* What the cluster's entry holds for plugins. */
static cJSON *find_extension(const cJSON *cluster)
{
    const cJSON *list = json_get(cluster, "extensions");
    json_for_each (item, list) {
        const char *name = NULL;
        if (json_get_string(item, "name", NULL, &name, NULL) == 1 &&
            strcmp(name, EXEC_EXTENSION) == 0)
            return cJSON_Duplicate(json_get(item, "extension"), true);
    }
    return NULL;
}

static int read_exec(struct kube_config *config, const cJSON *object, const cJSON *cluster,
                     const char *dir, struct error *err)
{
    static const struct json_path path = {.key = "exec"};
    struct kube_exec_config *exec = config->exec = xcalloc(1, sizeof(*exec));
    int r;
    if ((r = get_text(object, "command", &path, &exec->command, err)) < 0 ||
        (r = get_text(object, "apiVersion", &path, &exec->api_version, err)) < 0 ||
        (r = get_text(object, "installHint", &path, &exec->install_hint, err)) < 0 ||
        (r = json_get_bool(object, "provideClusterInfo", &path, &exec->provide_cluster_info, err)) <
            0 ||
        (r = read_args(exec, object, &path, err)) < 0 ||
        (r = read_env(exec, object, &path, err)) < 0 ||
        (r = read_interactive(exec, object, &path, err)) < 0 || (r = check_exec(exec, err)) < 0)
        return r;
    resolve_command(exec, dir);
    exec->cluster_extension = find_extension(cluster);
    return 0;
}

/* --- impersonation ---------------------------------------------------------------------------- */

static int read_as_groups(struct kube_config *config, const cJSON *user,
                          const struct json_path *path, struct error *err)
{
    const cJSON *list = NULL;
    int r = json_get_array(user, "as-groups", path, &list, err);
    if (r < 0)
        return r;
    json_for_each (item, list) {
        if (!cJSON_IsString(item))
            return error_set(err, EINVAL, "as-groups must be strings, not %s",
                             json_item_type_name(item));
        r = kube_config_check_header("as-groups", item->valuestring, err);
        if (r < 0)
            return r;
        *vec_add(&config->as_groups) = xstrdup(item->valuestring);
    }
    return 0;
}

static int read_as_extra(struct kube_config *config, const cJSON *user,
                         const struct json_path *path, struct error *err)
{
    const cJSON *extra = NULL;
    int r = json_get_object(user, "as-user-extra", path, &extra, err);
    if (r < 0)
        return r;
    json_for_each (list, extra) {
        if (!cJSON_IsArray(list))
            return error_set(err, EINVAL, "as-user-extra.%s must be an array of strings",
                             list->string);
        json_for_each (item, list) {
            if (!cJSON_IsString(item))
                return error_set(err, EINVAL, "as-user-extra.%s must be an array of strings",
                                 list->string);
            r = kube_config_check_header("as-user-extra", item->valuestring, err);
            if (r < 0)
                return r;
            *vec_add(&config->as_extra) = (struct kube_pair){.key = xstrdup(list->string),
                                                             .value = xstrdup(item->valuestring)};
        }
    }
    return 0;
}

static int read_impersonation(struct kube_config *config, const cJSON *user,
                              const struct json_path *path, struct error *err)
{
    int r;
    if ((r = get_header_text(user, "as", path, &config->as, err)) < 0 ||
        (r = get_header_text(user, "as-uid", path, &config->as_uid, err)) < 0 ||
        (r = read_as_groups(config, user, path, err)) < 0 ||
        (r = read_as_extra(config, user, path, err)) < 0)
        return r;
    bool more = config->as_uid != NULL || config->as_groups.count > 0 || config->as_extra.count > 0;
    if (config->as == NULL && more)
        return error_set(err, EINVAL, "as-uid, as-groups and as-user-extra need \"as\"");
    return 0;
}

int kube_config_read_user(struct kube_config *config, const cJSON *user, const cJSON *cluster,
                          const char *dir, const struct json_path *path, struct error *err)
{
    const cJSON *exec = NULL;
    int r;
    if (json_get(user, "auth-provider") != NULL)
        return error_set(err, ENOTSUP,
                         "auth-provider was removed from Kubernetes; use an exec plugin in its "
                         "place (users[].user.exec)");
    if ((r = get_material(user, "client-certificate", "client-certificate-data", dir, path,
                          &config->cert, err)) < 0 ||
        (r = get_material(user, "client-key", "client-key-data", dir, path, &config->key, err)) <
            0 ||
        (r = get_header_text(user, "token", path, &config->token, err)) < 0 ||
        (r = get_file(user, "tokenFile", dir, path, &config->token_file, err)) < 0 ||
        (r = get_text(user, "username", path, &config->username, err)) < 0 ||
        (r = get_text(user, "password", path, &config->password, err)) < 0 ||
        (r = read_impersonation(config, user, path, err)) < 0 ||
        (r = json_get_object(user, "exec", path, &exec, err)) < 0)
        return r;
    if (config->username != NULL && (config->token != NULL || config->token_file != NULL))
        return error_set(err, EINVAL, "a token and a user name exclude each other");
    return exec != NULL ? read_exec(config, exec, cluster, dir, err) : 0;
}
