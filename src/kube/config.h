// SPDX-License-Identifier: Apache-2.0
/*
 * Where the cluster is and who we are, as a kubeconfig or a pod's service account says it
 * (client-go rest/config.go, tools/clientcmd). Read once at start-up by one thread, immutable
 * afterwards; what it names as files is read again by client_auth.c.
 */
#ifndef PODVISOR_KUBE_CONFIG_H
#define PODVISOR_KUBE_CONFIG_H

#include <podvisor/kube.h>
#include <podvisor/vec.h>

/* Certificates or a key: given as such, or as the file that has them. Both NULL: none. */
struct kube_material {
    char *data, *path;
    size_t len; /* of data */
};

struct kube_pair {
    char *key, *value;
};

enum kube_interactive { KUBE_INTERACTIVE_NEVER, KUBE_INTERACTIVE_IF_TTY, KUBE_INTERACTIVE_ALWAYS };

/* users[].user.exec: a program that prints credentials (client.authentication.k8s.io). */
struct kube_exec_config {
    char *command, *api_version, *install_hint;
    VEC(char *) args;
    VEC(struct kube_pair) env;
    enum kube_interactive interactive;
    bool provide_cluster_info;
    cJSON
        *cluster_extension; /* clusters[].cluster.extensions "client.authentication.k8s.io/exec" */
};

struct kube_config {
    char *server; /* "https://10.96.0.1:443/prefix", no '/' at its end */
    char *host;   /* as in a URL: IPv6 in brackets */
    char *prefix; /* "" or "/prefix" */
    unsigned port;
    bool tls, loopback;
    bool insecure, no_compression;
    char *tls_server_name, *proxy_url;
    struct kube_material ca, cert, key;
    char *token, *token_file, *username, *password;
    char *as, *as_uid;
    VEC(char *) as_groups;
    VEC(struct kube_pair) as_extra;
    struct kube_exec_config *exec;
    char *namespace_, *user_agent;
};

/* As kube_client_new() says. The result is for kube_config_free(). */
int kube_config_load(const struct kube_config_options *options, struct kube_config **ret,
                     struct error *err);
void kube_config_free(struct kube_config *config); /* NULL is allowed */

/* The service account whose files are in `dir`, the API where `host` and `port` say. */
int kube_config_in_cluster(const char *host, const char *port, const char *dir,
                           struct kube_config **ret, struct error *err);

/* Kubeconfig files, ':' between them; a missing one is passed over unless it is the only one. */
int kube_config_from_files(const char *paths, const char *context, struct kube_config **ret,
                           struct error *err);

/* One kubeconfig as text; relative paths in it begin at `dir`. */
int kube_config_from_text(const char *text, size_t len, const char *dir, const char *context,
                          struct kube_config **ret, struct error *err);

/* config_user.c: one cluster, one user of a kubeconfig into the configuration. `dir`: of its file.
 */
int kube_config_read_cluster(struct kube_config *config, const cJSON *cluster, const char *dir,
                             const struct json_path *path, struct error *err);
int kube_config_read_user(struct kube_config *config, const cJSON *user, const cJSON *cluster,
                          const char *dir, const struct json_path *path, struct error *err);

/* Splits and checks the server's URL into the configuration. */
int kube_config_set_server(struct kube_config *config, const char *url, struct error *err);

/* What must hold of the whole: no credentials without TLS but to this host, keys with certificates.
 */
int kube_config_check(const struct kube_config *config, struct error *err);

/* -EINVAL when a text cannot stand in an HTTP header (control characters). */
int kube_config_check_header(const char *what, const char *text, struct error *err);

/* Reads a whole file of at most `max` bytes, with a NUL after it. For free(). */
int kube_config_read_file(const char *path, size_t max, char **ret, size_t *ret_len,
                          struct error *err);

/* The bytes of a material, read from its file when it is one; *ret NULL when there is none. */
int kube_material_read(const struct kube_material *material, const char *what, char **ret,
                       size_t *ret_len, struct error *err);

/* Frees and wipes a secret. NULL is allowed. */
void kube_secret_free(char *secret, size_t len);

static inline void cleanup_kube_config_fn(struct kube_config **config)
{
    kube_config_free(*config);
}
#define cleanup_kube_config __attribute__((cleanup(cleanup_kube_config_fn)))

/* What a credential plugin answered. */
struct kube_exec_credential {
    char *token, *cert, *key; /* each may be NULL */
    int64_t expires_ns;       /* since 1970; INT64_MAX: does not say */
};

/* Runs the plugin: at most 60 s, at most 1 MiB of answer. Blocks. */
int kube_exec_run(const struct kube_config *config, struct kube_exec_credential *ret,
                  struct error *err);

/* Reads an ExecCredential of this apiVersion. */
int kube_exec_parse(const char *text, size_t len, const char *api_version,
                    struct kube_exec_credential *ret, struct error *err);
void kube_exec_credential_done(struct kube_exec_credential *credential);

/* For tests of plugins that hang; 60 s otherwise. */
extern uint64_t kube_exec_timeout_ns;

#endif
