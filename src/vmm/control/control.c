// SPDX-License-Identifier: Apache-2.0
/*
 * The control server of control.h: sockets, buffers and the table of methods. The main loop's
 * thread runs all of it. The protocol is docs/control-protocol.md; request.c reads its lines.
 *
 * A client is a small state machine. It reads lines into `in` and answers into `out`; while an
 * operation is pending, no further line is looked at, and once `in` is full nothing more is read:
 * the client's own socket holds the rest back.
 */
#include "control.h"
#include "console.h"
#include "request.h"
#include <podvisor/cleanup.h>
#include <podvisor/clock.h>
#include <podvisor/json_write.h>
#include <podvisor/log.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#define SLOT_BITS       8 /* of a token: which client */
#define ACCEPT_PAUSE_NS NSEC_PER_SEC

_Static_assert(CONTROL_CLIENT_MAX <= 1 << SLOT_BITS, "a token must be able to name every client");

struct client {
    struct control *control;
    struct loop_source source;
    uint32_t watched; /* epoll events */
    int fd;           /* -1: unused */
    bool at_end;      /* the client sends no more */
    bool closing;     /* close once `out` is empty */
    bool to_console;  /* hand over to the console once `out` is empty */
    bool replay;
    uint64_t token; /* of the operation that is pending; 0: none */
    struct request_id id;
    size_t in_len;
    size_t out_len, out_done; /* [done, len) still has to be sent */
    char in[CONTROL_LINE_MAX];
    char out[CONTROL_OUTPUT_MAX + 1];
};

struct control {
    struct loop *loop;
    const struct control_ops *ops;
    void *ctx;
    struct console *console;
    int listen_fd;
    struct loop_source listener;
    struct loop_timer accept_pause; /* runs while the process is out of descriptors */
    struct loop_work advance_work;  /* after an answer that came later */
    uid_t uid;
    uint64_t token_count;
    struct log_ratelimit refusal_log;
    struct client client[CONTROL_CLIENT_MAX];
};

static void client_close(struct client *cl)
{
    loop_del(cl->control->loop, &cl->source);
    if (cl->fd >= 0)
        close(cl->fd);
    cl->fd = -1;
    cl->token = 0;
}

/* Answers. */

static void answer_begin(struct client *cl, struct json_writer *w, const struct request_id *id)
{
    memmove(cl->out, cl->out + cl->out_done, cl->out_len - cl->out_done);
    cl->out_len -= cl->out_done;
    cl->out_done = 0;
    json_write_init(w, cl->out + cl->out_len, sizeof(cl->out) - cl->out_len);
    json_write_object(w, NULL);
    request_write_id(id, w);
}

static int answer_end(struct client *cl, struct json_writer *w)
{
    size_t len;
    json_write_end(w);
    int r = json_write_finish(w, &len);
    if (r < 0 || len + 1 > CONTROL_OUTPUT_MAX - cl->out_len)
        return -ENOSPC;
    cl->out[cl->out_len + len] = '\n'; /* in the place of the writer's NUL */
    cl->out_len += len + 1;
    return 0;
}

/* An answer for which there is no room: the client does not read those before it. */
static void answer_error(struct client *cl, const struct request_id *id, const char *code,
                         const char *message)
{
    struct json_writer w;
    answer_begin(cl, &w, id);
    json_write_object(&w, "error");
    json_write_string(&w, "code", code);
    json_write_string(&w, "message", message);
    json_write_end(&w);
    if (answer_end(cl, &w) < 0)
        client_close(cl);
}

static const char *error_code(int error)
{
    switch (error) {
    case -EINVAL:
    case -ERANGE:
        return "invalid_params";
    case -EBUSY:
    case -EALREADY:
        return "conflict";
    case -ENOTSUP:
        return "unsupported";
    default:
        return "failed";
    }
}

