// SPDX-License-Identifier: Apache-2.0
/* See lease_file.h. One thread. */
#include "lease_file.h"
#include "address.h"
#include <fcntl.h>
#include <podvisor/cleanup.h>
#include <podvisor/json_write.h>
#include <podvisor/str.h>
#include <string.h>
#include <sys/stat.h>

#define LEASE_PATH_MAX 4096

/* Bytes of a route in option 121, RFC 3442. */
static unsigned route_size(unsigned prefix)
{
    return 1 + (prefix + 7) / 8 + 4;
}

unsigned lease_routes_that_fit(const struct pod_route *route, unsigned count)
{
    unsigned size = route_size(0) + route_size(32), fit = 0;
    while (fit < count && (size += route_size(route[fit].prefix)) <= LEASE_OPTION_MAX)
        fit++;
    return fit;
}

static void write_address(struct json_writer *w, const char *name, uint32_t address)
{
    if (address != 0)
        json_write_string(w, name, address_format(address).text);
}

static void write_routes(struct json_writer *w, const struct lease_values *values)
{
    json_write_array(w, "routes");
    for (unsigned i = 0; i < values->route_count; i++) {
        json_write_object(w, NULL);
        json_write_string(w, "to", address_format(values->route[i].to).text);
        json_write_uint64(w, "prefix", values->route[i].prefix);
        write_address(w, "via", values->route[i].via);
        json_write_end(w);
    }
    json_write_end(w);
}

static void write_resolv(struct json_writer *w, const struct resolv *resolv)
{
    json_write_array(w, "dns");
    for (unsigned i = 0; i < resolv->dns_count; i++)
        write_address(w, NULL, resolv->dns[i]);
    json_write_end(w);
    json_write_array(w, "search");
    for (unsigned i = 0; i < resolv->search_count; i++)
        json_write_string(w, NULL, resolv->search[i]);
    json_write_end(w);
}

int lease_format(const struct lease_values *values, char *buf)
{
    const uint8_t *m = values->mac;
    char mac[sizeof("00:00:00:00:00:00")];
    struct json_writer w;
    size_t len;
    snprintf(mac, sizeof(mac), "%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5]);
    json_write_init(&w, buf, LEASE_FILE_MAX);
    json_write_object(&w, NULL);
    json_write_int64(&w, "version", LEASE_VERSION);
    json_write_string(&w, "name", values->name);
    json_write_string(&w, "tap", values->tap);
    json_write_string(&w, "mac", mac);
    json_write_uint64(&w, "mtu", values->mtu);
    write_address(&w, "address", values->address);
    json_write_uint64(&w, "prefix", values->prefix);
    write_address(&w, "router", values->router);
    write_address(&w, "server", values->server);
    write_routes(&w, values);
    write_resolv(&w, values->resolv);
    json_write_string(&w, "hostname", values->hostname);
    json_write_end(&w);
    return json_write_finish(&w, &len) < 0 ? -E2BIG : (int)len;
}

static int write_all(int fd, const char *text, size_t len)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = write(fd, text + done, len - done);
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0)
            done += (size_t)n;
    }
    /* Whatever the umask. */
    return fchmod(fd, 0444) < 0 ? -errno : 0;
}

int lease_write(const char *folder, const struct lease_values *values, struct error *err)
{
    char path[LEASE_PATH_MAX], temporary[LEASE_PATH_MAX];
    if (snprintf(path, sizeof(path), "%s/%s.json", folder, values->name) >= (int)sizeof(path) ||
        snprintf(temporary, sizeof(temporary), "%s/.%s.new", folder, values->name) >=
            (int)sizeof(temporary))
        return error_set(err, ENAMETOOLONG, "the folder's name %.64s... is too long", folder);
    cleanup_free char *text = xcalloc(1, LEASE_FILE_MAX);
    int len = lease_format(values, text);
    if (len < 0)
        return error_set(err, -len, "the lease %s is longer than %d bytes", path, LEASE_FILE_MAX);
    (void)unlink(temporary); /* of a run that was killed */
    cleanup_close int fd =
        open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0444);
    if (fd < 0)
        return error_sys(err, errno, "cannot write the lease %s", path);
    int r = write_all(fd, text, (size_t)len);
    if (r == 0 && rename(temporary, path) < 0)
        r = -errno;
    if (r < 0) {
        (void)unlink(temporary);
        return error_sys(err, -r, "cannot write the lease %s", path);
    }
    return 0;
}
