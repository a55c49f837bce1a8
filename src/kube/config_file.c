// SPDX-License-Identifier: Apache-2.0
/*
 * Kubeconfig files (client-go's clientcmd): a list of files of which, for every name, the first
 * that has it wins; the current context names cluster and user. Start-up, one thread; the files are
 * outside input.
 */
#include "config.h"
#include <podvisor/cleanup.h>
#include <podvisor/str.h>
#include <podvisor/yaml.h>
#include <string.h>

#define FILE_MAX   (4u << 20)
#define FILES_MAX  64
#define NAMES_SAID 8 /* in an error that lists what there is */

struct document {
    cJSON *tree;
    char *dir; /* relative paths begin here */
};

struct documents {
    struct document item[FILES_MAX];
    size_t count;
};

static void documents_done(struct documents *docs)
{
    for (size_t i = 0; i < docs->count; i++) {
        cJSON_Delete(docs->item[i].tree);
        free(docs->item[i].dir);
    }
}

#define cleanup_documents __attribute__((cleanup(documents_done)))

static int add_text(struct documents *docs, const char *text, size_t len, const char *dir,
                    struct error *err)
{
    if (docs->count == FILES_MAX)
        return error_set(err, E2BIG, "more than %d kubeconfig files", FILES_MAX);
    cleanup_json cJSON *tree = NULL;
    int r = yaml_parse(text, len, NULL, &tree, err);
    if (r < 0)
        return r;
    if (!cJSON_IsObject(tree))
        return error_set(err, EINVAL, "is %s, not a kubeconfig", json_item_type_name(tree));
    docs->item[docs->count++] = (struct document){.tree = steal_ptr(tree), .dir = xstrdup(dir)};
    return 0;
}

static int add_file(struct documents *docs, const char *path, struct error *err)
{
    cleanup_free char *text = NULL;
    size_t len;
    int r = kube_config_read_file(path, FILE_MAX, &text, &len, err);
    if (r < 0)
        return error_wrap(err, "kubeconfig");
    cleanup_free char *dir = xstrdup(path);
    char *slash = strrchr(dir, '/');
    if (slash == NULL)
        r = add_text(docs, text, len, ".", err);
    else {
        slash[slash == dir ? 1 : 0] = '\0';
        r = add_text(docs, text, len, dir, err);
    }
    explicit_bzero(text, len);
    return r < 0 ? error_wrap(err, "kubeconfig %s", path) : 0;
}

/* " it has: a, b" of a list in all files, for messages. */
static void list_names(const struct documents *docs, const char *list, char *buf, size_t size)
{
    size_t at = 0;
    unsigned said = 0;
    *buf = '\0';
    for (size_t i = 0; i < docs->count; i++) {
        json_for_each (entry, json_get(docs->item[i].tree, list)) {
            const char *name = NULL;
            if (json_get_string(entry, "name", NULL, &name, NULL) != 1 || said == NAMES_SAID ||
                at >= size)
                continue;
            at += (size_t)snprintf(buf + at, size - at, "%s%s", said++ > 0 ? ", " : "", name);
        }
    }
    if (said == 0)
        snprintf(buf, size, "none");
}

/* What `list` has under the name: its member `key`, and the file's folder. */
static int find(const struct documents *docs, const char *list, const char *key, const char *name,
                const cJSON **ret, const char **ret_dir, struct error *err)
{
    for (size_t i = 0; i < docs->count; i++) {
        const cJSON *array = NULL;
        int r = json_get_array(docs->item[i].tree, list, NULL, &array, err);
        if (r < 0)
            return r;
        json_for_each (entry, array) {
            const char *entry_name = NULL;
            if (json_get_string(entry, "name", NULL, &entry_name, NULL) != 1 ||
                strcmp(entry_name, name) != 0)
                continue;
            struct json_path path = {.key = list};
            *ret_dir = docs->item[i].dir;
            return json_get_object(entry, key, &path, ret, err);
        }
    }
    char names[512];
    list_names(docs, list, names, sizeof(names));
    return error_set(err, ENOENT, "%s has no \"%s\" (it has: %s)", list, name, names);
}

