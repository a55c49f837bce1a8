// SPDX-License-Identifier: Apache-2.0
/* Credentials and their refresh; see client_auth.h. */
#include "client_auth.h"
#include <gnutls/gnutls.h>
#include <podvisor/cleanup.h>
#include <podvisor/clock.h>
#include <podvisor/log.h>
#include <podvisor/str.h>
#include <string.h>

#define TOKEN_MAX          (64u << 10)
#define TOKEN_PERIOD_NS    (60 * NSEC_PER_SEC)
#define IDENTITY_PERIOD_NS (300 * NSEC_PER_SEC)

static uint64_t now_of(const struct kube_clock *clock)
{
    return clock->now_ns(clock->user);
}

static void wipe(char *secret)
{
    kube_secret_free(secret, secret != NULL ? strlen(secret) : 0);
}

/* --- under the lock --------------------------------------------------------------------------- */

/* Takes a header line; nothing changes when it is the same. */
static void set_authorization(struct kube_auth *auth, char *line_take)
{
    if (str_equal(auth->authorization, line_take)) {
        wipe(line_take);
        return;
    }
    wipe(auth->authorization);
    auth->authorization = line_take;
    auth->serial++;
}

static void set_identity(struct kube_auth *auth, struct kube_identity *identity_take)
{
    if (auth->identity != NULL && kube_identity_equal(auth->identity, identity_take)) {
        kube_identity_unref(identity_take);
        return;
    }
    kube_identity_unref(auth->identity);
    auth->identity = identity_take;
    auth->generation++;
    auth->serial++;
}

/* --- the token's file ------------------------------------------------------------------------- */

static int read_token(const struct kube_config *config, char **ret_line, struct error *err)
{
    static const char space[] = " \t\r\n";
    char *text = NULL;
    size_t len;
    int r = kube_config_read_file(config->token_file, TOKEN_MAX, &text, &len, err);
    if (r < 0)
        return error_wrap(err, "token");
    size_t start = strspn(text, space), end = strlen(text);
    bool has_nul = end != len;
    while (end > start && strchr(space, text[end - 1]) != NULL)
        text[--end] = '\0';
    if (has_nul)
        r = error_set(err, EINVAL, "the token in %s has a NUL in it", config->token_file);
    else if (start == end)
        r = error_set(err, EINVAL, "the token in %s is empty", config->token_file);
    else
        r = kube_config_check_header("the token", text + start, err);
    if (r == 0)
        *ret_line = xasprintf("Authorization: Bearer %s", text + start);
    kube_secret_free(text, len);
    return r;
}

/* A token that cannot be read leaves the old one; without any it is an error. */
static int refresh_token(struct kube_auth *auth, uint64_t now, struct error *err)
{
    struct error why = ERROR_INIT;
    char *line = NULL;
    int r = read_token(auth->config, &line, &why);
    pthread_mutex_lock(&auth->lock);
    auth->token_read_ns = now;
    auth->rejected = false;
    if (r == 0)
        set_authorization(auth, line);
    bool have = auth->authorization != NULL;
    pthread_mutex_unlock(&auth->lock);
    if (r == 0)
        return 0;
    if (!have)
        return error_set(err, -r, "%s", why.text);
    log_warn("kube", "%s; the token read before stays in use", why.text);
    return 0;
}

/* --- certificates ----------------------------------------------------------------------------- */

/* Takes a certificate and key of the plugin's, which count instead of the configuration's. */
static int load_identity(const struct kube_config *config, struct kube_pem cert_take,
                         struct kube_pem key_take, struct kube_identity **ret, struct error *err)
{
    struct kube_pem ca = {0}, cert = cert_take, key = key_take;
    int r = kube_material_read(&config->ca, "certificate authority", &ca.text, &ca.len, err);
    if (r == 0 && cert.text == NULL) {
        r = kube_material_read(&config->cert, "client certificate", &cert.text, &cert.len, err);
        if (r == 0)
            r = kube_material_read(&config->key, "client key", &key.text, &key.len, err);
    }
    if (r == 0)
        return kube_identity_new(ca, cert, key, ret, err);
    kube_secret_free(ca.text, ca.len);
    kube_secret_free(cert.text, cert.len);
    kube_secret_free(key.text, key.len);
    return r;
}

