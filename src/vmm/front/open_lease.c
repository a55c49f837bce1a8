// SPDX-License-Identifier: Apache-2.0
/*
 * Lease files, read strictly: podnet is ours, but what it wrote came from a pod's network and its
 * resolv.conf. Search list and routes are encoded here as the options that the guest gets
 * (RFC 3397, RFC 3442), so that the monitor only copies bytes. Start-up, one thread.
 */
#include "open_lease.h"
#include <arpa/inet.h>
#include <fcntl.h>
#include <podvisor/cleanup.h>
#include <podvisor/json.h>
#include <podvisor/str.h>
#include <podvisor/vmspec.h>
#include <string.h>
#include <sys/stat.h>

#define LABEL_MAX     63 /* RFC 1035 §2.3.4 */
#define FILE_NAME_MAX 512

static const uint8_t no_address[4];

static bool is_absent(const uint8_t address[4])
{
    return memcmp(address, no_address, 4) == 0;
}

static uint32_t to_number(const uint8_t a[4])
{
    return (uint32_t)a[0] << 24 | (uint32_t)a[1] << 16 | (uint32_t)a[2] << 8 | a[3];
}

/* Host bits of a prefix of 0 to 32 bits. */
static uint32_t host_mask(unsigned prefix)
{
    return prefix == 0 ? UINT32_MAX : (uint32_t)((UINT64_C(1) << (32 - prefix)) - 1);
}

/* Values of one member each. */

static int missing(const char *key, struct error *err)
{
    return error_set(err, EINVAL, "%s is missing", key);
}

/* A host's address: no loopback, no multicast or broadcast. */
static int parse_address(const char *text, const char *key, uint8_t ret[4], struct error *err)
{
    uint8_t address[4];
    if (inet_pton(AF_INET, text, address) != 1)
        return error_set(err, EINVAL, "%s: '%.40s' is not an IPv4 address", key, text);
    if (address[0] == 0 || address[0] == 127 || address[0] >= 224)
        return error_set(err, EINVAL, "%s: %.40s is not the address of a host", key, text);
    memcpy(ret, address, 4);
    return 0;
}

/* `wanted`: it must be there. */
static int get_address(const cJSON *json, const char *key, bool wanted, uint8_t ret[4],
                       struct error *err)
{
    const char *text;
    int r = json_get_string(json, key, NULL, &text, err);
    if (r == 0 && wanted)
        return missing(key, err);
    return r > 0 ? parse_address(text, key, ret, err) : r;
}

static int get_number(const cJSON *json, const char *key, int64_t min, int64_t max, int64_t *ret,
                      struct error *err)
{
    int64_t value;
    int r = json_get_int64(json, key, NULL, &value, err);
    if (r == 0)
        return missing(key, err);
    if (r < 0)
        return r;
    if (value < min || value > max)
        return error_set(err, EINVAL, "%s: %lld is not from %lld to %lld", key, (long long)value,
                         (long long)min, (long long)max);
    *ret = value;
    return 0;
}

static int check_members(const cJSON *json, const char *const *known, size_t count,
                         struct error *err)
{
    if (!cJSON_IsObject(json))
        return error_set(err, EINVAL, "must be an object, not %s", json_item_type_name(json));
    json_for_each (item, json) {
        bool found = false;
        for (size_t i = 0; i < count && !found; i++)
            found = strcmp(item->string, known[i]) == 0;
        if (!found)
            return error_set(err, EINVAL, "'%.64s' is not a member of a lease", item->string);
    }
    return 0;
}

/* Names. */

static int get_tap(const cJSON *json, char ret[LEASE_TAP_MAX], struct error *err)
{
    const char *text;
    int r = json_get_string(json, "tap", NULL, &text, err);
    if (r <= 0)
        return r < 0 ? r : missing("tap", err);
    size_t len = strlen(text);
    if (len == 0 || len >= LEASE_TAP_MAX || strpbrk(text, "/: \t\n%") != NULL ||
        strcmp(text, ".") == 0 || strcmp(text, "..") == 0)
        return error_set(err, EINVAL, "tap: '%.40s' is not the name of a network interface", text);
    memcpy(ret, text, len + 1);
    return 0;
}

static int get_mac(const cJSON *json, uint8_t ret[6], struct error *err)
{
    const char *text;
    int r = json_get_string(json, "mac", NULL, &text, err);
    if (r <= 0)
        return r < 0 ? r : missing("mac", err);
    r = vmspec_parse_mac(text, ret, err);
    return r < 0 ? error_wrap(err, "mac") : 0;
}

static int check_interface(const cJSON *json, const char *interface, struct error *err)
{
    const char *text;
    int r = json_get_string(json, "name", NULL, &text, err);
    if (r <= 0)
        return r < 0 ? r : missing("name", err);
    if (strcmp(text, interface) != 0)
        return error_set(err, EINVAL, "it is the lease of '%.64s'", text);
    return 0;
}