static void answer_result(struct client *cl, const struct request_id *id, int result,
                          const struct error *err)
{
    if (result < 0) {
        const char *text = err != NULL && err->text[0] != '\0' ? err->text : "the operation failed";
        answer_error(cl, id, error_code(result), text);
        return;
    }
    struct json_writer w;
    answer_begin(cl, &w, id);
    json_write_object(&w, "result");
    json_write_end(&w);
    if (answer_end(cl, &w) < 0)
        client_close(cl);
}

/* Methods. */

typedef int (*report_fn)(void *ctx, struct json_writer *result, struct error *err);
typedef int (*action_fn)(void *ctx, uint64_t token, struct error *err);

static void answer_unsupported(struct client *cl, const struct request *request)
{
    answer_error(cl, &request->id, "unsupported", "this machine has no such operation");
}

/* Answers with an object that the machine fills. */
static void run_report(struct client *cl, const struct request *request, report_fn report)
{
    if (report == NULL) {
        answer_unsupported(cl, request);
        return;
    }
    struct error err = ERROR_INIT;
    struct json_writer w;
    answer_begin(cl, &w, &request->id);
    bool alone = cl->out_len == 0;
    json_write_object(&w, "result");
    int r = report(cl->control->ctx, &w, &err);
    if (r < 0) {
        answer_result(cl, &request->id, r, &err);
        return;
    }
    json_write_end(&w);
    if (answer_end(cl, &w) == 0)
        return;
    if (alone)
        answer_error(cl, &request->id, "failed", "the answer is too long for the protocol");
    else
        client_close(cl);
}

static uint64_t new_token(struct client *cl, const struct request_id *id)
{
    struct control *control = cl->control;
    uint64_t slot = (uint64_t)(cl - control->client);
    cl->token = (++control->token_count << SLOT_BITS) | slot;
    cl->id = *id;
    return cl->token;
}

/* After an operation that may have promised to answer, or have answered already. */
static void end_action(struct client *cl, uint64_t token, int result, const struct error *err)
{
    if (result == CONTROL_PENDING || cl->token != token)
        return;
    cl->token = 0;
    answer_result(cl, &cl->id, result, err);
}

static void run_action(struct client *cl, const struct request *request, action_fn action)
{
    if (action == NULL) {
        answer_unsupported(cl, request);
        return;
    }
    struct error err = ERROR_INIT;
    uint64_t token = new_token(cl, &request->id);
    int r = action(cl->control->ctx, token, &err);
    end_action(cl, token, r, &err);
}

static void do_status(struct client *cl, const struct request *request)
{
    run_report(cl, request, cl->control->ops->status);
}

static void do_metrics(struct client *cl, const struct request *request)
{
    run_report(cl, request, cl->control->ops->metrics);
}

static void do_pause(struct client *cl, const struct request *request)
{
    run_action(cl, request, cl->control->ops->pause);
}

static void do_resume(struct client *cl, const struct request *request)
{
    run_action(cl, request, cl->control->ops->resume);
}

static void do_shutdown(struct client *cl, const struct request *request)
{
    run_action(cl, request, cl->control->ops->shutdown);
}

static void do_reset(struct client *cl, const struct request *request)
{
    run_action(cl, request, cl->control->ops->reset);
}

static void do_stop(struct client *cl, const struct request *request)
{
    run_action(cl, request, cl->control->ops->stop);
}

static void do_balloon(struct client *cl, const struct request *request)
{
    if (cl->control->ops->set_balloon == NULL) {
        answer_unsupported(cl, request);
        return;
    }
    struct error err = ERROR_INIT;
    uint64_t token = new_token(cl, &request->id);
    int r = cl->control->ops->set_balloon(cl->control->ctx, request->target, token, &err);
    end_action(cl, token, r, &err);
}

