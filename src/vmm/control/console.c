// SPDX-License-Identifier: Apache-2.0
/*
 * The console hub of console.h. It owns the ring of output, a port for standard input, one for
 * standard output and one for each attached client.
 *
 * Theory of operation. Guest output arrives on vCPU threads one byte at a time (a UART) or on an
 * I/O loop in blocks, is copied into the ring under `lock`, and wakes the loop at most once a
 * millisecond: the first byte after a silence posts work (IDLE -> POSTED), the loop writes to every
 * port and arms a timer (PACING), and only when that expires with nothing new is the next byte
 * again worth a wake-up. A quarter of a ring of unwritten bytes does not wait for the timer.
 *
 * Positions count all bytes ever printed; position % CONSOLE_RING_SIZE is the place in the ring.
 * `lock` guards the ring, the positions and the drain state. All else is the loop thread's.
 */
#include "console.h"
#include <fcntl.h>
#include <podvisor/cleanup.h>
#include <podvisor/clock.h>
#include <podvisor/log.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define CHUNK_MAX     4096 /* also the size that a pipe takes without waiting when it polls ready */
#define INPUT_MAX     256
#define NOTICE_MAX    96
#define ESCAPE_COUNT  3
#define PACE_NS       NSEC_PER_MSEC
#define URGENT_UNREAD (CONSOLE_RING_SIZE / 4)

enum drain_state { DRAIN_IDLE, DRAIN_POSTED, DRAIN_PACING };

enum port_index {
    PORT_STDIN,
    PORT_STDOUT,
    PORT_CLIENT,
    PORT_MAX = PORT_CLIENT + CONSOLE_CLIENT_MAX
};

struct port {
    struct console *console;
    struct loop_source source;
    uint32_t watched; /* epoll events */
    int fd;           /* -1: unused */
    bool reads;       /* input comes from here, not at its end yet */
    bool writes;      /* output goes there */
    bool is_socket;
    bool is_regular; /* always ready; epoll does not take it */
    bool must_poll;  /* a write may wait: ask poll first */

    uint64_t position; /* the next byte to write; under console->lock */
    bool blocked;      /* waits for EPOLLOUT */
    char notice[NOTICE_MAX];
    unsigned notice_len, notice_done;

    uint8_t input[INPUT_MAX];
    unsigned input_len, input_done; /* [done, len) still has to reach the guest */
};

struct console {
    struct loop *loop;
    const struct console_ops *ops;
    void *ctx;
    bool terminal;
    unsigned escape_seen;
    struct loop_work output_work, input_work;
    struct loop_timer pace, stuck_timer;
    atomic_bool input_stalled;
    struct port port[PORT_MAX];
    struct log_ratelimit failure_log;

    pthread_mutex_t lock;
    enum drain_state drain;
    uint64_t head;         /* bytes printed since the start */
    uint64_t drained_head; /* the head that the last drain saw */
    unsigned writers;      /* ports with `writes` */
    bool room_wanted;      /* somebody waits for ops->output_room() */
    bool stuck;            /* standard output took nothing for CONSOLE_STUCK_MS */
    struct console_counters counters;
    uint8_t ring[CONSOLE_RING_SIZE];
};

/* Ports: what epoll watches. */

static bool port_is_client(const struct port *p)
{
    return p >= &p->console->port[PORT_CLIENT];
}

static void port_watch(struct port *p)
{
    bool stalled = p->input_done < p->input_len;
    uint32_t events = (p->reads && !stalled ? EPOLLIN : 0) | (p->blocked ? EPOLLOUT : 0);
    if (p->is_regular || (p->source.fd >= 0 && events == p->watched))
        return;
    p->watched = events;
    /* A client stays watched without events, for the hang-up; standard input must not, because the
     * hang-up of a pipe whose bytes the guest does not take yet would be reported for ever. */
    if (events == 0 && !port_is_client(p))
        loop_del(p->console->loop, &p->source);
    else if (p->source.fd >= 0)
        loop_mod(p->console->loop, &p->source, events);
    else
        loop_add(p->console->loop, &p->source, p->fd, events, NULL);
}

