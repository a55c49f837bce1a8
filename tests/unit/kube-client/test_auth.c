// SPDX-License-Identifier: Apache-2.0
/* What a client shows: tokens and their rotation, basic, impersonation, credential plugins. */
#include "client.h"
#include "kube_server.h"
#include "run_suite.h"
#include <podvisor/cleanup.h>
#include <podvisor/clock.h>
#include <podvisor/str.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>

static const struct kube_resource pods = {"", "v1", "pods", "Pod", false};

static struct kube_server *server;
static struct kube_client *client;
static struct kube_call call;
static char dir[64];

static atomic_uint_fast64_t fake_ns;

static uint64_t fake_now(void *user)
{
    (void)user;
    return atomic_load(&fake_ns);
}

/* The wall clock began with the test's. */
static int64_t fake_wall(void *user)
{
    (void)user;
    return (int64_t)atomic_load(&fake_ns);
}

static void fake_sleep(void *user, uint64_t ns)
{
    (void)user;
    atomic_fetch_add(&fake_ns, ns);
}

static void pass(uint64_t seconds)
{
    atomic_fetch_add(&fake_ns, seconds * NSEC_PER_SEC);
}

static char *path_of(const char *name)
{
    return xasprintf("%s/%s", dir, name);
}

static void write_file(const char *name, const char *text)
{
    cleanup_free char *path = path_of(name), *fresh = path_of("fresh");
    FILE *file = fopen(fresh, "w");
    ck_assert_ptr_nonnull(file);
    fputs(text, file);
    fclose(file);
    chmod(fresh, 0700);
    ck_assert_int_eq(rename(fresh, path), 0); /* as the kubelet does: never half a file */
}

static char *read_text(const char *name)
{
    cleanup_free char *path = path_of(name);
    char *text = NULL;
    size_t len;
    return kube_config_read_file(path, 1 << 20, &text, &len, NULL) == 0 ? text : xstrdup("");
}

static void make_client(const char *user)
{
    struct error err = ERROR_INIT;
    static const struct kube_clock clock = {
        .now_ns = fake_now, .wall_ns = fake_wall, .sleep_ns = fake_sleep};
    const struct kube_config_options options = {.kubeconfig =
                                                    kube_server_kubeconfig(server, NULL, user)};
    ck_assert_msg(kube_client_new(&options, 0, 0, &client, &err) == 0, "%s", err.text);
    kube_client_set_clock(client, &clock);
    call = (struct kube_call){.client = client, .resource = &pods, .namespace_ = "ns", .name = "x"};
}

static void set_up(void)
{
    strcpy(dir, "/tmp/podvisor-auth-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    atomic_store(&fake_ns, 1000 * NSEC_PER_SEC);
    server = kube_server_start(NULL);
    client = NULL;
}

static void tear_down(void)
{
    static const char *const names[] = {"token", "plugin", "info", "count", ""};
    kube_client_free(client);
    kube_server_stop(server);
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        cleanup_free char *path = path_of(names[i]);
        remove(path);
    }
}

static void always_ok(void)
{
    kube_server_add(server, &(struct kube_reply){.body = "{}", .times = KUBE_REPLY_ALWAYS});
}

/* One GET, and whether it showed this Authorization. */
static void expect_shows(const char *authorization)
{
    struct error err = ERROR_INIT;
    ck_assert_msg(kube_get(&call, NULL, &err) == 0, "%s", err.text);
    struct kube_recorded r = kube_server_request(server, kube_server_requests(server) - 1);
    ck_assert_msg(kube_recorded_has(&r, "Authorization", authorization), "%s is not in\n%s",
                  authorization, r.headers);
}

START_TEST(shows_a_token)
{
    always_ok();
    make_client("token: abc");
    expect_shows("Bearer abc");
}
END_TEST

START_TEST(shows_a_password)
{
    always_ok();
    make_client("username: u, password: 'p:w'");
    expect_shows("Basic dTpwOnc=");
}
END_TEST

