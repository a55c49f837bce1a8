// SPDX-License-Identifier: Apache-2.0
/*
 * The configuration as a whole: which source it comes from, the pod's service account, the server's
 * URL, files. Start-up, one thread.
 */
#include "config.h"
#include <arpa/inet.h>
#include <curl/curl.h>
#include <fcntl.h>
#include <podvisor/cleanup.h>
#include <podvisor/str.h>
#include <string.h>
#include <sys/stat.h>

#define SERVICE_ACCOUNT_DIR "/var/run/secrets/kubernetes.io/serviceaccount"
#define NAMESPACE_MAX       1024 /* bytes of the namespace file */
#define TOKEN_MAX           (64u << 10)

void kube_secret_free(char *secret, size_t len)
{
    if (secret != NULL)
        explicit_bzero(secret, len);
    free(secret);
}

static void wipe_string(char *secret)
{
    kube_secret_free(secret, secret != NULL ? strlen(secret) : 0);
}

static void material_done(struct kube_material *material)
{
    kube_secret_free(material->data, material->len);
    free(material->path);
}

static void exec_config_free(struct kube_exec_config *exec)
{
    if (exec == NULL)
        return;
    for (size_t i = 0; i < exec->args.count; i++)
        free(exec->args.item[i]);
    for (size_t i = 0; i < exec->env.count; i++) {
        free(exec->env.item[i].key);
        wipe_string(exec->env.item[i].value);
    }
    vec_free(&exec->args);
    vec_free(&exec->env);
    free(exec->command);
    free(exec->api_version);
    free(exec->install_hint);
    cJSON_Delete(exec->cluster_extension);
    free(exec);
}

void kube_config_free(struct kube_config *config)
{
    if (config == NULL)
        return;
    char *const plain[] = {config->server,          config->host,      config->prefix,
                           config->tls_server_name, config->proxy_url, config->token_file,
                           config->username,        config->as,        config->as_uid,
                           config->namespace_,      config->user_agent};
    for (size_t i = 0; i < ARRAY_SIZE(plain); i++)
        free(plain[i]);
    wipe_string(config->token);
    wipe_string(config->password);
    material_done(&config->ca);
    material_done(&config->cert);
    material_done(&config->key);
    for (size_t i = 0; i < config->as_groups.count; i++)
        free(config->as_groups.item[i]);
    for (size_t i = 0; i < config->as_extra.count; i++) {
        free(config->as_extra.item[i].key);
        free(config->as_extra.item[i].value);
    }
    vec_free(&config->as_groups);
    vec_free(&config->as_extra);
    exec_config_free(config->exec);
    free(config);
}

int kube_config_read_file(const char *path, size_t max, char **ret, size_t *ret_len,
                          struct error *err)
{
    struct stat st;
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) < 0)
        return error_sys(err, errno, "cannot read %s", path);
    if (!S_ISREG(st.st_mode))
        return error_set(err, EINVAL, "%s is not a regular file", path);
    if (st.st_size < 0 || (size_t)st.st_size > max)
        return error_set(err, E2BIG, "%s has more than %zu bytes", path, max);
    /* Its size may grow in between: what is read is bounded by what was allocated. */
    size_t size = (size_t)st.st_size, len = 0;
    char *text = xcalloc(size + 1, 1);
    while (len < size) {
        ssize_t n = read(fd, text + len, size - len);
        if (n < 0) {
            int code = errno;
            kube_secret_free(text, len);
            return error_sys(err, code, "cannot read %s", path);
        }
        if (n == 0)
            break;
        len += (size_t)n;
    }
    *ret = text;
    *ret_len = len;
    return 0;
}

int kube_material_read(const struct kube_material *material, const char *what, char **ret,
                       size_t *ret_len, struct error *err)
{
    *ret = NULL;
    *ret_len = 0;
    if (material->data == NULL && material->path == NULL)
        return 0;
    if (material->data == NULL) {
        int r = kube_config_read_file(material->path, 4u << 20, ret, ret_len, err);
        return r < 0 ? error_wrap(err, "%s", what) : 0;
    }
    *ret = xcalloc(material->len + 1, 1);
    memcpy(*ret, material->data, material->len);
    *ret_len = material->len;
    return 0;
}