static void do_console(struct client *cl, const struct request *request)
{
    if (cl->control->console == NULL) {
        answer_unsupported(cl, request);
        return;
    }
    cl->to_console = true;
    cl->replay = (request->params & REQUEST_PARAM_REPLAY) == 0 || request->replay;
    answer_result(cl, &request->id, 0, NULL);
}

static const struct method {
    const char *name;
    unsigned required, optional; /* sets of enum request_param */
    void (*run)(struct client *cl, const struct request *request);
} methods[] = {
    {.name = "status", .run = do_status},
    {.name = "metrics", .run = do_metrics},
    {.name = "pause", .run = do_pause},
    {.name = "resume", .run = do_resume},
    {.name = "shutdown", .run = do_shutdown},
    {.name = "reset", .run = do_reset},
    {.name = "stop", .run = do_stop},
    {.name = "balloon", .required = REQUEST_PARAM_TARGET, .run = do_balloon},
    {.name = "console", .optional = REQUEST_PARAM_REPLAY, .run = do_console},
};

static void run_request(struct client *cl, const struct request *request)
{
    for (size_t i = 0; i < ARRAY_SIZE(methods); i++) {
        const struct method *m = &methods[i];
        if (strcmp(request->method, m->name) != 0)
            continue;
        if ((request->params & ~(m->required | m->optional)) != 0)
            answer_error(cl, &request->id, "invalid_params",
                         "a parameter does not belong to this method");
        else if ((m->required & ~request->params) != 0)
            answer_error(cl, &request->id, "invalid_params", "a parameter is missing");
        else
            m->run(cl, request);
        return;
    }
    answer_error(cl, &request->id, "unknown_method", "there is no such method");
}

/* Lines. */

/* What cannot be read ends the connection: nobody knows where the next request would begin. */
static void refuse_line(struct client *cl, const struct request_id *id, const char *message)
{
    cl->closing = true;
    answer_error(cl, id, "invalid_request", message);
}

static void run_line(struct client *cl, const char *line, size_t len)
{
    struct request request;
    struct error err = ERROR_INIT;
    if (request_parse(line, len, &request, &err) < 0)
        refuse_line(cl, &request.id, err.text);
    else
        run_request(cl, &request);
}

/* True while the next line may be looked at. */
static bool takes_requests(const struct client *cl)
{
    return cl->fd >= 0 && !cl->closing && !cl->to_console && cl->token == 0;
}

static void run_lines(struct client *cl)
{
    static const struct request_id no_id = {.kind = REQUEST_ID_NONE};
    size_t start = 0;
    const char *newline;
    while (takes_requests(cl) &&
           (newline = memchr(cl->in + start, '\n', cl->in_len - start)) != NULL) {
        size_t len = (size_t)(newline - (cl->in + start));
        run_line(cl, cl->in + start, len);
        start += len + 1;
    }
    memmove(cl->in, cl->in + start, cl->in_len - start);
    cl->in_len -= start;
    if (takes_requests(cl) && cl->in_len == sizeof(cl->in))
        refuse_line(cl, &no_id, "the line is longer than 65536 bytes");
    if (cl->fd >= 0 && cl->to_console && !cl->closing && cl->in_len > 0)
        refuse_line(cl, &no_id, "bytes came after 'console' and before its answer");
}

/* Sockets. */

static void fill(struct client *cl)
{
    if (cl->in_len == sizeof(cl->in) || cl->at_end)
        return;
    ssize_t n = recv(cl->fd, cl->in + cl->in_len, sizeof(cl->in) - cl->in_len, MSG_DONTWAIT);
    if (n > 0)
        cl->in_len += (size_t)n;
    else if (n == 0)
        cl->at_end = true;
    else if (errno != EAGAIN && errno != EINTR)
        client_close(cl);
}

static void flush_output(struct client *cl)
{
    while (cl->fd >= 0 && cl->out_done < cl->out_len) {
        ssize_t n = send(cl->fd, cl->out + cl->out_done, cl->out_len - cl->out_done,
                         MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n > 0)
            cl->out_done += (size_t)n;
        else if (n < 0 && errno == EAGAIN)
            return;
        else if (n < 0 && errno != EINTR)
            client_close(cl);
    }
}