START_TEST(impersonates)
{
    always_ok();
    make_client("token: abc, as: jane, as-uid: '7', as-groups: [g, h i], "
                "as-user-extra: {example.org/Scopes: [a, b]}");
    expect_shows("Bearer abc");
    struct kube_recorded r = kube_server_request(server, 0);
    ck_assert(kube_recorded_has(&r, "Impersonate-User", "jane"));
    ck_assert(kube_recorded_has(&r, "Impersonate-Uid", "7"));
    ck_assert(kube_recorded_has(&r, "Impersonate-Group", "g"));
    ck_assert(kube_recorded_has(&r, "Impersonate-Group", "h i"));
    ck_assert(kube_recorded_has(&r, "Impersonate-Extra-example.org%2FScopes", "a"));
    ck_assert(kube_recorded_has(&r, "Impersonate-Extra-example.org%2FScopes", "b"));
}
END_TEST

/* --- the token's file ------------------------------------------------------------------------- */

static void make_token_client(void)
{
    cleanup_free char *user = xasprintf("tokenFile: %s/token", dir);
    make_client(user);
}

START_TEST(reads_the_token_again_each_minute)
{
    always_ok();
    write_file("token", "one\n");
    make_token_client();
    expect_shows("Bearer one");
    write_file("token", " two \r\n");
    pass(59);
    expect_shows("Bearer one");
    pass(1);
    expect_shows("Bearer two");
}
END_TEST

START_TEST(keeps_the_token_when_the_file_cannot_be_read)
{
    static const char *const bad[] = {"", " \n", "a\nb\n",
                                      "a\x01"
                                      "b"};
    always_ok();
    write_file("token", "one");
    make_token_client();
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        write_file("token", bad[i]);
        pass(61);
        expect_shows("Bearer one");
    }
    cleanup_free char *path = path_of("token");
    cleanup_fclose FILE *file = fopen(path, "w");
    ck_assert_uint_eq(fwrite("a\0b", 3, 1, file), 1);
    fflush(file);
    pass(61);
    expect_shows("Bearer one");
    unlink(path);
    pass(61);
    expect_shows("Bearer one");
    write_file("token", "two");
    pass(61);
    expect_shows("Bearer two");
}
END_TEST

START_TEST(wants_a_token_at_the_start)
{
    cleanup_free char *user = xasprintf("tokenFile: %s/token", dir);
    const struct kube_config_options options = {.kubeconfig =
                                                    kube_server_kubeconfig(server, NULL, user)};
    struct error err = ERROR_INIT;
    ck_assert_int_eq(kube_client_new(&options, 0, 0, &client, &err), -ENOENT);
    ck_assert_ptr_nonnull(strstr(err.text, "/token"));
    ck_assert_ptr_null(client);
}
END_TEST

static void add_unauthorized(unsigned times)
{
    kube_server_add(
        server, &(struct kube_reply){.status = 401,
                                     .body = "{\"reason\":\"Unauthorized\",\"message\":\"who?\"}",
                                     .times = times});
}

START_TEST(reads_the_token_again_after_a_401)
{
    write_file("token", "one");
    make_token_client();
    write_file("token", "two");
    add_unauthorized(1);
    always_ok();
    cleanup_json cJSON *object = cJSON_CreateObject();
    ck_assert_int_eq(kube_create(&call, object, NULL, NULL), 0);
    ck_assert_uint_eq(kube_server_requests(server), 2);
    struct kube_recorded first = kube_server_request(server, 0);
    struct kube_recorded second = kube_server_request(server, 1);
    ck_assert(kube_recorded_has(&first, "Authorization", "Bearer one"));
    ck_assert(kube_recorded_has(&second, "Authorization", "Bearer two"));
}
END_TEST

START_TEST(a_401_for_good_is_an_error)
{
    struct error err = ERROR_INIT;
    write_file("token", "one");
    make_token_client();
    add_unauthorized(KUBE_REPLY_ALWAYS);
    ck_assert_int_eq(kube_get(&call, NULL, &err), -EACCES);
    ck_assert_str_eq(err.text, "GET pods ns/x: 401 Unauthorized: who?");
    /* The file was read again, but nothing new was in it; a second try would say the same. */
    ck_assert_uint_le(kube_server_requests(server), 2);
}
END_TEST