int kube_config_check_header(const char *what, const char *text, struct error *err)
{
    for (const unsigned char *c = (const unsigned char *)text; *c != '\0'; c++) {
        if (*c < ' ' || *c == 0x7f)
            return error_set(err, EINVAL, "%s has a control character in it", what);
    }
    return 0;
}

/* --- the server's URL ------------------------------------------------------------------------- */

static bool is_loopback(const char *host)
{
    struct in_addr v4;
    if (strcmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0)
        return true;
    return inet_pton(AF_INET, host, &v4) == 1 && (ntohl(v4.s_addr) >> 24) == 127;
}

/* A part of a URL as our own copy; NULL when it has none. */
static char *url_part(CURLU *url, CURLUPart part, unsigned flags)
{
    char *text = NULL;
    if (curl_url_get(url, part, &text, flags) != CURLUE_OK)
        return NULL;
    char *copy = xstrdup(text);
    curl_free(text);
    return copy;
}

static int refuse_part(CURLU *url, CURLUPart part, const char *what, const char *text,
                       struct error *err)
{
    cleanup_free char *value = url_part(url, part, 0);
    if (value == NULL)
        return 0;
    return error_set(err, EINVAL, "the server's URL %s may not have %s", text, what);
}

static int split_server(struct kube_config *config, CURLU *url, const char *text, struct error *err)
{
    cleanup_free char *scheme = url_part(url, CURLUPART_SCHEME, 0);
    cleanup_free char *host = url_part(url, CURLUPART_HOST, 0);
    cleanup_free char *port = url_part(url, CURLUPART_PORT, CURLU_DEFAULT_PORT);
    cleanup_free char *path = url_part(url, CURLUPART_PATH, 0);
    if (scheme == NULL || host == NULL || port == NULL || path == NULL ||
        (strcmp(scheme, "https") != 0 && strcmp(scheme, "http") != 0))
        return error_set(err, EINVAL, "the server's URL %s does not begin with https:// and a host",
                         text);
    static const struct {
        CURLUPart part;
        const char *what;
    } refused[] = {{CURLUPART_USER, "a user name"},
                   {CURLUPART_PASSWORD, "a password"},
                   {CURLUPART_QUERY, "a query"},
                   {CURLUPART_FRAGMENT, "a fragment"}};
    for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
        int r = refuse_part(url, refused[i].part, refused[i].what, text, err);
        if (r < 0)
            return r;
    }
    for (size_t len = strlen(path); len > 0 && path[len - 1] == '/'; len--)
        path[len - 1] = '\0';
    config->tls = strcmp(scheme, "https") == 0;
    config->loopback = is_loopback(host);
    config->port = (unsigned)strtoul(port, NULL, 10);
    config->server = xasprintf("%s://%s:%s%s", scheme, host, port, path);
    config->host = steal_ptr(host);
    config->prefix = steal_ptr(path);
    return 0;
}

int kube_config_set_server(struct kube_config *config, const char *text, struct error *err)
{
    CURLU *url = curl_url();
    if (url == NULL)
        out_of_memory();
    int r;
    if (kube_config_check_header("the server's URL", text, err) < 0)
        r = -EINVAL;
    else if (strstr(text, "://") == NULL ||
             curl_url_set(url, CURLUPART_URL, text, CURLU_NON_SUPPORT_SCHEME) != CURLUE_OK)
        r = error_set(err, EINVAL, "the server \"%s\" is no URL; write https://HOST:PORT", text);
    else
        r = split_server(config, url, text, err);
    curl_url_cleanup(url);
    return r;
}

static bool has_credentials(const struct kube_config *c)
{
    return c->token != NULL || c->token_file != NULL || c->username != NULL || c->exec != NULL ||
           c->cert.data != NULL || c->cert.path != NULL;
}

