// SPDX-License-Identifier: Apache-2.0
/* The console hub over pipes and socket pairs; two threads where the hub promises "any thread". */
#include "console.h"
#include "run_suite.h"
#include <check.h>
#include <fcntl.h>
#include <podvisor/clock.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct fixture {
    struct loop loop;
    struct console *console;
    int in[2], out[2];
    char typed[4096];
    size_t typed_len;
    size_t input_limit; /* the device takes this many bytes more */
    unsigned escapes, rooms;
};

static size_t take_input(void *ctx, const uint8_t *bytes, size_t len)
{
    struct fixture *f = ctx;
    if (len > f->input_limit)
        len = f->input_limit;
    f->input_limit -= len;
    ck_assert(f->typed_len + len <= sizeof(f->typed));
    memcpy(f->typed + f->typed_len, bytes, len);
    f->typed_len += len;
    return len;
}

static void count_escape(void *ctx)
{
    ((struct fixture *)ctx)->escapes++;
}

static void count_room(void *ctx)
{
    ((struct fixture *)ctx)->rooms++;
}

static const struct console_ops ops = {
    .input = take_input,
    .escape = count_escape,
    .output_room = count_room,
};

static void set_up_with(struct fixture *f, bool nonblocking, bool terminal)
{
    struct error err = ERROR_INIT;
    memset(f, 0, sizeof(*f));
    f->input_limit = SIZE_MAX;
    signal(SIGPIPE, SIG_IGN);
    ck_assert_int_eq(pipe(f->in), 0);
    ck_assert_int_eq(pipe2(f->out, nonblocking ? O_NONBLOCK : 0), 0);
    ck_assert_int_eq(fcntl(f->out[0], F_SETFL, O_NONBLOCK), 0);
    ck_assert_int_eq(loop_init(&f->loop, &err), 0);
    ck_assert_int_eq(
        console_create(&f->loop, &ops, f, f->in[0], f->out[1], terminal, &f->console, &err), 0);
}

static void tear_down(struct fixture *f)
{
    console_destroy(f->console);
    loop_done(&f->loop);
    for (int i = 0; i < 2; i++) {
        close(f->in[i]);
        close(f->out[i]);
    }
}

static void run_for_ms(struct fixture *f, unsigned ms)
{
    uint64_t end = clock_now_ns() + ms * NSEC_PER_MSEC;
    do {
        ck_assert_int_eq(loop_run_once(&f->loop, 1), 0);
    } while (clock_now_ns() < end);
}

/* Runs the loop and reads until `want` bytes came or none does for half a second. */
static size_t collect(struct fixture *f, int fd, char *buf, size_t want)
{
    size_t got = 0;
    uint64_t last = clock_now_ns();
    while (got < want && clock_now_ns() - last < NSEC_PER_SEC / 2) {
        loop_run_once(&f->loop, 1);
        ssize_t n = read(fd, buf + got, want - got);
        if (n > 0) {
            got += (size_t)n;
            last = clock_now_ns();
        }
    }
    return got;
}

static int attach(struct fixture *f, bool replay)
{
    int sv[2];
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sv), 0);
    ck_assert_int_eq(console_attach(f->console, sv[0], replay, NULL), 0);
    return sv[1];
}

START_TEST(output_reaches_stdout_in_order)
{
    struct fixture f;
    char buf[64];
    set_up_with(&f, true, false);
    for (const char *s = "hello, "; *s != '\0'; s++)
        console_output(f.console, s, 1);
    console_output(f.console, "world\n", 6);
    ck_assert_uint_eq(collect(&f, f.out[0], buf, 13), 13);
    ck_assert_mem_eq(buf, "hello, world\n", 13);
    /* After the pace timer the hub is idle; the next byte must wake it again. */
    run_for_ms(&f, 10);
    console_output(f.console, "!", 1);
    ck_assert_uint_eq(collect(&f, f.out[0], buf, 1), 1);
    tear_down(&f);
}
END_TEST

START_TEST(output_while_pacing_is_not_lost)
{
    struct fixture f;
    char buf[1000];
    set_up_with(&f, true, false);
    for (unsigned i = 0; i < sizeof(buf); i++) {
        char c = (char)('a' + i % 26);
        console_output(f.console, &c, 1);
        if (i % 7 == 0)
            loop_run_once(&f.loop, 0);
    }
    ck_assert_uint_eq(collect(&f, f.out[0], buf, sizeof(buf)), sizeof(buf));
    for (unsigned i = 0; i < sizeof(buf); i++)
        ck_assert_int_eq(buf[i], 'a' + (int)(i % 26));
    tear_down(&f);
}
END_TEST

