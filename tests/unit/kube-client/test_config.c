// SPDX-License-Identifier: Apache-2.0
/* Kubeconfig texts and files, the service account of a pod, answers of credential plugins. */
#include "config.h"
#include "run_suite.h"
#include <fcntl.h>
#include <podvisor/cleanup.h>
#include <podvisor/str.h>
#include <string.h>
#include <sys/stat.h>

/* A kubeconfig with these members of its cluster and its user. */
static char *compose(const char *cluster, const char *user)
{
    return xasprintf("apiVersion: v1\nkind: Config\ncurrent-context: c\n"
                     "contexts: [{name: c, context: {cluster: k, user: u, namespace: ns}}]\n"
                     "clusters: [{name: k, cluster: {%s}}]\nusers: [{name: u, user: {%s}}]\n",
                     cluster, user);
}

static int load(const char *text, struct kube_config **ret, struct error *err)
{
    return kube_config_from_text(text, strlen(text), "/etc/k", NULL, ret, err);
}

static struct kube_config *read_composed(const char *cluster, const char *user)
{
    cleanup_free char *text = compose(cluster, user);
    struct kube_config *config = NULL;
    struct error err = ERROR_INIT;
    ck_assert_msg(load(text, &config, &err) == 0, "%s", err.text);
    return config;
}

START_TEST(reads_everything)
{
    cleanup_kube_config struct kube_config *c = read_composed(
        "server: 'https://h.example:6443/k8s/', certificate-authority: ca.crt, "
        "tls-server-name: api, proxy-url: 'http://p:3128', disable-compression: true",
        "client-certificate-data: aGVsbG8=, client-certificate: x, client-key: /abs/key, "
        "tokenFile: ../token, as: a, as-uid: b, as-groups: [g, h], "
        "as-user-extra: {k: [v, w], l: [x]}");
    ck_assert_str_eq(c->server, "https://h.example:6443/k8s");
    ck_assert_str_eq(c->host, "h.example");
    ck_assert_str_eq(c->prefix, "/k8s");
    ck_assert_uint_eq(c->port, 6443);
    ck_assert(c->tls && !c->loopback && !c->insecure && c->no_compression);
    ck_assert_str_eq(c->ca.path, "/etc/k/ca.crt");
    ck_assert_str_eq(c->tls_server_name, "api");
    ck_assert_str_eq(c->proxy_url, "http://p:3128");
    ck_assert_str_eq(c->cert.data, "hello");
    ck_assert_uint_eq(c->cert.len, 5);
    ck_assert_ptr_null(c->cert.path);
    ck_assert_str_eq(c->key.path, "/abs/key");
    ck_assert_str_eq(c->token_file, "/etc/k/../token");
    ck_assert_str_eq(c->as, "a");
    ck_assert_str_eq(c->as_uid, "b");
    ck_assert_uint_eq(c->as_groups.count, 2);
    ck_assert_str_eq(c->as_groups.item[1], "h");
    ck_assert_uint_eq(c->as_extra.count, 3);
    ck_assert_str_eq(c->as_extra.item[1].key, "k");
    ck_assert_str_eq(c->as_extra.item[1].value, "w");
    ck_assert_str_eq(c->namespace_, "ns");
}
END_TEST

static const struct {
    const char *url, *server, *host;
    unsigned port;
    bool tls, loopback;
} servers[] = {
    {"https://h", "https://h:443", "h", 443, true, false},
    {"https://h/", "https://h:443", "h", 443, true, false},
    {"https://h:1/a/b", "https://h:1/a/b", "h", 1, true, false},
    {"http://127.0.0.1:8001", "http://127.0.0.1:8001", "127.0.0.1", 8001, false, true},
    {"http://127.9.9.9", "http://127.9.9.9:80", "127.9.9.9", 80, false, true},
    {"http://localhost:1", "http://localhost:1", "localhost", 1, false, true},
    {"https://[::1]:6443", "https://[::1]:6443", "[::1]", 6443, true, true},
    {"https://[fd00::7]", "https://[fd00::7]:443", "[fd00::7]", 443, true, false},
    {"http://127.evil.example", "http://127.evil.example:80", "127.evil.example", 80, false, false},
};

