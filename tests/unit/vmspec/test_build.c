// SPDX-License-Identifier: Apache-2.0
/* Machines from flags: setters, their checks, and flags on top of a manifest. */
#include "run_suite.h"
#include <check.h>
#include <podvisor/vmspec.h>
#include <stdio.h>
#include <string.h>

static struct error err;

static struct vmspec *new_machine(void)
{
    struct vmspec *spec = NULL;
    err = ERROR_INIT;
    ck_assert_int_eq(vmspec_new("test", &spec, &err), 0);
    return spec;
}

START_TEST(has_defaults)
{
    cleanup_vmspec struct vmspec *spec = new_machine();
    ck_assert_str_eq(spec->name, "test");
    ck_assert_uint_eq(spec->cpu.count, 1);
    ck_assert(spec->balloon);
    ck_assert(spec->serial_console);
    ck_assert_uint_eq(spec->grace_period_seconds, 30);
    ck_assert_uint_eq(spec->interfaces.count, 0);
    ck_assert_uint_ne(spec->uuid[0] | spec->uuid[1] | spec->uuid[2], 0);
    ck_assert_int_eq(vmspec_check(spec, &err), -EINVAL);
    ck_assert_str_eq(err.text, "no memory requested");
    ck_assert_int_eq(vmspec_set_memory(spec, "64Mi", &err), 0);
    ck_assert_int_eq(vmspec_check(spec, &err), 0);

    struct vmspec *none = NULL;
    ck_assert_int_eq(vmspec_new("No_Name", &none, &err), -EINVAL);
    ck_assert_ptr_null(none);
}
END_TEST

START_TEST(checks_sizes)
{
    cleanup_vmspec struct vmspec *spec = new_machine();
    ck_assert_int_eq(vmspec_set_cpus(spec, 0, &err), -ERANGE);
    ck_assert_str_eq(err.text, "a machine has 1 to 64 CPUs, not 0");
    ck_assert_int_eq(vmspec_set_cpus(spec, MACHINE_CPU_MAX + 1, &err), -ERANGE);
    ck_assert_int_eq(vmspec_set_cpus(spec, MACHINE_CPU_MAX, &err), 0);
    ck_assert_int_eq(vmspec_set_memory(spec, "999999", &err), -ERANGE);
    ck_assert_str_eq(err.text, "memory '999999': must be greater than or equal to 1M.");
    ck_assert_int_eq(vmspec_set_memory(spec, "17Ti", &err), -ERANGE);
    ck_assert_int_eq(vmspec_set_memory(spec, "1GB", &err), -EINVAL);
    ck_assert_str_eq(err.text,
                     "memory: unknown unit 'GB' in '1GB'; did you mean G (1000) or Gi (1024)?");
    ck_assert_int_eq(vmspec_set_memory(spec, "1000001", &err), 0);
    ck_assert_uint_eq(spec->memory.guest, 2 << 20);
    ck_assert_int_eq(vmspec_set_huge_pages(spec, "4Ki", &err), -EINVAL);
    ck_assert_int_eq(vmspec_set_huge_pages(spec, "1Gi", &err), 0);
    ck_assert_int_eq(vmspec_check(spec, &err), -EINVAL);
    ck_assert_str_eq(err.text, "the memory is not a multiple of the huge page size 1Gi");
    ck_assert_int_eq(vmspec_set_huge_pages(spec, NULL, &err), 0);
    ck_assert_int_eq(vmspec_check(spec, &err), 0);
}
END_TEST