static void fill_pattern(char *buf, size_t len)
{
    for (size_t i = 0; i < len; i++)
        buf[i] = (char)('A' + i / 4096 % 26);
}

START_TEST(slow_stdout_loses_the_oldest_with_a_notice)
{
    static char text[400000], got[400001]; /* ends in NUL */
    struct fixture f;
    set_up_with(&f, _i == 0, false);
    fill_pattern(text, sizeof(text));
    /* A pipe of 64 KiB fills, then a ring; the guest still never waits. */
    for (size_t done = 0; done < sizeof(text); done += 1000) {
        console_output(f.console, text + done, 1000);
        loop_run_once(&f.loop, 0);
    }
    size_t len = collect(&f, f.out[0], got, sizeof(text));
    ck_assert_uint_lt(len, sizeof(text));
    char *notice = memmem(got, len, "\r\n[vmm: ", 8);
    ck_assert_ptr_nonnull(notice);
    ck_assert_mem_eq(got, text, (size_t)(notice - got));
    /* The end is never what is lost. */
    ck_assert_mem_eq(got + len - 60000, text + sizeof(text) - 60000, 60000);

    struct console_counters counters;
    console_get_counters(f.console, &counters);
    ck_assert_uint_eq(counters.output_bytes, sizeof(text));
    char *after = strstr(notice, "slow]\r\n") + 7;
    size_t kept = (size_t)(notice - got) + (len - (size_t)(after - got));
    ck_assert_uint_eq(counters.output_lost_bytes, sizeof(text) - kept);
    tear_down(&f);
}
END_TEST

START_TEST(room_is_told_when_stdout_moves)
{
    static char text[CONSOLE_RING_SIZE * 2], got[CONSOLE_RING_SIZE * 4];
    struct fixture f;
    set_up_with(&f, true, false);
    ck_assert_uint_eq(console_output_room(f.console, 100), 100);
    console_output(f.console, text, 65536);
    run_for_ms(&f, 5); /* now the pipe is full */
    console_output(f.console, text, CONSOLE_RING_SIZE);
    ck_assert_uint_eq(console_output_room(f.console, 100), 0);
    ck_assert_uint_eq(f.rooms, 0);
    ck_assert_uint_eq(collect(&f, f.out[0], got, 131072), 131072);
    ck_assert_uint_eq(f.rooms, 1);
    ck_assert_uint_eq(console_output_room(f.console, 100), 100);
    tear_down(&f);
}
END_TEST

START_TEST(stuck_stdout_is_not_waited_for)
{
    static char text[CONSOLE_RING_SIZE * 2];
    struct fixture f;
    set_up_with(&f, true, false);
    console_output(f.console, text, 65536);
    run_for_ms(&f, 5);
    console_output(f.console, text, CONSOLE_RING_SIZE);
    ck_assert_uint_eq(console_output_room(f.console, 100), 0);
    run_for_ms(&f, CONSOLE_STUCK_MS + 50);
    ck_assert_uint_eq(f.rooms, 1);
    ck_assert_uint_eq(console_output_room(f.console, 100), 100);
    tear_down(&f);
}
END_TEST

START_TEST(gone_stdout_ends_only_that_copy)
{
    struct fixture f;
    set_up_with(&f, true, false);
    int client = attach(&f, true);
    close(f.out[0]);
    f.out[0] = -1;
    console_output(f.console, "one", 3);
    run_for_ms(&f, 5);
    console_output(f.console, "two", 3);
    char buf[6];
    ck_assert_uint_eq(collect(&f, client, buf, 6), 6);
    ck_assert_mem_eq(buf, "onetwo", 6);
    ck_assert_uint_eq(console_output_room(f.console, SIZE_MAX), SIZE_MAX);
    close(client);
    tear_down(&f);
}
END_TEST

START_TEST(late_client_sees_the_ring)
{
    static char text[CONSOLE_RING_SIZE + 5000], got[CONSOLE_RING_SIZE + 100];
    struct fixture f;
    set_up_with(&f, true, false);
    fill_pattern(text, sizeof(text));
    console_output(f.console, text, sizeof(text));
    int late = attach(&f, true);
    int fresh = attach(&f, false);
    console_output(f.console, "end", 3);
    size_t want = CONSOLE_RING_SIZE + 3;
    ck_assert_uint_eq(collect(&f, late, got, want), want);
    ck_assert_mem_eq(got, text + 5000, CONSOLE_RING_SIZE);
    ck_assert_mem_eq(got + CONSOLE_RING_SIZE, "end", 3);
    ck_assert_uint_eq(collect(&f, fresh, got, 3), 3);
    ck_assert_mem_eq(got, "end", 3);
    close(late);
    close(fresh);
    run_for_ms(&f, 5);
    struct console_counters counters;
    console_get_counters(f.console, &counters);
    ck_assert_uint_eq(counters.clients, 0);
    tear_down(&f);
}
END_TEST