START_TEST(a_late_401_does_not_count_against_a_new_token)
{
    always_ok();
    write_file("token", "one");
    make_token_client();
    struct kube_easy old = {.serial = client->auth.serial};
    write_file("token", "two");
    pass(61);
    expect_shows("Bearer two");
    write_file("token", "three");
    ck_assert(kube_client_unauthorized(client, &old));
    expect_shows("Bearer two");
    old.serial = client->auth.serial;
    ck_assert(kube_client_unauthorized(client, &old));
    expect_shows("Bearer three");
}
END_TEST

START_TEST(a_fixed_token_has_no_second_chance)
{
    make_client("token: abc");
    add_unauthorized(KUBE_REPLY_ALWAYS);
    ck_assert_int_eq(kube_get(&call, NULL, NULL), -EACCES);
    ck_assert_uint_eq(kube_server_requests(server), 1);
}
END_TEST

/* --- credential plugins ----------------------------------------------------------------------- */

#define API "client.authentication.k8s.io/v1"

/* A client whose plugin is this script; it runs in `dir`. */
static void make_plugin_client(const char *script, const char *more)
{
    cleanup_free char *text = xasprintf("#!/bin/sh\ncd %s\n%s\n", dir, script);
    write_file("plugin", text);
    cleanup_free char *user =
        xasprintf("exec: {command: %s/plugin, apiVersion: " API ", args: [first, 'se cond'], "
                  "env: [{name: PLUGIN_TEST, value: 'v w'}], interactiveMode: Never%s}",
                  dir, more);
    make_client(user);
}

/* Prints the token "t<run>", counts its runs in the file "count". */
#define COUNTING(expires)                                                         \
    "echo x >>count; n=$(wc -l <count)\n"                                         \
    "printf '{\"kind\":\"ExecCredential\",\"apiVersion\":\"" API "\",\"status\":" \
    "{\"token\":\"t%s\"" expires "}}' \"$n\""

static unsigned runs(void)
{
    cleanup_free char *text = read_text("count");
    unsigned count = 0;
    for (const char *c = text; *c != '\0'; c++)
        count += *c == '\n';
    return count;
}

START_TEST(runs_a_plugin)
{
    always_ok();
    make_plugin_client(
        "printf '%s' \"$KUBERNETES_EXEC_INFO\" >info\n"
        "printf '\\n%s|%s|%s|%s' \"$#\" \"$1\" \"$2\" \"$PLUGIN_TEST\" >>info\n" COUNTING(""),
        ", provideClusterInfo: true");
    ck_assert_uint_eq(runs(), 0); /* a client is made without a request and without its plugin */
    expect_shows("Bearer t1");
    pass(100000);
    expect_shows("Bearer t1");
    ck_assert_uint_eq(runs(), 1);
    cleanup_free char *info = read_text("info");
    char *rest = strchr(info, '\n');
    ck_assert_ptr_nonnull(rest);
    ck_assert_str_eq(rest, "\n2|first|se cond|v w");
    cleanup_json cJSON *said = NULL;
    ck_assert_int_eq(json_parse(info, (size_t)(rest - info), NULL, &said, NULL), 0);
    ck_assert_str_eq(json_get(said, "apiVersion")->valuestring, API);
    ck_assert(cJSON_IsFalse(kube_path(said, "spec.interactive")));
    ck_assert_str_eq(kube_path(said, "spec.cluster.server")->valuestring, kube_server_url(server));
}
END_TEST

START_TEST(runs_the_plugin_again_when_its_answer_expires)
{
    always_ok();
    make_plugin_client(COUNTING(",\"expirationTimestamp\":\"1970-01-01T00:33:20Z\""), "");
    expect_shows("Bearer t1");
    pass(999);
    expect_shows("Bearer t1");
    pass(1);
    expect_shows("Bearer t2");
    ck_assert_uint_eq(runs(), 2);
}
END_TEST

START_TEST(runs_the_plugin_again_after_a_401)
{
    add_unauthorized(1);
    always_ok();
    make_plugin_client(COUNTING(""), "");
    expect_shows("Bearer t2");
    ck_assert_uint_eq(kube_server_requests(server), 2);
}
END_TEST

