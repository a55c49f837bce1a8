// SPDX-License-Identifier: Apache-2.0
/* virtio-console in a box; the host's side is a buffer with as much room as a test gives it. */
#include "console.h"
#include "run_suite.h"
#include "vkit.h"
#include <check.h>
#include <podvisor/cleanup.h>
#include <string.h>

enum { RX, TX };

static struct vkit kit;
static struct virtio_console console;
static char printed[1 << 20];
static size_t printed_len;
static size_t room_left;
static unsigned ready_calls, output_calls;

static size_t room(void *ctx, size_t wanted)
{
    ck_assert_ptr_eq(ctx, printed);
    return wanted < room_left ? wanted : room_left;
}

static void output(void *ctx, const void *bytes, size_t len)
{
    ck_assert_ptr_eq(ctx, printed);
    ck_assert_uint_gt(len, 0);
    ck_assert_uint_le(len, room_left);
    room_left -= len;
    ck_assert_uint_le(printed_len + len, sizeof(printed));
    memcpy(printed + printed_len, bytes, len);
    printed_len += len;
    output_calls++;
}

static void input_ready(void *ctx)
{
    ck_assert_ptr_eq(ctx, printed);
    ready_calls++;
}

static const struct virtio_console_ops ops = {
    .room = room, .output = output, .input_ready = input_ready};

static void setup(void)
{
    printed_len = 0;
    room_left = sizeof(printed);
    ready_calls = output_calls = 0;
    vkit_init(&kit);
    ck_assert_int_eq(
        virtio_console_init(&console, "console", &ops, printed, &kit.mem, &kit.loop, NULL), 0);
    vkit_attach(&kit, &console.dev);
    ck_assert(vkit_start(&kit, VKIT_FEATURES));
}

static void teardown(void)
{
    ck_assert(vkit_reset(&kit));
    virtio_console_done(&console);
    vkit_done(&kit);
}

static gpa_t put(const char *text, size_t len)
{
    gpa_t gpa = vkit_alloc(&kit, len, 1);
    memcpy(vkit_at(&kit, gpa, len), text, len);
    return gpa;
}

static void print(const char *text)
{
    struct vkit_buf buf = {put(text, strlen(text)), (uint32_t)strlen(text), false};
    ck_assert_int_ge(vkit_add(&kit, TX, &buf, 1), 0);
    vkit_kick(&kit, TX);
    vkit_run(&kit);
}

static void expect_printed(const char *text)
{
    ck_assert_uint_eq(printed_len, strlen(text));
    ck_assert_mem_eq(printed, text, printed_len);
}

static gpa_t add_receive_buffer(uint32_t len)
{
    struct vkit_buf buf = {vkit_alloc(&kit, len, 1), len, true};
    ck_assert_int_ge(vkit_add(&kit, RX, &buf, 1), 0);
    return buf.gpa;
}

static void expect_received(gpa_t gpa, const char *text)
{
    uint32_t head, len;
    ck_assert(vkit_used(&kit, RX, &head, &len));
    ck_assert_uint_eq(len, strlen(text));
    ck_assert_mem_eq(vkit_at(&kit, gpa, len), text, len);
}

/* --- the guest prints ------------------------------------------------------------------------- */

START_TEST(test_print)
{
    uint32_t head, len;
    print("hello ");
    print("world");
    expect_printed("hello world");
    ck_assert(vkit_used(&kit, TX, &head, &len));
    ck_assert_uint_eq(len, 0);
    ck_assert(vkit_used(&kit, TX, &head, &len));
}
END_TEST

START_TEST(test_print_pieces)
{
    struct vkit_buf buf[] = {{put("ab", 2), 2, false},
                             {put("", 0), 0, false},
                             {put("cde", 3), 3, false},
                             {vkit_alloc(&kit, 8, 1), 8, true}};
    uint32_t len;
    ck_assert(vkit_request(&kit, TX, buf, 4, &len));
    ck_assert_uint_eq(len, 0);
    expect_printed("abcde");
    ck_assert(vkit_request(&kit, TX, buf + 3, 1, &len));
    expect_printed("abcde");
}
END_TEST

START_TEST(test_no_room)
{
    room_left = 4;
    print("abcdef");
    print("gh");
    expect_printed("abcd");
    ck_assert_uint_eq(vkit_used_count(&kit, TX), 0);
    vkit_kick(&kit, TX);
    vkit_run(&kit);
    expect_printed("abcd");
    room_left = 3;
    virtio_console_output_room(&console);
    vkit_run(&kit);
    expect_printed("abcdefg");
    ck_assert_uint_eq(vkit_used_count(&kit, TX), 1);
    room_left = 100;
    virtio_console_output_room(&console);
    vkit_run(&kit);
    expect_printed("abcdefgh");
    ck_assert_uint_eq(vkit_used_count(&kit, TX), 2);
}
END_TEST

