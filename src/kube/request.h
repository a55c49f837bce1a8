// SPDX-License-Identifier: Apache-2.0
/* One request with its retries, beneath the verbs of kube.h. Private to request*.c. */
#ifndef PODVISOR_KUBE_REQUEST_H
#define PODVISOR_KUBE_REQUEST_H

#include "internal.h"

struct kube_request {
    struct kube_client *client;
    enum kube_verb verb;
    const char *path;         /* with its query */
    const char *content_type; /* NULL: no body */
    const char *body;
    size_t body_len;
    struct kube_call_options options;
};

/*
 * Sends it, again when request.c says so. `status` is filled whatever happens (code 0:
 * no answer). Returns 0 for 2xx with the body in *ret_body (NUL-terminated, for free()), else the
 * errno that kube.h promises; the error has the server's words.
 */
int kube_request_run(const struct kube_request *request, char **ret_body, size_t *ret_len,
                     struct kube_status *status, struct error *err);

#endif