static struct kube_pem copy_pem(const struct kube_pem *from)
{
    struct kube_pem copy = {.len = from->len};
    if (from->text == NULL)
        return copy;
    copy.text = xcalloc(from->len + 1, 1);
    memcpy(copy.text, from->text, from->len);
    return copy;
}

static void refresh_identity(struct kube_auth *auth, uint64_t now)
{
    const struct kube_config *config = auth->config;
    bool from_plugin =
        config->exec != NULL && config->cert.data == NULL && config->cert.path == NULL;
    struct kube_pem cert = {0}, key = {0};
    struct kube_identity *identity = NULL;
    struct error why = ERROR_INIT;
    if (from_plugin) {
        pthread_mutex_lock(&auth->lock);
        cert = copy_pem(&auth->identity->cert);
        key = copy_pem(&auth->identity->key);
        pthread_mutex_unlock(&auth->lock);
    }
    int r = load_identity(config, cert, key, &identity, &why);
    pthread_mutex_lock(&auth->lock);
    auth->identity_read_ns = now;
    if (r == 0)
        set_identity(auth, identity);
    pthread_mutex_unlock(&auth->lock);
    if (r < 0)
        log_warn("kube", "%s; what was read before stays in use", why.text);
}

/* --- the plugin ------------------------------------------------------------------------------- */

static struct kube_pem take_pem(char **text)
{
    size_t len = *text != NULL ? strlen(*text) : 0;
    return (struct kube_pem){.text = steal_ptr(*text), .len = len};
}

static int run_plugin(struct kube_auth *auth, uint64_t now, struct error *err)
{
    struct kube_exec_credential credential = {.expires_ns = INT64_MAX};
    struct kube_identity *identity = NULL;
    int r = kube_exec_run(auth->config, &credential, err);
    if (r < 0)
        return r;
    char *line =
        credential.token != NULL ? xasprintf("Authorization: Bearer %s", credential.token) : NULL;
    struct kube_pem cert = take_pem(&credential.cert), key = take_pem(&credential.key);
    r = load_identity(auth->config, cert, key, &identity, err);
    if (r == 0) {
        pthread_mutex_lock(&auth->lock);
        set_authorization(auth, steal_ptr(line));
        set_identity(auth, identity);
        auth->identity_read_ns = now;
        auth->expires_ns = credential.expires_ns;
        auth->plugin_ran = true;
        auth->rejected = false;
        pthread_mutex_unlock(&auth->lock);
    }
    wipe(line);
    kube_exec_credential_done(&credential);
    return r;
}

/* --- what is due ------------------------------------------------------------------------------ */

struct due {
    bool token, identity, plugin;
};

static struct due find_due(struct kube_auth *auth, uint64_t now, int64_t wall)
{
    const struct kube_config *c = auth->config;
    bool files = c->ca.path != NULL || c->cert.path != NULL || c->key.path != NULL;
    pthread_mutex_lock(&auth->lock);
    struct due due = {
        .token = c->token_file != NULL &&
                 (auth->rejected || now - auth->token_read_ns >= TOKEN_PERIOD_NS),
        .identity = files && now - auth->identity_read_ns >= IDENTITY_PERIOD_NS,
        .plugin =
            c->exec != NULL && (auth->rejected || !auth->plugin_ran || wall >= auth->expires_ns),
    };
    pthread_mutex_unlock(&auth->lock);
    return due;
}

