// SPDX-License-Identifier: Apache-2.0
/* The gRPC server against right and wrong peers. */
#include "fake_kubelet.h"
#include "grpc_server.h"
#include "kit.h"
#include "run_suite.h"
#include <podvisor/cleanup.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

static struct loop loop;
static struct grpc_server server;
static char folder[64], path[96];
static unsigned open_streams;
static size_t snapshot_size;
static uint8_t snapshot_fill;

/* Answers with the request, backwards. */
static enum grpc_status echo(void *ctx, const uint8_t *request, size_t len,
                             struct grpc_message *ret, struct error *err)
{
    (void)ctx;
    (void)err;
    grpc_message_alloc(ret, len);
    for (size_t i = 0; i < len; i++)
        grpc_message_payload(ret)[i] = request[len - 1 - i];
    return GRPC_OK;
}

static enum grpc_status refuse(void *ctx, const uint8_t *request, size_t len,
                               struct grpc_message *ret, struct error *err)
{
    (void)ctx;
    (void)request;
    (void)len;
    (void)ret;
    error_set(err, ENODEV, "100%% gone\n");
    return GRPC_FAILED_PRECONDITION;
}

static enum grpc_status watch(void *ctx, const uint8_t *request, size_t len,
                              struct grpc_message *ret, struct error *err)
{
    (void)ctx;
    (void)request;
    (void)len;
    (void)err;
    grpc_message_alloc(ret, snapshot_size);
    memset(grpc_message_payload(ret), snapshot_fill, snapshot_size);
    return GRPC_OK;
}

static void streams_changed(void *ctx, unsigned open)
{
    (void)ctx;
    open_streams = open;
}

static const struct grpc_method methods[] = {
    {"/t.T/Echo", echo, false}, {"/t.T/Fail", refuse, false}, {"/t.T/Watch", watch, true}, {0}};
static const struct grpc_service service = {methods, streams_changed};

static void setup(void)
{
    make_folder(folder);
    snprintf(path, sizeof(path), "%s/s.sock", folder);
    ck_assert_int_eq(loop_init(&loop, NULL), 0);
    ck_assert_int_eq(grpc_server_listen(&server, &loop, path, &service, NULL, NULL), 0);
    open_streams = 0;
    snapshot_size = 10;
    snapshot_fill = 'a';
}

static void teardown(void)
{
    grpc_server_close(&server);
    loop_done(&loop);
    ck_assert_int_eq(rmdir(folder), 0);
}

static void check_unary(void)
{
    struct peer *peer = peer_connect(&loop, path);
    struct peer_stream *s = peer_call(peer, "/t.T/Echo", "abc", 3);
    run_until(&loop, s->closed);
    size_t len = 0;
    const uint8_t *reply = peer_message(s, 0, &len);
    ck_assert_uint_eq(peer_messages(s), 1);
    ck_assert_uint_eq(len, 3);
    ck_assert_mem_eq(reply, "cba", 3);
    ck_assert_int_eq(s->http_status, 200);
    ck_assert_int_eq(s->grpc_status, 0);
    ck_assert_str_eq(s->content_type, "application/grpc");
    ck_assert_str_eq(s->grpc_message, "");
    peer_free(peer);
}

START_TEST(unary)
{
    check_unary();
}
END_TEST

START_TEST(failure_is_trailers_only)
{
    struct peer *peer = peer_connect(&loop, path);
    struct peer_stream *s = peer_call(peer, "/t.T/Fail", "", 0);
    run_until(&loop, s->closed);
    ck_assert_uint_eq(s->in_len, 0);
    ck_assert_int_eq(s->http_status, 200);
    ck_assert_int_eq(s->grpc_status, GRPC_FAILED_PRECONDITION);
    ck_assert_str_eq(s->grpc_message, "100%25 gone%0A");
    peer_free(peer);
}
END_TEST

