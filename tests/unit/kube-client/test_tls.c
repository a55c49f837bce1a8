// SPDX-License-Identifier: Apache-2.0
/* TLS against a server of our own: whom the client trusts, what it shows, rotation of both. */
#include "client.h"
#include "kube_pki.h"
#include "kube_server.h"
#include "run_suite.h"
#include <podvisor/cleanup.h>
#include <podvisor/clock.h>
#include <podvisor/str.h>
#include <string.h>
#include <sys/stat.h>

static const struct kube_resource pods = {"", "v1", "pods", "Pod", false};

static struct test_certificate ca, other_ca, loopback, named, alice, bob;
static struct kube_server *server;
static struct kube_client *client;
static struct kube_call call;
static char dir[64];
static uint64_t fake_ns;

static uint64_t fake_now(void *user)
{
    (void)user;
    return fake_ns;
}

static int64_t fake_wall(void *user)
{
    (void)user;
    return (int64_t)fake_ns;
}

static void fake_sleep(void *user, uint64_t ns)
{
    (void)user;
    fake_ns += ns;
}

static void write_file(const char *name, const char *text)
{
    cleanup_free char *path = xasprintf("%s/%s", dir, name);
    cleanup_fclose FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    fputs(text, file);
}

static void start_server(const struct test_certificate *certificate)
{
    const struct kube_server_tls tls = {
        .cert = certificate->cert, .key = certificate->key, .client_ca = ca.cert};
    server = kube_server_start(&tls);
    kube_server_add(server, &(struct kube_reply){.body = "{}", .times = KUBE_REPLY_ALWAYS});
}

static void make_client(const char *cluster, const char *user)
{
    static const struct kube_clock clock = {
        .now_ns = fake_now, .wall_ns = fake_wall, .sleep_ns = fake_sleep};
    struct error err = ERROR_INIT;
    const struct kube_config_options options = {.kubeconfig =
                                                    kube_server_kubeconfig(server, cluster, user)};
    ck_assert_msg(kube_client_new(&options, 0, 0, &client, &err) == 0, "%s", err.text);
    kube_client_set_clock(client, &clock);
    call = (struct kube_call){.client = client, .resource = &pods, .namespace_ = "ns", .name = "x"};
}

/* The text with the folder in place of each '@'. */
static char *files(const char *format)
{
    char *text = xstrdup("");
    for (; *format != '\0'; format++) {
        char *longer =
            *format == '@' ? xasprintf("%s%s", text, dir) : xasprintf("%s%c", text, *format);
        free(text);
        text = longer;
    }
    return text;
}

static void set_up(void)
{
    strcpy(dir, "/tmp/podvisor-tls-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    fake_ns = 1000 * NSEC_PER_SEC;
    write_file("ca", ca.cert);
    write_file("other-ca", other_ca.cert);
    write_file("cert", alice.cert);
    write_file("key", alice.key);
    client = NULL;
    server = NULL;
}

static void tear_down(void)
{
    static const char *const names[] = {"ca", "other-ca", "cert", "key", "plugin", ""};
    kube_client_free(client);
    kube_server_stop(server);
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        cleanup_free char *path = xasprintf("%s/%s", dir, names[i]);
        remove(path);
    }
}

static void connect_with(const char *cluster, const char *user)
{
    cleanup_free char *c = files(cluster), *u = files(user);
    make_client(c, u);
}

START_TEST(trusts_its_authority)
{
    start_server(&loopback);
    connect_with("certificate-authority: @/ca", "");
    struct error err = ERROR_INIT;
    ck_assert_msg(kube_get(&call, NULL, &err) == 0, "%s", err.text);
    ck_assert_str_eq(kube_server_client_name(server), "");
    for (int i = 0; i < 5; i++)
        ck_assert_int_eq(kube_get(&call, NULL, NULL), 0);
    ck_assert_uint_eq(kube_server_connections(server), 1);
}
END_TEST

START_TEST(trusts_nobody_else)
{
    struct error err = ERROR_INIT;
    start_server(&loopback);
    connect_with("certificate-authority: @/other-ca", "token: secret");
    ck_assert_int_eq(kube_get(&call, NULL, &err), -EIO);
    ck_assert_ptr_nonnull(strstr(err.text, "not trusted"));
    ck_assert_uint_eq(kube_server_requests(server), 0);
}
END_TEST

START_TEST(does_not_trust_the_hosts_authorities_alone)
{
    struct error err = ERROR_INIT;
    start_server(&loopback);
    make_client(NULL, "token: secret");
    ck_assert_int_eq(kube_get(&call, NULL, &err), -EIO);
    ck_assert_uint_eq(kube_server_requests(server), 0);
}
END_TEST

/* Counts the places that libcurl, built with GnuTLS, says it takes authorities from. */
static int count_authorities(CURL *easy, curl_infotype type, char *text, size_t len, void *user)
{
    static const char words[] = " certificates in ";
    (void)easy;
    if (type == CURLINFO_TEXT && memmem(text, len, words, sizeof(words) - 1) != NULL)
        ++*(unsigned *)user;
    return 0;
}

