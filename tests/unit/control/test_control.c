// SPDX-License-Identifier: Apache-2.0
/* The control protocol over socket pairs, with operations that only count. */
#include "console.h"
#include "control.h"
#include "run_suite.h"
#include <check.h>
#include <podvisor/clock.h>
#include <podvisor/json_write.h>
#include <podvisor/log.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct fixture {
    struct loop loop;
    struct control *control;
    struct console *console;
    uint64_t token; /* of the pause that is pending */
    unsigned pauses, stops;
    uint64_t target;
    size_t metrics_len;
    char answer[CONTROL_OUTPUT_MAX * 2];
};

static int op_status(void *ctx, struct json_writer *result, struct error *err)
{
    (void)ctx;
    (void)err;
    json_write_string(result, "state", "running");
    return 0;
}

static int op_metrics(void *ctx, struct json_writer *result, struct error *err)
{
    struct fixture *f = ctx;
    char text[1001];
    memset(text, 'm', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    for (size_t done = 0; done < f->metrics_len; done += sizeof(text))
        json_write_string(result, "m", text);
    if (f->metrics_len == 0) {
        json_write_int64(result, "half", 1);
        return error_set(err, EIO, "no metrics today");
    }
    return 0;
}

static int op_pause(void *ctx, uint64_t token, struct error *err)
{
    (void)err;
    struct fixture *f = ctx;
    f->pauses++;
    f->token = token;
    return CONTROL_PENDING;
}

/* Answers before it promises to. */
static int op_resume(void *ctx, uint64_t token, struct error *err)
{
    (void)err;
    struct fixture *f = ctx;
    control_complete(f->control, token, 0, NULL);
    return CONTROL_PENDING;
}

static int op_shutdown(void *ctx, uint64_t token, struct error *err)
{
    (void)ctx;
    (void)token;
    return error_set(err, EALREADY, "the button is \"pressed\" already");
}

static int op_stop(void *ctx, uint64_t token, struct error *err)
{
    (void)token;
    (void)err;
    ((struct fixture *)ctx)->stops++;
    return 0;
}

static int op_balloon(void *ctx, uint64_t target, uint64_t token, struct error *err)
{
    (void)token;
    ((struct fixture *)ctx)->target = target;
    if (target > 1000)
        return error_set(err, EINVAL, "more than the machine has");
    return 0;
}

static const struct control_ops ops = {
    .status = op_status,
    .metrics = op_metrics,
    .pause = op_pause,
    .resume = op_resume,
    .shutdown = op_shutdown,
    .stop = op_stop,
    .set_balloon = op_balloon,
};

static const struct console_ops console_ops = {.input = NULL};

static void set_up(struct fixture *f)
{
    memset(f, 0, sizeof(*f));
    ck_assert_int_eq(loop_init(&f->loop, NULL), 0);
    ck_assert_int_eq(console_create(&f->loop, &console_ops, f, -1, -1, false, &f->console, NULL),
                     0);
    ck_assert_int_eq(control_create(&f->loop, -1, &ops, f, f->console, &f->control, NULL), 0);
}

static void tear_down(struct fixture *f)
{
    control_destroy(f->control);
    console_destroy(f->console);
    loop_done(&f->loop);
}

static int connect_client(struct fixture *f)
{
    int sv[2];
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sv), 0);
    ck_assert_int_eq(control_adopt(f->control, sv[0]), 0);
    return sv[1];
}

static void say(int fd, const char *text)
{
    ck_assert_int_eq(send(fd, text, strlen(text), MSG_NOSIGNAL), (int)strlen(text));
}

/* Everything that the server says until it has nothing more to say. *ret_closed: it hung up. */
static const char *hear(struct fixture *f, int fd, bool *ret_closed)
{
    size_t len = 0;
    bool closed = false;
    for (int quiet = 0; quiet < 5;) {
        loop_run_once(&f->loop, 1);
        ssize_t n = recv(fd, f->answer + len, sizeof(f->answer) - 1 - len, MSG_DONTWAIT);
        if (n > 0) {
            len += (size_t)n;
            quiet = 0;
        } else {
            closed = closed || n == 0;
            quiet++;
        }
    }
    f->answer[len] = '\0';
    if (ret_closed != NULL)
        *ret_closed = closed;
    return f->answer;
}