static void set_writes(struct port *p, bool writes)
{
    struct console *c = p->console;
    pthread_mutex_lock(&c->lock);
    if (p->writes != writes)
        c->writers += writes ? 1 : -1u;
    p->writes = writes;
    pthread_mutex_unlock(&c->lock);
}

static void port_close(struct port *p)
{
    struct console *c = p->console;
    loop_del(c->loop, &p->source);
    set_writes(p, false);
    if (port_is_client(p) && p->fd >= 0) {
        close(p->fd);
        c->counters.clients--;
    }
    p->fd = -1;
    p->reads = p->blocked = false;
    p->input_len = p->input_done = 0;
    p->notice_len = p->notice_done = 0;
}

/* Input: from a port to the guest. */

/* Three escape keys in a row on the terminal; each also reaches the guest, which may want it. */
static bool sees_escape(struct console *c, const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        c->escape_seen = bytes[i] == CONSOLE_ESCAPE_KEY ? c->escape_seen + 1 : 0;
        if (c->escape_seen == ESCAPE_COUNT) {
            c->escape_seen = 0;
            return true;
        }
    }
    return false;
}

static void offer_input(struct port *p)
{
    struct console *c = p->console;
    if (p->input_done == p->input_len)
        return;
    size_t len = p->input_len - p->input_done;
    size_t taken =
        c->ops->input != NULL ? c->ops->input(c->ctx, p->input + p->input_done, len) : len;
    p->input_done += (unsigned)taken;
    c->counters.input_bytes += taken;
}

/* True when the guest took everything that this port has. */
static bool deliver_input(struct port *p)
{
    offer_input(p);
    if (p->input_done == p->input_len)
        return true;
    /* The device may have become ready between its refusal and the flag: ask once more after. */
    atomic_store(&p->console->input_stalled, true);
    offer_input(p);
    return p->input_done == p->input_len;
}

/* Reads one block. False when there is none now or never again. */
static bool read_input(struct port *p)
{
    ssize_t n = read(p->fd, p->input, sizeof(p->input));
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (n <= 0) {
        p->reads = false;
        return false;
    }
    p->input_len = (unsigned)n;
    p->input_done = 0;
    struct console *c = p->console;
    if (p == &c->port[PORT_STDIN] && c->terminal && c->ops->escape != NULL &&
        sees_escape(c, p->input, (size_t)n))
        c->ops->escape(c->ctx);
    return true;
}

static void pump_input(struct port *p)
{
    do {
        if (!deliver_input(p) || !p->reads || !read_input(p))
            break;
        deliver_input(p);
    } while (p->is_regular); /* all else is level-triggered and asks again */
    port_watch(p);
}

static void input_work_run(struct loop_work *work)
{
    struct console *c = container_of(work, struct console, input_work);
    for (unsigned i = 0; i < PORT_MAX; i++) {
        struct port *p = &c->port[i];
        if (p->fd >= 0 && p->input_done < p->input_len)
            pump_input(p);
    }
}

/* Output: from the ring to a port. */

/*
 * Copies up to CHUNK_MAX of the bytes before `end`; notes in the port what was overwritten before
 * it was read.
 */
static size_t ring_take(struct port *p, uint64_t end, uint8_t *chunk)
{
    struct console *c = p->console;
    uint64_t lost = 0;
    pthread_mutex_lock(&c->lock);
    if (c->head - p->position > CONSOLE_RING_SIZE) {
        lost = c->head - p->position - CONSOLE_RING_SIZE;
        p->position += lost;
        if (!port_is_client(p))
            c->counters.output_lost_bytes += lost;
    }
    size_t start = p->position % CONSOLE_RING_SIZE;
    uint64_t unread = end > p->position ? end - p->position : 0;
    size_t len = unread < CHUNK_MAX ? (size_t)unread : CHUNK_MAX;
    size_t first = len < CONSOLE_RING_SIZE - start ? len : CONSOLE_RING_SIZE - start;
    memcpy(chunk, c->ring + start, first);
    memcpy(chunk + first, c->ring, len - first);
    pthread_mutex_unlock(&c->lock);
    if (lost > 0) {
        int n = snprintf(p->notice, sizeof(p->notice),
                         "\r\n[vmm: %llu bytes of console output lost, reader too slow]\r\n",
                         (unsigned long long)lost);
        p->notice_len = (unsigned)n;
        p->notice_done = 0;
    }
    return len;
}

