// SPDX-License-Identifier: Apache-2.0
/*
 * Events: what is created, patched and only counted (client-go's event_recorder and
 * event_broadcaster, events_cache's spam filter), with times of the test's own; then the sender
 * against a scripted API server.
 */
#include "event_series.h"
#include "kube_server.h"
#include "run_suite.h"
#include <check.h>
#include <podvisor/cleanup.h>
#include <podvisor/str.h>
#include <pthread.h>
#include <string.h>

static const struct kube_resource vms = {
    .group = "kubevirt.io", .version = "v1", .plural = "virtualmachines", .kind = "VirtualMachine"};
static const struct kube_resource nodes = {
    .group = "", .version = "v1", .plural = "nodes", .kind = "Node", .cluster_scoped = true};

#define WALL INT64_C(1700000000123456789)

static struct event_book *book;
static uint64_t now;
static int64_t wall;

static void setup(void)
{
    now = 1000 * NSEC_PER_SEC;
    wall = WALL;
    book = event_book_new("virtualmachine-controller", "pod-1");
}

static void teardown(void)
{
    event_book_free(book);
}

static cJSON *make_vm(const char *name)
{
    cJSON *json = NULL;
    cleanup_free char *text =
        xasprintf("{\"metadata\":{\"name\":\"%s\",\"namespace\":\"ns\",\"uid\":\"u-%s\","
                  "\"resourceVersion\":\"7\"}}",
                  name, name);
    ck_assert_int_eq(json_parse(text, strlen(text), NULL, &json, NULL), 0);
    return json;
}

static bool record(const char *name, const char *reason)
{
    cleanup_json cJSON *vm = make_vm(name);
    const struct event_what what = {
        .kind = &vms, .regarding = vm, .reason = reason, .action = "Act", .note = "hello"};
    return event_book_record(book, &what, now, wall);
}

/* Takes the next job and returns its body's text; "" when there is none. */
static const char *next(enum event_result result)
{
    static char text[4096];
    struct event_job job;
    text[0] = '\0';
    if (!event_book_next(book, &job, now))
        return text;
    cleanup_free char *body = NULL;
    ck_assert_int_eq(json_print(job.body, &body, NULL, NULL), 0);
    snprintf(text, sizeof(text), "%s %s/%s %s", job.create ? "POST" : "PATCH", job.namespace_,
             job.name, body);
    cJSON_Delete(job.body);
    event_book_sent(book, &job, result);
    return text;
}

START_TEST(the_first_is_created)
{
    ck_assert(record("vm", "Started"));
    ck_assert_str_eq(
        next(EVENT_SENT),
        "POST ns/vm.17979cfe3d85cd15 {\"apiVersion\":\"events.k8s.io/v1\",\"kind\":\"Event\","
        "\"metadata\":{\"name\":\"vm.17979cfe3d85cd15\",\"namespace\":\"ns\"},"
        "\"eventTime\":\"2023-11-14T22:13:20.123456Z\",\"type\":\"Normal\",\"reason\":\"Started\","
        "\"action\":\"Act\",\"note\":\"hello\","
        "\"reportingController\":\"virtualmachine-controller\",\"reportingInstance\":\"pod-1\","
        "\"regarding\":{\"apiVersion\":\"kubevirt.io/v1\",\"kind\":\"VirtualMachine\","
        "\"namespace\":\"ns\",\"name\":\"vm\",\"uid\":\"u-vm\",\"resourceVersion\":\"7\"}}");
    ck_assert_str_eq(next(EVENT_SENT), "");
}
END_TEST

/* TestEventSeriesf: the second makes a series; later ones only count, and are told at its end. */
START_TEST(repetitions_become_a_series)
{
    record("vm", "Failed");
    next(EVENT_SENT);
    wall += 1000000000;
    record("vm", "Failed");
    ck_assert_str_eq(next(EVENT_SENT), "PATCH ns/vm.17979cfe3d85cd15 {\"series\":{\"count\":2,"
                                       "\"lastObservedTime\":\"2023-11-14T22:13:21.123456Z\"}}");
    for (unsigned i = 0; i < 40; i++)
        ck_assert(record("vm", "Failed"));
    ck_assert_str_eq(next(EVENT_SENT), "");
    uint64_t due = event_book_tick(book, now);
    ck_assert_uint_eq(due, now + EVENT_REFILL_NS); /* the object's allowance; then its silence */
    now += EVENT_QUIET_NS;
    event_book_tick(book, now);
    ck_assert_str_eq(next(EVENT_SENT), "PATCH ns/vm.17979cfe3d85cd15 {\"series\":{\"count\":42,"
                                       "\"lastObservedTime\":\"2023-11-14T22:13:21.123456Z\"}}");
    ck_assert_uint_eq(event_book_count(book), 0);
    record("vm", "Failed"); /* a new one */
    ck_assert(str_starts_with(next(EVENT_SENT), "POST "));
}
END_TEST

