// SPDX-License-Identifier: Apache-2.0
/* Plans made from flags: defaults, identities, and the checks across flags. */
#include "plan.h"
#include "run_suite.h"
#include <check.h>
#include <string.h>

static struct plan plan, other;

static struct run_options options_with_kernel(void)
{
    struct run_options o;
    run_options_init(&o);
    o.kernel = "vmlinuz";
    return o;
}

static void must_fail(const struct run_options *o, const char *text)
{
    struct error err = ERROR_INIT;
    ck_assert_int_lt(plan_make(o, &plan, &err), 0);
    ck_assert_msg(strstr(err.text, text) != NULL, "'%s' is not in: %s", text, err.text);
}

START_TEST(defaults)
{
    struct run_options o = options_with_kernel();
    ck_assert_int_eq(plan_make(&o, &plan, NULL), 0);
    ck_assert_str_eq(plan.name, "vm");
    ck_assert_uint_eq(plan.cpus, 1);
    ck_assert_uint_eq(plan.memory, UINT64_C(512) << 20);
    ck_assert_str_eq(plan.cmdline, "console=ttyS0");
    ck_assert(plan.rng && plan.balloon);
    ck_assert_uint_eq(plan.grace_period_seconds, 30);
    o.console_device = MACHINE_CONSOLE_VIRTIO;
    ck_assert_int_eq(plan_make(&o, &plan, NULL), 0);
    ck_assert_str_eq(plan.cmdline, "console=hvc0");
}
END_TEST

START_TEST(flags_arrive)
{
    struct run_options o = options_with_kernel();
    o.initrd = "initrd";
    o.cmdline = "quiet";
    o.cpus = 3;
    o.no_rng = o.no_balloon = true;
    o.has_grace_period = true;
    o.grace_period_seconds = 5;
    o.control = "sock";
    o.debug_exit = true;
    ck_assert_int_eq(plan_make(&o, &plan, NULL), 0);
    ck_assert_str_eq(plan.initrd, "initrd");
    ck_assert_str_eq(plan.cmdline, "quiet");
    ck_assert_uint_eq(plan.cpus, 3);
    ck_assert(!plan.rng && !plan.balloon && plan.debug_exit);
    ck_assert_uint_eq(plan.grace_period_seconds, 5);
    ck_assert_str_eq(plan.control, "sock");
}
END_TEST

START_TEST(memory_is_rounded_up)
{
    struct run_options o = options_with_kernel();
    o.memory = (UINT64_C(64) << 20) + 1;
    ck_assert_int_eq(plan_make(&o, &plan, NULL), 0);
    ck_assert_uint_eq(plan.memory, UINT64_C(66) << 20);
}
END_TEST

START_TEST(impossible_memory)
{
    struct run_options o = options_with_kernel();
    o.memory = UINT64_MAX;
    must_fail(&o, "more than this host has");
    o.memory = UINT64_C(1) << 62;
    must_fail(&o, "give less with --memory");
}
END_TEST

START_TEST(identity_is_stable)
{
    struct run_options o = options_with_kernel();
    o.name = "web";
    o.net_count = 2;
    o.net[0] = (struct net_option){.tap = "tap0"};
    o.net[1] = (struct net_option){.tap = "tap1"};
    ck_assert_int_eq(plan_make(&o, &plan, NULL), 0);
    ck_assert_int_eq(plan_make(&o, &other, NULL), 0);
    ck_assert_mem_eq(plan.uuid, other.uuid, 16);
    ck_assert_mem_eq(plan.net[0].mac, other.net[0].mac, 6);
    ck_assert_uint_eq(plan.net[0].mac[0], 0x02); /* locally administered, one station */
    ck_assert_mem_ne(plan.net[0].mac, plan.net[1].mac, 6);
    o.name = "db";
    ck_assert_int_eq(plan_make(&o, &other, NULL), 0);
    ck_assert_mem_ne(plan.uuid, other.uuid, 16);
    ck_assert_mem_ne(plan.net[0].mac, other.net[0].mac, 6);
}
END_TEST