static bool poll_ready(int fd, short events, int timeout_ms)
{
    struct pollfd pfd = {.fd = fd, .events = events};
    return poll(&pfd, 1, timeout_ms) > 0;
}

/* Returns bytes written, 0 when none can be now, or a negative errno. */
static ssize_t port_write(struct port *p, const void *bytes, size_t len)
{
    if (p->must_poll && !poll_ready(p->fd, POLLOUT, 0))
        return 0;
    ssize_t n;
    do {
        n = p->is_socket ? send(p->fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL)
                         : write(p->fd, bytes, len);
    } while (n < 0 && errno == EINTR);
    if (n >= 0)
        return n;
    return errno == EAGAIN ? 0 : -errno;
}

/* Standard output took bytes, or is no more: tells a device that waits for room. */
static void stdout_progressed(struct console *c)
{
    loop_timer_disarm(c->loop, &c->stuck_timer);
    struct port *p = &c->port[PORT_STDOUT];
    pthread_mutex_lock(&c->lock);
    c->stuck = false;
    bool tell = c->room_wanted && (!p->writes || c->head - p->position <= CONSOLE_RING_SIZE / 2);
    if (tell)
        c->room_wanted = false;
    pthread_mutex_unlock(&c->lock);
    if (tell && c->ops->output_room != NULL)
        c->ops->output_room(c->ctx);
}

/* The reader is gone or the disk is full: the guest goes on, only this copy of its words ends. */
static void port_failed(struct port *p, int error)
{
    uint32_t suppressed;
    if (!port_is_client(p) && log_ratelimit_allow(&p->console->failure_log, &suppressed)) {
        char buf[128];
        log_warn("console", "cannot write the guest's output any more: %s",
                 strerror_r(error, buf, sizeof(buf)));
    }
    bool is_stdout = p == &p->console->port[PORT_STDOUT];
    port_close(p);
    if (is_stdout)
        stdout_progressed(p->console);
}

static void stuck_expired(struct loop_timer *timer)
{
    struct console *c = container_of(timer, struct console, stuck_timer);
    pthread_mutex_lock(&c->lock);
    c->stuck = true;
    bool tell = c->room_wanted;
    c->room_wanted = false;
    pthread_mutex_unlock(&c->lock);
    if (tell && c->ops->output_room != NULL)
        c->ops->output_room(c->ctx);
}

/*
 * Writes the notice, or else one block of what lies before `end`. Same result as port_write(), or
 * -ENODATA when there is nothing to write.
 */
static ssize_t write_step(struct port *p, uint64_t end)
{
    uint8_t chunk[CHUNK_MAX];
    size_t len = p->notice_done == p->notice_len ? ring_take(p, end, chunk) : 0;
    if (p->notice_done < p->notice_len) {
        ssize_t n = port_write(p, p->notice + p->notice_done, p->notice_len - p->notice_done);
        if (n > 0)
            p->notice_done += (unsigned)n;
        return n;
    }
    if (len == 0)
        return -ENODATA;
    ssize_t n = port_write(p, chunk, len);
    if (n > 0) {
        pthread_mutex_lock(&p->console->lock);
        p->position += (uint64_t)n;
        pthread_mutex_unlock(&p->console->lock);
    }
    return n;
}

static uint64_t ring_head(struct console *c)
{
    pthread_mutex_lock(&c->lock);
    uint64_t head = c->head;
    pthread_mutex_unlock(&c->lock);
    return head;
}

/* Writes what is in the ring now, or as much of it as the port takes. What the guest prints in the
 * meantime waits for the next drain, so that nobody can keep the loop here. */