/* One request on a connection of its own. */
static const char *ask(struct fixture *f, const char *text, bool *ret_closed)
{
    int fd = connect_client(f);
    say(fd, text);
    const char *answer = hear(f, fd, ret_closed);
    close(fd);
    loop_run_once(&f->loop, 1);
    return answer;
}

static const struct {
    const char *request, *answer;
    bool closed;
} exchanges[] = {
    {"{\"id\":1,\"method\":\"status\"}\n", "{\"id\":1,\"result\":{\"state\":\"running\"}}\n",
     false},
    {"{\"method\":\"status\",\"id\":\"a\\\"b\",\"params\":{}}\n",
     "{\"id\":\"a\\\"b\",\"result\":{\"state\":\"running\"}}\n", false},
    {"{\"id\":-7,\"method\":\"stop\"}\r\n", "{\"id\":-7,\"result\":{}}\n", false},
    {"{\"id\":1,\"method\":\"resume\"}\n", "{\"id\":1,\"result\":{}}\n", false},
    {"{\"id\":2,\"method\":\"shutdown\"}\n",
     "{\"id\":2,\"error\":{\"code\":\"conflict\",\"message\":\"the button is \\\"pressed\\\" "
     "already\"}}\n",
     false},
    {"{\"id\":2,\"method\":\"reset\"}\n",
     "{\"id\":2,\"error\":{\"code\":\"unsupported\",\"message\":\"this machine has no such "
     "operation\"}}\n",
     false},
    {"{\"id\":3,\"method\":\"metrics\"}\n",
     "{\"id\":3,\"error\":{\"code\":\"failed\",\"message\":\"no metrics today\"}}\n", false},
    {"{\"id\":4,\"method\":\"fly\"}\n",
     "{\"id\":4,\"error\":{\"code\":\"unknown_method\",\"message\":\"there is no such "
     "method\"}}\n",
     false},
    {"{\"id\":5,\"method\":\"balloon\"}\n",
     "{\"id\":5,\"error\":{\"code\":\"invalid_params\",\"message\":\"a parameter is "
     "missing\"}}\n",
     false},
    {"{\"id\":5,\"method\":\"status\",\"params\":{\"target\":1}}\n",
     "{\"id\":5,\"error\":{\"code\":\"invalid_params\",\"message\":\"a parameter does not belong "
     "to this method\"}}\n",
     false},
    {"{\"id\":6,\"method\":\"balloon\",\"params\":{\"target\":1001}}\n",
     "{\"id\":6,\"error\":{\"code\":\"invalid_params\",\"message\":\"more than the machine "
     "has\"}}\n",
     false},
    {"{\"id\":6,\"method\":\"balloon\",\"params\":{\"target\":1000}}\n",
     "{\"id\":6,\"result\":{}}\n", false},
    {"{\"id\":1,\"method\":\"status\"}\n{\"id\":2,\"method\":\"stop\"}\n",
     "{\"id\":1,\"result\":{\"state\":\"running\"}}\n{\"id\":2,\"result\":{}}\n", false},
};

START_TEST(requests_are_answered)
{
    struct fixture f;
    bool closed;
    set_up(&f);
    ck_assert_str_eq(ask(&f, exchanges[_i].request, &closed), exchanges[_i].answer);
    ck_assert_int_eq(closed, exchanges[_i].closed);
    tear_down(&f);
}
END_TEST

