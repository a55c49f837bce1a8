// SPDX-License-Identifier: Apache-2.0
/* Certificates made while a test runs, by GnuTLS: nothing that could expire is in the tree. */
#ifndef PODVISOR_TESTS_KUBE_PKI_H
#define PODVISOR_TESTS_KUBE_PKI_H

struct test_certificate {
    char *cert, *key; /* PEM, for free() */
};

/* A certificate authority. Aborts when something fails, as test_sign() does. */
struct test_certificate test_ca(const char *name);

/* Signed by `ca`, for servers and clients; `dns` may be NULL; always valid for 127.0.0.1 when
 * `loopback`. */
struct test_certificate test_sign(const struct test_certificate *ca, const char *name,
                                  const char *dns, int loopback);

void test_certificate_free(struct test_certificate *certificate);

#endif