static void pump_output(struct port *p)
{
    struct console *c = p->console;
    uint64_t end = ring_head(c);
    size_t total = 0;
    ssize_t n;
    while ((n = write_step(p, end)) > 0)
        total += (size_t)n;
    if (n < 0 && n != -ENODATA) {
        port_failed(p, (int)-n);
        return;
    }
    p->blocked = n == 0;
    port_watch(p);
    if (p != &c->port[PORT_STDOUT])
        return;
    if (total > 0)
        stdout_progressed(c);
    if (p->blocked && c->stuck_timer.heap_index < 0)
        (void)loop_timer_arm(c->loop, &c->stuck_timer,
                             c->loop->now_ns() + CONSOLE_STUCK_MS * NSEC_PER_MSEC);
}

static void drain(struct console *c)
{
    pthread_mutex_lock(&c->lock);
    c->drained_head = c->head;
    c->drain = DRAIN_PACING;
    pthread_mutex_unlock(&c->lock);
    for (unsigned i = 0; i < PORT_MAX; i++) {
        if (c->port[i].writes && !c->port[i].blocked)
            pump_output(&c->port[i]);
    }
    (void)loop_timer_arm(c->loop, &c->pace, c->loop->now_ns() + PACE_NS);
}

static void output_work_run(struct loop_work *work)
{
    drain(container_of(work, struct console, output_work));
}

static void pace_expired(struct loop_timer *timer)
{
    struct console *c = container_of(timer, struct console, pace);
    pthread_mutex_lock(&c->lock);
    bool again = c->head != c->drained_head;
    if (!again && c->drain == DRAIN_PACING)
        c->drain = DRAIN_IDLE;
    pthread_mutex_unlock(&c->lock);
    if (again)
        drain(c);
}

static void port_ready(struct loop_source *source, uint32_t events)
{
    struct port *p = container_of(source, struct port, source);
    if ((events & EPOLLOUT) != 0 && p->blocked)
        pump_output(p);
    if (p->fd >= 0 && p->reads && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0)
        pump_input(p);
    if (p->writes && (events & (EPOLLHUP | EPOLLERR)) != 0)
        port_failed(p, EPIPE);
}

/* Entry points. */

static void port_init(struct console *c, struct port *p)
{
    p->console = c;
    p->source = LOOP_SOURCE_INIT(port_ready);
    p->fd = -1;
}

/* Standard input or output, which may be anything; at start, before the sandbox. */
static int port_open_stream(struct port *p, int fd, bool reads, bool writes, struct error *err)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return error_sys(err, errno, "cannot use console descriptor %d", fd);
    int flags = fcntl(fd, F_GETFL);
    p->fd = fd;
    p->reads = reads;
    p->is_socket = S_ISSOCK(st.st_mode);
    p->is_regular = S_ISREG(st.st_mode);
    p->must_poll = !p->is_socket && !p->is_regular && (flags & O_NONBLOCK) == 0;
    set_writes(p, writes);
    return 0;
}

static void port_open_client(struct port *p, int socket_fd)
{
    p->fd = socket_fd;
    p->reads = true;
    p->is_socket = true;
    p->is_regular = p->must_poll = false;
    set_writes(p, true);
}

int console_create(struct loop *loop, const struct console_ops *ops, void *ctx, int in_fd,
                   int out_fd, bool terminal, struct console **ret_console, struct error *err)
{
    struct console *c = calloc(1, sizeof(*c));
    if (c == NULL)
        return error_sys(err, ENOMEM, "cannot create the console");
    c->loop = loop;
    c->ops = ops;
    c->ctx = ctx;
    c->terminal = terminal;
    c->output_work.run = output_work_run;
    c->input_work.run = input_work_run;
    c->pace = LOOP_TIMER_INIT(pace_expired);
    c->stuck_timer = LOOP_TIMER_INIT(stuck_expired);
    pthread_mutex_init(&c->lock, NULL);
    for (unsigned i = 0; i < PORT_MAX; i++)
        port_init(c, &c->port[i]);

    int r = 0;
    if (in_fd >= 0 && ops->input != NULL)
        r = port_open_stream(&c->port[PORT_STDIN], in_fd, true, false, err);
    if (r == 0 && out_fd >= 0)
        r = port_open_stream(&c->port[PORT_STDOUT], out_fd, false, true, err);
    if (r < 0) {
        console_destroy(c);
        return r;
    }
    if (c->port[PORT_STDIN].is_regular)
        pump_input(&c->port[PORT_STDIN]);
    else if (c->port[PORT_STDIN].reads)
        port_watch(&c->port[PORT_STDIN]);
    *ret_console = c;
    return 0;
}