/* Each with the id that its answer must repeat. */
static const struct {
    const char *request, *id;
} malformed[] = {
    {"\n", "null"},
    {"hello\n", "null"},
    {"[]\n", "null"},
    {"{}\n", "null"},
    {"{\"id\":1}\n", "1"},
    {"{\"id\":1,\"method\":5}\n", "1"},
    {"{\"id\":1,\"method\":\"\"}\n", "1"},
    {"{\"id\":1.5,\"method\":\"status\"}\n", "null"},
    {"{\"id\":null,\"method\":\"status\"}\n", "null"},
    {"{\"id\":99999999999999999999,\"method\":\"status\"}\n", "null"},
    {"{\"method\":\"status\"}\n", "null"},
    {"{\"id\":1,\"method\":\"status\",\"more\":1}\n", "1"},
    {"{\"id\":1,\"id\":2,\"method\":\"status\"}\n", "1"},
    {"{\"id\":1,\"method\":\"status\",\"params\":[]}\n", "1"},
    {"{\"id\":1,\"method\":\"balloon\",\"params\":{\"target\":-1}}\n", "1"},
    {"{\"id\":1,\"method\":\"balloon\",\"params\":{\"target\":\"1\"}}\n", "1"},
    {"{\"id\":1,\"method\":\"console\",\"params\":{\"replay\":1}}\n", "1"},
    {"{\"id\":1,\"method\":\"status\",\"params\":{\"x\":[[[[[[[]]]]]]]}}\n", "1"},
    {"{\"id\":1,\"method\":\"status\"} x\n", "1"},
    {"{\"id\":1,\"method\":\"a-name-that-is-longer-than-any-method-of-ours\"}\n", "1"},
    {"{\"id\":\"0123456789012345678901234567890123456789012345678901234567890123x\","
     "\"method\":\"status\"}\n",
     "null"},
};

START_TEST(malformed_lines_end_the_connection)
{
    struct fixture f;
    bool closed;
    char start[64];
    set_up(&f);
    snprintf(start, sizeof(start), "{\"id\":%s,\"error\":{\"code\":\"invalid_request\"",
             malformed[_i].id);
    const char *answer = ask(&f, malformed[_i].request, &closed);
    ck_assert_msg(strncmp(answer, start, strlen(start)) == 0, "%s gave %s", malformed[_i].request,
                  answer);
    ck_assert(closed);
    ck_assert_ptr_eq(strchr(answer, '\n'), answer + strlen(answer) - 1);
    tear_down(&f);
}
END_TEST

START_TEST(nothing_after_a_malformed_line_is_run)
{
    struct fixture f;
    set_up(&f);
    ask(&f, "oops\n{\"id\":1,\"method\":\"stop\"}\n", NULL);
    ck_assert_uint_eq(f.stops, 0);
    tear_down(&f);
}
END_TEST

START_TEST(line_length_is_bounded)
{
    static char line[CONTROL_LINE_MAX + 1];
    struct fixture f;
    bool closed;
    set_up(&f);
    memset(line, ' ', CONTROL_LINE_MAX);
    const char request[] = "{\"id\":1,\"method\":\"stop\"}";
    memcpy(line, request, sizeof(request) - 1);
    line[CONTROL_LINE_MAX - 1] = '\n';
    ck_assert_str_eq(ask(&f, line, &closed), "{\"id\":1,\"result\":{}}\n");
    line[CONTROL_LINE_MAX - 1] = ' ';
    line[CONTROL_LINE_MAX] = '\0';
    ck_assert_ptr_nonnull(strstr(ask(&f, line, &closed), "longer than 65536 bytes"));
    ck_assert(closed);
    ck_assert_uint_eq(f.stops, 1);
    tear_down(&f);
}
END_TEST

START_TEST(bytes_may_come_one_by_one)
{
    struct fixture f;
    set_up(&f);
    int fd = connect_client(&f);
    for (const char *s = "{\"id\":1,\"method\":\"stop\"}\n"; *s != '\0'; s++) {
        ck_assert_int_eq(send(fd, s, 1, 0), 1);
        loop_run_once(&f.loop, 0);
    }
    ck_assert_str_eq(hear(&f, fd, NULL), "{\"id\":1,\"result\":{}}\n");
    close(fd);
    tear_down(&f);
}
END_TEST