START_TEST(devices_have_names)
{
    struct run_options o = options_with_kernel();
    o.disk_count = 2;
    o.disk[0] = (struct disk_option){.path = "a"};
    o.disk[1] = (struct disk_option){.path = "b", .name = "data", .serial = "s"};
    o.net_count = 1;
    o.net[0] = (struct net_option){.tap = "tap0", .mtu = 1400};
    ck_assert_int_eq(plan_make(&o, &plan, NULL), 0);
    ck_assert_uint_eq(plan.disk_count, 2);
    ck_assert_str_eq(plan.disk[0].name, "disk0");
    ck_assert(plan.disk[0].discard && plan.disk[0].serial[0] == '\0');
    ck_assert_str_eq(plan.disk[1].name, "data");
    ck_assert_str_eq(plan.disk[1].serial, "s");
    ck_assert_str_eq(plan.net[0].name, "net0");
    ck_assert_uint_eq(plan.net[0].mtu, 1400);
}
END_TEST

/* Two caches of one image's tables destroy it; the manifest's shareable stays when a flag gives the
 * file. */
START_TEST(shareable_qcow2_is_refused)
{
    struct error err = ERROR_INIT;
    struct plan_disk disk = {.name = "data", .shared = true};
    struct disk_option option = {.path = "a.qcow2", .format = MACHINE_DISK_QCOW2};
    ck_assert_int_eq(plan_override_disk(&disk, &option, &err), -EINVAL);
    ck_assert_ptr_nonnull(strstr(err.text, "a qcow2 image has one writer"));
    option.readonly = true;
    ck_assert_int_eq(plan_override_disk(&disk, &option, &err), 0);
    disk.readonly = option.readonly = false;
    option.format = MACHINE_DISK_RAW;
    ck_assert_int_eq(plan_override_disk(&disk, &option, &err), 0);
    disk.shared = false;
    option.format = MACHINE_DISK_QCOW2;
    ck_assert_int_eq(plan_override_disk(&disk, &option, &err), 0);
}
END_TEST

START_TEST(names_must_differ)
{
    struct run_options o = options_with_kernel();
    o.disk_count = 2;
    o.disk[0] = (struct disk_option){.path = "a", .name = "x"};
    o.disk[1] = (struct disk_option){.path = "b", .name = "x"};
    must_fail(&o, "two devices have the name 'x'");
    o.disk[1].name = "y";
    o.net_count = 1;
    o.net[0] = (struct net_option){.tap = "t", .name = "y"};
    must_fail(&o, "two devices have the name 'y'");
    o.disk_count = 1;
    o.disk[0].name = "disk1";
    o.net[0].name = NULL;
    ck_assert_int_eq(plan_make(&o, &plan, NULL), 0);
}
END_TEST

START_TEST(addresses_must_differ)
{
    struct run_options o = options_with_kernel();
    o.net_count = 2;
    for (int i = 0; i < 2; i++)
        o.net[i] = (struct net_option){.tap = "t", .has_mac = true, .mac = {2, 0, 0, 0, 0, 1}};
    must_fail(&o, "'net0' and 'net1' have the same MAC address");
}
END_TEST

START_TEST(names_must_fit)
{
    static char name[300], path[5000];
    struct run_options o = options_with_kernel();
    memset(name, 'n', sizeof(name) - 1);
    memset(path, 'p', sizeof(path) - 1);
    o.name = name;
    must_fail(&o, "must have 1 to 63 characters");
    o.name = "Not a name";
    must_fail(&o, "the machine's name");
    o.name = NULL;
    o.disk_count = 1;
    o.disk[0] = (struct disk_option){.path = path};
    must_fail(&o, "--disk: the disk's path");
    o.disk[0] = (struct disk_option){.path = "p", .name = name};
    must_fail(&o, "--disk: the disk's name");
    o.disk_count = 0;
    o.net_count = 1;
    o.net[0] = (struct net_option){.tap = "sixteen-letters-"};
    must_fail(&o, "--net: the tap's name");
}
END_TEST

START_TEST(kernel_is_needed)
{
    struct run_options o;
    run_options_init(&o);
    must_fail(&o, "give a kernel with --kernel FILE");
    o = options_with_kernel();
    o.console = CONSOLE_FILE;
    o.has_console = true;
    must_fail(&o, "--console file=PATH");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("front-plan");
    TCase *tc = tcase_create("plan");
    tcase_add_test(tc, defaults);
    tcase_add_test(tc, flags_arrive);
    tcase_add_test(tc, memory_is_rounded_up);
    tcase_add_test(tc, impossible_memory);
    tcase_add_test(tc, identity_is_stable);
    tcase_add_test(tc, devices_have_names);
    tcase_add_test(tc, shareable_qcow2_is_refused);
    tcase_add_test(tc, names_must_differ);
    tcase_add_test(tc, addresses_must_differ);
    tcase_add_test(tc, names_must_fit);
    tcase_add_test(tc, kernel_is_needed);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