START_TEST(clients_are_bounded)
{
    struct fixture f;
    int client[CONSOLE_CLIENT_MAX], sv[2];
    set_up_with(&f, true, false);
    for (int i = 0; i < CONSOLE_CLIENT_MAX; i++)
        client[i] = attach(&f, true);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sv), 0);
    struct error err = ERROR_INIT;
    ck_assert_int_eq(console_attach(f.console, sv[0], true, &err), -EBUSY);
    close(sv[1]);
    close(client[0]);
    run_for_ms(&f, 5);
    int again = attach(&f, true);
    close(again);
    for (int i = 1; i < CONSOLE_CLIENT_MAX; i++)
        close(client[i]);
    tear_down(&f);
}
END_TEST

START_TEST(input_waits_for_the_device)
{
    struct fixture f;
    set_up_with(&f, true, false);
    f.input_limit = 3;
    ck_assert_int_eq(write(f.in[1], "abcdef", 6), 6);
    run_for_ms(&f, 5);
    ck_assert_uint_eq(f.typed_len, 3);
    f.input_limit = 2;
    console_input_ready(f.console);
    run_for_ms(&f, 5);
    ck_assert_uint_eq(f.typed_len, 5);
    ck_assert_int_eq(write(f.in[1], "ghi", 3), 3);
    f.input_limit = SIZE_MAX;
    console_input_ready(f.console);
    run_for_ms(&f, 5);
    ck_assert_uint_eq(f.typed_len, 9);
    ck_assert_mem_eq(f.typed, "abcdefghi", 9);
    tear_down(&f);
}
END_TEST

START_TEST(hang_up_with_stalled_input_does_not_spin)
{
    struct fixture f;
    set_up_with(&f, true, false);
    f.input_limit = 0;
    ck_assert_int_eq(write(f.in[1], "abc", 3), 3);
    close(f.in[1]);
    f.in[1] = -1;
    run_for_ms(&f, 5);
    uint64_t before = clock_now_ns();
    ck_assert_int_eq(loop_run_once(&f.loop, 50), 0);
    ck_assert_uint_ge(clock_now_ns() - before, 40 * NSEC_PER_MSEC);
    f.input_limit = SIZE_MAX;
    console_input_ready(f.console);
    run_for_ms(&f, 5);
    ck_assert_uint_eq(f.typed_len, 3);
    tear_down(&f);
}
END_TEST

START_TEST(client_input_and_half_close)
{
    struct fixture f;
    char buf[2];
    set_up_with(&f, true, false);
    int client = attach(&f, true);
    ck_assert_int_eq(write(client, "ls\n", 3), 3);
    shutdown(client, SHUT_WR);
    run_for_ms(&f, 5);
    ck_assert_uint_eq(f.typed_len, 3);
    console_output(f.console, "ok", 2);
    ck_assert_uint_eq(collect(&f, client, buf, 2), 2);
    close(client);
    tear_down(&f);
}
END_TEST

START_TEST(escape_needs_three_in_a_row)
{
    struct fixture f;
    set_up_with(&f, true, true);
    ck_assert_int_eq(write(f.in[1], "\x1d\x1dx\x1d", 4), 4);
    run_for_ms(&f, 3);
    ck_assert_uint_eq(f.escapes, 0);
    ck_assert_int_eq(write(f.in[1], "\x1d", 1), 1);
    run_for_ms(&f, 3);
    ck_assert_int_eq(write(f.in[1], "\x1d", 1), 1);
    run_for_ms(&f, 3);
    ck_assert_uint_eq(f.escapes, 1);
    ck_assert_uint_eq(f.typed_len, 6);
    tear_down(&f);
}
END_TEST

START_TEST(no_terminal_no_escape)
{
    struct fixture f;
    set_up_with(&f, true, false);
    ck_assert_int_eq(write(f.in[1], "\x1d\x1d\x1d", 3), 3);
    run_for_ms(&f, 3);
    ck_assert_uint_eq(f.escapes, 0);
    tear_down(&f);
}
END_TEST

