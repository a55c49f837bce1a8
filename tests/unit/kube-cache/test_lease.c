// SPDX-License-Identifier: Apache-2.0
/*
 * Leader election: the decisions of client-go's leaderelection_test.go with times of the test's
 * own, then the thread against a scripted API server.
 */
#include "kube_server.h"
#include "lease_record.h"
#include "run_suite.h"
#include <check.h>
#include <podvisor/cleanup.h>
#include <podvisor/clock.h>
#include <podvisor/str.h>
#include <stdatomic.h>
#include <string.h>

#define WALL INT64_C(1700000000123456789)
#define TIME "2023-11-14T22:13:20.123456Z"

static const struct kube_lease_options options = {.namespace_ = "ns",
                                                  .name = "op",
                                                  .identity = "me",
                                                  .duration_ns = 30 * NSEC_PER_SEC,
                                                  .renew_deadline_ns = 20 * NSEC_PER_SEC,
                                                  .retry_ns = 8 * NSEC_PER_SEC};
static struct lease_record record;
static uint64_t now;

static void setup(void)
{
    now = 1000 * NSEC_PER_SEC;
    record = (struct lease_record){.options = &options};
}

static void teardown(void)
{
    lease_record_done(&record);
}

static cJSON *lease(const char *holder, unsigned renewal, unsigned version)
{
    cJSON *json = NULL;
    cleanup_free char *text = xasprintf(
        "{\"metadata\":{\"name\":\"op\",\"namespace\":\"ns\",\"resourceVersion\":\"%u\"},\"spec\":{"
        "\"holderIdentity\":\"%s\",\"leaseDurationSeconds\":15,\"leaseTransitions\":3,"
        "\"acquireTime\":\"A\",\"renewTime\":\"R%u\",\"strategy\":\"x\"}}",
        version, holder, renewal);
    ck_assert_int_eq(json_parse(text, strlen(text), NULL, &json, NULL), 0);
    return json;
}

static void expect_made(bool release, const char *expected)
{
    cleanup_json cJSON *made = lease_record_make(&record, release, WALL);
    cleanup_free char *text = NULL;
    ck_assert_int_eq(json_print(json_get(made, "spec"), &text, NULL, NULL), 0);
    ck_assert_str_eq(text, expected);
}

/* "acquire from no object": also the zero is sent (leaseTransitions). */
START_TEST(no_lease)
{
    lease_record_observe(&record, NULL, now);
    ck_assert_int_eq(lease_record_decide(&record, now), LEASE_CREATE);
    expect_made(false,
                "{\"holderIdentity\":\"me\",\"leaseDurationSeconds\":30,"
                "\"leaseTransitions\":0,\"renewTime\":\"" TIME "\",\"acquireTime\":\"" TIME "\"}");
}
END_TEST

/* "don't acquire from led, acked object": as long as it changes, whatever its times say. */
START_TEST(another_holds_it)
{
    for (unsigned i = 0; i < 20; i++) {
        lease_record_observe(&record, lease("other", i, i), now);
        ck_assert_int_eq(lease_record_decide(&record, now), LEASE_WAIT);
        now += 14 * NSEC_PER_SEC;
        ck_assert_int_eq(lease_record_decide(&record, now), LEASE_WAIT);
    }
}
END_TEST

/* "acquire from led, unacked object": its own 15 s without a change that we saw. */
START_TEST(another_is_silent)
{
    lease_record_observe(&record, lease("other", 1, 1), now);
    now += 10 * NSEC_PER_SEC;
    lease_record_observe(&record, lease("other", 1, 2),
                         now); /* a label changed, it did not renew */
    now += 5 * NSEC_PER_SEC - 1;
    ck_assert_int_eq(lease_record_decide(&record, now), LEASE_WAIT);
    now += 1;
    ck_assert_int_eq(lease_record_decide(&record, now), LEASE_UPDATE);
    expect_made(false,
                "{\"strategy\":\"x\",\"holderIdentity\":\"me\",\"leaseDurationSeconds\":30,"
                "\"leaseTransitions\":4,\"renewTime\":\"" TIME "\",\"acquireTime\":\"" TIME "\"}");
}
END_TEST

/* "acquire from object without active lease" (given back). */
START_TEST(nobody_holds_it)
{
    lease_record_observe(&record, lease("", 1, 1), now);
    ck_assert_int_eq(lease_record_decide(&record, now), LEASE_UPDATE);
}
END_TEST

