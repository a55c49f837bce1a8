// SPDX-License-Identifier: Apache-2.0
/*
 * The image socket: a listener, the connections of the sidecars, a deadline, and the signals that
 * end the wait. unix(7), cmsg(3), signalfd(2). Start-up, one thread. See images.h.
 */
#include "images.h"
#include "open.h"
#include <podvisor/cleanup.h>
#include <podvisor/clock.h>
#include <podvisor/log.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>

#define FDS_MAX                                                                      \
    8 /* descriptors taken with one message, to be closed; one is all that is wanted \
       */

static int block_signals(int *ret_fd, struct error *err)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, NULL);
    int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd < 0)
        return error_sys(err, errno, "cannot create a signalfd");
    *ret_fd = fd;
    return 0;
}

int images_listen(struct images *images, const char *path, unsigned timeout_seconds,
                  struct error *err)
{
    images->timeout_seconds = timeout_seconds;
    images->deadline_ns = clock_now_ns() + timeout_seconds * NSEC_PER_SEC;
    int r = open_socket(path, SOCK_SEQPACKET, "image", &images->listen_fd, err);
    return r < 0 ? r : block_signals(&images->signal_fd, err);
}

static void drop_connection(struct images *images, unsigned index)
{
    close(images->connection[index].fd);
    images->connection[index] = images->connection[--images->connection_count];
}

static void accept_connections(struct images *images)
{
    while (images->connection_count < IMAGE_CONNECTION_MAX) {
        int fd = accept4(images->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0)
            return;
        images->connection[images->connection_count++] = (struct image_connection){.fd = fd};
    }
}

/* All descriptors of a message; those that did not fit the kernel has closed. */
static unsigned take_fds(struct msghdr *message, int fds[FDS_MAX])
{
    unsigned count = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c != NULL; c = CMSG_NXTHDR(message, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < n && count < FDS_MAX; i++)
            memcpy(&fds[count++], CMSG_DATA(c) + i * sizeof(int), sizeof(int));
    }
    return count;
}

/* Returns 1 when a message was taken, 0 at the connection's end, -EAGAIN when there is none. */
static int receive_message(struct images *images, int fd, struct error *err)
{
    char text[IMAGE_MESSAGE_MAX];
    union {
        char buf[CMSG_SPACE(FDS_MAX * sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec iov = {.iov_base = text, .iov_len = sizeof(text)};
    struct msghdr message = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = control.buf,
                             .msg_controllen = sizeof(control.buf)};
    int fds[FDS_MAX];
    ssize_t n = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return -EAGAIN;
    if (n < 0)
        return 0;
    unsigned count = take_fds(&message, fds);
    if (n == 0 && count == 0)
        return 0;
    if ((message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) {
        for (unsigned i = 0; i < count; i++)
            close(fds[i]);
        return error_set(err, EPROTO,
                         "a message on the image socket has more than %d bytes or %d "
                         "descriptors",
                         IMAGE_MESSAGE_MAX, FDS_MAX);
    }
    int r = images_accept(images, text, (size_t)n, fds, count, err);
    return r < 0 ? r : 1;
}

/* Takes what the connection has; returns 0 or an error that ends it all. */
static int serve_connection(struct images *images, unsigned index, struct error *err)
{
    struct image_connection *connection = &images->connection[index];
    int r;
    while ((r = receive_message(images, connection->fd, err)) > 0)
        connection->useful = true;
    if (r == 0)
        drop_connection(images, index);
    return r == -EAGAIN ? 0 : r;
}

static bool all_arrived(const struct images *images)
{
    for (unsigned i = 0; i < images->wanted_count; i++) {
        if (!images->wanted[i].arrived)
            return false;
    }
    return true;
}

static int timed_out(const struct images *images, struct error *err)
{
    char list[ERROR_TEXT_MAX / 2] = "";
    size_t len = 0;
    for (unsigned i = 0; i < images->wanted_count; i++) {
        const struct image_wanted *w = &images->wanted[i];
        if (!w->arrived && len < sizeof(list))
            len += (size_t)snprintf(list + len, sizeof(list) - len, "%s%s%s (image %s)",
                                    len > 0 ? ", " : "", w->kind == IMAGE_VOLUME ? "volume " : "",
                                    w->name, w->image);
    }
    error_set(err, ETIMEDOUT, "these files did not come from their images within %u s: %s",
              images->timeout_seconds, list);
    return error_hint(err, "`kubectl describe pod` says what their containers wait for");
}

static int take_signal(struct images *images, struct error *err)
{
    struct signalfd_siginfo info;
    if (read(images->signal_fd, &info, sizeof(info)) != sizeof(info))
        return 0;
    images->stop_signal = (int)info.ssi_signo;
    return error_set(err, ECANCELED, "stopped by signal %u before the machine started",
                     info.ssi_signo);
}

/* Waits for the next event and serves it. */
static int serve(struct images *images, struct error *err)
{
    struct pollfd poll_fd[2 + IMAGE_CONNECTION_MAX];
    unsigned count = images->connection_count;
    bool full = count == IMAGE_CONNECTION_MAX;
    poll_fd[0] = (struct pollfd){.fd = images->signal_fd, .events = POLLIN};
    poll_fd[1] = (struct pollfd){.fd = full ? -1 : images->listen_fd, .events = POLLIN};
    for (unsigned i = 0; i < count; i++)
        poll_fd[2 + i] = (struct pollfd){.fd = images->connection[i].fd, .events = POLLIN};
    uint64_t now = clock_now_ns();
    if (now >= images->deadline_ns)
        return timed_out(images, err);
    int wait = (int)((images->deadline_ns - now) / NSEC_PER_MSEC) + 1;
    if (poll(poll_fd, 2 + count, wait) < 0)
        return errno == EINTR ? 0 : error_sys(err, errno, "cannot wait for the images");
    int r = poll_fd[0].revents != 0 ? take_signal(images, err) : 0;
    /* From the last on: one that is dropped changes places with one that was served. */
    for (unsigned i = count; r == 0 && i-- > 0;) {
        if (poll_fd[2 + i].revents != 0)
            r = serve_connection(images, i, err);
    }
    if (r == 0 && poll_fd[1].revents != 0)
        accept_connections(images);
    return r;
}

int images_receive(struct images *images, struct error *err)
{
    int r = 0;
    if (!all_arrived(images))
        log_info("", "waiting for %u file(s) of container images", images->wanted_count);
    while (r == 0 && !all_arrived(images))
        r = serve(images, err);
    return r;
}

unsigned images_keep(struct images *images, int32_t ret_fds[MACHINE_KEEP_MAX])
{
    unsigned count = 0;
    for (unsigned i = 0; i < images->connection_count && count < MACHINE_KEEP_MAX; i++) {
        if (!images->connection[i].useful)
            continue;
        (void)shutdown(images->connection[i].fd, SHUT_RD);
        ret_fds[count++] = images->connection[i].fd;
    }
    return count;
}
