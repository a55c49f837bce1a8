// SPDX-License-Identifier: Apache-2.0
/*
 * Credential plugins (client.authentication.k8s.io/v1, v1beta1): a program
 * is run without a shell and prints an ExecCredential. Its environment is ours, the kubeconfig's
 * additions and KUBERNETES_EXEC_INFO; its standard error is ours. What it prints is outside input,
 * at most 1 MiB within 60 s; after that its process group is killed. Any thread; blocks.
 */
#include "config.h"
#include <fcntl.h>
#include <gnutls/gnutls.h>
#include <podvisor/cleanup.h>
#include <podvisor/clock.h>
#include <podvisor/str.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>

#define OUTPUT_MAX (1u << 20)

uint64_t kube_exec_timeout_ns = 60 * NSEC_PER_SEC;

struct plugin {
    pid_t pid;
    int pid_fd, out_fd;
    bool own_group;
    char *out; /* OUTPUT_MAX + 1 bytes */
    size_t len;
};

void kube_exec_credential_done(struct kube_exec_credential *c)
{
    char *const secret[] = {c->token, c->cert, c->key};
    for (size_t i = 0; i < ARRAY_SIZE(secret); i++)
        kube_secret_free(secret[i], secret[i] != NULL ? strlen(secret[i]) : 0);
    *c = (struct kube_exec_credential){.expires_ns = INT64_MAX};
}

/* --- what the plugin is told ------------------------------------------------------------------ */

static void add(cJSON *object, const char *key, cJSON *item)
{
    if (item == NULL || !cJSON_AddItemToObject(object, key, item))
        out_of_memory();
}

static int add_ca(cJSON *cluster, const struct kube_config *config, struct error *err)
{
    cleanup_free char *pem = NULL;
    size_t len;
    int r = kube_material_read(&config->ca, "the certificate authority", &pem, &len, err);
    if (r < 0 || pem == NULL)
        return r;
    gnutls_datum_t in = {.data = (unsigned char *)pem, .size = (unsigned)len}, out;
    if (gnutls_base64_encode2(&in, &out) < 0)
        out_of_memory();
    add(cluster, "certificate-authority-data", cJSON_CreateString((const char *)out.data));
    gnutls_free(out.data);
    return 0;
}

static int add_cluster(cJSON *spec, const struct kube_config *config, struct error *err)
{
    cJSON *cluster = cJSON_CreateObject();
    add(spec, "cluster", cluster);
    add(cluster, "server", cJSON_CreateString(config->server));
    if (config->tls_server_name != NULL)
        add(cluster, "tls-server-name", cJSON_CreateString(config->tls_server_name));
    if (config->insecure)
        add(cluster, "insecure-skip-tls-verify", cJSON_CreateTrue());
    if (config->proxy_url != NULL)
        add(cluster, "proxy-url", cJSON_CreateString(config->proxy_url));
    if (config->exec->cluster_extension != NULL)
        add(cluster, "config", cJSON_Duplicate(config->exec->cluster_extension, true));
    return add_ca(cluster, config, err);
}

/* "KUBERNETES_EXEC_INFO={...}", for free(). */
static int make_info(const struct kube_config *config, bool interactive, char **ret,
                     struct error *err)
{
    cleanup_json cJSON *info = cJSON_CreateObject();
    cJSON *spec = cJSON_CreateObject();
    if (info == NULL)
        out_of_memory();
    add(info, "kind", cJSON_CreateString("ExecCredential"));
    add(info, "apiVersion", cJSON_CreateString(config->exec->api_version));
    add(info, "spec", spec);
    add(spec, "interactive", cJSON_CreateBool(interactive));
    int r = config->exec->provide_cluster_info ? add_cluster(spec, config, err) : 0;
    cleanup_free char *text = NULL;
    if (r < 0 || (r = json_print(info, &text, NULL, err)) < 0)
        return r;
    *ret = xasprintf("KUBERNETES_EXEC_INFO=%s", text);
    return 0;
}

struct strings {
    VEC(char *) list;
};

static void strings_done(struct strings *s)
{
    for (size_t i = 0; i < s->list.count; i++)
        free(s->list.item[i]);
    vec_free(&s->list);
}

#define cleanup_strings __attribute__((cleanup(strings_done)))

/* Sets a variable: takes "NAME=value", which replaces an earlier one of that name. */
static void set_variable(struct strings *env, char *entry_take)
{
    size_t name = strcspn(entry_take, "=") + 1;
    for (size_t i = 0; i < env->list.count; i++) {
        if (strncmp(env->list.item[i], entry_take, name) == 0) {
            free(env->list.item[i]);
            env->list.item[i] = entry_take;
            return;
        }
    }
    *vec_add(&env->list) = entry_take;
}