/* The file is all that counts: libcurl adds its folder of public authorities unless told not to. */
START_TEST(trusts_no_folder_beside_its_authority)
{
    static const struct kube_easy_options options = {.method = "GET", .path = "/version"};
    struct kube_easy state;
    struct error err = ERROR_INIT;
    unsigned places = 0;
    start_server(&loopback);
    connect_with("certificate-authority: @/ca", "token: secret");
    CURL *easy = curl_easy_init();
    ck_assert_ptr_nonnull(easy);
    ck_assert_msg(kube_easy_setup(client, easy, &options, &state, &err) == 0, "%s", err.text);
    curl_easy_setopt(easy, CURLOPT_VERBOSE, 1L);
    curl_easy_setopt(easy, CURLOPT_DEBUGFUNCTION, count_authorities);
    curl_easy_setopt(easy, CURLOPT_DEBUGDATA, &places);
    curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
    CURLcode code = curl_easy_perform(easy);
    curl_easy_cleanup(easy);
    kube_easy_done(&state);
    ck_assert_int_eq(code, CURLE_OK);
    ck_assert_uint_eq(places, 1);
}
END_TEST

START_TEST(checks_the_servers_name)
{
    struct error err = ERROR_INIT;
    start_server(&named);
    connect_with("certificate-authority: @/ca", "token: secret");
    ck_assert_int_eq(kube_get(&call, NULL, &err), -EIO);
    ck_assert_ptr_nonnull(strstr(err.text, "not trusted"));
    ck_assert_uint_eq(kube_server_requests(server), 0);
}
END_TEST

START_TEST(takes_another_name)
{
    struct error err = ERROR_INIT;
    start_server(&named);
    connect_with("certificate-authority: @/ca, tls-server-name: api.example", "");
    ck_assert_msg(kube_get(&call, NULL, &err) == 0, "%s", err.text);
    struct kube_recorded r = kube_server_request(server, 0);
    char host[64];
    snprintf(host, sizeof(host), "127.0.0.1:%u", kube_server_port(server));
    ck_assert(kube_recorded_has(&r, "Host", host));
}
END_TEST

START_TEST(trusts_anybody_when_told_so)
{
    start_server(&named);
    make_client("insecure-skip-tls-verify: true", "");
    ck_assert_int_eq(kube_get(&call, NULL, NULL), 0);
}
END_TEST

START_TEST(shows_its_certificate)
{
    struct error err = ERROR_INIT;
    start_server(&loopback);
    connect_with("certificate-authority: @/ca", "client-certificate: @/cert, client-key: @/key");
    ck_assert_msg(kube_get(&call, NULL, &err) == 0, "%s", err.text);
    ck_assert_str_eq(kube_server_client_name(server), "alice");
}
END_TEST

START_TEST(changes_its_certificate)
{
    start_server(&loopback);
    connect_with("certificate-authority: @/ca", "client-certificate: @/cert, client-key: @/key");
    ck_assert_int_eq(kube_get(&call, NULL, NULL), 0);
    uint64_t generation = kube_client_generation(client);
    write_file("cert", bob.cert);
    fake_ns += 301 * NSEC_PER_SEC;
    /* The key is not there yet: the pair does not fit, the old one stays. */
    ck_assert_uint_eq(kube_client_generation(client), generation);
    write_file("key", bob.key);
    fake_ns += 299 * NSEC_PER_SEC;
    ck_assert_int_eq(kube_get(&call, NULL, NULL), 0);
    ck_assert_uint_eq(kube_server_connections(server), 1);
    fake_ns += 1 * NSEC_PER_SEC;
    ck_assert_int_eq(kube_get(&call, NULL, NULL), 0);
    ck_assert_uint_eq(kube_client_generation(client), generation + 1);
    ck_assert_uint_eq(kube_server_connections(server), 2);
    ck_assert_str_eq(kube_server_client_name(server), "bob");
    /* The same text again is no change. */
    fake_ns += 301 * NSEC_PER_SEC;
    ck_assert_uint_eq(kube_client_generation(client), generation + 1);
}
END_TEST

START_TEST(changes_its_authority)
{
    start_server(&loopback);
    write_file("ca", other_ca.cert);
    connect_with("certificate-authority: @/ca", "");
    ck_assert_int_eq(kube_get(&call, NULL, NULL), -EIO);
    static const char *const bad[] = {"", "hello", "-----BEGIN CERTIFICATE-----\n"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        write_file("ca", bad[i]);
        fake_ns += 301 * NSEC_PER_SEC;
        ck_assert_int_eq(kube_get(&call, NULL, NULL), -EIO);
    }
    cleanup_free char *both = xasprintf("%s%s", other_ca.cert, ca.cert);
    write_file("ca", both);
    fake_ns += 301 * NSEC_PER_SEC;
    ck_assert_int_eq(kube_get(&call, NULL, NULL), 0);
}
END_TEST

