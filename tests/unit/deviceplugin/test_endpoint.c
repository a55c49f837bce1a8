// SPDX-License-Identifier: Apache-2.0
/* One resource against a kubelet that starts, dies, refuses, and removes sockets. */
#include "endpoint.h"
#include "fake_kubelet.h"
#include "folder_watch.h"
#include "kit.h"
#include "run_suite.h"
#include <podvisor/cleanup.h>
#include <podvisor/log.h>
#include <string.h>
#include <sys/stat.h>

static struct loop loop;
static struct endpoint ep;
static struct folder_watch watch;
static struct fake_kubelet kubelet;
static char folder[64], socket_path[96];
static struct error lost;
static uint64_t skew_ns;

static uint64_t skewed_now(void)
{
    return clock_now_ns() + skew_ns;
}

static void on_lost(void *owner, const struct error *err)
{
    (void)owner;
    lost = *err;
}

static void on_change(struct folder_watch *w, int wd, const char *name)
{
    (void)w;
    (void)wd;
    endpoint_folder_changed(&ep, name);
}

static void setup(void)
{
    log_setup("test", STDERR_FILENO, LOG_FORMAT_TEXT, LOG_LEVEL_ERROR);
    make_folder(folder);
    snprintf(socket_path, sizeof(socket_path), "%s/podvisor-kvm.sock", folder);
    lost = ERROR_INIT;
    skew_ns = 0;
    ck_assert_int_eq(loop_init(&loop, NULL), 0);
    loop.now_ns = skewed_now;
    ck_assert_int_eq(folder_watch_start(&watch, &loop, on_change, NULL), 0);
    ck_assert_int_ge(folder_watch_add(&watch, folder, NULL), 0);
}

static void start_endpoint(void)
{
    struct device_health health = {.healthy = true};
    endpoint_start(&ep, &loop, folder, device_type_find("kvm"), 1000, on_lost, NULL);
    endpoint_set_health(&ep, &health);
}

static void teardown(void)
{
    char kubelet_path[128];
    snprintf(kubelet_path, sizeof(kubelet_path), "%s/kubelet.sock", folder);
    endpoint_done(&ep);
    folder_watch_done(&watch);
    loop_done(&loop);
    ck_assert_int_eq(access(socket_path, F_OK), -1);
    unlink(kubelet_path);
    ck_assert_int_eq(rmdir(folder), 0);
}

static struct kubelet_plugin *find(void)
{
    return fake_kubelet_find(&kubelet, "devices.kubevirt.io/kvm");
}

/* The number of devices in the last list, and how many of them are healthy. */
static unsigned listed(const struct kubelet_plugin *p, unsigned *ret_healthy)
{
    V1beta1__ListAndWatchResponse *list = peer_last_list(p->list);
    ck_assert_ptr_nonnull(list);
    unsigned count = (unsigned)list->n_devices;
    *ret_healthy = 0;
    for (unsigned i = 0; i < count; i++)
        *ret_healthy += strcmp(list->devices[i]->health, "Healthy") == 0;
    v1beta1__list_and_watch_response__free_unpacked(list, NULL);
    return count;
}

START_TEST(registers)
{
    fake_kubelet_start(&kubelet, &loop, folder);
    start_endpoint();
    run_until(&loop, find() != NULL);
    const struct kubelet_plugin *p = find();
    unsigned healthy;
    ck_assert_str_eq(p->version, "v1beta1");
    ck_assert_str_eq(p->endpoint, "podvisor-kvm.sock");
    ck_assert_uint_eq(listed(p, &healthy), 1000);
    ck_assert_uint_eq(healthy, 1000);
    run_until(&loop, ep.registered);
    /* It is watched: nothing more is asked of the kubelet. */
    skew_ns += 3600 * NSEC_PER_SEC;
    run_for(&loop, 50);
    ck_assert_uint_eq(kubelet.registrations, 1);
    fake_kubelet_kill(&kubelet);
}
END_TEST