static int context_name(const struct documents *docs, const char *given, const char **ret,
                        struct error *err)
{
    *ret = given;
    for (size_t i = 0; *ret == NULL && i < docs->count; i++) {
        const char *name = NULL;
        int r = json_get_string(docs->item[i].tree, "current-context", NULL, &name, err);
        if (r < 0)
            return r;
        if (r == 1 && *name != '\0')
            *ret = name;
    }
    if (*ret != NULL)
        return 0;
    error_set(err, EINVAL, "there is no current-context");
    return error_hint(err, "`kubectl config use-context NAME` sets one");
}

static int read_context(struct kube_config *config, const struct documents *docs, const char *name,
                        struct error *err)
{
    static const struct json_path context_path = {.key = "context"},
                                  cluster_path = {.key = "cluster"}, user_path = {.key = "user"};
    const cJSON *context = NULL, *cluster = NULL, *user = NULL;
    const char *dir = ".", *cluster_name = "", *user_name = "", *namespace_ = NULL;
    int r = find(docs, "contexts", "context", name, &context, &dir, err);
    if (r < 0 || (r = json_get_string(context, "cluster", &context_path, &cluster_name, err)) < 0 ||
        (r = json_get_string(context, "user", &context_path, &user_name, err)) < 0 ||
        (r = json_get_string(context, "namespace", &context_path, &namespace_, err)) < 0)
        return r;
    config->namespace_ = xstrdup(namespace_);
    r = find(docs, "clusters", "cluster", cluster_name, &cluster, &dir, err);
    if (r >= 0)
        r = kube_config_read_cluster(config, cluster, dir, &cluster_path, err);
    if (r < 0)
        return error_wrap(err, "cluster \"%s\"", cluster_name);
    if (*user_name == '\0')
        return 0; /* anonymous */
    r = find(docs, "users", "user", user_name, &user, &dir, err);
    if (r > 0)
        r = kube_config_read_user(config, user, cluster, dir, &user_path, err);
    return r < 0 ? error_wrap(err, "user \"%s\"", user_name) : 0;
}

static int read_documents(const struct documents *docs, const char *context,
                          struct kube_config **ret, struct error *err)
{
    cleanup_kube_config struct kube_config *config = xcalloc(1, sizeof(*config));
    const char *name = NULL;
    int r = context_name(docs, context, &name, err);
    if (r < 0)
        return r;
    r = read_context(config, docs, name, err);
    if (r == 0)
        r = kube_config_check(config, err);
    if (r < 0)
        return error_wrap(err, "context \"%s\"", name);
    *ret = steal_ptr(config);
    return 0;
}

int kube_config_from_text(const char *text, size_t len, const char *dir, const char *context,
                          struct kube_config **ret, struct error *err)
{
    cleanup_documents struct documents docs = {.count = 0};
    int r = add_text(&docs, text, len, dir, err);
    if (r == 0)
        r = read_documents(&docs, context, ret, err);
    return r;
}

int kube_config_from_files(const char *paths, const char *context, struct kube_config **ret,
                           struct error *err)
{
    cleanup_documents struct documents docs = {.count = 0};
    bool only = strchr(paths, ':') == NULL;
    cleanup_free char *copy = xstrdup(paths);
    char *rest = NULL;
    for (char *path = strtok_r(copy, ":", &rest); path != NULL; path = strtok_r(NULL, ":", &rest)) {
        if (!only && access(path, F_OK) < 0 && errno == ENOENT)
            continue;
        int r = add_file(&docs, path, err);
        if (r < 0)
            return r;
    }
    if (docs.count == 0)
        return error_set(err, ENOENT, "kubeconfig: none of the files %s exists", paths);
    int r = read_documents(&docs, context, ret, err);
    return r < 0 ? error_wrap(err, "kubeconfig %s", paths) : 0;
}