/* TestRefreshExistingEventSeries: one that goes on is told every half an hour. */
START_TEST(heartbeat)
{
    record("vm", "Failed");
    record("vm", "Failed"); /* both before the first was sent: one POST with a series */
    const char *text = next(EVENT_SENT);
    ck_assert(str_starts_with(text, "POST "));
    ck_assert_ptr_nonnull(strstr(text, "\"series\":{\"count\":2"));
    ck_assert_str_eq(next(EVENT_SENT), "");
    uint64_t end = now + EVENT_HEARTBEAT_NS;
    while (now < end - 60 * NSEC_PER_SEC) {
        now += 60 * NSEC_PER_SEC;
        record("vm", "Failed");
        event_book_tick(book, now);
        ck_assert_str_eq(next(EVENT_SENT), "");
    }
    now = end;
    event_book_tick(book, now);
    ck_assert_ptr_nonnull(strstr(next(EVENT_SENT), "\"count\":31"));
}
END_TEST

/* TestFinishSeries: one that never came again is forgotten. */
START_TEST(singletons_are_forgotten)
{
    record("vm", "Started");
    next(EVENT_SENT);
    now += EVENT_QUIET_NS - 1;
    event_book_tick(book, now);
    ck_assert_uint_eq(event_book_count(book), 1);
    now += 1;
    event_book_tick(book, now);
    ck_assert_uint_eq(event_book_count(book), 0);
    ck_assert_str_eq(next(EVENT_SENT), "");
    now += EVENT_BURST * EVENT_REFILL_NS;
    ck_assert_uint_eq(event_book_tick(book, now), UINT64_MAX); /* nothing is left to look at */
}
END_TEST

START_TEST(what_makes_a_kind)
{
    record("vm", "Started");
    record("vm", "Stopped");
    record("other", "Started");
    ck_assert_uint_eq(event_book_pending(book), 3);
    cleanup_json cJSON *vm = make_vm("vm");
    event_book_record(book,
                      &(struct event_what){.kind = &vms,
                                           .regarding = vm,
                                           .warning = true,
                                           .reason = "Started",
                                           .action = "Act",
                                           .note = "hello"},
                      now, wall);
    ck_assert_uint_eq(event_book_pending(book), 4);
}
END_TEST

START_TEST(patch_of_an_event_that_is_gone)
{
    record("vm", "Failed");
    next(EVENT_SENT);
    record("vm", "Failed");
    ck_assert(str_starts_with(next(EVENT_GONE), "PATCH "));
    const char *text = next(EVENT_SENT);
    ck_assert(str_starts_with(text, "POST ns/vm.17979cfe3d85cd15 "));
    ck_assert_ptr_nonnull(strstr(text, "\"series\":{\"count\":2"));
}
END_TEST

START_TEST(refused)
{
    record("vm", "Failed");
    next(EVENT_REFUSED);
    ck_assert_uint_eq(event_book_dropped(book), 1);
    ck_assert_uint_eq(event_book_count(book), 0);
}
END_TEST

/* It comes again while it is on its way. */
START_TEST(repetition_while_sending)
{
    struct event_job job;
    record("vm", "Failed");
    ck_assert(event_book_next(book, &job, now));
    record("vm", "Failed");
    record("vm", "Failed");
    ck_assert_str_eq(next(EVENT_SENT), "");
    now += EVENT_QUIET_NS;
    event_book_tick(book, now); /* not forgotten under the sender's hands */
    cJSON_Delete(job.body);
    event_book_sent(book, &job, EVENT_SENT);
    ck_assert_ptr_nonnull(strstr(next(EVENT_SENT), "\"count\":3"));
}
END_TEST

/* events_cache_test.go's spam filter: 25 at once, one more every 5 minutes, for each object. */
START_TEST(an_object_has_an_allowance)
{
    char reason[32];
    for (unsigned i = 0; i < 40; i++) {
        snprintf(reason, sizeof(reason), "R%u", i);
        ck_assert_int_eq(record("noisy", reason), i < EVENT_BURST);
    }
    ck_assert(record("calm", "R"));
    ck_assert_uint_eq(event_book_dropped(book), 40 - EVENT_BURST);
    now += 2 * EVENT_REFILL_NS;
    for (unsigned i = 50; i < 54; i++) {
        snprintf(reason, sizeof(reason), "R%u", i);
        ck_assert_int_eq(record("noisy", reason), i < 52);
    }
    ck_assert(record("noisy", "R0")); /* a repetition costs nothing */
}
END_TEST

