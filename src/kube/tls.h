// SPDX-License-Identifier: Apache-2.0
/*
 * What TLS needs as files: libcurl's GnuTLS backend (7.88) reads certificates and keys by path
 * only, so each set is kept in memory files and named /proc/self/fd/N. A set is immutable and
 * counted: it lives as long as a handle that names it.
 */
#ifndef PODVISOR_KUBE_TLS_H
#define PODVISOR_KUBE_TLS_H

#include <podvisor/error.h>
#include <stdbool.h>
#include <stddef.h>

#define KUBE_IDENTITY_PATH 32

struct kube_pem {
    char *text; /* NULL: none */
    size_t len;
};

struct kube_identity {
    unsigned refs; /* atomic */
    struct kube_pem ca, cert, key;
    int ca_fd, cert_fd, key_fd;
    char ca_path[KUBE_IDENTITY_PATH], cert_path[KUBE_IDENTITY_PATH], key_path[KUBE_IDENTITY_PATH];
};

/*
 * Checks that the texts are certificates and that the key belongs to its certificate. Takes the
 * texts in every case. Paths of what there is none of are "". Any thread.
 */
int kube_identity_new(struct kube_pem ca_take, struct kube_pem cert_take, struct kube_pem key_take,
                      struct kube_identity **ret, struct error *err);
struct kube_identity *kube_identity_ref(struct kube_identity *identity);
void kube_identity_unref(struct kube_identity *identity); /* NULL is allowed */

/* The same texts. */
bool kube_identity_equal(const struct kube_identity *a, const struct kube_identity *b);

#endif