START_TEST(later_answers_keep_the_order)
{
    struct fixture f;
    set_up(&f);
    int fd = connect_client(&f);
    say(fd, "{\"id\":1,\"method\":\"pause\"}\n{\"id\":2,\"method\":\"stop\"}\n");
    ck_assert_str_eq(hear(&f, fd, NULL), "");
    ck_assert_uint_eq(f.pauses, 1);
    ck_assert_uint_eq(f.stops, 0);
    /* Others are served meanwhile. */
    ck_assert_str_eq(ask(&f, "{\"id\":3,\"method\":\"stop\"}\n", NULL),
                     "{\"id\":3,\"result\":{}}\n");
    struct error err = ERROR_INIT;
    error_set(&err, EIO, "vCPU 0 does not park");
    control_complete(f.control, f.token, -EIO, &err);
    ck_assert_str_eq(hear(&f, fd, NULL),
                     "{\"id\":1,\"error\":{\"code\":\"failed\",\"message\":\"vCPU 0 does not "
                     "park\"}}\n{\"id\":2,\"result\":{}}\n");
    control_complete(f.control, f.token, 0, NULL); /* twice is once */
    ck_assert_str_eq(hear(&f, fd, NULL), "");
    close(fd);
    tear_down(&f);
}
END_TEST

START_TEST(answer_to_a_client_that_left_is_dropped)
{
    struct fixture f;
    set_up(&f);
    int fd = connect_client(&f);
    say(fd, "{\"id\":1,\"method\":\"pause\"}\n");
    hear(&f, fd, NULL);
    close(fd);
    loop_run_once(&f.loop, 1);
    int next = connect_client(&f); /* takes the same place */
    control_complete(f.control, f.token, 0, NULL);
    ck_assert_str_eq(hear(&f, next, NULL), "");
    close(next);
    tear_down(&f);
}
END_TEST

START_TEST(half_closed_client_gets_its_answers)
{
    struct fixture f;
    bool closed;
    set_up(&f);
    int fd = connect_client(&f);
    say(fd, "{\"id\":1,\"method\":\"pause\"}\n{\"id\":2,\"method\":\"stop\"}\n");
    shutdown(fd, SHUT_WR);
    hear(&f, fd, &closed);
    ck_assert(!closed);
    control_complete(f.control, f.token, 0, NULL);
    ck_assert_str_eq(hear(&f, fd, &closed), "{\"id\":1,\"result\":{}}\n{\"id\":2,\"result\":{}}\n");
    ck_assert(closed);
    close(fd);
    tear_down(&f);
}
END_TEST

START_TEST(slow_reader_is_disconnected)
{
    struct fixture f;
    set_up(&f);
    f.metrics_len = 40000;
    int fd = connect_client(&f);
    bool gone = false;
    for (int i = 0; i < 1000 && !gone; i++) {
        const char *request = "{\"id\":1,\"method\":\"metrics\"}\n";
        gone = send(fd, request, strlen(request), MSG_NOSIGNAL) < 0 && errno == EPIPE;
        loop_run_once(&f.loop, 0);
    }
    ck_assert(gone);
    close(fd);
    tear_down(&f);
}
END_TEST

START_TEST(answer_that_does_not_fit)
{
    struct fixture f;
    set_up(&f);
    f.metrics_len = 70000;
    ck_assert_ptr_nonnull(
        strstr(ask(&f, "{\"id\":1,\"method\":\"metrics\"}\n", NULL), "the answer is too long"));
    tear_down(&f);
}
END_TEST

START_TEST(clients_are_bounded)
{
    struct fixture f;
    int fd[CONTROL_CLIENT_MAX], sv[2];
    set_up(&f);
    for (int i = 0; i < CONTROL_CLIENT_MAX; i++)
        fd[i] = connect_client(&f);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sv), 0);
    ck_assert_int_eq(control_adopt(f.control, sv[0]), -EBUSY);
    bool closed;
    ck_assert_ptr_nonnull(strstr(hear(&f, sv[1], &closed), "\"busy\""));
    ck_assert(closed);
    close(sv[1]);
    close(fd[3]);
    loop_run_once(&f.loop, 1);
    fd[3] = connect_client(&f);
    for (int i = 0; i < CONTROL_CLIENT_MAX; i++)
        close(fd[i]);
    tear_down(&f);
}
END_TEST

