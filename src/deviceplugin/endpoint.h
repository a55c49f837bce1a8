// SPDX-License-Identifier: Apache-2.0
/*
 * One resource towards the kubelet, which calls this an endpoint: its socket in the plugin folder,
 * its registration, and both again after whatever happens to the kubelet. Loop thread only.
 */
#ifndef PODVISOR_DEVICEPLUGIN_ENDPOINT_H
#define PODVISOR_DEVICEPLUGIN_ENDPOINT_H

#include "grpc_client.h"
#include "grpc_server.h"
#include "service.h"

struct endpoint {
    struct loop *loop;
    const char *folder;
    struct device_service service;
    char *socket_name;
    char *socket_path;
    char *kubelet_path;
    struct grpc_server server;
    struct grpc_call registration;
    struct loop_timer
        retry; /* the next attempt, or the time by which the kubelet must have called */
    uint64_t backoff_ns;
    bool registered;                /* the kubelet said yes since it came up */
    char complaint[ERROR_TEXT_MAX]; /* the last failure that was logged */
    /* The plugin folder was replaced, or another program took the socket's name: a new start of
     * the process is the way out. */
    void (*lost)(void *owner, const struct error *err);
    void *owner;
};

/* Prepares `count` devices of a type; `folder` is borrowed. Listening starts at once, in the loop.
 */
void endpoint_start(struct endpoint *ep, struct loop *loop, const char *folder,
                    const struct device_type *type, unsigned count,
                    void (*lost)(void *owner, const struct error *err), void *owner);

/* What the check of the device found; a change goes to the log and to the kubelet. */
void endpoint_set_health(struct endpoint *ep, const struct device_health *health);

/* Something happened to `name` in the plugin folder (NULL: anything may have happened). */
void endpoint_folder_changed(struct endpoint *ep, const char *name);

/* Offers the kubelet an empty list from now on; endpoint_is_drained() when it has been sent. */
void endpoint_withdraw(struct endpoint *ep);
bool endpoint_is_drained(const struct endpoint *ep);

/* Closes and removes the socket. */
void endpoint_done(struct endpoint *ep);

#endif