START_TEST(a_full_queue_drops)
{
    char name[32];
    for (unsigned i = 0; i < EVENT_PENDING_MAX + 10; i++) {
        snprintf(name, sizeof(name), "vm-%u", i);
        ck_assert_int_eq(record(name, "R"), i < EVENT_PENDING_MAX);
    }
    ck_assert_uint_eq(event_book_dropped(book), 10);
}
END_TEST

/* The API's bounds: names of 253, notes of 1 kB cut between characters, an action of some kind. */
START_TEST(bounds)
{
    char name[254], note[3000];
    memset(name, 'n', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    note[0] = 'x';
    for (size_t i = 1; i + 2 < sizeof(note); i += 2)
        memcpy(note + i, "\xc3\xa4", 3);
    cleanup_json cJSON *vm = make_vm(name);
    ck_assert(event_book_record(
        book,
        &(struct event_what){
            .kind = &vms, .regarding = vm, .reason = "R", .action = "", .note = note},
        now, wall));
    struct event_job job;
    ck_assert(event_book_next(book, &job, now));
    ck_assert_uint_eq(strlen(job.name), 253);
    ck_assert_uint_eq(strlen(cJSON_GetStringValue(json_get(job.body, "note"))), 1023);
    ck_assert_str_eq(cJSON_GetStringValue(json_get(job.body, "action")), "R");
    cJSON_Delete(job.body);
    event_book_sent(book, &job, EVENT_SENT);
    /* Bytes that are no text are printed as three each. */
    memset(note, 0xff, sizeof(note) - 1);
    note[sizeof(note) - 1] = '\0';
    event_book_record(
        book,
        &(struct event_what){
            .kind = &vms, .regarding = vm, .reason = "R2", .action = "A", .note = note},
        now, wall);
    ck_assert(event_book_next(book, &job, now));
    ck_assert_uint_eq(strlen(cJSON_GetStringValue(json_get(job.body, "note"))), 341);
    cJSON_Delete(job.body);
    event_book_sent(book, &job, EVENT_SENT);
}
END_TEST

START_TEST(cluster_scoped_and_nameless)
{
    cleanup_json cJSON *node = NULL;
    static const char text[] = "{\"metadata\":{\"name\":\"n1\",\"uid\":\"u\"}}";
    ck_assert_int_eq(json_parse(text, strlen(text), NULL, &node, NULL), 0);
    struct event_what what = {
        .kind = &nodes, .regarding = node, .reason = "R", .action = "A", .note = ""};
    ck_assert(event_book_record(book, &what, now, wall));
    const char *sent = next(EVENT_SENT);
    ck_assert(str_starts_with(sent, "POST default/n1."));
    ck_assert_ptr_nonnull(strstr(sent, "\"regarding\":{\"apiVersion\":\"v1\",\"kind\":\"Node\","
                                       "\"name\":\"n1\",\"uid\":\"u\"}"));
    cleanup_json cJSON *empty = cJSON_CreateObject();
    what.regarding = empty;
    ck_assert(!event_book_record(book, &what, now, wall));
}
END_TEST

/* Two events of an object at the same nanosecond have two names. */
START_TEST(names_differ)
{
    record("vm", "A");
    record("vm", "B");
    ck_assert(str_starts_with(next(EVENT_SENT), "POST ns/vm.17979cfe3d85cd15 "));
    ck_assert(str_starts_with(next(EVENT_SENT), "POST ns/vm.17979cfe3d85cd16 "));
}
END_TEST

#define EVENTS "/apis/events.k8s.io/v1/namespaces/ns/events"

static struct kube_server *server;
static struct kube_client *client;
static struct kube_events *events;

static void start_sender(void)
{
    struct error err = ERROR_INIT;
    server = kube_server_start(NULL);
    struct kube_config_options options = {.kubeconfig = kube_server_kubeconfig(server, NULL, NULL),
                                          .user_agent = "test/1"};
    ck_assert_msg(kube_client_new(&options, 0, 0, &client, &err) == 0, "%s", err.text);
    ck_assert_int_eq(kube_events_start(client, "c", "i", &events, NULL), 0);
}

static void stop_sender(void)
{
    kube_client_free(client);
    kube_server_stop(server);
}

static void say(const char *name, const char *reason)
{
    cleanup_json cJSON *vm = make_vm(name);
    kube_event(events, &vms, vm, true, reason, "Act", "%s of %d", "note", 42);
}

START_TEST(sends)
{
    kube_server_add(server, &(struct kube_reply){.request = "POST " EVENTS, .body = "{}"});
    kube_server_add(server, &(struct kube_reply){.request = "PATCH " EVENTS "/vm.", .body = "{}"});
    say("vm", "Failed");
    ck_assert(kube_server_wait(server, 1, 10000));
    say("vm", "Failed");
    ck_assert(kube_server_wait(server, 2, 10000));
    struct kube_recorded post = kube_server_request(server, 0);
    struct kube_recorded patch = kube_server_request(server, 1);
    ck_assert_ptr_nonnull(strstr(post.body, "\"note\":\"note of 42\""));
    ck_assert_ptr_nonnull(strstr(post.body, "\"type\":\"Warning\""));
    ck_assert(kube_recorded_has(&patch, "Content-Type", "application/merge-patch+json"));
    kube_events_stop(events, NSEC_PER_SEC);
    ck_assert_uint_eq(kube_server_unexpected(server), 0);
}
END_TEST

/* A refusal is final; what waits is sent at the end, as long as there is time. */
START_TEST(drains_at_the_end)
{
    kube_server_add(server,
                    &(struct kube_reply){
                        .request = "POST " EVENTS, .status = 403, .body = "{}", .delay_ms = 100});
    kube_server_add(
        server,
        &(struct kube_reply){.request = "POST " EVENTS, .body = "{}", .times = KUBE_REPLY_ALWAYS});
    for (unsigned i = 0; i < 20; i++) {
        char name[16];
        snprintf(name, sizeof(name), "vm-%u", i);
        say(name, "R");
    }
    ck_assert(kube_server_wait(server, 2, 10000));
    ck_assert_uint_eq(kube_events_dropped(events), 1);
    kube_events_stop(events, 10 * NSEC_PER_SEC);
    ck_assert_uint_eq(kube_server_requests(server), 20);
}
END_TEST

static void *call_slowly(void *arg)
{
    const struct kube_call call = {.client = client, .resource = &nodes, .name = "slow"};
    cleanup_json cJSON *node = NULL;
    (void)arg;
    (void)kube_get(&call, &node, NULL);
    return NULL;
}

/* While a call waits for its answer, 200 at once and then one each 50 ms; after it, all. */
START_TEST(keeps_pace)
{
    pthread_t caller;
    kube_server_add(
        server,
        &(struct kube_reply){.request = "GET /api/v1/nodes/slow", .body = "{}", .delay_ms = 3000});
    kube_server_add(
        server,
        &(struct kube_reply){.request = "POST " EVENTS, .body = "{}", .times = KUBE_REPLY_ALWAYS});
    pthread_create(&caller, NULL, call_slowly, NULL);
    ck_assert(kube_server_wait(server, 1, 10000));
    uint64_t before = clock_now_ns();
    for (unsigned i = 0; i < 1000; i++) {
        char name[16];
        snprintf(name, sizeof(name), "vm-%u", i);
        say(name, "R");
    }
    ck_assert(kube_server_wait(server, 1 + 220, 30000));
    ck_assert_uint_ge(clock_now_ns() - before, 950 * NSEC_PER_MSEC);
    pthread_join(caller, NULL);
    size_t sent = kube_server_requests(server);
    ck_assert_uint_lt(sent, 400);
    ck_assert(kube_server_wait(server, 1 + 1000, 60000));
    kube_events_stop(events, NSEC_PER_SEC);
}
END_TEST

START_TEST(gives_up_at_the_end)
{
    kube_server_add(server, &(struct kube_reply){.request = "POST " EVENTS,
                                                 .status = 503,
                                                 .body = "{}",
                                                 .times = KUBE_REPLY_ALWAYS});
    for (unsigned i = 0; i < 20; i++) {
        char name[16];
        snprintf(name, sizeof(name), "vm-%u", i);
        say(name, "R");
    }
    ck_assert(kube_server_wait(server, 1, 10000));
    uint64_t before = clock_now_ns();
    kube_events_stop(events, 0);
    ck_assert_uint_lt(clock_now_ns() - before, 6 * NSEC_PER_SEC);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("kube-event");
    TCase *tc = tcase_create("book");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, the_first_is_created);
    tcase_add_test(tc, repetitions_become_a_series);
    tcase_add_test(tc, heartbeat);
    tcase_add_test(tc, singletons_are_forgotten);
    tcase_add_test(tc, what_makes_a_kind);
    tcase_add_test(tc, patch_of_an_event_that_is_gone);
    tcase_add_test(tc, refused);
    tcase_add_test(tc, repetition_while_sending);
    tcase_add_test(tc, an_object_has_an_allowance);
    tcase_add_test(tc, a_full_queue_drops);
    tcase_add_test(tc, bounds);
    tcase_add_test(tc, cluster_scoped_and_nameless);
    tcase_add_test(tc, names_differ);
    suite_add_tcase(suite, tc);
    TCase *sender = tcase_create("sender");
    tcase_add_checked_fixture(sender, start_sender, stop_sender);
    tcase_set_timeout(sender, 60);
    tcase_add_test(sender, sends);
    tcase_add_test(sender, drains_at_the_end);
    tcase_add_test(sender, keeps_pace);
    tcase_add_test(sender, gives_up_at_the_end);
    suite_add_tcase(suite, sender);
    return run_suite(suite);
}