static void hand_over(struct client *cl)
{
    loop_del(cl->control->loop, &cl->source);
    /* Refused when too many are attached: the client sees its connection end. */
    (void)console_attach(cl->control->console, steal_fd(&cl->fd), cl->replay, NULL);
}

static void watch(struct client *cl)
{
    uint32_t events = 0;
    if (!cl->at_end && takes_requests(cl))
        events |= EPOLLIN;
    if (cl->out_done < cl->out_len)
        events |= EPOLLOUT;
    if (events == cl->watched)
        return;
    cl->watched = events;
    if (loop_mod(cl->control->loop, &cl->source, events) < 0)
        client_close(cl);
}

/* Runs what can be run, sends what can be sent, and decides what happens next. */
static void client_advance(struct client *cl)
{
    run_lines(cl);
    flush_output(cl);
    if (cl->fd < 0)
        return;
    bool sent = cl->out_done == cl->out_len;
    if (sent && (cl->closing || (cl->at_end && cl->token == 0)))
        client_close(cl);
    else if (sent && cl->to_console)
        hand_over(cl);
    else
        watch(cl);
}

static void client_ready(struct loop_source *source, uint32_t events)
{
    struct client *cl = container_of(source, struct client, source);
    if ((events & EPOLLIN) != 0)
        fill(cl);
    if (cl->fd >= 0)
        client_advance(cl);
    /* Both directions are shut: nobody reads an answer that is still to come. */
    if (cl->fd >= 0 && (events & (EPOLLHUP | EPOLLERR)) != 0)
        client_close(cl);
}

static bool peer_allowed(const struct control *control, int fd)
{
    struct ucred peer;
    socklen_t len = sizeof(peer);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
        return false;
    return peer.uid == control->uid || peer.uid == 0;
}

/* Says why in a line of the protocol, as far as the socket takes it, and closes. */
static void refuse_client(struct control *control, int fd, const char *code, const char *message)
{
    char line[256];
    int len =
        snprintf(line, sizeof(line),
                 "{\"id\":null,\"error\":{\"code\":\"%s\",\"message\":\"%s\"}}\n", code, message);
    (void)!send(fd, line, (size_t)len, MSG_DONTWAIT | MSG_NOSIGNAL);
    close(fd);
    uint32_t suppressed;
    if (log_ratelimit_allow(&control->refusal_log, &suppressed))
        log_warn("control", "refused a client: %s", message);
}

/* Out of descriptors: a level-triggered listener would spin, so it rests. */
static void pause_accepting(struct control *control)
{
    loop_del(control->loop, &control->listener);
    (void)loop_timer_arm(control->loop, &control->accept_pause,
                         control->loop->now_ns() + ACCEPT_PAUSE_NS);
}

static void accept_pause_expired(struct loop_timer *timer)
{
    struct control *control = container_of(timer, struct control, accept_pause);
    (void)loop_add(control->loop, &control->listener, control->listen_fd, EPOLLIN, NULL);
}

static void listener_ready(struct loop_source *source, uint32_t events)
{
    (void)events;
    struct control *control = container_of(source, struct control, listener);
    int fd = accept4(source->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0)
        (void)control_adopt(control, fd);
    else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
        pause_accepting(control);
}

static void advance_work_run(struct loop_work *work)
{
    struct control *control = container_of(work, struct control, advance_work);
    for (unsigned i = 0; i < CONTROL_CLIENT_MAX; i++) {
        if (control->client[i].fd >= 0)
            client_advance(&control->client[i]);
    }
}

/* Entry points. */