int kube_config_check(const struct kube_config *c, struct error *err)
{
    bool ca = c->ca.data != NULL || c->ca.path != NULL;
    bool cert = c->cert.data != NULL || c->cert.path != NULL;
    bool key = c->key.data != NULL || c->key.path != NULL;
    if (c->server == NULL)
        return error_set(err, EINVAL, "no server is named");
    if (!c->tls && has_credentials(c) && (!c->loopback || c->proxy_url != NULL))
        return error_set(err, EINVAL,
                         "%s has no TLS: credentials would travel in clear text; use https://",
                         c->server);
    if (c->insecure && ca)
        return error_set(err, EINVAL,
                         "insecure-skip-tls-verify and a certificate authority exclude each other");
    if (cert != key)
        return error_set(err, EINVAL, "a client %s is given without its %s",
                         cert ? "certificate" : "key", cert ? "key" : "certificate");
    return 0;
}

/* --- where it comes from ---------------------------------------------------------------------- */

static char *trimmed(const char *text)
{
    static const char space[] = " \t\r\n";
    char *copy = xstrdup(text + strspn(text, space));
    size_t len = strlen(copy);
    while (len > 0 && strchr(space, copy[len - 1]) != NULL)
        copy[--len] = '\0';
    return copy;
}

int kube_config_in_cluster(const char *host, const char *port, const char *dir,
                           struct kube_config **ret, struct error *err)
{
    cleanup_kube_config struct kube_config *config = xcalloc(1, sizeof(*config));
    bool v6 = strchr(host, ':') != NULL;
    cleanup_free char *url =
        xasprintf("https://%s%s%s:%s", v6 ? "[" : "", host, v6 ? "]" : "", port);
    config->token_file = xasprintf("%s/token", dir);
    config->ca.path = xasprintf("%s/ca.crt", dir);
    cleanup_free char *namespace_file = xasprintf("%s/namespace", dir);
    cleanup_free char *namespace_ = NULL;
    char *token = NULL;
    size_t len = 0;
    int r = kube_config_set_server(config, url, err);
    if (r == 0)
        r = kube_config_read_file(config->token_file, TOKEN_MAX, &token, &len, err);
    if (r < 0) {
        error_wrap(err, "the pod's service account");
        return error_hint(err, "the pod needs automountServiceAccountToken: true");
    }
    kube_secret_free(token, len);
    (void)kube_config_read_file(namespace_file, NAMESPACE_MAX, &namespace_, &len, NULL);
    if (namespace_ != NULL)
        config->namespace_ = trimmed(namespace_);
    r = kube_config_check(config, err);
    if (r < 0)
        return r;
    *ret = steal_ptr(config);
    return 0;
}

static int from_home(const char *context, struct kube_config **ret, struct error *err)
{
    const char *home = getenv("HOME");
    cleanup_free char *path =
        home != NULL && *home != '\0' ? xasprintf("%s/.kube/config", home) : NULL;
    if (path == NULL || access(path, F_OK) < 0)
        return error_set(err, ENOENT,
                         "no cluster is configured: KUBECONFIG is not set, this is no pod with a "
                         "service account, and there is no ~/.kube/config; set KUBECONFIG");
    return kube_config_from_files(path, context, ret, err);
}

static int from_source(const struct kube_config_options *options, struct kube_config **ret,
                       struct error *err)
{
    const char *paths = options->kubeconfig != NULL ? options->kubeconfig : getenv("KUBECONFIG");
    if (paths != NULL && *paths != '\0')
        return kube_config_from_files(paths, options->context, ret, err);
    const char *host = getenv("KUBERNETES_SERVICE_HOST"), *port = getenv("KUBERNETES_SERVICE_PORT");
    if (host != NULL && port != NULL && *host != '\0' && *port != '\0')
        return kube_config_in_cluster(host, port, SERVICE_ACCOUNT_DIR, ret, err);
    return from_home(options->context, ret, err);
}

int kube_config_load(const struct kube_config_options *options, struct kube_config **ret,
                     struct error *err)
{
    const char *agent =
        options->user_agent != NULL ? options->user_agent : "podvisor/" PODVISOR_VERSION;
    int r = kube_config_check_header("the user agent", agent, err);
    if (r == 0)
        r = from_source(options, ret, err);
    if (r < 0)
        return r;
    (*ret)->user_agent = xstrdup(agent);
    if ((*ret)->namespace_ == NULL || *(*ret)->namespace_ == '\0') {
        free((*ret)->namespace_);
        (*ret)->namespace_ = xstrdup("default");
    }
    return 0;
}