static const struct {
    const char *cluster, *user, *say;
} refused[] = {
    {"certificate-authority: @/none", "", "certificate authority: cannot read"},
    {"certificate-authority: @/key", "", "is no certificate"},
    {"certificate-authority-data: aGVsbG8=", "", "is no certificate"},
    {"certificate-authority: @/ca", "client-certificate: @/cert, client-key: @/ca",
     "cannot be used"},
    {"certificate-authority: @/ca", "client-certificate: @/ca, client-key: @/key",
     "cannot be used"},
    {"certificate-authority: @/ca", "client-certificate: @/cert, client-key: @/none",
     "client key: cannot read"},
};

START_TEST(refuses_at_the_start)
{
    struct error err = ERROR_INIT;
    start_server(&loopback);
    cleanup_free char *c = files(refused[_i].cluster), *u = files(refused[_i].user);
    const struct kube_config_options options = {.kubeconfig = kube_server_kubeconfig(server, c, u)};
    ck_assert_int_lt(kube_client_new(&options, 0, 0, &client, &err), 0);
    ck_assert_msg(strstr(err.text, refused[_i].say) != NULL, "%s", err.text);
}
END_TEST

START_TEST(a_plugin_gives_a_certificate)
{
    cleanup_json cJSON *answer = cJSON_CreateObject();
    cJSON_AddStringToObject(answer, "kind", "ExecCredential");
    cJSON_AddStringToObject(answer, "apiVersion", "client.authentication.k8s.io/v1");
    cJSON *status = cJSON_AddObjectToObject(answer, "status");
    cJSON_AddStringToObject(status, "clientCertificateData", bob.cert);
    cJSON_AddStringToObject(status, "clientKeyData", bob.key);
    cleanup_free char *text = NULL, *plugin = xasprintf("%s/plugin", dir);
    ck_assert_int_eq(json_print(answer, &text, NULL, NULL), 0);
    cleanup_free char *script = xasprintf("#!/bin/sh\ncat <<'END'\n%s\nEND\n", text);
    write_file("plugin", script);
    chmod(plugin, 0700);
    start_server(&loopback);
    connect_with("certificate-authority: @/ca", "exec: {command: @/plugin, interactiveMode: Never, "
                                                "apiVersion: client.authentication.k8s.io/v1}");
    struct error err = ERROR_INIT;
    ck_assert_msg(kube_get(&call, NULL, &err) == 0, "%s", err.text);
    ck_assert_str_eq(kube_server_client_name(server), "bob");
    /* The authority is read again; the plugin's certificate stays. */
    fake_ns += 301 * NSEC_PER_SEC;
    uint64_t generation = kube_client_generation(client);
    cleanup_free char *both = xasprintf("%s%s", other_ca.cert, ca.cert);
    write_file("ca", both);
    fake_ns += 301 * NSEC_PER_SEC;
    ck_assert_uint_eq(kube_client_generation(client), generation + 1);
    ck_assert_int_eq(kube_get(&call, NULL, NULL), 0);
    ck_assert_uint_eq(kube_server_connections(server), 2);
    ck_assert_str_eq(kube_server_client_name(server), "bob");
}
END_TEST

START_TEST(notices_a_cut_stream)
{
    struct error err = ERROR_INIT;
    start_server(&loopback);
    connect_with("certificate-authority: @/ca", "");
    kube_server_clear(server);
    kube_server_add(server, &(struct kube_reply){.body = "{\"a\":\"0123456789\"}",
                                                 .cut_at = 85, /* in the body */
                                                 .times = KUBE_REPLY_ALWAYS});
    cleanup_json cJSON *object = cJSON_CreateObject();
    ck_assert_int_eq(kube_create(&call, object, NULL, &err), -EIO);
    ck_assert_uint_eq(kube_server_requests(server), 1);
}
END_TEST

static void make_certificates(void)
{
    ca = test_ca("ca");
    other_ca = test_ca("other");
    loopback = test_sign(&ca, "server", NULL, true);
    named = test_sign(&ca, "server", "api.example", false);
    alice = test_sign(&ca, "alice", NULL, false);
    bob = test_sign(&ca, "bob", NULL, false);
}

int main(void)
{
    Suite *suite = suite_create("kube-tls");
    TCase *tc = tcase_create("tls");
    const TTest *const tests[] = {
        trusts_its_authority,
        trusts_nobody_else,
        does_not_trust_the_hosts_authorities_alone,
        trusts_no_folder_beside_its_authority,
        checks_the_servers_name,
        takes_another_name,
        trusts_anybody_when_told_so,
        shows_its_certificate,
        changes_its_certificate,
        changes_its_authority,
        a_plugin_gives_a_certificate,
        notices_a_cut_stream,
    };
    make_certificates();
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_set_timeout(tc, 60);
    for (size_t i = 0; i < ARRAY_SIZE(tests); i++)
        tcase_add_test(tc, tests[i]);
    tcase_add_loop_test(tc, refuses_at_the_start, 0, (int)ARRAY_SIZE(refused));
    suite_add_tcase(suite, tc);
    int result = run_suite(suite);
    struct test_certificate *const made[] = {&ca, &other_ca, &loopback, &named, &alice, &bob};
    for (size_t i = 0; i < ARRAY_SIZE(made); i++)
        test_certificate_free(made[i]);
    return result;
}
