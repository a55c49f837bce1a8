// SPDX-License-Identifier: Apache-2.0
/* The client: configuration, credentials, limit, handles, counters. Private to client*.c and
 * request.c. */
#ifndef PODVISOR_KUBE_CLIENT_H
#define PODVISOR_KUBE_CLIENT_H

#include "client_auth.h"
#include "client_limit.h"
#include "config.h"
#include "internal.h"
#include <pthread.h>
#include <stdatomic.h>

#define KUBE_HANDLES_MAX  32  /* idle ones that are kept, each with its connection */
#define KUBE_WARNINGS_MAX 128 /* different texts that are remembered */

/* A libcurl handle with its connection. It belongs to who took it. */
struct kube_handle {
    CURL *curl;
    uint64_t generation; /* of the credentials that its connection was made with */
};

struct kube_client {
    struct kube_config *config;
    struct kube_auth auth;
    struct kube_limit limit;
    struct kube_clock clock;
    pthread_mutex_t lock; /* handles and warnings */
    struct kube_handle idle[KUBE_HANDLES_MAX];
    unsigned idle_count;
    uint64_t warning[KUBE_WARNINGS_MAX]; /* hashes */
    unsigned warning_count;
    atomic_uint_fast64_t requests[KUBE_VERB_COUNT][6];
    atomic_uint_fast64_t retries, throttled_ns;
    atomic_uint under_way;             /* calls that wait for their answer; watches do not count */
    atomic_uint_fast64_t last_call_ns; /* when the last one ended */
    atomic_bool interrupted;
    pthread_mutex_t sleep_lock;
    pthread_cond_t woken; /* interrupted */
};

/* Takes the handle that was used last (its connection is the warmest), or makes one. Handles of
 * other credentials than `generation` are dropped: their connections speak for those. */
int kube_client_take(struct kube_client *client, uint64_t generation, struct kube_handle *ret,
                     struct error *err);
void kube_client_give(struct kube_client *client, struct kube_handle *handle_take);

/* The part of kube_easy_setup() after the credentials are there. */
void kube_easy_apply(struct kube_client *client, CURL *easy,
                     const struct kube_easy_options *options,
                     const struct kube_credentials *credentials, struct kube_easy *ret);

/* Sleeps; returns early when the client is interrupted. */
void kube_client_sleep(struct kube_client *client, uint64_t ns);

#endif
