// SPDX-License-Identifier: Apache-2.0
/* What is written to the Node, against a scripted API server. */
#include "kit.h"
#include "kube_server.h"
#include "node_report.h"
#include "run_suite.h"
#include <podvisor/cleanup.h>
#include <podvisor/json.h>
#include <podvisor/log.h>
#include <string.h>

#define PATCH   "PATCH /api/v1/nodes/node-1"
#define WAIT_MS 10000

static struct kube_server *server;
static const char *kubeconfig;
static struct node_report *report;

static void setup(void)
{
    log_setup("test", STDERR_FILENO, LOG_FORMAT_TEXT, LOG_LEVEL_ERROR);
    server = kube_server_start(NULL);
    kubeconfig = kube_server_kubeconfig(server, NULL, NULL);
}

static void teardown(void)
{
    kube_server_stop(server);
}

static void start_report(unsigned heartbeat_s)
{
    ck_assert_int_eq(node_report_start("node-1", kubeconfig, heartbeat_s, &report, NULL), 0);
}

static void wait_done(void)
{
    for (uint64_t end = clock_now_ns() + WAIT_NS; clock_now_ns() < end;) {
        if (node_report_is_done(report))
            return;
        usleep(1000);
    }
    ck_abort_msg("the report never ended");
}

static void finish_report(void)
{
    node_report_finish(report);
    wait_done();
    node_report_free(report);
}

/* The label and the reason of one recorded patch; "-" when the reason is removed. */
static void expect_patch(size_t index, const char *label, const char *reason)
{
    struct kube_recorded got = kube_server_request(server, index);
    ck_assert_ptr_nonnull(strstr(got.line, PATCH));
    ck_assert(kube_recorded_has(&got, "Content-Type", "application/merge-patch+json"));
    cleanup_json cJSON *body = NULL;
    ck_assert_int_eq(json_parse(got.body, strlen(got.body), NULL, &body, NULL), 0);
    const cJSON *metadata = json_get(body, "metadata");
    const char *text = NULL;
    ck_assert_int_eq(
        json_get_string(json_get(metadata, "labels"), "kubevirt.io/schedulable", NULL, &text, NULL),
        1);
    ck_assert_str_eq(text, label);
    const cJSON *annotations = json_get(metadata, "annotations");
    ck_assert_int_eq(json_get_string(annotations, "kubevirt.io/heartbeat", NULL, &text, NULL), 1);
    ck_assert_uint_eq(strlen(text), strlen("2026-01-02T03:04:05Z"));
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(annotations, "podvisor.io/kvm");
    ck_assert_ptr_nonnull(item);
    ck_assert_str_eq(cJSON_IsNull(item) ? "-" : item->valuestring, reason);
}

static void answer_all(void)
{
    kube_server_add(
        server, &(struct kube_reply){.request = PATCH, .body = "{}", .times = KUBE_REPLY_ALWAYS});
}

START_TEST(writes_changes_at_once)
{
    answer_all();
    start_report(3600);
    usleep(50000);
    ck_assert_uint_eq(kube_server_requests(server), 0); /* nothing is known */
    node_report_set(report, true, "");
    ck_assert(kube_server_wait(server, 1, WAIT_MS));
    node_report_set(report, true, "");
    node_report_set(report, false, "no \"KVM\"\n");
    ck_assert(kube_server_wait(server, 2, WAIT_MS));
    finish_report();
    ck_assert_uint_eq(kube_server_requests(server), 3);
    expect_patch(0, "true", "-");
    expect_patch(1, "false", "no \"KVM\"\n");
    expect_patch(2, "false", "the device plugin is not running on this node");
}
END_TEST

START_TEST(beats)
{
    answer_all();
    start_report(1);
    node_report_set(report, true, "");
    ck_assert(kube_server_wait(server, 3, WAIT_MS));
    uint64_t between = kube_server_request(server, 2).at_ns - kube_server_request(server, 1).at_ns;
    ck_assert_uint_ge(between, 900 * NSEC_PER_MSEC);
    finish_report();
    expect_patch(2, "true", "-");
}
END_TEST

START_TEST(tries_again)
{
    kube_server_add(server, &(struct kube_reply){.request = PATCH,
                                                 .status = 403,
                                                 .body = "{\"kind\":\"Status\",\"code\":403,"
                                                         "\"reason\":\"Forbidden\"}"});
    answer_all();
    start_report(3600);
    node_report_set(report, true, "");
    ck_assert(kube_server_wait(server, 2, WAIT_MS));
    finish_report();
    expect_patch(0, "true", "-");
    expect_patch(1, "true", "-");
}
END_TEST

/* The end does not wait for an API server that is silent. */
START_TEST(ends_without_the_api)
{
    kube_server_add(server, &(struct kube_reply){.request = PATCH, .kind = KUBE_REPLY_HANG});
    start_report(3600);
    node_report_set(report, true, "");
    ck_assert(kube_server_wait(server, 1, WAIT_MS));
    node_report_finish(report);
    ck_assert(!node_report_is_done(report));
    kube_server_clear(server);
    answer_all();
    /* For the leak checker: with the server gone the thread ends after all. */
    kube_server_stop(server);
    wait_done();
    node_report_free(report);
    server = kube_server_start(NULL);
}
END_TEST

START_TEST(off_is_harmless)
{
    node_report_set(NULL, true, "");
    node_report_finish(NULL);
    ck_assert(node_report_is_done(NULL));
    node_report_free(NULL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("node_report");
    TCase *tc = tcase_create("node_report");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, writes_changes_at_once);
    tcase_add_test(tc, beats);
    tcase_add_test(tc, tries_again);
    tcase_add_test(tc, ends_without_the_api);
    tcase_add_test(tc, off_is_harmless);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
