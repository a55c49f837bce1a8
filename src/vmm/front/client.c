// SPDX-License-Identifier: Apache-2.0
/* One request, one answer; for `vmm ctl` and `vmm console`. See client.h. */
#include "client.h"
#include <podvisor/cleanup.h>
#include <podvisor/json_scan.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

int client_open(struct client *client, const char *path, unsigned timeout_seconds,
                struct error *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t len = strlen(path);
    if (len >= sizeof(address.sun_path))
        return error_set(err, ENAMETOOLONG, "the socket's path has %zu bytes and may have %zu: %s",
                         len, sizeof(address.sun_path) - 1, path);
    memcpy(address.sun_path, path, len + 1);
    cleanup_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return error_sys(err, errno, "cannot open a socket");
    struct timeval timeout = {.tv_sec = (time_t)timeout_seconds};
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
        int error = errno;
        error_sys(err, error, "cannot reach a machine at %s", path);
        if (error == ECONNREFUSED)
            return error_hint(err, "the machine that served this socket has ended");
        if (error == ENOENT)
            return error_hint(err, "start it with `vmm run --control %s`", path);
        return -error;
    }
    client->len = 0;
    client->fd = steal_fd(&fd);
    return 0;
}

static int send_request(struct client *client, const char *method, const char *params,
                        struct error *err)
{
    char line[512];
    int len = snprintf(line, sizeof(line), "{\"id\":1,\"method\":\"%s\"%s%s}\n", method,
                       params != NULL ? ",\"params\":" : "", params != NULL ? params : "");
    /* EPIPE: refused already; the reason is there to be read. */
    if (send(client->fd, line, (size_t)len, MSG_NOSIGNAL) != len && errno != EPIPE)
        return error_sys(err, errno, "cannot send the request");
    return 0;
}

/* Receives up to the end of a line. */
static int receive_line(struct client *client, size_t *ret_len, struct error *err)
{
    char *newline;
    client->len = 0;
    while ((newline = memchr(client->buf, '\n', client->len)) == NULL) {
        if (client->len == sizeof(client->buf))
            return error_set(err, EPROTO, "the answer is longer than the protocol allows");
        ssize_t n =
            recv(client->fd, client->buf + client->len, sizeof(client->buf) - client->len, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return error_set(err, ETIMEDOUT, "the machine does not answer");
        if (n <= 0)
            return error_set(err, ECONNRESET, "the machine ended the connection");
        client->len += (size_t)n;
    }
    *ret_len = (size_t)(newline - client->buf);
    return 0;
}

/* The "error" member as our error. */
static int read_refusal(struct json_scan *scan, struct error *err)
{
    struct json_token name, value;
    char code[32] = "", message[ERROR_TEXT_MAX - 64] = "";
    int r = 0;
    while (r == 0 && json_scan_member(scan, &name, &value, NULL) > 0) {
        if (json_token_is(&name, "code"))
            r = json_token_string(&value, code, sizeof(code), NULL, NULL);
        else if (json_token_is(&name, "message"))
            r = json_token_string(&value, message, sizeof(message), NULL, NULL);
        else
            r = json_scan_skip(scan, &value, NULL);
    }
    return error_set(err, EREMOTEIO, "the machine refuses: %s (%s)", message, code);
}

static int read_answer(const char *line, size_t len, const char **ret_result, size_t *ret_len,
                       struct error *err)
{
    struct json_scan scan;
    struct json_token name, value;
    const char *result = NULL;
    size_t result_len = 0;
    json_scan_init(&scan, line, len, NULL);
    int r = json_scan_object(&scan, err);
    while (r == 0 && (r = json_scan_member(&scan, &name, &value, err)) > 0) {
        if (json_token_is(&name, "error") && value.type == JSON_OBJECT)
            return read_refusal(&scan, err);
        r = json_scan_skip(&scan, &value, err);
        if (json_token_is(&name, "result")) {
            result = line + value.offset;
            result_len = scan.pos - value.offset;
        }
    }
    if (r < 0)
        return error_wrap(err, "the answer cannot be read");
    if (result == NULL)
        return error_set(err, EPROTO, "the answer has no result");
    *ret_result = result;
    *ret_len = result_len;
    return 0;
}

int client_call(struct client *client, const char *method, const char *params,
                const char **ret_result, size_t *ret_result_len, const char **ret_rest,
                size_t *ret_rest_len, struct error *err)
{
    size_t len = 0;
    int r = send_request(client, method, params, err);
    if (r == 0)
        r = receive_line(client, &len, err);
    if (r == 0)
        r = read_answer(client->buf, len, ret_result, ret_result_len, err);
    if (r < 0)
        return r;
    *ret_rest = client->buf + len + 1;
    *ret_rest_len = client->len - len - 1;
    return 0;
}

void client_close(struct client *client)
{
    close(client->fd);
}