START_TEST(splits_servers)
{
    cleanup_free char *cluster = xasprintf("server: '%s'", servers[_i].url);
    cleanup_kube_config struct kube_config *c = read_composed(cluster, "");
    ck_assert_str_eq(c->server, servers[_i].server);
    ck_assert_str_eq(c->host, servers[_i].host);
    ck_assert_uint_eq(c->port, servers[_i].port);
    ck_assert_int_eq(c->tls, servers[_i].tls);
    ck_assert_int_eq(c->loopback, servers[_i].loopback);
}
END_TEST

#define GOOD "server: 'https://h'"

static const struct {
    const char *cluster, *user;
    const char *say; /* part of the error */
} refused[] = {
    {"", "", "no server is named"},
    {"server: 7", "", "must be a string"},
    {"server: h", "", "\"h\" is no URL"},
    {"server: 'ftp://h'", "", "https://"},
    {"server: 'https://'", "", "no URL"},
    {"server: 'https://u@h'", "", "may not have a user name"},
    {"server: 'https://h?q=1'", "", "may not have a query"},
    {"server: 'https://h#f'", "", "may not have a fragment"},
    {"server: 'https://h:99999'", "", "no URL"},
    {"server: \"https://h\\nX: y\"", "", "control character"},
    {"server: 'http://h'", "token: t", "clear text"},
    {"server: 'http://h'", "username: u, password: p", "clear text"},
    {"server: 'http://h'", "tokenFile: t", "clear text"},
    {"server: 'http://127.0.0.1', proxy-url: 'http://p'", "token: t", "clear text"},
    {GOOD ", insecure-skip-tls-verify: true, certificate-authority: x", "", "exclude"},
    {GOOD ", insecure-skip-tls-verify: 'yes'", "", "must be true or false"},
    {GOOD ", certificate-authority-data: '*'", "", "no base64"},
    {GOOD ", certificate-authority-data: 'YQ'", "", "no base64"},
    {GOOD ", proxy-url: 'ftp://x'", "", "proxy-url"},
    {GOOD, "client-certificate: a", "without its key"},
    {GOOD, "client-key-data: YQ==", "without its certificate"},
    {GOOD, "token: \"a\\r\\nX: y\"", "control character"},
    {GOOD, "as: \"a\\nb\"", "control character"},
    {GOOD, "as-groups: [a]", "need \"as\""},
    {GOOD, "as: a, as-groups: [7]", "as-groups must be strings"},
    {GOOD, "as: a, as-user-extra: {k: v}", "as-user-extra.k"},
    {GOOD, "username: u, token: t", "exclude"},
    {GOOD, "auth-provider: {name: gcp}", "auth-provider was removed"},
    {GOOD, "exec: {apiVersion: client.authentication.k8s.io/v1}", "names no command"},
    {GOOD, "exec: {command: x, apiVersion: client.authentication.k8s.io/v1alpha1}", "v1alpha1"},
    {GOOD, "exec: {command: x}", "exec.apiVersion"},
    {GOOD, "exec: {command: x, apiVersion: client.authentication.k8s.io/v1, args: [7]}", "args"},
    {GOOD, "exec: {command: x, apiVersion: client.authentication.k8s.io/v1, env: [{value: a}]}",
     "exec.env"},
    {GOOD,
     "exec: {command: x, apiVersion: client.authentication.k8s.io/v1, interactiveMode: Perhaps}",
     "interactiveMode"},
    {GOOD, "exec: x", "must be an object"},
};

START_TEST(refuses)
{
    cleanup_free char *text = compose(refused[_i].cluster, refused[_i].user);
    struct kube_config *config = NULL;
    struct error err = ERROR_INIT;
    ck_assert_int_lt(load(text, &config, &err), 0);
    ck_assert_ptr_null(config);
    ck_assert_msg(strstr(err.text, refused[_i].say) != NULL, "\"%s\" does not say \"%s\"", err.text,
                  refused[_i].say);
}
END_TEST