static void *get_once(void *user)
{
    (void)user;
    struct kube_call own = call;
    return kube_get(&own, NULL, NULL) == 0 ? NULL : client;
}

START_TEST(runs_the_plugin_once_for_many)
{
    pthread_t thread[8];
    always_ok();
    make_plugin_client("sleep 0.3\n" COUNTING(""), "");
    for (size_t i = 0; i < ARRAY_SIZE(thread); i++)
        ck_assert_int_eq(pthread_create(&thread[i], NULL, get_once, NULL), 0);
    for (size_t i = 0; i < ARRAY_SIZE(thread); i++) {
        void *failed;
        pthread_join(thread[i], &failed);
        ck_assert_ptr_null(failed);
    }
    ck_assert_uint_eq(runs(), 1);
}
END_TEST

static const struct {
    const char *script, *say;
    int error;
} failures[] = {
    {"exit 3", "ended with exit code 3", -EACCES},
    {"kill -9 $$", "was ended by signal 9", -EACCES},
    {"echo hello", "no JSON", -EINVAL},
    {"echo '{\"kind\":\"ExecCredential\",\"apiVersion\":\"" API "\"}'", "neither a token", -EINVAL},
    {"head -c 1048577 /dev/zero; sleep 100", "more than 1 MiB", -E2BIG},
    {"yes", "more than 1 MiB", -E2BIG},
    {"sleep 100", "did not end within", -ETIMEDOUT},
    {"sleep 100 & echo x; exit 0", "did not end within", -ETIMEDOUT},
    {"exec >&-; sleep 100", "closed its output but did not end", -ETIMEDOUT},
    {"cat; exit 4", "exit code 4", -EACCES}, /* its input is at its end */
};

START_TEST(survives_bad_plugins)
{
    struct error err = ERROR_INIT;
    always_ok();
    make_plugin_client(failures[_i].script, "");
    kube_exec_timeout_ns =
        failures[_i].error == -ETIMEDOUT ? 300 * NSEC_PER_MSEC : 20 * NSEC_PER_SEC;
    uint64_t before = clock_now_ns();
    ck_assert_int_eq(kube_get(&call, NULL, &err), failures[_i].error);
    ck_assert_msg(strstr(err.text, failures[_i].say) != NULL, "%s", err.text);
    ck_assert_ptr_nonnull(strstr(err.text, "/plugin"));
    ck_assert_uint_lt(clock_now_ns() - before, 15 * NSEC_PER_SEC);
    ck_assert_uint_eq(kube_server_requests(server), 0);
}
END_TEST

START_TEST(says_how_to_get_a_plugin)
{
    struct error err = ERROR_INIT;
    make_client("exec: {command: no-such-plugin-anywhere, apiVersion: " API
                ", interactiveMode: Never, installHint: 'apt-get it'}");
    ck_assert_int_eq(kube_get(&call, NULL, &err), -ENOENT);
    ck_assert_ptr_nonnull(strstr(err.text, "cannot run no-such-plugin-anywhere"));
    ck_assert_ptr_nonnull(strstr(err.text, "; apt-get it"));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("kube-auth");
    TCase *tc = tcase_create("auth");
    const TTest *const tests[] = {
        shows_a_token,
        shows_a_password,
        impersonates,
        reads_the_token_again_each_minute,
        keeps_the_token_when_the_file_cannot_be_read,
        wants_a_token_at_the_start,
        reads_the_token_again_after_a_401,
        a_401_for_good_is_an_error,
        a_late_401_does_not_count_against_a_new_token,
        a_fixed_token_has_no_second_chance,
        runs_a_plugin,
        runs_the_plugin_again_when_its_answer_expires,
        runs_the_plugin_again_after_a_401,
        runs_the_plugin_once_for_many,
        says_how_to_get_a_plugin,
    };
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_set_timeout(tc, 60);
    for (size_t i = 0; i < ARRAY_SIZE(tests); i++)
        tcase_add_test(tc, tests[i]);
    tcase_add_loop_test(tc, survives_bad_plugins, 0, (int)ARRAY_SIZE(failures));
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
