// SPDX-License-Identifier: Apache-2.0
/* Messages with descriptors over SOCK_SEQPACKET: unix(7), cmsg(3). See sender.h. */
#include "sender.h"
#include <podvisor/cleanup.h>
#include <podvisor/clock.h>
#include <podvisor/json_write.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#define POLL_NS     (50 * NSEC_PER_MSEC)
#define MESSAGE_MAX 4096 /* bytes, docs/pod.md */
#define ERROR_TEXT  512  /* bytes of an error sent: six times as many, escaped, still fit */

/* inotify would miss a socket made between two calls and says nothing about who serves it. */
static void pause_before_retry(void)
{
    struct timespec wait = {.tv_nsec = POLL_NS};
    nanosleep(&wait, NULL);
}

int sender_connect(const char *path, unsigned timeout_seconds, int *ret_fd, struct error *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t len = strlen(path);
    if (len >= sizeof(address.sun_path))
        return error_set(err, ENAMETOOLONG, "the socket's path has %zu bytes and may have %zu", len,
                         sizeof(address.sun_path) - 1);
    memcpy(address.sun_path, path, len + 1);
    cleanup_close int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return error_sys(err, errno, "cannot make a socket");
    uint64_t deadline = clock_now_ns() + timeout_seconds * NSEC_PER_SEC;
    while (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
        if (errno == ECONNREFUSED)
            return error_set(err, ECONNREFUSED, "the machine has ended: nobody serves %s", path);
        if (errno != ENOENT && errno != EINTR)
            return error_sys(err, errno, "cannot connect to %s", path);
        if (clock_now_ns() >= deadline)
            return error_set(err, ETIMEDOUT,
                             "there is no socket %s after %u s: is the container compute running?",
                             path, timeout_seconds);
        pause_before_retry();
    }
    *ret_fd = steal_fd(&fd);
    return 0;
}

static int send_message(int socket_fd, char *text, size_t len, int file_fd, struct error *err)
{
    union {
        char buf[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {.buf = ""};
    struct iovec iov = {.iov_base = text, .iov_len = len};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
    if (file_fd >= 0) {
        message.msg_control = control.buf;
        message.msg_controllen = sizeof(control.buf);
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(header), &file_fd, sizeof(int));
    }
    ssize_t n;
    do {
        n = sendmsg(socket_fd, &message, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    if (n < 0 && (errno == EPIPE || errno == ECONNRESET))
        return error_set(err, EPIPE, "the machine has ended");
    return n < 0 ? error_sys(err, errno, "cannot send to the machine") : 0;
}

static void begin(struct json_writer *w, char *buf, size_t size, const char *kind, const char *name)
{
    json_write_init(w, buf, size);
    json_write_object(w, NULL);
    json_write_string(w, "kind", kind);
    json_write_string(w, "name", name);
}

static int finish(struct json_writer *w, const char *name, size_t *ret_len, struct error *err)
{
    json_write_end(w);
    return json_write_finish(w, ret_len) < 0
               ? error_set(err, EINVAL, "the name '%.40s…' is too long", name)
               : 0;
}

int sender_send_file(int socket_fd, const char *kind, const char *name, int file_fd,
                     struct error *err)
{
    char text[MESSAGE_MAX];
    size_t len = 0;
    struct json_writer w;
    begin(&w, text, sizeof(text), kind, name);
    int r = finish(&w, name, &len, err);
    return r < 0 ? r : send_message(socket_fd, text, len, file_fd, err);
}

int sender_send_error(int socket_fd, const char *kind, const char *name, const char *error,
                      struct error *err)
{
    char text[MESSAGE_MAX];
    size_t len = 0;
    struct json_writer w;
    begin(&w, text, sizeof(text), kind, name);
    json_write_string_n(&w, "error", error, strnlen(error, ERROR_TEXT));
    int r = finish(&w, name, &len, err);
    return r < 0 ? r : send_message(socket_fd, text, len, -1, err);
}

void sender_await_end(int socket_fd)
{
    char byte;
    while (recv(socket_fd, &byte, sizeof(byte), 0) > 0 || errno == EINTR)
        errno = 0;
}