/* "renew already acquired object": also of our own former life. */
START_TEST(we_hold_it)
{
    lease_record_written(&record, lease("me", 1, 1), now - 5, now);
    ck_assert(record.held);
    ck_assert_int_eq(lease_record_decide(&record, now + 100 * NSEC_PER_SEC), LEASE_UPDATE);
    expect_made(false,
                "{\"acquireTime\":\"A\",\"strategy\":\"x\",\"holderIdentity\":\"me\","
                "\"leaseDurationSeconds\":30,\"leaseTransitions\":3,\"renewTime\":\"" TIME "\"}");
    expect_made(true,
                "{\"strategy\":\"x\",\"holderIdentity\":\"\",\"leaseDurationSeconds\":1,"
                "\"leaseTransitions\":3,\"renewTime\":\"" TIME "\",\"acquireTime\":\"" TIME "\"}");
    /* The deadline counts from when the write was begun, not from its answer. */
    ck_assert_uint_eq(lease_record_left(&record, now), 20 * NSEC_PER_SEC - 5);
    ck_assert_uint_eq(lease_record_left(&record, now + 20 * NSEC_PER_SEC), 0);
}
END_TEST

START_TEST(another_took_it)
{
    lease_record_written(&record, lease("me", 1, 1), now, now);
    lease_record_observe(&record, lease("other", 2, 2), now);
    ck_assert_int_eq(lease_record_decide(&record, now), LEASE_LOST);
}
END_TEST

START_TEST(strange_objects)
{
    static const char *const texts[] = {"{}", "{\"spec\":null}", "{\"spec\":7}",
                                        "{\"spec\":{\"holderIdentity\":7}}",
                                        "{\"spec\":{\"leaseTransitions\":\"x\"}}"};
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        cJSON *json = NULL;
        ck_assert_int_eq(json_parse(texts[i], strlen(texts[i]), NULL, &json, NULL), 0);
        lease_record_observe(&record, json, now);
        ck_assert_int_eq(lease_record_decide(&record, now), LEASE_UPDATE);
        cleanup_json cJSON *made = lease_record_make(&record, false, WALL);
        ck_assert_str_eq(cJSON_GetStringValue(json_get(json_get(made, "spec"), "holderIdentity")),
                         "me");
    }
}
END_TEST

#define PATH "/apis/coordination.k8s.io/v1/namespaces/ns/leases"

static struct kube_server *server;
static struct kube_client *client;
static atomic_uint acquired, lost;

static void note_acquired(void *user)
{
    (void)user;
    atomic_fetch_add(&acquired, 1);
}

static void note_lost(void *user)
{
    (void)user;
    atomic_fetch_add(&lost, 1);
}

static void start_server(void)
{
    struct error err = ERROR_INIT;
    server = kube_server_start(NULL);
    struct kube_config_options config = {.kubeconfig = kube_server_kubeconfig(server, NULL, NULL),
                                         .user_agent = "test/1"};
    ck_assert_msg(kube_client_new(&config, 0, 0, &client, &err) == 0, "%s", err.text);
    atomic_store(&acquired, 0);
    atomic_store(&lost, 0);
}

static void stop_server(void)
{
    kube_client_free(client);
    kube_server_stop(server);
}

static struct kube_lease *start_lease(void)
{
    struct kube_lease_options quick = options;
    struct kube_lease *started = NULL;
    quick.duration_ns = 1500 * NSEC_PER_MSEC;
    quick.renew_deadline_ns = 1000 * NSEC_PER_MSEC;
    quick.retry_ns = 50 * NSEC_PER_MSEC;
    quick.acquired = note_acquired;
    quick.lost = note_lost;
    ck_assert_int_eq(kube_lease_start(client, &quick, &started, NULL), 0);
    return started;
}

static bool wait_for(atomic_uint *what)
{
    uint64_t until = clock_now_ns() + 10 * NSEC_PER_SEC;
    while (atomic_load(what) == 0 && clock_now_ns() < until)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    return atomic_load(what) > 0;
}

static void reply(const char *request, int status, const char *holder, unsigned times)
{
    cleanup_json cJSON *json = lease(holder, 1, 1);
    cleanup_free char *body = NULL;
    ck_assert_int_eq(json_print(json, &body, NULL, NULL), 0);
    kube_server_add(server, &(struct kube_reply){.request = request,
                                                 .status = status,
                                                 .body = status < 300 ? body : "{}",
                                                 .times = times});
}

START_TEST(creates_renews_and_gives_back)
{
    reply("GET " PATH "/op", 404, "", 1);
    reply("POST " PATH, 201, "me", 1);
    reply("PUT " PATH "/op", 200, "me", KUBE_REPLY_ALWAYS);
    struct kube_lease *l = start_lease();
    ck_assert(wait_for(&acquired));
    ck_assert(kube_lease_held(l));
    ck_assert(kube_server_wait(server, 5, 10000));
    ck_assert(kube_lease_healthy(l));
    kube_lease_stop(l);
    struct kube_recorded last = kube_server_request(server, kube_server_requests(server) - 1);
    ck_assert_ptr_nonnull(strstr(last.body, "\"holderIdentity\":\"\""));
    ck_assert_ptr_nonnull(strstr(last.body, "\"leaseDurationSeconds\":1,"));
    struct kube_recorded put = kube_server_request(server, 2);
    ck_assert(str_starts_with(put.line, "PUT ")); /* the fast path: no GET before */
    ck_assert_ptr_nonnull(strstr(put.body, "\"resourceVersion\":\"1\""));
    ck_assert_uint_eq(atomic_load(&lost), 0);
    ck_assert_uint_eq(kube_server_unexpected(server), 0);
}
END_TEST