int control_create(struct loop *loop, int listen_fd, const struct control_ops *ops, void *ctx,
                   struct console *console, struct control **ret_control, struct error *err)
{
    /* Large, but pages that no client used are never touched. */
    struct control *control = calloc(1, sizeof(*control));
    if (control == NULL) {
        if (listen_fd >= 0)
            close(listen_fd);
        return error_sys(err, ENOMEM, "cannot create the control server");
    }
    control->loop = loop;
    control->ops = ops;
    control->ctx = ctx;
    control->console = console;
    control->listen_fd = listen_fd;
    control->uid = geteuid();
    control->listener = LOOP_SOURCE_INIT(listener_ready);
    control->accept_pause = LOOP_TIMER_INIT(accept_pause_expired);
    control->advance_work.run = advance_work_run;
    for (unsigned i = 0; i < CONTROL_CLIENT_MAX; i++) {
        control->client[i].control = control;
        control->client[i].source = LOOP_SOURCE_INIT(client_ready);
        control->client[i].fd = -1;
    }
    if (listen_fd >= 0) {
        int r = loop_add(loop, &control->listener, listen_fd, EPOLLIN, err);
        if (r < 0) {
            control_destroy(control);
            return error_wrap(err, "cannot serve the control socket");
        }
    }
    *ret_control = control;
    return 0;
}

int control_adopt(struct control *control, int fd)
{
    if (!peer_allowed(control, fd)) {
        refuse_client(control, fd, "forbidden", "only the machine's own user and root are served");
        return -EPERM;
    }
    struct client *cl = NULL;
    for (unsigned i = 0; i < CONTROL_CLIENT_MAX && cl == NULL; i++) {
        if (control->client[i].fd < 0)
            cl = &control->client[i];
    }
    if (cl == NULL) {
        refuse_client(control, fd, "busy", "too many clients are connected");
        return -EBUSY;
    }
    int r = loop_add(control->loop, &cl->source, fd, EPOLLIN, NULL);
    if (r < 0) {
        close(fd);
        return r;
    }
    cl->fd = fd;
    cl->watched = EPOLLIN;
    cl->at_end = cl->closing = cl->to_console = false;
    cl->in_len = cl->out_len = cl->out_done = 0;
    return 0;
}

void control_complete(struct control *control, uint64_t token, int result, const struct error *err)
{
    uint64_t slot = token & ((1u << SLOT_BITS) - 1);
    if (token == 0 || slot >= CONTROL_CLIENT_MAX || control->client[slot].token != token)
        return;
    struct client *cl = &control->client[slot];
    cl->token = 0;
    answer_result(cl, &cl->id, result, err);
    /* The rest waits for the loop: the caller may be inside an operation of this very client. */
    flush_output(cl);
    loop_post(control->loop, &control->advance_work);
}

void control_flush(struct control *control, unsigned timeout_ms)
{
    uint64_t deadline = clock_now_ns() + timeout_ms * NSEC_PER_MSEC;
    for (;;) {
        struct pollfd pending[CONTROL_CLIENT_MAX];
        nfds_t count = 0;
        for (unsigned i = 0; i < CONTROL_CLIENT_MAX; i++) {
            struct client *cl = &control->client[i];
            flush_output(cl);
            if (cl->fd >= 0 && cl->out_done < cl->out_len)
                pending[count++] = (struct pollfd){.fd = cl->fd, .events = POLLOUT};
        }
        uint64_t now = clock_now_ns();
        if (count == 0 || now >= deadline)
            return;
        poll(pending, count, (int)((deadline - now) / NSEC_PER_MSEC) + 1);
    }
}

void control_destroy(struct control *control)
{
    if (control == NULL)
        return;
    for (unsigned i = 0; i < CONTROL_CLIENT_MAX; i++)
        client_close(&control->client[i]);
    loop_timer_disarm(control->loop, &control->accept_pause);
    loop_del(control->loop, &control->listener);
    if (control->listen_fd >= 0)
        close(control->listen_fd);
    free(control);
}
