// SPDX-License-Identifier: Apache-2.0
/*
 * container-disk: opens files of the container image that it runs in and hands them to `vmm` by
 * descriptor (docs/pod.md, "Image files by descriptor"). It is the first process of a container of
 * the user's own image, so it is linked statically and relies on nothing there. One thread.
 */
#include "files.h"
#include "install.h"
#include "sender.h"
#include <fcntl.h>
#include <getopt.h>
#include <podvisor/cleanup.h>
#include <podvisor/log.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#define TIMEOUT_DEFAULT 300 /* seconds */
#define TIMEOUT_MAX     86400
#define FILE_MAX        2

/* One file to send: its name in the protocol, and its path in the image (NULL: the one disk). */
struct file {
    const char *name, *path;
    int fd;
};

struct options {
    const char *install, *socket;
    const char *volume, *path, *kernel, *initrd;
    unsigned timeout;
    bool help;
};

static void print_help(FILE *out)
{
    fprintf(
        out,
        "usage: container-disk --install FOLDER\n"
        "       container-disk --socket SOCKET --name VOLUME [--path FILE]\n"
        "       container-disk --socket SOCKET --kernel FILE [--initrd FILE]\n\n"
        "Hands files of the container image it runs in to `vmm run --pod`, and ends with it.\n\n"
        "  --install FOLDER\n        Copy this program into FOLDER and end.\n"
        "  --socket SOCKET\n        Where vmm listens; waited for.\n"
        "  --name VOLUME\n        The volume whose disk this image holds.\n"
        "  --path FILE\n        The disk in the image. Default: the one file in /disk.\n"
        "  --kernel FILE\n        A kernel in the image.\n"
        "  --initrd FILE\n        Its initial RAM disk.\n"
        "  --timeout SECONDS\n        How long to wait for the socket. Default: 300.\n"
        "  --help\n        Print this.\n");
}

static int parse_timeout(const char *text, unsigned *ret, struct error *err)
{
    char *end;
    errno = 0;
    unsigned long n = strtoul(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || n > TIMEOUT_MAX)
        return error_set(err, EINVAL, "--timeout: '%s' is not a number from 0 to %d", text,
                         TIMEOUT_MAX);
    *ret = (unsigned)n;
    return 0;
}

static int check_options(const struct options *o, struct error *err)
{
    bool kernel_boot = o->kernel != NULL || o->initrd != NULL;
    if (o->install != NULL && (o->socket != NULL || o->volume != NULL || kernel_boot))
        return error_set(err, EINVAL, "--install stands alone");
    if (o->install != NULL)
        return 0;
    if (o->socket == NULL)
        return error_set(err, EINVAL, "which socket? give --socket SOCKET; --help says more");
    if ((o->volume != NULL) == kernel_boot)
        return error_set(err, EINVAL, "give --name VOLUME, or --kernel FILE");
    if (o->path != NULL && kernel_boot)
        return error_set(err, EINVAL, "--path belongs to --name");
    return 0;
}

static int parse_options(int argc, char **argv, struct options *o, struct error *err)
{
    enum { INSTALL, SOCKET, NAME, PATH, KERNEL, INITRD, TIMEOUT, HELP };
    static const struct option flags[] = {
        {"install", required_argument, NULL, INSTALL},
        {"socket", required_argument, NULL, SOCKET},
        {"name", required_argument, NULL, NAME},
        {"path", required_argument, NULL, PATH},
        {"kernel", required_argument, NULL, KERNEL},
        {"initrd", required_argument, NULL, INITRD},
        {"timeout", required_argument, NULL, TIMEOUT},
        {"help", no_argument, NULL, HELP},
        {.name = NULL},
    };
    const char **const text[] = {
        [INSTALL] = &o->install, [SOCKET] = &o->socket, [NAME] = &o->volume,
        [PATH] = &o->path,       [KERNEL] = &o->kernel, [INITRD] = &o->initrd};
    int r = 0;
    opterr = 0;
    for (int flag; r == 0 && (flag = getopt_long(argc, argv, "", flags, NULL)) != -1;) {
        if (flag == HELP)
            o->help = true;
        else if (flag == TIMEOUT)
            r = parse_timeout(optarg, &o->timeout, err);
        else if (flag < 0 || flag > HELP)
            r = error_set(err, EINVAL, "unknown flag, or no value: %s", argv[optind - 1]);
        else
            *text[flag] = optarg;
    }
    if (r == 0 && optind < argc)
        r = error_set(err, EINVAL, "unexpected argument %s", argv[optind]);
    return r == 0 && !o->help ? check_options(o, err) : r;
}