static int get_hostname(const cJSON *json, struct lease *lease, struct error *err)
{
    const char *text;
    int r = json_get_string(json, "hostname", NULL, &text, err);
    if (r <= 0)
        return r;
    if (!str_is_dns_label(text))
        return error_set(err, EINVAL, "hostname: '%.64s' is not a name of RFC 1123", text);
    snprintf(lease->hostname, sizeof(lease->hostname), "%s", text);
    return 0;
}

/* Lists. */

static int get_dns(const cJSON *json, struct lease *lease, struct error *err)
{
    const cJSON *list = NULL;
    int r = json_get_array(json, "dns", NULL, &list, err);
    json_for_each (item, list) {
        if (!cJSON_IsString(item))
            return error_set(err, EINVAL, "dns: must be strings, not %s",
                             json_item_type_name(item));
        if (lease->dns_count == LEASE_DNS_MAX)
            return error_set(err, E2BIG, "dns: more than %d servers", LEASE_DNS_MAX);
        r = parse_address(item->valuestring, "dns", lease->dns[lease->dns_count], err);
        if (r < 0)
            return r;
        lease->dns_count++;
    }
    return r < 0 ? r : 0;
}

/* Case and '_' of a name are its owner's business; what must hold is its encoding. */
static bool is_domain_character(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_';
}

/* Appends a name, RFC 1035 §3.1. */
static int encode_domain(struct lease *lease, const char *name, struct error *err)
{
    if (*name == '\0' || strlen(name) >= LEASE_DOMAIN_MAX)
        return error_set(err, EINVAL, "search: '%.64s' is not a domain", name);
    if (lease->search_len + strlen(name) + 2 > LEASE_OPTION_MAX)
        return error_set(err, E2BIG, "search: the list is longer than %d bytes", LEASE_OPTION_MAX);
    for (const char *label = name;;) {
        size_t len = 0;
        while (is_domain_character(label[len]))
            len++;
        if (len == 0 || len > LABEL_MAX || (label[len] != '.' && label[len] != '\0'))
            return error_set(err, EINVAL, "search: '%.64s' is not a domain", name);
        lease->search[lease->search_len++] = (uint8_t)len;
        memcpy(lease->search + lease->search_len, label, len);
        lease->search_len = (uint8_t)(lease->search_len + len);
        if (label[len] == '\0')
            break;
        label += len + 1;
    }
    lease->search[lease->search_len++] = 0;
    return 0;
}

/* The first domain is the guest's own: what resolv.conf(5) says of "domain". */
static int get_search(const cJSON *json, struct lease *lease, struct error *err)
{
    const cJSON *list = NULL;
    int r = json_get_array(json, "search", NULL, &list, err);
    json_for_each (item, list) {
        if (!cJSON_IsString(item))
            return error_set(err, EINVAL, "search: must be strings, not %s",
                             json_item_type_name(item));
        r = encode_domain(lease, item->valuestring, err);
        if (r < 0)
            return r;
        if (lease->domain[0] == '\0')
            snprintf(lease->domain, sizeof(lease->domain), "%s", item->valuestring);
    }
    return r < 0 ? r : 0;
}

/* Appends a route: the prefix, those bytes of the destination that it covers, the router. */
static int encode_route(struct lease *lease, const uint8_t to[4], unsigned prefix,
                        const uint8_t via[4], struct error *err)
{
    size_t significant = (prefix + 7) / 8;
    if (lease->routes_len + 1 + significant + 4 > LEASE_OPTION_MAX)
        return error_set(err, E2BIG, "routes: they are longer than %d bytes", LEASE_OPTION_MAX);
    uint8_t *at = lease->routes + lease->routes_len;
    *at++ = (uint8_t)prefix;
    memcpy(at, to, significant);
    memcpy(at + significant, via, 4);
    lease->routes_len = (uint8_t)(lease->routes_len + 1 + significant + 4);
    return 0;
}

static int parse_route(const cJSON *json, struct lease *lease, struct error *err)
{
    static const char *const known[] = {"to", "prefix", "via"};
    const char *text = "";
    uint8_t to[4], via[4] = {0};
    int64_t prefix = 0;
    int r = check_members(json, known, ARRAY_SIZE(known), err);
    if (r == 0)
        r = json_get_string(json, "to", NULL, &text, err);
    if (r <= 0)
        return r < 0 ? r : missing("to", err);
    if (inet_pton(AF_INET, text, to) != 1)
        return error_set(err, EINVAL, "to: '%.40s' is not an IPv4 address", text);
    r = get_number(json, "prefix", 0, 32, &prefix, err);
    if (r == 0)
        r = get_address(json, "via", false, via, err); /* none: on this link */
    if (r < 0)
        return r;
    if ((to_number(to) & host_mask((unsigned)prefix)) != 0)
        return error_set(err, EINVAL, "to: %s has more than %lld bits of a network", text,
                         (long long)prefix);
    return encode_route(lease, to, (unsigned)prefix, via, err);
}

/*
 * A client that takes option 121 must ignore the router option (RFC 3442, "DHCP Client Behavior"),
 * so the default route is among them; and a router outside the guest's network is given a route of
 * its own, before what goes through it.
 */