START_TEST(adds_disks)
{
    cleanup_vmspec struct vmspec *spec = new_machine();
    struct vmspec_host_disk disk = {.path = "/a.img", .readonly = true, .serial = "x"};
    ck_assert_int_eq(vmspec_add_host_disk(spec, &disk, &err), 0);
    disk = (struct vmspec_host_disk){.path = "/b", .format = VMSPEC_FORMAT_QCOW2};
    ck_assert_int_eq(vmspec_add_host_disk(spec, &disk, &err), 0);
    ck_assert_str_eq(spec->disks.item[0].name, "disk0");
    ck_assert_str_eq(spec->disks.item[1].name, "disk1");
    ck_assert(spec->disks.item[0].readonly);
    ck_assert_str_eq(spec->disks.item[0].serial, "x");
    const struct vmspec_volume *v = vmspec_disk_volume(spec, &spec->disks.item[1]);
    ck_assert_str_eq(v->host_disk.path, "/b");
    ck_assert_int_eq(v->host_disk.format, VMSPEC_FORMAT_QCOW2);

    disk.name = "disk1";
    ck_assert_int_eq(vmspec_add_host_disk(spec, &disk, &err), -EINVAL);
    ck_assert_str_eq(err.text, "the name 'disk1' is taken");
    disk.name = "Bad";
    ck_assert_int_eq(vmspec_add_host_disk(spec, &disk, &err), -EINVAL);
    disk.name = NULL;
    disk.serial = "123456789012345678901";
    ck_assert_int_eq(vmspec_add_host_disk(spec, &disk, &err), -EINVAL);
    disk.serial = "12345678901234567890";
    while (spec->disks.count < MACHINE_DISK_MAX)
        ck_assert_int_eq(vmspec_add_host_disk(spec, &disk, &err), 0);
    ck_assert_int_eq(vmspec_add_host_disk(spec, &disk, &err), -EINVAL);
    ck_assert_str_eq(err.text, "a machine has at most 16 disks");
}
END_TEST

START_TEST(adds_taps)
{
    cleanup_vmspec struct vmspec *spec = new_machine();
    struct vmspec_tap tap = {.tap = "tap0"};
    ck_assert_int_eq(vmspec_add_tap(spec, &tap, &err), 0);
    tap.mac = "02:00:00:00:00:01";
    ck_assert_int_eq(vmspec_add_tap(spec, &tap, &err), 0);
    ck_assert_str_eq(spec->interfaces.item[0].name, "net0");
    ck_assert_str_eq(spec->interfaces.item[1].name, "net1");
    ck_assert_str_eq(spec->interfaces.item[1].tap, "tap0");
    ck_assert_int_eq(spec->networks.item[1].kind, VMSPEC_NETWORK_TAP);
    uint8_t first[6], second[6];
    static const uint8_t given[6] = {2, 0, 0, 0, 0, 1};
    vmspec_interface_mac(spec, &spec->interfaces.item[0], first);
    vmspec_interface_mac(spec, &spec->interfaces.item[1], second);
    ck_assert_mem_eq(second, given, 6);
    ck_assert_mem_ne(first, second, 6);

    tap.tap = "a-name-of-16-chr";
    ck_assert_int_eq(vmspec_add_tap(spec, &tap, &err), -EINVAL);
    tap.tap = "";
    ck_assert_int_eq(vmspec_add_tap(spec, &tap, &err), -EINVAL);
    tap.tap = "a/b";
    ck_assert_int_eq(vmspec_add_tap(spec, &tap, &err), -EINVAL);
    tap = (struct vmspec_tap){.tap = "tap0", .mac = "zz"};
    ck_assert_int_eq(vmspec_add_tap(spec, &tap, &err), -EINVAL);
    tap.mac = NULL;
    while (spec->interfaces.count < MACHINE_NET_MAX)
        ck_assert_int_eq(vmspec_add_tap(spec, &tap, &err), 0);
    ck_assert_int_eq(vmspec_add_tap(spec, &tap, &err), -EINVAL);
}
END_TEST

START_TEST(sets_the_kernel)
{
    cleanup_vmspec struct vmspec *spec = new_machine();
    char args[MACHINE_CMDLINE_MAX + 1];
    memset(args, 'a', sizeof(args));
    args[MACHINE_CMDLINE_MAX] = '\0';
    ck_assert_int_eq(vmspec_set_kernel(spec, "/k", "/i", args, &err), -EINVAL);
    ck_assert(!spec->kernel.given);
    args[MACHINE_CMDLINE_MAX - 1] = '\0';
    ck_assert_int_eq(vmspec_set_kernel(spec, "/k", "/i", args, &err), 0);
    ck_assert_int_eq(vmspec_set_kernel(spec, "/k2", NULL, NULL, &err), 0);
    ck_assert_str_eq(spec->kernel.kernel_path, "/k2");
    ck_assert_ptr_null(spec->kernel.initrd_path);
    ck_assert_ptr_null(spec->kernel.args);
}
END_TEST