static int make_environment(const struct kube_config *config, bool interactive, struct strings *ret,
                            struct error *err)
{
    char *info = NULL;
    int r = make_info(config, interactive, &info, err);
    if (r < 0)
        return r;
    for (char **entry = environ; *entry != NULL; entry++)
        *vec_add(&ret->list) = xstrdup(*entry);
    for (size_t i = 0; i < config->exec->env.count; i++)
        set_variable(ret, xasprintf("%s=%s", config->exec->env.item[i].key,
                                    config->exec->env.item[i].value));
    set_variable(ret, info);
    (void)vec_add(&ret->list); /* the NULL at the end */
    return 0;
}

/* --- running it ------------------------------------------------------------------------------- */

/* Standard input and output of the plugin, default signals, a group of its own unless it may ask on
 * the terminal. */
static int spawn(const struct kube_exec_config *exec, char **argv, char **envp, bool interactive,
                 int out_fd, pid_t *ret)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attr);
    short flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
    if (!interactive) {
        posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
        flags |= POSIX_SPAWN_SETPGROUP;
        posix_spawnattr_setpgroup(&attr, 0);
    }
    posix_spawn_file_actions_adddup2(&actions, out_fd, STDOUT_FILENO);
    posix_spawnattr_setflags(&attr, flags);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setsigdefault(&attr, &all);
    int r = posix_spawnp(ret, exec->command, &actions, &attr, argv, envp);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attr);
    return r;
}

static int start(struct plugin *plugin, const struct kube_config *config, bool interactive,
                 struct error *err)
{
    const struct kube_exec_config *exec = config->exec;
    cleanup_strings struct strings env = {0};
    int r = make_environment(config, interactive, &env, err);
    if (r < 0)
        return r;
    cleanup_free char **argv = xcalloc(exec->args.count + 2, sizeof(*argv));
    argv[0] = exec->command;
    for (size_t i = 0; i < exec->args.count; i++)
        argv[i + 1] = exec->args.item[i];
    int pipe_fd[2];
    if (pipe2(pipe_fd, O_CLOEXEC) < 0)
        return error_sys(err, errno, "cannot make a pipe");
    r = spawn(exec, argv, env.list.item, interactive, pipe_fd[1], &plugin->pid);
    close(pipe_fd[1]);
    if (r != 0) {
        close(pipe_fd[0]);
        error_sys(err, r, "cannot run %s", exec->command);
        return exec->install_hint != NULL ? error_hint(err, "%s", exec->install_hint) : -r;
    }
    plugin->own_group = !interactive;
    plugin->out_fd = pipe_fd[0];
    plugin->pid_fd = pidfd_open(plugin->pid, 0);
    return 0;
}

/* Waits until a descriptor can be read. Returns 0 or -ETIMEDOUT. */
static int wait_readable(int fd, uint64_t deadline_ns)
{
    for (;;) {
        uint64_t now = clock_now_ns();
        if (now >= deadline_ns)
            return -ETIMEDOUT;
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int n = poll(&p, 1, (int)((deadline_ns - now) / NSEC_PER_MSEC) + 1);
        if (n > 0)
            return 0;
    }
}

static int read_output(struct plugin *plugin, uint64_t deadline_ns, struct error *err)
{
    for (;;) {
        if (wait_readable(plugin->out_fd, deadline_ns) < 0)
            return error_set(err, ETIMEDOUT, "did not end within %u s",
                             (unsigned)(kube_exec_timeout_ns / NSEC_PER_SEC));
        ssize_t n = read(plugin->out_fd, plugin->out + plugin->len, OUTPUT_MAX + 1 - plugin->len);
        if (n == 0)
            return 0;
        if (n < 0)
            return error_sys(err, errno, "cannot read its output");
        plugin->len += (size_t)n;
        if (plugin->len > OUTPUT_MAX)
            return error_set(err, E2BIG, "printed more than 1 MiB");
    }
}

/* Its exit code, after it ended by itself. */
static int reap(struct plugin *plugin, uint64_t deadline_ns, struct error *err)
{
    int status = 0;
    if (plugin->pid_fd >= 0 && wait_readable(plugin->pid_fd, deadline_ns) < 0)
        return error_set(err, ETIMEDOUT, "closed its output but did not end within %u s",
                         (unsigned)(kube_exec_timeout_ns / NSEC_PER_SEC));
    pid_t pid = waitpid(plugin->pid, &status, 0);
    plugin->pid = -1;
    /* Another reaper of this process (PID 1's) may have been faster: the output then decides. */
    if (pid < 0)
        return 0;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    if (WIFEXITED(status))
        return error_set(err, EACCES, "ended with exit code %d", WEXITSTATUS(status));
    return error_set(err, EACCES, "was ended by signal %d", WTERMSIG(status));
}

