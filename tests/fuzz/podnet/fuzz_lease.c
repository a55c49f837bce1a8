// SPDX-License-Identifier: Apache-2.0
/* Any text as a lease file: one that is taken keeps what podvisor/lease.h says. */
#include "open_lease.h"
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool what)
{
    if (!what)
        abort();
}

/* RFC 1035 §3.1 */
static void check_search(const struct lease *lease)
{
    size_t at = 0;
    while (at < lease->search_len) {
        size_t label = lease->search[at];
        require(label < 64 && at + 1 + label <= lease->search_len);
        at += 1 + label;
    }
    require(at == lease->search_len && (at == 0 || lease->search[at - 1] == 0));
}

/* RFC 3442 */
static void check_routes(const struct lease *lease)
{
    size_t at = 0;
    while (at < lease->routes_len) {
        require(lease->routes[at] <= 32);
        at += 1u + (lease->routes[at] + 7u) / 8 + 4;
    }
    require(at == lease->routes_len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct lease_file file;
    struct error err = ERROR_INIT;
    int r = lease_parse((const char *)data, size, "default", &file, &err);
    require((r == 0) == (err.text[0] == '\0'));
    if (r < 0)
        return 0;
    const struct lease *lease = &file.lease;
    require(lease->enabled && lease->prefix >= 1 && lease->prefix <= 32);
    require(lease->address[0] != 0 && lease->server[0] != 0);
    require(lease->mtu >= LEASE_MTU_MIN && file.mtu == lease->mtu);
    require(lease->dns_count <= LEASE_DNS_MAX);
    require(file.tap[0] != '\0' && memchr(file.tap, '\0', sizeof(file.tap)) != NULL);
    require(memchr(lease->hostname, '\0', sizeof(lease->hostname)) != NULL);
    require(memchr(lease->domain, '\0', sizeof(lease->domain)) != NULL);
    require((file.mac[0] & 1) == 0);
    check_search(lease);
    check_routes(lease);
    return 0;
}