static const struct {
    const char *text, *say;
} broken[] = {
    {"", "kubeconfig"},
    {"- a", "not a kubeconfig"},
    {"{", "line 1"},
    {"a: b", "no current-context"},
    {"current-context: x", "contexts has no \"x\" (it has: none)"},
    {"current-context: x\ncontexts: 7", "contexts"},
    {"current-context: x\ncontexts: [{name: w}, {name: z}]", "(it has: w, z)"},
    {"current-context: x\ncontexts: [{name: x, context: 7}]", "context"},
    {"current-context: x\ncontexts: [{name: x, context: {cluster: k}}]", "clusters has no \"k\""},
    {"current-context: x\ncontexts: [{name: x, context: {cluster: k, user: u}}]\n"
     "clusters: [{name: k, cluster: {server: 'https://h'}}]",
     "users has no \"u\""},
};

START_TEST(refuses_broken_files)
{
    struct kube_config *config = NULL;
    struct error err = ERROR_INIT;
    ck_assert_int_lt(load(broken[_i].text, &config, &err), 0);
    ck_assert_msg(_i == 0 || strstr(err.text, broken[_i].say) != NULL, "\"%s\" does not say \"%s\"",
                  err.text, broken[_i].say);
}
END_TEST

START_TEST(allows_anonymous)
{
    static const char text[] = "{\"current-context\":\"x\",\"contexts\":[{\"name\":\"x\","
                               "\"context\":{\"cluster\":\"k\"}}],\"clusters\":[{\"name\":\"k\","
                               "\"cluster\":{\"server\":\"http://h\"}}]}";
    struct kube_config *c = NULL;
    ck_assert_int_eq(load(text, &c, NULL), 0);
    ck_assert_ptr_null(c->namespace_);
    kube_config_free(c);
}
END_TEST

START_TEST(reads_exec)
{
    cleanup_kube_config struct kube_config *c = read_composed(
        GOOD ", extensions: [{name: other}, {name: client.authentication.k8s.io/exec, "
             "extension: {a: 1}}]",
        "exec: {command: ./plug in, apiVersion: client.authentication.k8s.io/v1beta1, "
        "args: ['a b', ''], env: [{name: A, value: b}, {name: C}], provideClusterInfo: true, "
        "installHint: get it, interactiveMode: Never}");
    ck_assert_str_eq(c->exec->command, "/etc/k/./plug in");
    ck_assert_uint_eq(c->exec->args.count, 2);
    ck_assert_str_eq(c->exec->args.item[0], "a b");
    ck_assert_str_eq(c->exec->args.item[1], "");
    ck_assert_str_eq(c->exec->env.item[0].value, "b");
    ck_assert_str_eq(c->exec->env.item[1].value, "");
    ck_assert(c->exec->provide_cluster_info);
    ck_assert_int_eq(c->exec->interactive, KUBE_INTERACTIVE_NEVER);
    ck_assert_str_eq(c->exec->install_hint, "get it");
    ck_assert_int_eq(json_get(c->exec->cluster_extension, "a")->valueint, 1);
    cleanup_kube_config struct kube_config *bare =
        read_composed(GOOD, "exec: {command: plug, apiVersion: client.authentication.k8s.io/v1}");
    ck_assert_str_eq(bare->exec->command, "plug");
}
END_TEST

/* --- files ------------------------------------------------------------------------------------ */

static char dir[] = "/tmp/podvisor-config-XXXXXX";

static void write_file(const char *name, const char *text)
{
    cleanup_free char *path = xasprintf("%s/%s", dir, name);
    cleanup_fclose FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    fputs(text, file);
}

static void make_dir(void)
{
    strcpy(dir + strlen(dir) - 6, "XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    cleanup_free char *sub = xasprintf("%s/sub", dir);
    ck_assert_int_eq(mkdir(sub, 0700), 0);
}

static void remove_dir(void)
{
    static const char *const names[] = {"a", "sub/b", "token", "ca.crt", "namespace", "sub", ""};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        cleanup_free char *path = xasprintf("%s/%s", dir, names[i]);
        remove(path);
    }
}