START_TEST(regular_files_at_both_ends)
{
    char in_name[] = "/tmp/test-console-XXXXXX", out_name[] = "/tmp/test-console-XXXXXX";
    struct fixture f;
    memset(&f, 0, sizeof(f));
    f.input_limit = 100;
    int in = mkstemp(in_name), out = mkstemp(out_name);
    unlink(in_name);
    unlink(out_name);
    char text[1000];
    fill_pattern(text, sizeof(text));
    ck_assert_int_eq(pwrite(in, text, sizeof(text), 0), (int)sizeof(text));
    ck_assert_int_eq(loop_init(&f.loop, NULL), 0);
    ck_assert_int_eq(console_create(&f.loop, &ops, &f, in, out, false, &f.console, NULL), 0);
    run_for_ms(&f, 3);
    ck_assert_uint_eq(f.typed_len, 100);
    f.input_limit = SIZE_MAX;
    console_input_ready(f.console);
    run_for_ms(&f, 3);
    ck_assert_uint_eq(f.typed_len, sizeof(text));
    console_output(f.console, "to a file", 9);
    run_for_ms(&f, 3);
    char buf[16];
    ck_assert_int_eq(pread(out, buf, sizeof(buf), 0), 9);
    console_destroy(f.console);
    loop_done(&f.loop);
    close(in);
    close(out);
}
END_TEST

START_TEST(flush_writes_all_within_its_time)
{
    static char text[CONSOLE_RING_SIZE], got[CONSOLE_RING_SIZE * 3];
    struct fixture f;
    set_up_with(&f, true, false);
    console_output(f.console, "last words", 10);
    console_flush(f.console, 1000);
    ck_assert_int_eq(read(f.out[0], got, sizeof(got)), 10);
    /* A reader that does not read: the time is bounded. */
    console_output(f.console, text, sizeof(text));
    console_flush(f.console, 10);
    console_output(f.console, text, sizeof(text));
    uint64_t before = clock_now_ns();
    console_flush(f.console, 50);
    uint64_t took = clock_now_ns() - before;
    ck_assert_uint_ge(took, 40 * NSEC_PER_MSEC);
    ck_assert_uint_lt(took, 2 * NSEC_PER_SEC);
    tear_down(&f);
}
END_TEST

#define THREAD_BYTES 2000000

static void *print_much(void *arg)
{
    struct fixture *f = arg;
    for (unsigned i = 0; i < THREAD_BYTES;) {
        uint8_t block[64];
        unsigned len = i % sizeof(block) + 1;
        if (len > THREAD_BYTES - i)
            len = THREAD_BYTES - i;
        size_t room;
        while ((room = console_output_room(f->console, len)) == 0)
            usleep(100);
        for (unsigned k = 0; k < room; k++)
            block[k] = (uint8_t)((i + k) % 251);
        console_output(f->console, block, room);
        console_input_ready(f->console);
        i += (unsigned)room;
    }
    return NULL;
}

START_TEST(flow_control_loses_nothing_between_threads)
{
    static char got[THREAD_BYTES];
    struct fixture f;
    pthread_t thread;
    set_up_with(&f, true, false);
    ck_assert_int_eq(pthread_create(&thread, NULL, print_much, &f), 0);
    ck_assert_uint_eq(collect(&f, f.out[0], got, sizeof(got)), sizeof(got));
    pthread_join(thread, NULL);
    for (unsigned i = 0; i < sizeof(got); i++) {
        if ((uint8_t)got[i] != i % 251)
            ck_abort_msg("byte %u differs", i);
    }
    tear_down(&f);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("console");
    TCase *tc = tcase_create("console");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, output_reaches_stdout_in_order);
    tcase_add_test(tc, output_while_pacing_is_not_lost);
    tcase_add_loop_test(tc, slow_stdout_loses_the_oldest_with_a_notice, 0, 2);
    tcase_add_test(tc, room_is_told_when_stdout_moves);
    tcase_add_test(tc, stuck_stdout_is_not_waited_for);
    tcase_add_test(tc, gone_stdout_ends_only_that_copy);
    tcase_add_test(tc, late_client_sees_the_ring);
    tcase_add_test(tc, clients_are_bounded);
    tcase_add_test(tc, input_waits_for_the_device);
    tcase_add_test(tc, hang_up_with_stalled_input_does_not_spin);
    tcase_add_test(tc, client_input_and_half_close);
    tcase_add_test(tc, escape_needs_three_in_a_row);
    tcase_add_test(tc, no_terminal_no_escape);
    tcase_add_test(tc, regular_files_at_both_ends);
    tcase_add_test(tc, flush_writes_all_within_its_time);
    tcase_add_test(tc, flow_control_loses_nothing_between_threads);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