START_TEST(changes_a_manifest)
{
    static const char text[] =
        "{apiVersion: kubevirt.io/v1, kind: VirtualMachineInstance, metadata: {name: a},\n"
        " spec: {domain: {memory: {guest: 1Gi}}, volumes: [{name: disk0, emptyDisk: {capacity: "
        "1Gi}}]}}";
    char yaml[sizeof(text) + 4];
    snprintf(yaml, sizeof(yaml), "---\n%s", text); /* flow YAML, not JSON */
    struct vmspec_diagnostics diag = {0};
    cleanup_vmspec struct vmspec *spec = NULL;
    ck_assert_int_eq(vmspec_from_yaml(yaml, strlen(yaml), &spec, &diag, &err), 0);
    uint8_t uuid[16];
    memcpy(uuid, spec->uuid, sizeof(uuid));
    ck_assert_int_eq(vmspec_set_name(spec, "b", &err), 0);
    ck_assert_str_eq(spec->name, "b");
    ck_assert_mem_ne(uuid, spec->uuid, sizeof(uuid));
    struct vmspec_host_disk disk = {.path = "/x"};
    ck_assert_int_eq(vmspec_add_host_disk(spec, &disk, &err), 0);
    ck_assert_str_eq(spec->disks.item[1].name, "disk1");
    ck_assert(spec->interfaces.item[0].automatic);
    ck_assert_int_eq(vmspec_add_tap(spec, &(struct vmspec_tap){.tap = "t"}, &err), 0);
    ck_assert_uint_eq(spec->interfaces.count, 1);
    ck_assert(!spec->interfaces.item[0].automatic);
    ck_assert_int_eq(vmspec_check(spec, &err), 0);
    vmspec_diagnostics_done(&diag);
}
END_TEST

static const struct {
    const char *text;
    bool valid;
} macs[] = {
    {"02:00:00:00:00:01", true},
    {"de:ad:BE:ef:00:00", true},
    {"DE-AD-00-00-BE-AE", true},
    {"02:00:00:00:00:00", false},
    {"00:00:00:00:00:00", false},
    {"01:00:00:00:00:00", false},
    {"ff:ff:ff:ff:ff:ff", false},
    {"", false},
    {"02", false},
    {"02:00:00:00:00", false},
    {"02:00:00:00:00:01:02", false},
    {"02:00-00:00:00:01", false},
    {"020000000001", false},
    {"2:0:0:0:0:1", false},
    {"02:00:00:00:00:0g", false},
    {"02:00:00:00:00:01 ", false},
};

START_TEST(parses_mac_addresses)
{
    uint8_t mac[6];
    ck_assert_int_eq(vmspec_parse_mac(macs[_i].text, mac, NULL), macs[_i].valid ? 0 : -EINVAL);
}
END_TEST

static const struct {
    const char *text;
    bool valid;
} uuids[] = {
    {"5d307ca9-b3ef-428c-8861-06e72d69f223", true},
    {"5D307CA9-B3EF-428C-8861-06E72D69F223", true},
    {"5d307ca9b3ef428c886106e72d69f223", false},
    {"5d307ca9-b3ef-428c-8861-06e72d69f22", false},
    {"5d307ca9-b3ef-428c-8861-06e72d69f2233", false},
    {"5d307ca9-b3ef-428c-8861-06e72d69f22x", false},
    {"", false},
};

START_TEST(parses_uuids)
{
    uint8_t uuid[16];
    ck_assert_int_eq(vmspec_parse_uuid(uuids[_i].text, uuid, NULL), uuids[_i].valid ? 0 : -EINVAL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("vmspec_build");
    TCase *tcase = tcase_create("all");
    tcase_add_test(tcase, has_defaults);
    tcase_add_test(tcase, checks_sizes);
    tcase_add_test(tcase, adds_disks);
    tcase_add_test(tcase, adds_taps);
    tcase_add_test(tcase, sets_the_kernel);
    tcase_add_test(tcase, changes_a_manifest);
    tcase_add_loop_test(tcase, parses_mac_addresses, 0, sizeof(macs) / sizeof(macs[0]));
    tcase_add_loop_test(tcase, parses_uuids, 0, sizeof(uuids) / sizeof(uuids[0]));
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