START_TEST(bad_requests)
{
    static const char compressed[] = {1, 0, 0, 0, 0};
    static const char long_prefix[] = {0, 0, 0x40, 0, 1};
    static const char huge[] = {0, '\xff', '\xff', '\xff', '\xff', 1, 2, 3};
    static const char two[] = {0, 0, 0, 0, 1, 'x', 0, 0, 0, 0, 0};
    static const char cut[] = {0, 0, 0, 0, 9, 'x'};
    static const char half_prefix[] = {0, 0, 0};
    static const struct {
        const char *method, *path, *type, *body;
        size_t len;
        int http, grpc;
    } cases[] = {
        {"POST", "/t.T/None", "application/grpc", "\0\0\0\0\0", 5, 200, GRPC_UNIMPLEMENTED},
        {"POST", "/t.T/Ech", "application/grpc", "\0\0\0\0\0", 5, 200, GRPC_UNIMPLEMENTED},
        {"GET", "/t.T/Echo", "application/grpc", "", 0, 405, -1},
        {"POST", "/t.T/Echo", "application/json", "", 0, 415, -1},
        {"POST", "/t.T/Echo", "application/grpc-web", "", 0, 415, -1},
        {"POST", "/t.T/Echo", "application/grpc+proto", "\0\0\0\0\0", 5, 200, GRPC_OK},
        {"POST", "/t.T/Echo", "application/grpc; x=y", "\0\0\0\0\0", 5, 200, GRPC_OK},
        {"POST", "/t.T/Echo", "application/grpc", compressed, 5, 200, GRPC_UNIMPLEMENTED},
        {"POST", "/t.T/Echo", "application/grpc", long_prefix, 5, 200, GRPC_RESOURCE_EXHAUSTED},
        {"POST", "/t.T/Echo", "application/grpc", huge, 8, 200, GRPC_RESOURCE_EXHAUSTED},
        {"POST", "/t.T/Echo", "application/grpc", two, 11, 200, GRPC_UNIMPLEMENTED},
        {"POST", "/t.T/Echo", "application/grpc", cut, 6, 200, GRPC_INTERNAL},
        {"POST", "/t.T/Echo", "application/grpc", half_prefix, 3, 200, GRPC_INTERNAL},
        {"POST", "/t.T/Echo", "application/grpc", "", 0, 200, GRPC_UNIMPLEMENTED},
        {"POST", "/t.T/Watch", "application/grpc", cut, 6, 200, GRPC_INTERNAL},
    };
    struct peer *peer = peer_connect(&loop, path);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct peer_stream *s = peer_request(peer, cases[i].method, cases[i].path, cases[i].type,
                                             cases[i].body, cases[i].len, true);
        run_until(&loop, s->closed);
        ck_assert_msg(s->http_status == cases[i].http, "%zu: HTTP %d", i, s->http_status);
        ck_assert_msg(s->grpc_status == cases[i].grpc, "%zu: gRPC %d", i, s->grpc_status);
    }
    ck_assert_uint_eq(server.buffered, 0);
    peer_free(peer);
}
END_TEST

/* A message that is announced as too long is refused before it is there. */
START_TEST(too_long_is_refused_at_once)
{
    struct peer *peer = peer_connect(&loop, path);
    struct peer_stream *s =
        peer_request(peer, "POST", "/t.T/Echo", "application/grpc", "\0\x7f\xff\xff\xff", 5, false);
    run_until(&loop, s->ended);
    ck_assert_int_eq(s->grpc_status, GRPC_RESOURCE_EXHAUSTED);
    peer_free(peer);
}
END_TEST

START_TEST(many_streams_at_once)
{
    struct peer *peer = peer_connect(&loop, path);
    struct peer_stream *s[GRPC_SERVER_STREAM_MAX];
    static uint8_t body[70000];
    for (size_t i = 0; i < sizeof(body); i++)
        body[i] = (uint8_t)i;
    for (size_t i = 0; i < ARRAY_SIZE(s); i++)
        s[i] = peer_call(peer, i % 7 == 0 ? "/t.T/Fail" : "/t.T/Echo", body, 100 * i);
    for (size_t i = 0; i < ARRAY_SIZE(s); i++) {
        run_until(&loop, s[i]->closed);
        ck_assert_int_eq(s[i]->grpc_status, i % 7 == 0 ? GRPC_FAILED_PRECONDITION : 0);
        size_t len = 0;
        ck_assert(i % 7 == 0 || peer_message(s[i], 0, &len) != NULL);
        ck_assert_uint_eq(len, i % 7 == 0 ? 0 : 100 * i);
    }
    /* Larger than a window: flow control in both directions. */
    struct peer_stream *large = peer_call(peer, "/t.T/Echo", body, sizeof(body));
    run_until(&loop, large->closed);
    size_t len = 0;
    ck_assert_ptr_nonnull(peer_message(large, 0, &len));
    ck_assert_uint_eq(len, sizeof(body));
    ck_assert_uint_eq(server.buffered, 0);
    peer_free(peer);
}
END_TEST

START_TEST(stream_sends_snapshots)
{
    struct peer *peer = peer_connect(&loop, path), *other = peer_connect(&loop, path);
    struct peer_stream *s = peer_call(peer, "/t.T/Watch", "", 0);
    struct peer_stream *o = peer_call(other, "/t.T/Watch", "", 0);
    run_until(&loop, peer_messages(s) == 1 && peer_messages(o) == 1);
    ck_assert_uint_eq(open_streams, 2);
    for (unsigned i = 0; i < 3; i++) {
        snapshot_fill++;
        grpc_server_publish(&server);
        run_until(&loop, peer_messages(s) == 2 + i && peer_messages(o) == 2 + i);
    }
    ck_assert(!s->ended && !s->closed);
    ck_assert_int_eq(s->in[s->in_len - 1], 'd');
    ck_assert(grpc_server_is_drained(&server));
    peer_close(other);
    run_until(&loop, open_streams == 1);
    nghttp2_submit_rst_stream(peer->session, 0, s->id, NGHTTP2_CANCEL);
    peer_flush(peer);
    run_until(&loop, open_streams == 0);
    peer_free(peer);
    peer_free(other);
}
END_TEST

