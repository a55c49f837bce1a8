// SPDX-License-Identifier: Apache-2.0
/*
 * Any bytes as a kubeconfig, and as the answer of a credential plugin. What is accepted keeps the
 * promises that requests rely on: nothing that breaks out of a header, no credentials in clear.
 */
#include "config.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool what)
{
    if (!what)
        abort();
}

static void require_clean(const char *text)
{
    require(text == NULL || kube_config_check_header("", text, NULL) == 0);
}

static void check_config(const struct kube_config *c)
{
    require(c->server != NULL && c->host != NULL && c->prefix != NULL && c->port <= 65535);
    require_clean(c->server);
    require_clean(c->host);
    require_clean(c->token);
    require_clean(c->tls_server_name);
    require_clean(c->as);
    require_clean(c->as_uid);
    for (size_t i = 0; i < c->as_groups.count; i++)
        require_clean(c->as_groups.item[i]);
    for (size_t i = 0; i < c->as_extra.count; i++)
        require_clean(c->as_extra.item[i].value);
    require(c->tls || c->loopback ||
            (c->token == NULL && c->token_file == NULL && c->username == NULL && c->exec == NULL));
    require(!c->insecure || (c->ca.data == NULL && c->ca.path == NULL));
    if (c->exec != NULL)
        require(c->exec->command != NULL && c->exec->api_version != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct kube_config *config = NULL;
    struct error err = ERROR_INIT;
    if (kube_config_from_text((const char *)data, size, "/etc", NULL, &config, &err) == 0)
        check_config(config);
    else
        require(err.code > 0 && err.text[0] != '\0');
    kube_config_free(config);

    static const char v1[] = "client.authentication.k8s.io/v1";
    struct kube_exec_credential credential;
    if (kube_exec_parse((const char *)data, size, v1, &credential, NULL) == 0) {
        require(credential.token != NULL || credential.cert != NULL);
        require((credential.cert == NULL) == (credential.key == NULL));
        require_clean(credential.token);
        kube_exec_credential_done(&credential);
    }
    return 0;
}
