// SPDX-License-Identifier: Apache-2.0
/*
 * Files of container images, received by descriptor from the sidecars of a pod (docs/pod.md, "Image
 * files by descriptor"). A sidecar runs our program in the user's image: what arrives is checked as
 * if the image had sent it.
 *
 * The socket is made before anything else, so that a sidecar never waits for a machine that failed:
 * it finds the socket, and nobody behind it.
 */
#ifndef PODVISOR_FRONT_IMAGES_H
#define PODVISOR_FRONT_IMAGES_H

#include <podvisor/error.h>
#include <podvisor/machine_config.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IMAGES_MAX           MACHINE_KEEP_MAX /* volumes, kernel, initrd */
#define IMAGE_MESSAGE_MAX    4096             /* bytes */
#define IMAGE_ERROR_MAX      640              /* with NUL */
#define IMAGE_CONNECTION_MAX 32

enum image_kind { IMAGE_VOLUME, IMAGE_KERNEL_BOOT };

/* The names of the files of kind IMAGE_KERNEL_BOOT. */
#define IMAGE_KERNEL "kernel"
#define IMAGE_INITRD "initrd"

/* One message of a sidecar, checked. */
struct image_message {
    enum image_kind kind;
    char name[MACHINE_NAME_MAX];
    char error[IMAGE_ERROR_MAX]; /* "": a file comes with it */
};

/* One file that the machine needs. */
struct image_wanted {
    enum image_kind kind;
    const char *name;
    const char *image; /* the container image's name, for messages */
    int fd;            /* -1 until it has arrived, and after images_take() */
    bool arrived;
};

struct image_connection {
    int fd;
    bool useful; /* a file came by it */
};

struct images {
    int listen_fd, signal_fd;
    uint64_t deadline_ns;
    unsigned timeout_seconds;
    unsigned wanted_count, connection_count;
    struct image_wanted wanted[IMAGES_MAX];
    struct image_connection connection[IMAGE_CONNECTION_MAX];
    bool failed;     /* an image is the reason why there is no machine */
    int stop_signal; /* this signal ended the wait; 0: none */
};

#define IMAGES_INIT ((struct images){.listen_fd = -1, .signal_fd = -1})

/*
 * Listens on `path` and starts the clock: all files must have arrived `timeout_seconds` from now.
 * Blocks SIGTERM, SIGINT and SIGHUP, for the rest of the process's life: one that comes is kept for
 * images_receive() or for the monitor, also where we are the first process of a container and it
 * would be dropped. Returns 0 or a negative errno.
 */
int images_listen(struct images *images, const char *path, unsigned timeout_seconds,
                  struct error *err);

/* One more file is needed. Strings are borrowed. At most IMAGES_MAX: -E2BIG. */
int images_want(struct images *images, enum image_kind kind, const char *name, const char *image,
                struct error *err);

/*
 * Waits until every file that is wanted has arrived. -ETIMEDOUT names those that have not;
 * -ECANCELED: a signal came, see stop_signal; -EREMOTEIO: a sidecar cannot open its file; -EPROTO:
 * a message breaks the rules.
 */
int images_receive(struct images *images, struct error *err);

/* The file that arrived; the caller's. -1 when there is no such one. */
int images_take(struct images *images, enum image_kind kind, const char *name);

/*
 * The connections that brought files: open as long as the machine lives. They can receive nothing
 * any more. Writes at most MACHINE_KEEP_MAX descriptors, close-on-exec, and returns their number.
 */
unsigned images_keep(struct images *images, int32_t ret_fds[MACHINE_KEEP_MAX]);

/* For images_receive() and its tests: reads a message. -EPROTO. */
int image_message_parse(const char *text, size_t len, struct image_message *ret, struct error *err);

/*
 * The same: what to do about a message and its descriptors, which it owns from here on. Returns 0,
 * -EREMOTEIO or -EPROTO.
 */
int images_accept(struct images *images, const char *text, size_t len, int *fds, unsigned fd_count,
                  struct error *err);

#endif