static int get_routes(const cJSON *json, struct lease *lease, struct error *err)
{
    const cJSON *list = NULL;
    int r = json_get_array(json, "routes", NULL, &list, err);
    if (r < 0)
        return r;
    bool far =
        !is_absent(lease->router) &&
        ((to_number(lease->router) ^ to_number(lease->address)) & ~host_mask(lease->prefix)) != 0;
    r = far ? encode_route(lease, lease->router, 32, no_address, err) : 0;
    unsigned index = 0;
    json_for_each (item, list) {
        if (r == 0 && (r = parse_route(item, lease, err)) < 0)
            error_wrap(err, "routes[%u]", index);
        index++;
    }
    if (r == 0 && !is_absent(lease->router) && lease->routes_len > 0)
        r = encode_route(lease, no_address, 0, lease->router, err);
    return r;
}

/* The whole. */

static int check_version(const cJSON *json, struct error *err)
{
    int64_t version;
    int r = json_get_int64(json, "version", NULL, &version, err);
    if (r <= 0)
        return r < 0 ? r : missing("version", err);
    if (version != LEASE_VERSION)
        return error_set(err, EINVAL,
                         "version: %lld, not %d; podnet and vmm must come from one image",
                         (long long)version, LEASE_VERSION);
    return 0;
}

static int read_lease(const cJSON *json, const char *interface, struct lease_file *file,
                      struct error *err)
{
    struct lease *lease = &file->lease;
    int64_t mtu = 0, prefix = 0;
    int r = check_version(json, err);
    if (r == 0)
        r = check_interface(json, interface, err);
    if (r == 0)
        r = get_tap(json, file->tap, err);
    if (r == 0)
        r = get_mac(json, file->mac, err);
    if (r == 0)
        r = get_number(json, "mtu", LEASE_MTU_MIN, LEASE_MTU_MAX, &mtu, err);
    if (r == 0)
        r = get_address(json, "address", true, lease->address, err);
    if (r == 0)
        r = get_number(json, "prefix", 1, 32, &prefix, err);
    if (r == 0)
        r = get_address(json, "router", false, lease->router, err);
    if (r == 0)
        r = get_address(json, "server", true, lease->server, err);
    if (r < 0)
        return r;
    file->mtu = lease->mtu = (uint16_t)mtu;
    lease->prefix = (uint8_t)prefix;
    r = get_routes(json, lease, err);
    if (r == 0)
        r = get_dns(json, lease, err);
    if (r == 0)
        r = get_search(json, lease, err);
    if (r == 0)
        r = get_hostname(json, lease, err);
    lease->enabled = true;
    return r;
}

int lease_parse(const char *text, size_t len, const char *interface, struct lease_file *ret,
                struct error *err)
{
    static const char *const known[] = {"version", "name",   "tap",     "mac",    "mtu",
                                        "address", "prefix", "router",  "server", "routes",
                                        "dns",     "search", "hostname"};
    const struct json_limits limits = {.bytes = LEASE_FILE_MAX, .depth = 3};
    cleanup_json cJSON *json = NULL;
    struct lease_file file;
    memset(&file, 0, sizeof(file));
    int r = json_parse(text, len, &limits, &json, err);
    if (r == 0)
        r = check_members(json, known, ARRAY_SIZE(known), err);
    if (r == 0)
        r = read_lease(json, interface, &file, err);
    if (r == 0)
        *ret = file;
    return r;
}

/* One byte more than the largest file tells that it is too large. */
static ssize_t read_all(int fd, char *buf, size_t size)
{
    size_t len = 0;
    while (len < size) {
        ssize_t n = read(fd, buf + len, size - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        len += (size_t)n;
    }
    return (ssize_t)len;
}

int lease_read(const char *folder, const char *interface, struct lease_file *ret, struct error *err)
{
    char path[FILE_NAME_MAX];
    struct stat st;
    if (strchr(interface, '/') != NULL ||
        snprintf(path, sizeof(path), "%s/%s.json", folder, interface) >= (int)sizeof(path))
        return error_set(err, EINVAL, "'%.64s' cannot be the name of an interface", interface);
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT) {
        error_set(err, ENOENT, "there is no lease %s", path);
        return error_hint(err, "the init container podnet writes it, so it did not run for '%s'",
                          interface);
    }
    if (fd < 0 || fstat(fd, &st) < 0)
        return error_sys(err, errno, "cannot open the lease %s", path);
    if (!S_ISREG(st.st_mode))
        return error_set(err, EINVAL, "the lease %s is not a regular file", path);
    cleanup_free char *text = xcalloc(1, LEASE_FILE_MAX + 1);
    ssize_t n = read_all(fd, text, LEASE_FILE_MAX + 1);
    if (n < 0)
        return error_sys(err, (int)-n, "cannot read the lease %s", path);
    int r = lease_parse(text, (size_t)n, interface, ret, err);
    return r < 0 ? error_wrap(err, "the lease %s", path) : 0;
}