START_TEST(waits_while_another_leads)
{
    reply("GET " PATH "/op", 200, "other", KUBE_REPLY_ALWAYS);
    struct kube_lease *l = start_lease();
    ck_assert(kube_server_wait(server, 4, 10000));
    ck_assert(!kube_lease_held(l));
    ck_assert(kube_lease_healthy(l)); /* who does not lead cannot be a zombie leader */
    kube_lease_stop(l);
    ck_assert_uint_eq(atomic_load(&acquired), 0);
    ck_assert_uint_eq(kube_server_unexpected(server), 0);
}
END_TEST

/* Two candidates at once: the PUT conflicts, and the next GET shows why. */
START_TEST(another_is_faster)
{
    reply("GET " PATH "/op", 200, "", 1);
    reply("PUT " PATH "/op", 409, "", 1);
    reply("GET " PATH "/op", 200, "other", KUBE_REPLY_ALWAYS);
    struct kube_lease *l = start_lease();
    ck_assert(kube_server_wait(server, 4, 10000));
    ck_assert(!kube_lease_held(l));
    kube_lease_stop(l);
}
END_TEST

START_TEST(another_takes_it)
{
    reply("GET " PATH "/op", 200, "", 1);
    reply("PUT " PATH "/op", 200, "me", 2);
    reply("PUT " PATH "/op", 409, "", KUBE_REPLY_ALWAYS);
    reply("GET " PATH "/op", 200, "other", KUBE_REPLY_ALWAYS);
    struct kube_lease *l = start_lease();
    ck_assert(wait_for(&acquired));
    ck_assert(wait_for(&lost));
    ck_assert(!kube_lease_held(l));
    kube_lease_stop(l);
}
END_TEST

/* The server is silent, refuses, or resets: lost at the deadline, neither before nor long after. */
START_TEST(cannot_renew)
{
    reply("GET " PATH "/op", 200, "", 1);
    reply("PUT " PATH "/op", 200, "me", 1);
    static const struct kube_reply failures[] = {
        {.kind = KUBE_REPLY_HANG}, {.status = 500, .body = "{}"}, {.kind = KUBE_REPLY_RESET}};
    struct kube_reply failure = failures[_i];
    failure.times = KUBE_REPLY_ALWAYS;
    kube_server_add(server, &failure);
    struct kube_lease *l = start_lease();
    ck_assert(wait_for(&acquired));
    uint64_t before = clock_now_ns();
    ck_assert(wait_for(&lost));
    uint64_t took = clock_now_ns() - before;
    ck_assert_uint_ge(took, 800 * NSEC_PER_MSEC);
    ck_assert_uint_le(took, 1400 * NSEC_PER_MSEC);
    kube_lease_stop(l);
}
END_TEST

START_TEST(times_must_fit)
{
    struct kube_lease_options wrong = options;
    struct kube_lease *l = NULL;
    wrong.renew_deadline_ns = wrong.duration_ns;
    ck_assert_int_eq(kube_lease_start(client, &wrong, &l, NULL), -EINVAL);
    wrong.renew_deadline_ns = wrong.retry_ns;
    ck_assert_int_eq(kube_lease_start(client, &wrong, &l, NULL), -EINVAL);
    ck_assert_ptr_null(l);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("kube-lease");
    TCase *tc = tcase_create("record");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, no_lease);
    tcase_add_test(tc, another_holds_it);
    tcase_add_test(tc, another_is_silent);
    tcase_add_test(tc, nobody_holds_it);
    tcase_add_test(tc, we_hold_it);
    tcase_add_test(tc, another_took_it);
    tcase_add_test(tc, strange_objects);
    suite_add_tcase(suite, tc);
    TCase *thread = tcase_create("thread");
    tcase_add_checked_fixture(thread, start_server, stop_server);
    tcase_set_timeout(thread, 60);
    tcase_add_test(thread, creates_renews_and_gives_back);
    tcase_add_test(thread, waits_while_another_leads);
    tcase_add_test(thread, another_is_faster);
    tcase_add_test(thread, another_takes_it);
    tcase_add_loop_test(thread, cannot_renew, 0, 3);
    tcase_add_test(thread, times_must_fit);
    suite_add_tcase(suite, thread);
    return run_suite(suite);
}