static int refresh(struct kube_auth *auth, const struct kube_clock *clock, bool only_identity,
                   struct error *err)
{
    uint64_t now = now_of(clock);
    int64_t wall = clock->wall_ns(clock->user);
    struct due due = find_due(auth, now, wall);
    if (!due.identity && (only_identity || (!due.token && !due.plugin)))
        return 0;
    pthread_mutex_lock(&auth->refresh);
    due = find_due(auth, now, wall); /* another thread may have been here meanwhile */
    int r = 0;
    if (due.identity)
        refresh_identity(auth, now);
    if (due.token && !only_identity)
        r = refresh_token(auth, now, err);
    if (r == 0 && due.plugin && !only_identity)
        r = run_plugin(auth, now, err);
    pthread_mutex_unlock(&auth->refresh);
    return r;
}

/* --- entry points ----------------------------------------------------------------------------- */

static char *basic(const struct kube_config *config)
{
    char *plain =
        xasprintf("%s:%s", config->username, config->password != NULL ? config->password : "");
    gnutls_datum_t in = {.data = (unsigned char *)plain, .size = (unsigned)strlen(plain)}, out;
    if (gnutls_base64_encode2(&in, &out) < 0)
        out_of_memory();
    char *line = xasprintf("Authorization: Basic %s", (const char *)out.data);
    gnutls_memset(out.data, 0, out.size);
    gnutls_free(out.data);
    wipe(plain);
    return line;
}

int kube_auth_init(struct kube_auth *auth, const struct kube_config *config,
                   const struct kube_clock *clock, struct error *err)
{
    uint64_t now = now_of(clock);
    *auth = (struct kube_auth){.config = config,
                               .refresh = PTHREAD_MUTEX_INITIALIZER,
                               .lock = PTHREAD_MUTEX_INITIALIZER,
                               .identity_read_ns = now,
                               .token_read_ns = now,
                               .expires_ns = INT64_MAX};
    if (config->token != NULL)
        auth->authorization = xasprintf("Authorization: Bearer %s", config->token);
    else if (config->username != NULL)
        auth->authorization = basic(config);
    struct kube_pem none = {0};
    int r = load_identity(config, none, none, &auth->identity, err);
    if (r == 0 && config->token_file != NULL)
        r = refresh_token(auth, now, err);
    return r;
}

void kube_auth_done(struct kube_auth *auth)
{
    wipe(auth->authorization);
    kube_identity_unref(auth->identity);
    pthread_mutex_destroy(&auth->lock);
    pthread_mutex_destroy(&auth->refresh);
}

int kube_auth_get(struct kube_auth *auth, const struct kube_clock *clock,
                  struct kube_credentials *ret, struct error *err)
{
    int r = refresh(auth, clock, false, err);
    if (r < 0)
        return r;
    pthread_mutex_lock(&auth->lock);
    *ret = (struct kube_credentials){.authorization = xstrdup(auth->authorization),
                                     .identity = kube_identity_ref(auth->identity),
                                     .generation = auth->generation,
                                     .serial = auth->serial};
    pthread_mutex_unlock(&auth->lock);
    return 0;
}

void kube_credentials_done(struct kube_credentials *credentials)
{
    wipe(credentials->authorization);
    kube_identity_unref(credentials->identity);
    *credentials = (struct kube_credentials){0};
}

uint64_t kube_auth_generation(struct kube_auth *auth, const struct kube_clock *clock)
{
    refresh(auth, clock, true, NULL);
    pthread_mutex_lock(&auth->lock);
    uint64_t generation = auth->generation;
    pthread_mutex_unlock(&auth->lock);
    return generation;
}

bool kube_auth_rejected(struct kube_auth *auth, uint64_t serial)
{
    if (auth->config->token_file == NULL && auth->config->exec == NULL)
        return false;
    pthread_mutex_lock(&auth->lock);
    /* A request that began before the last refresh says nothing about what there is now. */
    if (serial == auth->serial)
        auth->rejected = true;
    pthread_mutex_unlock(&auth->lock);
    return true;
}
