// SPDX-License-Identifier: Apache-2.0
/* The operator's health over HTTP, as the kubelet asks for it and as others may get in its way. */
#include "http.h"
#include "run_suite.h"
#include <arpa/inet.h>
#include <podvisor/cleanup.h>
#include <podvisor/str.h>
#include <string.h>
#include <sys/socket.h>

#define CROWD 100 /* more connections than are served */

static struct kube_lease *_Atomic lease;
static atomic_bool synced, leading, beside_kubevirt;
static struct http_server *server;
static uint16_t port;

/* In the place of metrics.c: what it says needs a cluster. */
char *metrics_render(struct operator* op, bool is_leading)
{
    (void)op;
    return xasprintf("leading %d\n", is_leading);
}

static struct sockaddr_in address_of(const char *host, uint16_t its_port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(its_port)};
    ck_assert_int_eq(inet_pton(AF_INET, host, &address.sin_addr), 1);
    return address;
}

/* A port that was free just now. */
static uint16_t free_port(void)
{
    struct sockaddr_in address = address_of("127.0.0.1", 0);
    socklen_t len = sizeof(address);
    cleanup_close int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, len), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    return ntohs(address.sin_port);
}

static void set_up(void)
{
    struct error err = ERROR_INIT;
    port = free_port();
    atomic_store(&synced, false);
    atomic_store(&beside_kubevirt, false);
    struct http_options options = {.address = "127.0.0.1",
                                   .port = port,
                                   .lease = &lease,
                                   .synced = &synced,
                                   .leading = &leading,
                                   .beside_kubevirt = &beside_kubevirt};
    ck_assert_msg(http_start(&options, &server, &err) == 0, "%s", err.text);
}

static void tear_down(void)
{
    http_stop(server);
}

static int connect_from(const char *host)
{
    struct sockaddr_in from = address_of(host, 0), to = address_of("127.0.0.1", port);
    struct timeval patience = {.tv_sec = 5};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&from, sizeof(from)), 0);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    return fd;
}

/* The status of the answer; 0: none came. */
static int ask(const char *host, const char *request)
{
    char answer[512];
    int status = 0;
    cleanup_close int fd = connect_from(host);
    cleanup_free char *text = xasprintf("%s HTTP/1.1\r\nHost: x\r\n\r\n", request);
    if (send(fd, text, strlen(text), MSG_NOSIGNAL) < 0)
        return 0;
    ssize_t n = recv(fd, answer, sizeof(answer) - 1, 0);
    answer[n > 0 ? n : 0] = '\0';
    return sscanf(answer, "HTTP/1.1 %d", &status) == 1 ? status : 0;
}

START_TEST(test_answers)
{
    ck_assert_int_eq(ask("127.0.0.2", "GET /livez"), 200);
    ck_assert_int_eq(ask("127.0.0.2", "GET /readyz"), 503);
    atomic_store(&synced, true);
    ck_assert_int_eq(ask("127.0.0.2", "GET /readyz"), 200);
    atomic_store(&beside_kubevirt, true);
    ck_assert_int_eq(ask("127.0.0.2", "GET /readyz"), 503);
    ck_assert_int_eq(ask("127.0.0.2", "GET /livez"), 200);
    ck_assert_int_eq(ask("127.0.0.2", "GET /metrics"), 200);
    ck_assert_int_eq(ask("127.0.0.2", "GET /../etc/passwd"), 404);
    ck_assert_int_eq(ask("127.0.0.2", "DELETE /metrics"), 405);
}
END_TEST

START_TEST(test_crowd_does_not_keep_the_kubelet_out)
{
    int crowd[CROWD];
    for (int i = 0; i < CROWD; i++)
        crowd[i] = connect_from("127.0.0.3");
    ck_assert_int_eq(ask("127.0.0.2", "GET /livez"), 200);
    for (int i = 0; i < CROWD; i++)
        close(crowd[i]);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("operator http");
    TCase *tcase = tcase_create("http");
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_test(tcase, test_answers);
    tcase_add_test(tcase, test_crowd_does_not_keep_the_kubelet_out);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