START_TEST(allocates)
{
    fake_kubelet_start(&kubelet, &loop, folder);
    start_endpoint();
    run_until(&loop, find() != NULL);
    /* AllocateRequest{container_requests: [{devices_ids: ["kvm42"]}]} */
    static const char request[] = "\x0a\x07\x0a\x05kvm42";
    struct peer_stream *s = peer_call(find()->peer, "/v1beta1.DevicePlugin/Allocate", request, 9);
    struct peer_stream *none =
        peer_call(find()->peer, "/v1beta1.DevicePlugin/Allocate", "\x0a\x07\x0a\x05kvm4x", 9);
    struct peer_stream *unknown =
        peer_call(find()->peer, "/v1beta1.DevicePlugin/PreStartContainer", "", 0);
    run_until(&loop, s->closed && none->closed && unknown->closed);
    ck_assert_int_eq(s->grpc_status, 0);
    ck_assert_uint_eq(peer_messages(s), 1);
    ck_assert_int_eq(none->grpc_status, GRPC_NOT_FOUND);
    ck_assert_str_eq(none->grpc_message, "there is no kvm device 'kvm4x'");
    ck_assert_int_eq(unknown->grpc_status, GRPC_UNIMPLEMENTED);
    fake_kubelet_kill(&kubelet);
}
END_TEST

START_TEST(waits_for_the_kubelet)
{
    start_endpoint();
    run_for(&loop, 50);
    skew_ns += 1800 * NSEC_PER_SEC;
    run_for(&loop, 20);
    ck_assert_uint_gt(ep.backoff_ns, NSEC_PER_SEC);
    fake_kubelet_start(&kubelet, &loop, folder);
    run_until(&loop, find() != NULL);
    fake_kubelet_kill(&kubelet);
}
END_TEST

START_TEST(survives_restarts_of_the_kubelet)
{
    fake_kubelet_start(&kubelet, &loop, folder);
    start_endpoint();
    for (unsigned i = 0; i < 5; i++) {
        run_until(&loop, find() != NULL);
        fake_kubelet_kill(&kubelet);
        if (i % 2 == 0)
            run_for(&loop, 20);
        fake_kubelet_start(&kubelet, &loop, folder);
    }
    run_until(&loop, find() != NULL);
    ck_assert_int_eq(access(socket_path, F_OK), 0);
    fake_kubelet_kill(&kubelet);
}
END_TEST

START_TEST(survives_removal_of_its_socket)
{
    fake_kubelet_start(&kubelet, &loop, folder);
    start_endpoint();
    run_until(&loop, find() != NULL);
    ck_assert_int_eq(unlink(socket_path), 0);
    run_until(&loop, kubelet.registrations == 2 && find() == &kubelet.plugin[1]);
    ck_assert_int_eq(access(socket_path, F_OK), 0);
    fake_kubelet_kill(&kubelet);
}
END_TEST

START_TEST(registers_again_when_its_stream_ends)
{
    fake_kubelet_start(&kubelet, &loop, folder);
    start_endpoint();
    run_until(&loop, find() != NULL);
    run_until(&loop, ep.registered);
    peer_close(find()->peer);
    run_until(&loop, !ep.registered);
    skew_ns += 2 * NSEC_PER_SEC;
    run_until(&loop, find() == &kubelet.plugin[1]);
    fake_kubelet_kill(&kubelet);
}
END_TEST

START_TEST(refusal_is_tried_again_with_back_off)
{
    fake_kubelet_start(&kubelet, &loop, folder);
    kubelet.refuse_status = GRPC_UNKNOWN;
    start_endpoint();
    run_until(&loop, kubelet.registrations == 1 && ep.complaint[0] != '\0');
    ck_assert_ptr_nonnull(strstr(ep.complaint, "UNKNOWN (2): not today"));
    for (unsigned i = 0; i < 7; i++) {
        uint64_t expected = NSEC_PER_SEC << (i + 1);
        expected = expected < 30 * NSEC_PER_SEC ? expected : 30 * NSEC_PER_SEC;
        run_until(&loop, ep.backoff_ns == expected && !ep.registration.active);
        skew_ns += ep.backoff_ns;
        run_until(&loop, kubelet.registrations == i + 2);
    }
    kubelet.refuse_status = 0;
    run_until(&loop, !ep.registration.active);
    skew_ns += 30 * NSEC_PER_SEC;
    run_until(&loop, find() != NULL);
    fake_kubelet_kill(&kubelet);
}
END_TEST

