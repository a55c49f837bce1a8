// SPDX-License-Identifier: Apache-2.0
/* The sidecar's end of docs/pod.md, "Image files by descriptor". Blocking; one thread. */
#ifndef PODVISOR_CONTAINERDISK_SENDER_H
#define PODVISOR_CONTAINERDISK_SENDER_H

#include <podvisor/error.h>

/*
 * Connects to the image socket at `path`, for which it waits at most `timeout_seconds`. Returns 0
 * with the descriptor, -ECONNREFUSED when nobody serves it any more, or another negative errno.
 */
int sender_connect(const char *path, unsigned timeout_seconds, int *ret_fd, struct error *err);

/* Sends one file. -EPIPE: the other end is gone. Returns 0 or a negative errno. */
int sender_send_file(int socket_fd, const char *kind, const char *name, int file_fd,
                     struct error *err);

/* Sends why there is no file; as much of it as the protocol allows. */
int sender_send_error(int socket_fd, const char *kind, const char *name, const char *text,
                      struct error *err);

/* Returns when the other end is closed. */
void sender_await_end(int socket_fd);

#endif
