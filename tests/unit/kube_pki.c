// SPDX-License-Identifier: Apache-2.0
/* A small certificate authority for tests. Any thread. */
#include "kube_pki.h"
#include <arpa/inet.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <podvisor/str.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DAY 86400

static void require(int result)
{
    if (result < 0) {
        fprintf(stderr, "kube_pki: %s\n", gnutls_strerror(result));
        abort();
    }
}

static char *take_text(gnutls_datum_t *datum)
{
    char *text = xcalloc(datum->size + 1, 1);
    memcpy(text, datum->data, datum->size);
    gnutls_free(datum->data);
    return text;
}

static gnutls_datum_t datum_of(char *text)
{
    return (gnutls_datum_t){.data = (unsigned char *)text, .size = (unsigned)strlen(text)};
}

static gnutls_x509_privkey_t make_key(char **ret_pem)
{
    gnutls_x509_privkey_t key;
    gnutls_datum_t pem;
    require(gnutls_x509_privkey_init(&key));
    require(gnutls_x509_privkey_generate(key, GNUTLS_PK_ECDSA,
                                         GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0));
    require(gnutls_x509_privkey_export2(key, GNUTLS_X509_FMT_PEM, &pem));
    *ret_pem = take_text(&pem);
    return key;
}

static gnutls_x509_crt_t make_certificate(gnutls_x509_privkey_t key, const char *name)
{
    gnutls_x509_crt_t crt;
    unsigned char serial[8];
    require(gnutls_rnd(GNUTLS_RND_NONCE, serial, sizeof(serial)));
    serial[0] = 1; /* positive */
    require(gnutls_x509_crt_init(&crt));
    require(gnutls_x509_crt_set_version(crt, 3));
    require(gnutls_x509_crt_set_serial(crt, serial, sizeof(serial)));
    require(gnutls_x509_crt_set_activation_time(crt, time(NULL) - DAY));
    require(gnutls_x509_crt_set_expiration_time(crt, time(NULL) + DAY));
    require(gnutls_x509_crt_set_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME, 0, name,
                                          (unsigned)strlen(name)));
    require(gnutls_x509_crt_set_key(crt, key));
    return crt;
}

static char *finish(gnutls_x509_crt_t crt, gnutls_x509_crt_t issuer, gnutls_x509_privkey_t signer)
{
    gnutls_datum_t pem;
    require(gnutls_x509_crt_sign2(crt, issuer, signer, GNUTLS_DIG_SHA256, 0));
    require(gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_PEM, &pem));
    return take_text(&pem);
}

struct test_certificate test_ca(const char *name)
{
    struct test_certificate ca;
    gnutls_x509_privkey_t key = make_key(&ca.key);
    gnutls_x509_crt_t crt = make_certificate(key, name);
    require(gnutls_x509_crt_set_ca_status(crt, 1));
    require(gnutls_x509_crt_set_key_usage(crt, GNUTLS_KEY_KEY_CERT_SIGN));
    ca.cert = finish(crt, crt, key);
    gnutls_x509_crt_deinit(crt);
    gnutls_x509_privkey_deinit(key);
    return ca;
}

struct test_certificate test_sign(const struct test_certificate *ca, const char *name,
                                  const char *dns, int loopback)
{
    struct test_certificate result;
    gnutls_x509_privkey_t key = make_key(&result.key), ca_key;
    gnutls_x509_crt_t crt = make_certificate(key, name), ca_crt;
    gnutls_datum_t ca_cert_pem = datum_of(ca->cert), ca_key_pem = datum_of(ca->key);
    require(gnutls_x509_crt_init(&ca_crt));
    require(gnutls_x509_privkey_init(&ca_key));
    require(gnutls_x509_crt_import(ca_crt, &ca_cert_pem, GNUTLS_X509_FMT_PEM));
    require(gnutls_x509_privkey_import(ca_key, &ca_key_pem, GNUTLS_X509_FMT_PEM));
    require(gnutls_x509_crt_set_key_usage(crt, GNUTLS_KEY_DIGITAL_SIGNATURE));
    require(gnutls_x509_crt_set_key_purpose_oid(crt, GNUTLS_KP_TLS_WWW_SERVER, 0));
    require(gnutls_x509_crt_set_key_purpose_oid(crt, GNUTLS_KP_TLS_WWW_CLIENT, 0));
    if (dns != NULL)
        require(gnutls_x509_crt_set_subject_alt_name(crt, GNUTLS_SAN_DNSNAME, dns,
                                                     (unsigned)strlen(dns), GNUTLS_FSAN_APPEND));
    struct in_addr address = {.s_addr = htonl(INADDR_LOOPBACK)};
    if (loopback)
        require(gnutls_x509_crt_set_subject_alt_name(crt, GNUTLS_SAN_IPADDRESS, &address,
                                                     sizeof(address), GNUTLS_FSAN_APPEND));
    result.cert = finish(crt, ca_crt, ca_key);
    gnutls_x509_crt_deinit(crt);
    gnutls_x509_crt_deinit(ca_crt);
    gnutls_x509_privkey_deinit(key);
    gnutls_x509_privkey_deinit(ca_key);
    return result;
}

void test_certificate_free(struct test_certificate *certificate)
{
    free(certificate->cert);
    free(certificate->key);
}
