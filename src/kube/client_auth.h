// SPDX-License-Identifier: Apache-2.0
/*
 * Credentials that live longer than their files: the token is read again each minute and after a
 * 401, CA and client certificate every 5 minutes, a credential plugin is run again when what it
 * gave has expired or was refused (client-go transport/, plugin/pkg/client/auth/exec). What cannot
 * be read leaves the old in place. Any thread; one of them refreshes, those that need the result
 * wait for it.
 */
#ifndef PODVISOR_KUBE_CLIENT_AUTH_H
#define PODVISOR_KUBE_CLIENT_AUTH_H

#include "config.h"
#include "internal.h"
#include "tls.h"
#include <pthread.h>

struct kube_auth {
    const struct kube_config *config;
    pthread_mutex_t refresh; /* held while files are read or the plugin runs */
    pthread_mutex_t lock;    /* of everything below; never held while something blocks */
    char *authorization;     /* "Authorization: Bearer ..."; NULL: none */
    uint64_t serial;         /* grows with each change of token or identity */
    uint64_t token_read_ns, identity_read_ns;
    bool rejected;      /* the current token or certificate got a 401 */
    bool plugin_ran;    /* it has given something */
    int64_t expires_ns; /* wall clock, of what the plugin gave */
    struct kube_identity *identity;
    uint64_t generation; /* grows with each change of identity */
};

/* What one request shows. kube_credentials_done() frees it. */
struct kube_credentials {
    char *authorization;
    struct kube_identity *identity;
    uint64_t generation, serial;
};

/* Reads the files for the first time, which must succeed. Runs no plugin. */
int kube_auth_init(struct kube_auth *auth, const struct kube_config *config,
                   const struct kube_clock *clock, struct error *err);
void kube_auth_done(struct kube_auth *auth);

/* The credentials for a request now, refreshed when due. */
int kube_auth_get(struct kube_auth *auth, const struct kube_clock *clock,
                  struct kube_credentials *ret, struct error *err);
void kube_credentials_done(struct kube_credentials *credentials);

/* As kube_client_generation() and kube_client_unauthorized() say. */
uint64_t kube_auth_generation(struct kube_auth *auth, const struct kube_clock *clock);
bool kube_auth_rejected(struct kube_auth *auth, uint64_t serial);

#endif