/* A chain longer than a turn does not keep the loop, and is printed wholly. */
START_TEST(test_long_chain)
{
    enum { LEN = 300000 };
    gpa_t gpa = vkit_alloc(&kit, LEN, 1);
    uint8_t *p = vkit_at(&kit, gpa, LEN);
    for (unsigned i = 0; i < LEN; i++)
        p[i] = (uint8_t)(i * 7 + (i >> 8));
    struct vkit_buf buf = {gpa, LEN, false};
    ck_assert_int_ge(vkit_add(&kit, TX, &buf, 1), 0);
    vkit_kick(&kit, TX);
    ck_assert_int_eq(loop_run_once(&kit.loop, 0), 0);
    ck_assert_uint_gt(printed_len, 0);
    ck_assert_uint_lt(printed_len, LEN);
    vkit_run(&kit);
    ck_assert_uint_eq(printed_len, LEN);
    ck_assert_int_eq(memcmp(printed, p, LEN), 0);
    ck_assert_uint_eq(vkit_used_count(&kit, TX), 1);
}
END_TEST

/* As many chains as the queue holds, over and over. */
START_TEST(test_many_chains)
{
    char byte[2] = "";
    gpa_t gpa = vkit_alloc(&kit, 1, 1);
    for (unsigned round = 0; round < 20; round++) {
        for (unsigned i = 0; i < VIRTIO_CONSOLE_QUEUE_SIZE; i++) {
            struct vkit_buf buf = {gpa, 1, false};
            ck_assert_int_ge(vkit_add(&kit, TX, &buf, 1), 0);
        }
        byte[0] = (char)('a' + round);
        memcpy(vkit_at(&kit, gpa, 1), byte, 1);
        vkit_kick(&kit, TX);
        ck_assert(vkit_wait_used(&kit, TX, VIRTIO_CONSOLE_QUEUE_SIZE));
        uint32_t head, len;
        while (vkit_used(&kit, TX, &head, &len))
            ck_assert_uint_eq(len, 0);
    }
    ck_assert_uint_eq(printed_len, (uintmax_t)20 * VIRTIO_CONSOLE_QUEUE_SIZE);
    ck_assert_int_eq(printed[printed_len - 1], 'a' + 19);
}
END_TEST

START_TEST(test_reset_while_held)
{
    room_left = 2;
    print("abcdef");
    ck_assert(vkit_reset(&kit));
    room_left = 100;
    virtio_console_output_room(&console);
    vkit_run(&kit);
    expect_printed("ab");
    vkit_alloc_reset(&kit);
    ck_assert(vkit_start(&kit, VKIT_FEATURES));
    print("xyz");
    expect_printed("abxyz");
}
END_TEST

/* A failure of one queue ends both. */
START_TEST(test_failure)
{
    room_left = 2;
    print("abcdef");
    vkit_avail_push(&kit, RX, 999);
    ck_assert_uint_eq(virtio_console_input(&console, "x", 1), 1);
    vkit_run(&kit);
    ck_assert(vkit_needs_reset(&kit));
    room_left = 100;
    virtio_console_output_room(&console);
    vkit_run(&kit);
    expect_printed("ab");
    ck_assert_uint_eq(vkit_used_count(&kit, TX), 0);
}
END_TEST

START_TEST(test_broken_transmit)
{
    vkit_avail_push(&kit, TX, 999);
    vkit_kick(&kit, TX);
    vkit_run(&kit);
    ck_assert(vkit_needs_reset(&kit));
}
END_TEST

/* --- people type ------------------------------------------------------------------------------ */

START_TEST(test_type)
{
    gpa_t first = add_receive_buffer(16), second = add_receive_buffer(16);
    ck_assert_uint_eq(virtio_console_input(&console, "ls\n", 3), 3);
    vkit_run(&kit);
    expect_received(first, "ls\n");
    ck_assert_uint_eq(atomic_load(&kit.queue_interrupts[RX]), 1);
    ck_assert_uint_eq(virtio_console_input(&console, "pwd\n", 4), 4);
    vkit_run(&kit);
    expect_received(second, "pwd\n");
    ck_assert_uint_eq(ready_calls, 0);
}
END_TEST

START_TEST(test_type_ahead)
{
    ck_assert_uint_eq(virtio_console_input(&console, "abc", 3), 3);
    vkit_run(&kit);
    ck_assert_uint_eq(vkit_used_count(&kit, RX), 0);
    gpa_t first = add_receive_buffer(2), second = add_receive_buffer(2);
    vkit_kick_if_needed(&kit, RX);
    vkit_run(&kit);
    expect_received(first, "ab");
    expect_received(second, "c");
}
END_TEST