START_TEST(silence_is_not_waited_for_ever)
{
    fake_kubelet_start(&kubelet, &loop, folder);
    kubelet.mute = true;
    start_endpoint();
    run_until(&loop, kubelet.registrations == 1);
    skew_ns += 21 * NSEC_PER_SEC;
    run_until(&loop, !ep.registration.active);
    ck_assert_ptr_nonnull(strstr(ep.complaint, "DEADLINE_EXCEEDED"));
    kubelet.mute = false;
    skew_ns += 2 * NSEC_PER_SEC;
    run_until(&loop, find() != NULL);
    fake_kubelet_kill(&kubelet);
}
END_TEST

START_TEST(health_reaches_the_kubelet)
{
    struct device_health gone = {.healthy = false, .reason = "no"}, back = {.healthy = true};
    unsigned healthy;
    fake_kubelet_start(&kubelet, &loop, folder);
    start_endpoint();
    run_until(&loop, find() != NULL);
    endpoint_set_health(&ep, &gone);
    run_until(&loop, peer_messages(find()->list) == 2);
    ck_assert_uint_eq(listed(find(), &healthy), 0);
    endpoint_set_health(&ep, &gone);
    endpoint_set_health(&ep, &back);
    run_until(&loop, peer_messages(find()->list) == 3);
    ck_assert_uint_eq(listed(find(), &healthy), 1000);
    ck_assert_uint_eq(healthy, 1000);
    fake_kubelet_kill(&kubelet);
}
END_TEST

START_TEST(withdraws)
{
    unsigned healthy;
    fake_kubelet_start(&kubelet, &loop, folder);
    start_endpoint();
    run_until(&loop, find() != NULL);
    endpoint_withdraw(&ep);
    run_until(&loop, endpoint_is_drained(&ep));
    run_until(&loop, peer_messages(find()->list) == 2);
    ck_assert_uint_eq(listed(find(), &healthy), 0);
    fake_kubelet_kill(&kubelet);
    run_for(&loop, 20);
}
END_TEST

START_TEST(gives_way_to_another_plugin)
{
    static struct grpc_server other;
    static const struct grpc_method methods[] = {{0}};
    static const struct grpc_service service = {methods, NULL};
    fake_kubelet_start(&kubelet, &loop, folder);
    start_endpoint();
    run_until(&loop, find() != NULL);
    ck_assert_int_eq(grpc_server_listen(&other, &loop, socket_path, &service, NULL, NULL), 0);
    run_until(&loop, lost.code == EADDRINUSE);
    endpoint_done(&ep);
    /* The name is the other's now. */
    ck_assert_int_eq(grpc_server_socket_state(&other), GRPC_SOCKET_OURS);
    grpc_server_close(&other);
    fake_kubelet_kill(&kubelet);
}
END_TEST

START_TEST(folder_that_went_ends_it)
{
    start_endpoint();
    run_for(&loop, 20);
    ck_assert_int_eq(unlink(socket_path), 0);
    ck_assert_int_eq(rmdir(folder), 0);
    run_until(&loop, lost.code == ENOENT);
    ck_assert_ptr_nonnull(strstr(lost.text, "is gone"));
    ck_assert_int_eq(mkdir(folder, 0700), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("endpoint");
    TCase *tc = tcase_create("endpoint");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, registers);
    tcase_add_test(tc, allocates);
    tcase_add_test(tc, waits_for_the_kubelet);
    tcase_add_test(tc, survives_restarts_of_the_kubelet);
    tcase_add_test(tc, survives_removal_of_its_socket);
    tcase_add_test(tc, registers_again_when_its_stream_ends);
    tcase_add_test(tc, refusal_is_tried_again_with_back_off);
    tcase_add_test(tc, silence_is_not_waited_for_ever);
    tcase_add_test(tc, health_reaches_the_kubelet);
    tcase_add_test(tc, withdraws);
    tcase_add_test(tc, gives_way_to_another_plugin);
    tcase_add_test(tc, folder_that_went_ends_it);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