START_TEST(merges_files)
{
    write_file("a", "current-context: x\n"
                    "contexts: [{name: x, context: {cluster: k, user: u}}]\n"
                    "clusters: [{name: k, cluster: {server: 'https://first', "
                    "certificate-authority: ca}}]\n");
    write_file("sub/b", "current-context: v\n"
                        "contexts: [{name: x, context: {cluster: z, user: z}}, "
                        "{name: v, context: {cluster: k, user: u, namespace: ns}}]\n"
                        "clusters: [{name: k, cluster: {server: 'https://second'}}]\n"
                        "users: [{name: u, user: {tokenFile: token}}]\n");
    cleanup_free char *paths = xasprintf("%s/missing:%s/a::%s/sub/b", dir, dir, dir);
    cleanup_free char *ca = xasprintf("%s/ca", dir), *token = xasprintf("%s/sub/token", dir);
    cleanup_kube_config struct kube_config *c = NULL, *v = NULL, *none = NULL;
    struct error err = ERROR_INIT;
    ck_assert_msg(kube_config_from_files(paths, NULL, &c, &err) == 0, "%s", err.text);
    ck_assert_str_eq(c->server, "https://first:443");
    ck_assert_str_eq(c->ca.path, ca);
    ck_assert_str_eq(c->token_file, token);
    ck_assert_ptr_null(c->namespace_);
    ck_assert_int_eq(kube_config_from_files(paths, "v", &v, &err), 0);
    ck_assert_str_eq(v->namespace_, "ns");
    ck_assert_int_eq(kube_config_from_files(paths, "w", &none, &err), -ENOENT);
    ck_assert_ptr_nonnull(strstr(err.text, "contexts has no \"w\" (it has: x, x, v)"));
}
END_TEST

START_TEST(says_which_file_is_missing)
{
    struct kube_config *c = NULL;
    struct error err = ERROR_INIT;
    ck_assert_int_eq(kube_config_from_files("/nowhere/config", NULL, &c, &err), -ENOENT);
    ck_assert_ptr_nonnull(strstr(err.text, "/nowhere/config"));
    ck_assert_int_eq(kube_config_from_files("/nowhere/a:/nowhere/b", NULL, &c, &err), -ENOENT);
    ck_assert_int_eq(kube_config_from_files("/", NULL, &c, &err), -EINVAL);
    write_file("a", "current-context: [");
    cleanup_free char *path = xasprintf("%s/a", dir);
    ck_assert_int_eq(kube_config_from_files(path, NULL, &c, &err), -EINVAL);
    ck_assert_ptr_nonnull(strstr(err.text, path));
}
END_TEST

START_TEST(finds_the_source)
{
    struct kube_config *c = NULL;
    struct error err = ERROR_INIT;
    const struct kube_config_options options = {.user_agent = "x"}, bad = {.user_agent = "x\n"};
    cleanup_free char *text = compose(GOOD, "");
    write_file("a", text);
    cleanup_free char *path = xasprintf("%s/a", dir);
    setenv("KUBECONFIG", path, 1);
    ck_assert_int_eq(kube_config_load(&options, &c, &err), 0);
    ck_assert_str_eq(c->namespace_, "ns");
    ck_assert_str_eq(c->user_agent, "x");
    kube_config_free(c);
    ck_assert_int_eq(kube_config_load(&bad, &c, &err), -EINVAL);
    unsetenv("KUBECONFIG");
    setenv("HOME", dir, 1);
    ck_assert_int_eq(kube_config_load(&options, &c, &err), -ENOENT);
    ck_assert_ptr_nonnull(strstr(err.text, "set KUBECONFIG"));
    setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1", 1);
    setenv("KUBERNETES_SERVICE_PORT", "443", 1);
    ck_assert_int_eq(kube_config_load(&options, &c, &err), -ENOENT);
    ck_assert_ptr_nonnull(strstr(err.text, "automountServiceAccountToken"));
    unsetenv("KUBERNETES_SERVICE_HOST");
}
END_TEST

START_TEST(reads_a_service_account)
{
    struct kube_config *c = NULL;
    struct error err = ERROR_INIT;
    write_file("namespace", "podvisor\n");
    ck_assert_int_eq(kube_config_in_cluster("10.0.0.1", "443", dir, &c, &err), -ENOENT);
    write_file("token", "abc\n");
    ck_assert_msg(kube_config_in_cluster("fd00::1", "6443", dir, &c, &err) == 0, "%s", err.text);
    ck_assert_str_eq(c->server, "https://[fd00::1]:6443");
    ck_assert_str_eq(c->namespace_, "podvisor");
    ck_assert(str_starts_with(c->token_file, dir));
    ck_assert(str_starts_with(c->ca.path, dir));
    kube_config_free(c);
    ck_assert_int_eq(kube_config_in_cluster("a b", "443", dir, &c, &err), -EINVAL);
    ck_assert_int_eq(kube_config_in_cluster("h", "http", dir, &c, &err), -EINVAL);
}
END_TEST

