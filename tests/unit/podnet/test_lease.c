// SPDX-License-Identifier: Apache-2.0
/* What podnet writes, vmm reads: the two sides of the lease file. */
#include "lease_file.h"
#include "open_lease.h"
#include "run_suite.h"
#include <fcntl.h>
#include <podvisor/cleanup.h>
#include <string.h>
#include <sys/stat.h>

static struct resolv resolv;
static struct pod_route route[POD_ROUTE_MAX];
static struct lease_values values;
static struct lease_file file;
static struct error err;

static void set_up(void)
{
    static const char text[] = "search ns.svc.cluster.local cluster.local\nnameserver 10.96.0.10\n";
    resolv_parse(text, sizeof(text) - 1, &resolv);
    values = (struct lease_values){
        .name = "default",
        .tap = "tap0",
        .hostname = "myvm",
        .mac = {2, 1, 2, 3, 4, 5},
        .mtu = 1450,
        .address = 0x0af40007,
        .router = 0x0af40001,
        .server = 0x0af40001,
        .prefix = 24,
        .route = route,
        .resolv = &resolv,
    };
    memset(route, 0, sizeof(route));
    memset(&file, 0, sizeof(file));
    err = ERROR_INIT;
}

static void round_trip(void)
{
    char text[LEASE_FILE_MAX];
    int len = lease_format(&values, text);
    ck_assert_int_gt(len, 0);
    ck_assert_msg(lease_parse(text, (size_t)len, "default", &file, &err) == 0, "%s in %s", err.text,
                  text);
}

START_TEST(test_round_trip)
{
    route[0] = (struct pod_route){.to = 0x0a600000, .prefix = 12, .via = 0x0af400fe};
    route[1] = (struct pod_route){.to = 0xc0a80500, .prefix = 25};
    values.route_count = 2;
    round_trip();
    const struct lease *lease = &file.lease;
    ck_assert_str_eq(file.tap, "tap0");
    ck_assert_mem_eq(file.mac, values.mac, 6);
    ck_assert_uint_eq(file.mtu, 1450);
    ck_assert(lease->enabled);
    ck_assert_uint_eq(lease->mtu, 1450);
    ck_assert_uint_eq(lease->prefix, 24);
    ck_assert_mem_eq(lease->address, "\x0a\xf4\x00\x07", 4);
    ck_assert_mem_eq(lease->router, "\x0a\xf4\x00\x01", 4);
    ck_assert_mem_eq(lease->server, "\x0a\xf4\x00\x01", 4);
    ck_assert_uint_eq(lease->dns_count, 1);
    ck_assert_mem_eq(lease->dns[0], "\x0a\x60\x00\x0a", 4);
    ck_assert_str_eq(lease->hostname, "myvm");
    ck_assert_str_eq(lease->domain, "ns.svc.cluster.local");
    static const char search[] = "\2ns\3svc\7cluster\5local\0\7cluster\5local";
    ck_assert_uint_eq(lease->search_len, sizeof(search));
    ck_assert_mem_eq(lease->search, search, sizeof(search));
    static const char routes[] = "\x0c\x0a\x60\x0a\xf4\x00\xfe"
                                 "\x19\xc0\xa8\x05\x00\x00\x00\x00\x00"
                                 "\x00\x0a\xf4\x00\x01";
    ck_assert_uint_eq(lease->routes_len, sizeof(routes) - 1);
    ck_assert_mem_eq(lease->routes, routes, sizeof(routes) - 1);
}
END_TEST

/* Only a default route, in the own network: the router option says it all. */
START_TEST(test_no_routes)
{
    round_trip();
    ck_assert_uint_eq(file.lease.routes_len, 0);
}
END_TEST

/* A router outside: one route to it, on the link, before the one through it. */
START_TEST(test_far_router)
{
    values.prefix = 32;
    values.router = values.server = 0xa9fe0101;
    round_trip();
    static const char routes[] = "\x20\xa9\xfe\x01\x01\x00\x00\x00\x00\x00\xa9\xfe\x01\x01";
    ck_assert_uint_eq(file.lease.routes_len, sizeof(routes) - 1);
    ck_assert_mem_eq(file.lease.routes, routes, sizeof(routes) - 1);
}
END_TEST

/* The whole world on the link, and no router. */
START_TEST(test_no_router)
{
    values.router = 0;
    values.route_count = 1;
    round_trip();
    ck_assert_mem_eq(file.lease.router, "\0\0\0\0", 4);
    ck_assert_uint_eq(file.lease.routes_len, 5);
    ck_assert_mem_eq(file.lease.routes, "\0\0\0\0\0", 5);
}
END_TEST

