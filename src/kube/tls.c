// SPDX-License-Identifier: Apache-2.0
/* Checked certificates and keys in sealed memory files; see tls.h. Any thread. */
#include "tls.h"
#include "config.h"
#include <fcntl.h>
#include <gnutls/gnutls.h>
#include <podvisor/cleanup.h>
#include <podvisor/str.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

static gnutls_datum_t datum(const struct kube_pem *pem)
{
    return (gnutls_datum_t){.data = (unsigned char *)pem->text, .size = (unsigned)pem->len};
}

static int check(const struct kube_identity *id, struct error *err)
{
    gnutls_certificate_credentials_t scratch;
    if (gnutls_certificate_allocate_credentials(&scratch) < 0)
        out_of_memory();
    gnutls_datum_t ca = datum(&id->ca), cert = datum(&id->cert), key = datum(&id->key);
    int r = 0;
    if (id->ca.text != NULL) {
        int count = gnutls_certificate_set_x509_trust_mem(scratch, &ca, GNUTLS_X509_FMT_PEM);
        if (count <= 0)
            r = error_set(err, EINVAL, "the certificate authority is no certificate: %s",
                          count < 0 ? gnutls_strerror(count) : "it holds none");
    }
    if (r == 0 && id->cert.text != NULL) {
        int code = gnutls_certificate_set_x509_key_mem(scratch, &cert, &key, GNUTLS_X509_FMT_PEM);
        if (code < 0)
            r = error_set(err, EINVAL, "the client certificate and its key cannot be used: %s",
                          gnutls_strerror(code));
    }
    gnutls_certificate_free_credentials(scratch);
    return r;
}

static int store(const struct kube_pem *pem, int *ret_fd, char *path, struct error *err)
{
    if (pem->text == NULL)
        return 0;
    cleanup_close int fd = memfd_create("podvisor-tls", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return error_sys(err, errno, "cannot make a memory file for TLS");
    ssize_t n = pwrite(fd, pem->text, pem->len, 0);
    if (n < 0 || (size_t)n != pem->len)
        return error_sys(err, n < 0 ? errno : ENOSPC, "cannot fill a memory file for TLS");
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0)
        return error_sys(err, errno, "cannot seal a memory file for TLS");
    snprintf(path, KUBE_IDENTITY_PATH, "/proc/self/fd/%d", fd);
    *ret_fd = steal_fd(&fd);
    return 0;
}

int kube_identity_new(struct kube_pem ca_take, struct kube_pem cert_take, struct kube_pem key_take,
                      struct kube_identity **ret, struct error *err)
{
    struct kube_identity *id = xcalloc(1, sizeof(*id));
    *id = (struct kube_identity){.refs = 1,
                                 .ca = ca_take,
                                 .cert = cert_take,
                                 .key = key_take,
                                 .ca_fd = -1,
                                 .cert_fd = -1,
                                 .key_fd = -1};
    int r;
    if ((r = check(id, err)) < 0 || (r = store(&id->ca, &id->ca_fd, id->ca_path, err)) < 0 ||
        (r = store(&id->cert, &id->cert_fd, id->cert_path, err)) < 0 ||
        (r = store(&id->key, &id->key_fd, id->key_path, err)) < 0) {
        kube_identity_unref(id);
        return r;
    }
    *ret = id;
    return 0;
}

struct kube_identity *kube_identity_ref(struct kube_identity *id)
{
    __atomic_fetch_add(&id->refs, 1, __ATOMIC_RELAXED);
    return id;
}

void kube_identity_unref(struct kube_identity *id)
{
    if (id == NULL || __atomic_sub_fetch(&id->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    const int fds[] = {id->ca_fd, id->cert_fd, id->key_fd};
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
        if (fds[i] >= 0)
            close(fds[i]);
    }
    kube_secret_free(id->ca.text, id->ca.len);
    kube_secret_free(id->cert.text, id->cert.len);
    kube_secret_free(id->key.text, id->key.len);
    free(id);
}

static bool equal(const struct kube_pem *a, const struct kube_pem *b)
{
    if (a->text == NULL || b->text == NULL)
        return a->text == b->text;
    return a->len == b->len && memcmp(a->text, b->text, a->len) == 0;
}

bool kube_identity_equal(const struct kube_identity *a, const struct kube_identity *b)
{
    return equal(&a->ca, &b->ca) && equal(&a->cert, &b->cert) && equal(&a->key, &b->key);
}