void console_output(struct console *c, const void *bytes, size_t len)
{
    const uint8_t *from = bytes;
    pthread_mutex_lock(&c->lock);
    c->counters.output_bytes += len;
    if (len > CONSOLE_RING_SIZE) {
        c->head += len - CONSOLE_RING_SIZE;
        from += len - CONSOLE_RING_SIZE;
        len = CONSOLE_RING_SIZE;
    }
    size_t start = c->head % CONSOLE_RING_SIZE;
    size_t first = len < CONSOLE_RING_SIZE - start ? len : CONSOLE_RING_SIZE - start;
    memcpy(c->ring + start, from, first);
    memcpy(c->ring, from + first, len - first);
    c->head += len;
    bool post = c->writers > 0 && c->drain != DRAIN_POSTED &&
                (c->drain == DRAIN_IDLE || c->head - c->drained_head >= URGENT_UNREAD);
    if (post)
        c->drain = DRAIN_POSTED;
    pthread_mutex_unlock(&c->lock);
    if (post)
        loop_post(c->loop, &c->output_work);
}

size_t console_output_room(struct console *c, size_t wanted)
{
    struct port *p = &c->port[PORT_STDOUT];
    pthread_mutex_lock(&c->lock);
    uint64_t unread = c->head - p->position;
    size_t room = unread < CONSOLE_RING_SIZE ? (size_t)(CONSOLE_RING_SIZE - unread) : 0;
    if (!p->writes || c->stuck || room > wanted)
        room = wanted;
    if (room < wanted)
        c->room_wanted = true;
    pthread_mutex_unlock(&c->lock);
    return room;
}

void console_input_ready(struct console *c)
{
    if (atomic_load_explicit(&c->input_stalled, memory_order_relaxed) &&
        atomic_exchange(&c->input_stalled, false))
        loop_post(c->loop, &c->input_work);
}

int console_attach(struct console *c, int fd, bool replay, struct error *err)
{
    struct port *p = NULL;
    for (unsigned i = PORT_CLIENT; i < PORT_MAX && p == NULL; i++) {
        if (c->port[i].fd < 0)
            p = &c->port[i];
    }
    if (p == NULL) {
        close(fd);
        return error_set(err, EBUSY, "%d consoles are attached already", CONSOLE_CLIENT_MAX);
    }
    pthread_mutex_lock(&c->lock);
    uint64_t kept = c->head < CONSOLE_RING_SIZE ? c->head : CONSOLE_RING_SIZE;
    p->position = replay ? c->head - kept : c->head;
    pthread_mutex_unlock(&c->lock);
    port_open_client(p, fd);
    c->counters.clients++;
    port_watch(p);
    pump_output(p);
    return 0;
}

void console_get_counters(struct console *c, struct console_counters *ret_counters)
{
    pthread_mutex_lock(&c->lock);
    *ret_counters = c->counters;
    pthread_mutex_unlock(&c->lock);
}

void console_flush(struct console *c, unsigned timeout_ms)
{
    uint64_t deadline = clock_now_ns() + timeout_ms * NSEC_PER_MSEC;
    for (unsigned i = PORT_CLIENT; i < PORT_MAX; i++) {
        if (c->port[i].writes)
            pump_output(&c->port[i]);
    }
    struct port *out = &c->port[PORT_STDOUT];
    while (out->writes) {
        pump_output(out);
        uint64_t now = clock_now_ns();
        if (!out->blocked || now >= deadline)
            break;
        poll_ready(out->fd, POLLOUT, (int)((deadline - now) / NSEC_PER_MSEC) + 1);
    }
}

void console_destroy(struct console *c)
{
    if (c == NULL)
        return;
    loop_timer_disarm(c->loop, &c->pace);
    loop_timer_disarm(c->loop, &c->stuck_timer);
    for (unsigned i = 0; i < PORT_MAX; i++)
        port_close(&c->port[i]);
    pthread_mutex_destroy(&c->lock);
    free(c);
}