/* Who reads slowly gets the newest snapshot, not all of them. */
START_TEST(slow_reader_gets_the_newest)
{
    struct peer *peer = peer_connect(&loop, path);
    peer->no_window_updates = true;
    snapshot_size = 200000;
    struct peer_stream *s = peer_call(peer, "/t.T/Watch", "", 0);
    run_until(&loop, s->in_len == 65535);
    for (unsigned i = 0; i < 20; i++) {
        snapshot_fill++;
        grpc_server_publish(&server);
    }
    ck_assert(!grpc_server_is_drained(&server));
    peer_open_windows(peer);
    run_until(&loop, peer_messages(s) == 2);
    run_for(&loop, 50);
    ck_assert_uint_eq(peer_messages(s), 2);
    ck_assert_int_eq(s->in[5], 'a');
    ck_assert_int_eq(s->in[s->in_len - 1], 'a' + 20);
    ck_assert(grpc_server_is_drained(&server));
    peer_free(peer);
}
END_TEST

static int connect_raw(void)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    ck_assert_int_eq(connect(fd, (const struct sockaddr *)&addr, sizeof(addr)), 0);
    return fd;
}

/* The server closes what is no HTTP/2, and goes on. */
START_TEST(garbage_closes_the_connection)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    static const struct {
        const char *data;
        size_t len;
    } cases[] = {
        {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27},
        {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11},
        {"\0\0\x06\x04\0\0\0\0\0\0\x03\xff\xff\xff\xff\xff", 16}, /* behind the preface: */
        {"\xff\xff\xff\x00\x00\x00\x00\x00\x01garbage", 16},
        {"\0\0\x04\x00\x01\x00\x00\x00\x01\0\0\0\0", 13}, /* DATA on an idle stream */
        {"\0\0\0\x04\x00\x00\x00\x00\x00\0\0\x03\x01\x05\x00\x00\x00\x01\xff\xff\xff", 21},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        cleanup_close int fd = connect_raw();
        if (i >= 2)
            ck_assert_int_eq(send(fd, preface, 24, 0), 24);
        ck_assert_int_eq(send(fd, cases[i].data, cases[i].len, 0), (ssize_t)cases[i].len);
        run_until(&loop, server.conn_count == 1);
        if (i == 2) {
            /* A valid SETTINGS: end it ourselves, in the middle of a frame. */
            ck_assert_int_eq(send(fd, "\0\0", 2, 0), 2);
            shutdown(fd, SHUT_WR);
        }
        run_until(&loop, server.conn_count == 0);
    }
    check_unary();
}
END_TEST

START_TEST(connections_are_bounded)
{
    int fd[GRPC_SERVER_CONN_MAX + 2];
    for (size_t i = 0; i < ARRAY_SIZE(fd); i++) {
        fd[i] = connect_raw();
        run_for(&loop, 5); /* the backlog is short */
    }
    ck_assert_uint_eq(server.conn_count, GRPC_SERVER_CONN_MAX);
    for (size_t i = 0; i < ARRAY_SIZE(fd); i++)
        close(fd[i]);
    run_until(&loop, server.conn_count == 0);
}
END_TEST

START_TEST(socket_is_replaced_only_when_it_is_one)
{
    struct grpc_server other = GRPC_SERVER_INIT;
    struct error err = ERROR_INIT;
    struct stat st;
    ck_assert_int_eq(lstat(path, &st), 0);
    ck_assert_uint_eq(st.st_mode & 0777, 0600);
    ck_assert_int_eq(grpc_server_socket_state(&server), GRPC_SOCKET_OURS);
    ck_assert_int_eq(grpc_server_listen(&other, &loop, path, &service, NULL, &err), 0);
    ck_assert_int_eq(grpc_server_socket_state(&server), GRPC_SOCKET_REPLACED);
    grpc_server_close(&server);
    ck_assert_int_eq(grpc_server_socket_state(&other), GRPC_SOCKET_OURS);
    grpc_server_close(&other);
    ck_assert_int_eq(access(path, F_OK), -1);
    fclose(fopen(path, "w"));
    ck_assert_int_eq(grpc_server_listen(&other, &loop, path, &service, NULL, &err), -EEXIST);
    ck_assert_ptr_nonnull(strstr(err.text, "is no socket"));
    unlink(path);
    ck_assert_int_eq(grpc_server_listen(&other, &loop, "/nonexistent/x.sock", &service, NULL, &err),
                     -ENOENT);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("grpc_server");
    TCase *tc = tcase_create("server");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, unary);
    tcase_add_test(tc, failure_is_trailers_only);
    tcase_add_test(tc, bad_requests);
    tcase_add_test(tc, too_long_is_refused_at_once);
    tcase_add_test(tc, many_streams_at_once);
    tcase_add_test(tc, stream_sends_snapshots);
    tcase_add_test(tc, slow_reader_gets_the_newest);
    tcase_add_test(tc, garbage_closes_the_connection);
    tcase_add_test(tc, connections_are_bounded);
    tcase_add_test(tc, socket_is_replaced_only_when_it_is_one);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
