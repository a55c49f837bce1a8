// SPDX-License-Identifier: Apache-2.0
/*
 * What a client may send on the control socket, through the whole server. The first byte cuts the
 * rest into writes, so that lines also arrive in pieces.
 */
#include "console.h"
#include "control.h"
#include <podvisor/json_write.h>
#include <podvisor/log.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct machine {
    struct control *control;
    uint64_t token;
};

static int report(void *ctx, struct json_writer *result, struct error *err)
{
    (void)ctx;
    (void)err;
    json_write_string(result, "state", "running");
    return 0;
}

static int act(void *ctx, uint64_t token, struct error *err)
{
    (void)ctx;
    (void)token;
    return error_set(err, EBUSY, "busy");
}

static int act_later(void *ctx, uint64_t token, struct error *err)
{
    (void)err;
    ((struct machine *)ctx)->token = token;
    return CONTROL_PENDING;
}

static int balloon(void *ctx, uint64_t target, uint64_t token, struct error *err)
{
    (void)ctx;
    (void)token;
    return target > 1000 ? error_set(err, EINVAL, "too large") : 0;
}

static size_t take(void *ctx, const uint8_t *bytes, size_t len)
{
    (void)ctx;
    (void)bytes;
    return len / 2;
}

static const struct control_ops ops = {
    .status = report,
    .metrics = report,
    .pause = act_later,
    .resume = act,
    .stop = act,
    .set_balloon = balloon,
};
static const struct console_ops console_ops = {.input = take};

static void feed(struct machine *m, struct loop *loop, struct console *console, int fd,
                 const uint8_t *data, size_t size)
{
    size_t piece = size > 0 && data[0] != 0 ? data[0] : 65536;
    for (size_t done = 1; done < size;) {
        size_t len = size - done < piece ? size - done : piece;
        char sink[4096];
        ssize_t n = send(fd, data + done, len, MSG_DONTWAIT | MSG_NOSIGNAL);
        done += n > 0 ? (size_t)n : len;
        loop_run_once(loop, 0);
        if (m->token != 0)
            control_complete(m->control, m->token, 0, NULL);
        m->token = 0;
        console_output(console, "x", 1);
        console_input_ready(console);
        loop_run_once(loop, 0);
        while (recv(fd, sink, sizeof(sink), MSG_DONTWAIT) > 0)
            ;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct machine m = {.token = 0};
    struct loop loop;
    struct console *console;
    int sv[2];
    log_setup("fuzz", 2, LOG_FORMAT_TEXT, LOG_LEVEL_ERROR);
    if (loop_init(&loop, NULL) < 0 ||
        console_create(&loop, &console_ops, &m, -1, -1, false, &console, NULL) < 0 ||
        control_create(&loop, -1, &ops, &m, console, &m.control, NULL) < 0 ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sv) < 0 ||
        control_adopt(m.control, sv[0]) < 0)
        abort();
    feed(&m, &loop, console, sv[1], data, size);
    close(sv[1]);
    loop_run_once(&loop, 0);
    control_destroy(m.control);
    console_destroy(console);
    loop_done(&loop);
    return 0;
}
