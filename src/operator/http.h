// SPDX-License-Identifier: Apache-2.0
/*
 * Health and metrics over plain HTTP (libmicrohttpd, a thread of its own): /livez, /healthz,
 * /readyz, /metrics in Prometheus' text format 0.0.4. A scrape reads counters and never asks the
 * API.
 */
#ifndef PODVISOR_OPERATOR_HTTP_H
#define PODVISOR_OPERATOR_HTTP_H

#include "operator.h"
#include <podvisor/kube_lease.h>

struct http_server;

struct http_options {
    const char *address; /* numeric */
    uint16_t port;
    struct operator* op;
    struct kube_lease *_Atomic *lease; /* NULL in it: no election */
    const atomic_bool *synced;         /* the caches are filled */
    const atomic_bool *leading;
    const atomic_bool *beside_kubevirt; /* ... which keeps us from working */
};

int http_start(const struct http_options *options, struct http_server **ret, struct error *err);
void http_stop(struct http_server *server); /* NULL is allowed */

/* The text of /metrics, for free(). */
char *metrics_render(struct operator* op, bool leading);

#endif