/* --- plugins' answers ------------------------------------------------------------------------- */

#define V1        "client.authentication.k8s.io/v1"
#define ANSWER(s) "{\"kind\":\"ExecCredential\",\"apiVersion\":\"" V1 "\",\"status\":" s "}"

START_TEST(reads_credentials)
{
    static const char token[] =
        ANSWER("{\"token\":\"t\",\"expirationTimestamp\":\"2026-01-02T03:04:05Z\"}");
    static const char cert[] = ANSWER("{\"clientCertificateData\":\"c\",\"clientKeyData\":\"k\"}");
    struct kube_exec_credential c;
    ck_assert_int_eq(kube_exec_parse(token, strlen(token), V1, &c, NULL), 0);
    ck_assert_str_eq(c.token, "t");
    ck_assert_int_eq(c.expires_ns, 1767323045000000000);
    kube_exec_credential_done(&c);
    ck_assert_int_eq(kube_exec_parse(cert, strlen(cert), V1, &c, NULL), 0);
    ck_assert_str_eq(c.cert, "c");
    ck_assert_str_eq(c.key, "k");
    ck_assert_int_eq(c.expires_ns, INT64_MAX);
    kube_exec_credential_done(&c);
}
END_TEST

static const struct {
    const char *text, *say;
} bad_answers[] = {
    {"", "no JSON"},
    {"token", "no JSON"},
    {"[]", "not an object"},
    {"{}", "not ExecCredential"},
    {"{\"kind\":\"Pod\"}", "not ExecCredential"},
    {"{\"kind\":\"ExecCredential\",\"apiVersion\":\"x\"}", "apiVersion \"x\""},
    {ANSWER("null"), "neither"},
    {ANSWER("{}"), "neither"},
    {ANSWER("7"), "must be an object"},
    {ANSWER("{\"token\":7}"), "must be a string"},
    {ANSWER("{\"token\":\"a\\nb\"}"), "control character"},
    {ANSWER("{\"clientCertificateData\":\"c\"}"), "without the other"},
    {ANSWER("{\"token\":\"t\",\"clientKeyData\":\"c\"}"), "without the other"},
    {ANSWER("{\"token\":\"t\",\"expirationTimestamp\":\"tomorrow\"}"), "is no time"},
};

START_TEST(refuses_bad_answers)
{
    struct kube_exec_credential c;
    struct error err = ERROR_INIT;
    const char *text = bad_answers[_i].text;
    ck_assert_int_lt(kube_exec_parse(text, strlen(text), V1, &c, &err), 0);
    ck_assert_msg(strstr(err.text, bad_answers[_i].say) != NULL, "\"%s\" does not say \"%s\"",
                  err.text, bad_answers[_i].say);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("kube-config");
    TCase *tc = tcase_create("text"), *files = tcase_create("files");
    tcase_add_test(tc, reads_everything);
    tcase_add_loop_test(tc, splits_servers, 0, (int)ARRAY_SIZE(servers));
    tcase_add_loop_test(tc, refuses, 0, (int)ARRAY_SIZE(refused));
    tcase_add_loop_test(tc, refuses_broken_files, 0, (int)ARRAY_SIZE(broken));
    tcase_add_test(tc, allows_anonymous);
    tcase_add_test(tc, reads_exec);
    tcase_add_test(tc, reads_credentials);
    tcase_add_loop_test(tc, refuses_bad_answers, 0, (int)ARRAY_SIZE(bad_answers));
    tcase_add_checked_fixture(files, make_dir, remove_dir);
    tcase_add_test(files, merges_files);
    tcase_add_test(files, says_which_file_is_missing);
    tcase_add_test(files, finds_the_source);
    tcase_add_test(files, reads_a_service_account);
    suite_add_tcase(suite, tc);
    suite_add_tcase(suite, files);
    return run_suite(suite);
}