static unsigned list_files(const struct options *o, struct file file[static FILE_MAX])
{
    unsigned count = 0;
    if (o->volume != NULL)
        file[count++] = (struct file){.name = o->volume, .path = o->path, .fd = -1};
    if (o->kernel != NULL)
        file[count++] = (struct file){.name = "kernel", .path = o->kernel, .fd = -1};
    if (o->initrd != NULL)
        file[count++] = (struct file){.name = "initrd", .path = o->initrd, .fd = -1};
    return count;
}

/* Opens all of them; on failure *ret_failed is the one that cannot be opened. */
static int open_files(struct file *file, unsigned count, const struct file **ret_failed,
                      struct error *err)
{
    cleanup_close int root_fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    *ret_failed = &file[0];
    if (root_fd < 0)
        return error_sys(err, errno, "cannot open the image's root");
    int r = 0;
    for (unsigned i = 0; r == 0 && i < count; i++) {
        *ret_failed = &file[i];
        r = file[i].path != NULL ? files_open(root_fd, file[i].path, &file[i].fd, err)
                                 : files_open_disk(root_fd, &file[i].fd, err);
    }
    return r;
}

/* Tells the machine why it will not get its file; the machine's end says it to the user. */
static void send_failure(const struct options *o, const char *kind, const struct file *failed,
                         const struct error *reason)
{
    cleanup_close int socket_fd = -1;
    if (sender_connect(o->socket, o->timeout, &socket_fd, NULL) == 0)
        (void)sender_send_error(socket_fd, kind, failed->name, reason->text, NULL);
}

static int serve(const struct options *o, struct error *err)
{
    struct file file[FILE_MAX] = {{.fd = -1}};
    const struct file *failed;
    cleanup_close int socket_fd = -1;
    const char *kind = o->volume != NULL ? "volume" : "kernelBoot";
    unsigned count = list_files(o, file);
    int r = open_files(file, count, &failed, err);
    if (r < 0) {
        send_failure(o, kind, failed, err);
        return r;
    }
    r = sender_connect(o->socket, o->timeout, &socket_fd, err);
    for (unsigned i = 0; r == 0 && i < count; i++)
        r = sender_send_file(socket_fd, kind, file[i].name, file[i].fd, err);
    if (r < 0)
        return r;
    for (unsigned i = 0; i < count; i++)
        close(file[i].fd);
    sender_await_end(socket_fd);
    return 0;
}

static void end_at_once(int signal_number)
{
    (void)signal_number;
    _exit(EXIT_SUCCESS);
}

/* The first process of a container gets no signal that it has no handler for. */
static void handle_signals(void)
{
    const struct sigaction action = {.sa_handler = end_at_once};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
}

int main(int argc, char **argv)
{
    struct options options = {.timeout = TIMEOUT_DEFAULT};
    struct error err = ERROR_INIT;
    handle_signals();
    log_setup("container-disk", STDERR_FILENO, LOG_FORMAT_TEXT, LOG_LEVEL_INFO);
    int r = parse_options(argc, argv, &options, &err);
    if (r == 0 && options.help) {
        print_help(stdout);
        return EXIT_SUCCESS;
    }
    if (r == 0 && options.install != NULL)
        r = install_program("/proc/self/exe", options.install, &err);
    else if (r == 0)
        r = serve(&options, &err);
    /* That the machine ended first is its story, told by its own exit code. */
    if (r == -ECONNREFUSED || r == -EPIPE) {
        log_info("", "%s", err.text);
        return EXIT_SUCCESS;
    }
    if (r < 0)
        log_error("", "%s", err.text);
    return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