START_TEST(console_turns_into_a_byte_stream)
{
    struct fixture f;
    set_up(&f);
    console_output(f.console, "past ", 5);
    int fd = connect_client(&f);
    say(fd, "{\"id\":1,\"method\":\"console\"}\n");
    ck_assert_str_eq(hear(&f, fd, NULL), "{\"id\":1,\"result\":{}}\npast ");
    console_output(f.console, "present", 7);
    ck_assert_str_eq(hear(&f, fd, NULL), "present");
    close(fd);
    fd = connect_client(&f);
    say(fd, "{\"id\":1,\"method\":\"console\",\"params\":{\"replay\":false}}\n");
    ck_assert_str_eq(hear(&f, fd, NULL), "{\"id\":1,\"result\":{}}\n");
    close(fd);
    tear_down(&f);
}
END_TEST

START_TEST(bytes_before_the_console_is_there_are_refused)
{
    struct fixture f;
    bool closed;
    set_up(&f);
    ck_assert_ptr_nonnull(
        strstr(ask(&f, "{\"id\":1,\"method\":\"console\"}\nls\n", &closed), "invalid_request"));
    ck_assert(closed);
    tear_down(&f);
}
END_TEST

START_TEST(listening_socket_is_served)
{
    struct fixture f;
    struct control *control;
    set_up(&f);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    /* Autobind: an abstract name of the kernel's choice. */
    ck_assert_int_eq(bind(listener, (struct sockaddr *)&address, sizeof(sa_family_t)), 0);
    socklen_t len = sizeof(address);
    ck_assert_int_eq(getsockname(listener, (struct sockaddr *)&address, &len), 0);
    ck_assert_int_eq(listen(listener, 8), 0);
    ck_assert_int_eq(control_create(&f.loop, listener, &ops, &f, NULL, &control, NULL), 0);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&address, len), 0);
    say(fd, "{\"id\":1,\"method\":\"console\"}\n");
    ck_assert_ptr_nonnull(strstr(hear(&f, fd, NULL), "unsupported"));
    control_destroy(control);
    ck_assert_int_eq(recv(fd, f.answer, 1, 0), 0);
    close(fd);
    tear_down(&f);
}
END_TEST

START_TEST(flush_is_bounded)
{
    struct fixture f;
    set_up(&f);
    f.metrics_len = 40000;
    int fd = connect_client(&f);
    for (int i = 0; i < 6; i++) {
        say(fd, "{\"id\":1,\"method\":\"metrics\"}\n");
        loop_run_once(&f.loop, 1);
    }
    uint64_t before = clock_now_ns();
    control_flush(f.control, 30);
    ck_assert_uint_lt(clock_now_ns() - before, NSEC_PER_SEC);
    close(fd);
    tear_down(&f);
}
END_TEST

int main(void)
{
    log_setup("test", 2, LOG_FORMAT_TEXT, LOG_LEVEL_ERROR);
    Suite *suite = suite_create("control");
    TCase *tc = tcase_create("control");
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, requests_are_answered, 0, sizeof(exchanges) / sizeof(exchanges[0]));
    tcase_add_loop_test(tc, malformed_lines_end_the_connection, 0,
                        sizeof(malformed) / sizeof(malformed[0]));
    tcase_add_test(tc, nothing_after_a_malformed_line_is_run);
    tcase_add_test(tc, line_length_is_bounded);
    tcase_add_test(tc, bytes_may_come_one_by_one);
    tcase_add_test(tc, later_answers_keep_the_order);
    tcase_add_test(tc, answer_to_a_client_that_left_is_dropped);
    tcase_add_test(tc, half_closed_client_gets_its_answers);
    tcase_add_test(tc, slow_reader_is_disconnected);
    tcase_add_test(tc, answer_that_does_not_fit);
    tcase_add_test(tc, clients_are_bounded);
    tcase_add_test(tc, console_turns_into_a_byte_stream);
    tcase_add_test(tc, bytes_before_the_console_is_there_are_refused);
    tcase_add_test(tc, listening_socket_is_served);
    tcase_add_test(tc, flush_is_bounded);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
