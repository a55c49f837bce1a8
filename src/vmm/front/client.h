// SPDX-License-Identifier: Apache-2.0
/* The client's side of the control protocol (docs/control-protocol.md), blocking. */
#ifndef PODVISOR_FRONT_CLIENT_H
#define PODVISOR_FRONT_CLIENT_H

#include "control.h"
#include <podvisor/error.h>
#include <podvisor/json_write.h>
#include <stddef.h>

struct client {
    int fd;
    size_t len;                 /* bytes in `buf` */
    char buf[CONTROL_LINE_MAX]; /* one answer, and what came after it */
};

/* Connects to the machine's socket. Waits at most `timeout_seconds` for each answer; 0: for ever.
 */
int client_open(struct client *client, const char *path, unsigned timeout_seconds,
                struct error *err);

/*
 * Sends a request with the id 1; `params` is a JSON object or NULL. On success *ret_result points
 * to the text of the result, which is in client->buf until the next call; *ret_rest is what was
 * received behind the answer (a console's output). What the machine refuses is an error with its
 * text.
 */
int client_call(struct client *client, const char *method, const char *params,
                const char **ret_result, size_t *ret_result_len, const char **ret_rest,
                size_t *ret_rest_len, struct error *err);

void client_close(struct client *client);

#endif
