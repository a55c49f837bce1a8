// SPDX-License-Identifier: Apache-2.0
/*
 * `vmm console`: attaches this terminal to a running machine's console. Bytes are copied both ways
 * until the machine ends, or Ctrl-] is typed on a terminal.
 */
#include "client.h"
#include "pod.h"
#include "terminal.h"
#include "verbs.h"
#include <podvisor/cleanup.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>

#define DETACH_KEY 0x1d /* Ctrl-] */

struct console_options {
    const char *control;
    bool no_replay;
};

/* For the signal handler. */
static struct terminal terminal = TERMINAL_INIT;

static int set_control(void *options, char *value, struct error *err)
{
    (void)err;
    ((struct console_options *)options)->control = value;
    return 0;
}

static int set_no_replay(void *options, char *value, struct error *err)
{
    (void)value;
    (void)err;
    ((struct console_options *)options)->no_replay = true;
    return 0;
}

static const struct flag console_flags[] = {
    {"control", "SOCKET", "The machine's socket; then it is not an argument.", set_control},
    {"no-replay", NULL, "Without the last 64 KiB that were printed before.", set_no_replay},
    {.name = NULL},
};

static void on_signal(int number)
{
    if (terminal.fd >= 0)
        tcsetattr(terminal.fd, TCSANOW, &terminal.saved);
    signal(number, SIG_DFL);
    raise(number);
}

static int write_all(int fd, const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, bytes, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        bytes += n;
        len -= (size_t)n;
    }
    return 0;
}

/* One block from the keyboard. False: detach. `*input` becomes -1 at its end. */
static bool copy_input(int *input, int socket)
{
    char buf[4096];
    ssize_t n = read(*input, buf, sizeof(buf));
    if (n < 0 && errno == EINTR)
        return true;
    if (n <= 0) {
        *input = -1;
        shutdown(socket, SHUT_WR);
        return true;
    }
    char *key = terminal.fd >= 0 ? memchr(buf, DETACH_KEY, (size_t)n) : NULL;
    size_t len = key != NULL ? (size_t)(key - buf) : (size_t)n;
    return write_all(socket, buf, len) == 0 && key == NULL;
}

/* Returns true when the user detached, false when the machine ended. */
static bool copy(int socket)
{
    int input = STDIN_FILENO;
    for (;;) {
        struct pollfd fds[2] = {{.fd = socket, .events = POLLIN}, {.fd = input, .events = POLLIN}};
        if (poll(fds, 2, -1) < 0)
            continue; /* EINTR */
        if (fds[1].revents != 0 && !copy_input(&input, socket))
            return true;
        if (fds[0].revents == 0)
            continue;
        char buf[4096];
        ssize_t n = recv(socket, buf, sizeof(buf), 0);
        if (n == 0 || (n < 0 && errno != EINTR))
            return false;
        if (n > 0 && write_all(STDOUT_FILENO, buf, (size_t)n) < 0)
            return true;
    }
}

static int attach(const char *socket, bool replay, struct error *err)
{
    static struct client client;
    const char *result, *rest = NULL;
    size_t len, rest_len = 0;
    int r = client_open(&client, socket, 0, err);
    if (r < 0)
        return r;
    r = client_call(&client, "console", replay ? NULL : "{\"replay\":false}", &result, &len, &rest,
                    &rest_len, err);
    if (r == 0 && isatty(STDIN_FILENO)) {
        fprintf(stderr, "vmm: attached to %s; Ctrl-] detaches\n", socket);
        const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
        for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
            signal(signals[i], on_signal);
        r = terminal_make_raw(&terminal, STDIN_FILENO, err);
    }
    if (r == 0 && write_all(STDOUT_FILENO, rest, rest_len) == 0) {
        bool was_terminal = terminal.fd >= 0;
        bool detached = copy(client.fd);
        terminal_restore(&terminal);
        if (was_terminal)
            fprintf(stderr, "\nvmm: %s\n", detached ? "detached" : "the machine ended");
    }
    client_close(&client);
    return r;
}

static int run(int argc, char **argv)
{
    struct console_options options = {.control = NULL};
    struct positionals words;
    struct error err = ERROR_INIT;
    int r = flags_parse(&verb_console, argc, argv, &options, &words, &err);
    if (r > 0)
        return EXIT_OK;
    const char *socket = options.control;
    if (socket == NULL)
        socket = words.count > 0 ? words.word[0] : pod_control();
    if (r == 0 && (socket == NULL || words.count + (options.control != NULL) > 1))
        r = error_set(&err, EINVAL, "which machine? `vmm console SOCKET`");
    if (r == 0) {
        signal(SIGPIPE, SIG_IGN);
        r = attach(socket, !options.no_replay, &err);
    }
    return r < 0 ? report_error(&err) : EXIT_OK;
}

const struct verb verb_console = {
    .name = "console",
    .arguments = "[SOCKET]",
    .summary = "Attaches this terminal to a running machine's console.",
    .details = "Begins with the last 64 KiB that the guest printed. Ctrl-] detaches.",
    .flags = console_flags,
    .run = run,
};