static void finish(struct plugin *plugin)
{
    if (plugin->pid > 0) {
        kill(plugin->own_group ? -plugin->pid : plugin->pid, SIGKILL);
        waitpid(plugin->pid, NULL, 0);
    }
    if (plugin->pid_fd >= 0)
        close(plugin->pid_fd);
    if (plugin->out_fd >= 0)
        close(plugin->out_fd);
    kube_secret_free(plugin->out, OUTPUT_MAX + 1);
}

#define cleanup_plugin __attribute__((cleanup(finish)))

int kube_exec_run(const struct kube_config *config, struct kube_exec_credential *ret,
                  struct error *err)
{
    const struct kube_exec_config *exec = config->exec;
    bool interactive = exec->interactive != KUBE_INTERACTIVE_NEVER && isatty(STDIN_FILENO);
    if (exec->interactive == KUBE_INTERACTIVE_ALWAYS && !interactive)
        return error_set(err, EACCES, "credential plugin %s wants a terminal to ask on",
                         exec->command);
    uint64_t deadline = clock_now_ns() + kube_exec_timeout_ns;
    cleanup_plugin struct plugin plugin = {.pid = -1, .pid_fd = -1, .out_fd = -1};
    plugin.out = xcalloc(OUTPUT_MAX + 1, 1);
    int r = start(&plugin, config, interactive, err);
    if (r == 0)
        r = read_output(&plugin, deadline, err);
    if (r == 0)
        r = reap(&plugin, deadline, err);
    if (r == 0)
        r = kube_exec_parse(plugin.out, plugin.len, exec->api_version, ret, err);
    return r < 0 ? error_wrap(err, "credential plugin %s", exec->command) : 0;
}

/* --- what it prints --------------------------------------------------------------------------- */

static int check_kind(const cJSON *object, const char *api_version, struct error *err)
{
    const char *kind = "", *version = "";
    int r;
    if ((r = json_get_string(object, "kind", NULL, &kind, err)) < 0 ||
        (r = json_get_string(object, "apiVersion", NULL, &version, err)) < 0)
        return r;
    if (strcmp(kind, "ExecCredential") != 0)
        return error_set(err, EINVAL, "printed kind \"%s\", not ExecCredential", kind);
    if (strcmp(version, api_version) != 0)
        return error_set(err, EINVAL, "printed apiVersion \"%s\", not %s", version, api_version);
    return 0;
}

static int get_secret(const cJSON *status, const char *key, char **ret, struct error *err)
{
    static const struct json_path path = {.key = "status"};
    const char *text = NULL;
    int r = json_get_string(status, key, &path, &text, err);
    if (r == 1 && *text != '\0')
        *ret = xstrdup(text);
    return r < 0 ? r : 0;
}

static int read_status(const cJSON *status, struct kube_exec_credential *c, struct error *err)
{
    static const struct json_path path = {.key = "status"};
    const char *expires = NULL;
    int r;
    if ((r = get_secret(status, "token", &c->token, err)) < 0 ||
        (r = get_secret(status, "clientCertificateData", &c->cert, err)) < 0 ||
        (r = get_secret(status, "clientKeyData", &c->key, err)) < 0 ||
        (r = json_get_string(status, "expirationTimestamp", &path, &expires, err)) < 0)
        return r;
    if (expires != NULL && kube_time_parse(expires, &c->expires_ns) < 0)
        return error_set(err, EINVAL, "status.expirationTimestamp \"%s\" is no time", expires);
    if (c->token == NULL && c->cert == NULL)
        return error_set(err, EINVAL, "printed neither a token nor a client certificate");
    if ((c->cert == NULL) != (c->key == NULL))
        return error_set(err, EINVAL, "printed a client certificate or key without the other");
    return c->token != NULL ? kube_config_check_header("status.token", c->token, err) : 0;
}

int kube_exec_parse(const char *text, size_t len, const char *api_version,
                    struct kube_exec_credential *ret, struct error *err)
{
    const struct json_limits limits = {.bytes = OUTPUT_MAX};
    struct kube_exec_credential credential = {.expires_ns = INT64_MAX};
    cleanup_json cJSON *object = NULL;
    const cJSON *status = NULL;
    int r = json_parse(text, len, &limits, &object, err);
    if (r < 0)
        return error_wrap(err, "its output is no JSON");
    if (!cJSON_IsObject(object))
        return error_set(err, EINVAL, "its output is %s, not an object",
                         json_item_type_name(object));
    r = check_kind(object, api_version, err);
    if (r == 0)
        r = json_get_object(object, "status", NULL, &status, err);
    if (r < 0)
        return r;
    r = read_status(status, &credential, err);
    if (r < 0) {
        kube_exec_credential_done(&credential);
        return r;
    }
    *ret = credential;
    return 0;
}