START_TEST(test_type_too_much)
{
    char text[VIRTIO_CONSOLE_INPUT_SIZE + 100];
    memset(text, 'k', sizeof(text));
    ck_assert_uint_eq(virtio_console_input(&console, text, sizeof(text)),
                      VIRTIO_CONSOLE_INPUT_SIZE);
    ck_assert_uint_eq(virtio_console_input(&console, text, 1), 0);
    vkit_run(&kit);
    ck_assert_uint_eq(ready_calls, 0);
    uint32_t head, len;
    add_receive_buffer(100);
    vkit_kick(&kit, RX);
    vkit_run(&kit);
    ck_assert(vkit_used(&kit, RX, &head, &len));
    ck_assert_uint_eq(len, 100);
    ck_assert_uint_eq(ready_calls, 1);
    /* The ring wraps around; order is kept. */
    ck_assert_uint_eq(virtio_console_input(&console, "end", 3), 3);
    gpa_t rest = add_receive_buffer(8192);
    vkit_kick(&kit, RX);
    vkit_run(&kit);
    ck_assert(vkit_used(&kit, RX, &head, &len));
    ck_assert_uint_eq(len, VIRTIO_CONSOLE_INPUT_SIZE - 100 + 3);
    ck_assert_mem_eq(vkit_at(&kit, rest + len - 4, 4), "kend", 4);
    ck_assert_uint_eq(ready_calls, 1);
}
END_TEST

/* A buffer that takes nothing goes back empty, and the input waits for the next. */
START_TEST(test_useless_buffer)
{
    struct vkit_buf readable = {put("zzz", 3), 3, false};
    ck_assert_int_ge(vkit_add(&kit, RX, &readable, 1), 0);
    gpa_t good = add_receive_buffer(8);
    ck_assert_uint_eq(virtio_console_input(&console, "abc", 3), 3);
    vkit_run(&kit);
    uint32_t head, len;
    ck_assert(vkit_used(&kit, RX, &head, &len));
    ck_assert_uint_eq(len, 0);
    expect_received(good, "abc");
}
END_TEST

START_TEST(test_input_without_driver)
{
    ck_assert(vkit_reset(&kit));
    ck_assert_uint_eq(virtio_console_input(&console, "abc", 3), 3);
    vkit_run(&kit);
    vkit_alloc_reset(&kit);
    ck_assert(vkit_negotiate(&kit, VKIT_FEATURES));
    vkit_setup_queue(&kit, RX, 0);
    vkit_setup_queue(&kit, TX, 0);
    gpa_t gpa = add_receive_buffer(8); /* before DRIVER_OK, no kick */
    ck_assert(vkit_driver_ok(&kit));
    vkit_run(&kit);
    expect_received(gpa, "abc");
}
END_TEST

static void *type_forever(void *arg)
{
    size_t left = *(size_t *)arg;
    while (left > 0) {
        char text[64];
        memset(text, 't', sizeof(text));
        left -= virtio_console_input(&console, text, left < sizeof(text) ? left : sizeof(text));
    }
    return NULL;
}

/* Typing from another thread while the loop runs on its own. */
START_TEST(test_threads)
{
    vkit_thread_start(&kit);
    size_t total = 50000, received = 0;
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, type_forever, &total), 0);
    gpa_t gpa = vkit_alloc(&kit, 100, 1);
    while (received < total) {
        struct vkit_buf buf = {gpa, 100, true};
        uint32_t len;
        ck_assert(vkit_request(&kit, RX, &buf, 1, &len));
        ck_assert_uint_gt(len, 0);
        received += len;
    }
    ck_assert_uint_eq(received, total);
    pthread_join(thread, NULL);
    vkit_thread_stop(&kit);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("virtio-console");
    TCase *t = tcase_create("console");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, test_print);
    tcase_add_test(t, test_print_pieces);
    tcase_add_test(t, test_no_room);
    tcase_add_test(t, test_long_chain);
    tcase_add_test(t, test_many_chains);
    tcase_add_test(t, test_reset_while_held);
    tcase_add_test(t, test_failure);
    tcase_add_test(t, test_broken_transmit);
    tcase_add_test(t, test_type);
    tcase_add_test(t, test_type_ahead);
    tcase_add_test(t, test_type_too_much);
    tcase_add_test(t, test_useless_buffer);
    tcase_add_test(t, test_input_without_driver);
    tcase_add_test(t, test_threads);
    suite_add_tcase(s, t);
    return run_suite(s);
}