/* The most of everything that podnet writes is never too much for vmm. */
START_TEST(test_largest)
{
    for (unsigned i = 0; i < POD_ROUTE_MAX; i++)
        route[i] =
            (struct pod_route){.to = 0xc0000000 + i, .prefix = (unsigned)_i, .via = 0xdfffff00 + i};
    for (unsigned i = 0; i < POD_ROUTE_MAX; i++)
        route[i].to &= _i == 0 ? 0 : UINT32_MAX << (32 - _i);
    values.prefix = 32;
    values.router = values.server = 0xdfffffff;
    values.route_count = lease_routes_that_fit(route, POD_ROUTE_MAX);
    ck_assert_uint_gt(values.route_count, 20);
    char label[64] = "";
    memset(label, 'z', 63);
    values.hostname = label;
    char text[512];
    snprintf(text, sizeof(text), "search %s %s %s %.58s\n", label, label, label, label);
    resolv_parse(text, strlen(text), &resolv);
    ck_assert_uint_eq(resolv.search_count, 4);
    round_trip();
    ck_assert_uint_eq(file.lease.search_len, 255);
    if (values.route_count < POD_ROUTE_MAX) { /* and one more is */
        char json[LEASE_FILE_MAX];
        values.route_count++;
        int len = lease_format(&values, json);
        ck_assert_int_eq(lease_parse(json, (size_t)len, "default", &file, &err), -E2BIG);
    }
}
END_TEST

START_TEST(test_files)
{
    char folder[] = "/tmp/test-lease-XXXXXX", path[64], text[LEASE_FILE_MAX];
    struct stat st;
    ck_assert_ptr_nonnull(mkdtemp(folder));
    ck_assert_int_eq(lease_read(folder, "default", &file, &err), -ENOENT);
    ck_assert_int_eq(lease_read(folder, "../x", &file, &err), -EINVAL);
    /* Twice, over a temporary file of a run that was killed. */
    snprintf(path, sizeof(path), "%s/.default.new", folder);
    ck_assert_int_eq(symlink("/nowhere/at/all", path), 0);
    for (unsigned i = 0; i < 2; i++) {
        values.mtu = 1400 + i;
        ck_assert_int_eq(lease_write(folder, &values, &err), 0);
        ck_assert_int_eq(lease_read(folder, "default", &file, &err), 0);
        ck_assert_uint_eq(file.mtu, 1400 + i);
    }
    ck_assert_int_ne(lstat(path, &st), 0);
    snprintf(path, sizeof(path), "%s/default.json", folder);
    ck_assert_int_eq(lstat(path, &st), 0);
    ck_assert_uint_eq(st.st_mode & 07777, 0444);
    /* Not one that is somewhere else, that is too long, or no file. */
    snprintf(text, sizeof(text), "%s/other.json", folder);
    ck_assert_int_eq(symlink(path, text), 0);
    ck_assert_int_lt(lease_read(folder, "other", &file, &err), 0);
    unlink(text);
    ck_assert_int_eq(mkdir(text, 0700), 0);
    ck_assert_int_eq(lease_read(folder, "other", &file, &err), -EINVAL);
    rmdir(text);
    cleanup_close int fd = open(text, O_WRONLY | O_CREAT, 0600);
    memset(text, ' ', sizeof(text));
    for (unsigned i = 0; i < 2; i++)
        ck_assert_int_eq(write(fd, text, sizeof(text)), sizeof(text));
    ck_assert_int_eq(lease_read(folder, "other", &file, &err), -E2BIG);
    unlink(path);
    snprintf(path, sizeof(path), "%s/other.json", folder);
    unlink(path);
    ck_assert_int_eq(rmdir(folder), 0);
    ck_assert_int_lt(lease_write(folder, &values, &err), 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("podnet lease");
    TCase *t = tcase_create("all");
    tcase_add_checked_fixture(t, set_up, NULL);
    tcase_add_test(t, test_round_trip);
    tcase_add_test(t, test_no_routes);
    tcase_add_test(t, test_far_router);
    tcase_add_test(t, test_no_router);
    tcase_add_loop_test(t, test_largest, 0, 33);
    tcase_add_test(t, test_files);
    suite_add_tcase(s, t);
    return run_suite(s);
}
