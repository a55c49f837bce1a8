// SPDX-License-Identifier: Apache-2.0
/* Plans of a pod's machine: what its manifest says without anything being opened. */
#include "plan.h"
#include "run_suite.h"
#include <check.h>
#include <stdlib.h>
#include <string.h>

#define VMI(domain, rest)                                                                   \
    "{\"apiVersion\":\"kubevirt.io/v1\",\"kind\":\"VirtualMachineInstance\",\"metadata\":{" \
    "\"name\":\"web\"},\"spec\":{\"domain\":{\"memory\":{\"guest\":\"64Mi\"}" domain        \
    ",\"devices\":{\"autoattachPodInterface\":false}}" rest "}}"

#define KERNEL_BOOT(paths)                                                                        \
    ",\"firmware\":{\"kernelBoot\":{\"kernelArgs\":\"quiet\",\"container\":{\"image\":\"example/" \
    "k\"" paths "}}}"
#define KERNEL ",\"kernelPath\":\"/boot/k\""
#define INITRD ",\"initrdPath\":\"/boot/i\""

static struct plan plan;
static struct run_options options;

static void set_up(void)
{
    run_options_init(&options);
    options.pod = true;
    setenv("TMPDIR", "/run/podvisor/ephemeral", 1);
}

static void must_make(const char *vmi)
{
    struct error err = ERROR_INIT;
    options.vmi = vmi;
    ck_assert_msg(plan_make(&options, &plan, &err) == 0, "%s", err.text);
}

static void must_fail(const char *vmi, const char *text)
{
    struct error err = ERROR_INIT;
    options.vmi = vmi;
    ck_assert_int_lt(plan_make(&options, &plan, &err), 0);
    ck_assert_msg(strstr(err.text, text) != NULL, "'%s' is not in: %s", text, err.text);
}

START_TEST(kernel_comes_from_the_image)
{
    must_make(VMI(KERNEL_BOOT(KERNEL INITRD), ""));
    ck_assert_str_eq(plan.kernel, "/boot/k");
    ck_assert_str_eq(plan.kernel_image, "example/k");
    ck_assert_str_eq(plan.initrd_image, "example/k");
    ck_assert_str_eq(plan.cmdline, "quiet");
    must_make(VMI(KERNEL_BOOT(KERNEL), ""));
    ck_assert_ptr_null(plan.initrd);
    ck_assert_ptr_null(plan.initrd_image);
    must_fail(VMI(KERNEL_BOOT(INITRD), ""), "RAM disk without a kernel is not supported");
}
END_TEST

START_TEST(flags_take_the_place_of_images)
{
    options.initrd = "mine";
    must_make(VMI(KERNEL_BOOT(KERNEL INITRD), ""));
    ck_assert_str_eq(plan.kernel_image, "example/k");
    ck_assert_str_eq(plan.initrd, "mine");
    ck_assert_ptr_null(plan.initrd_image);
    options.kernel = "vmlinux";
    options.initrd = NULL;
    must_make(VMI(KERNEL_BOOT(KERNEL INITRD), ""));
    ck_assert_ptr_null(plan.kernel_image);
    ck_assert_ptr_null(plan.initrd);
    ck_assert_ptr_null(plan.initrd_image);
}
END_TEST

START_TEST(volumes)
{
    options.kernel = "vmlinux";
    must_make(VMI("",
                  ",\"volumes\":[{\"name\":\"root\",\"containerDisk\":{\"image\":\"example/r\"}},"
                  "{\"name\":\"scratch\",\"emptyDisk\":{\"capacity\":\"1Mi\"}}]"));
    ck_assert_uint_eq(plan.disk_count, 2);
    ck_assert_int_eq(plan.disk[0].source, PLAN_IMAGE);
    ck_assert_str_eq(plan.disk[0].image, "example/r");
    ck_assert(!plan.disk[0].readonly);
    ck_assert_str_eq(plan.disk[0].overlay, "/run/podvisor/ephemeral/root.qcow2");
    /* A file with a name: the kubelet must see what it takes. */
    ck_assert_int_eq(plan.disk[1].source, PLAN_PATH);
    ck_assert(plan.disk[1].create);
    ck_assert_str_eq(plan.disk[1].path, "/run/podvisor/ephemeral/scratch.img");
    ck_assert_uint_eq(plan.disk[1].capacity, 1 << 20);
    ck_assert(!plan.disk[1].readonly);
    ck_assert_str_eq(plan.disk[1].overlay, "");
    must_make(VMI("", ",\"volumes\":[{\"name\":\"h\",\"hostDisk\":{\"path\":\"/var/data/a.img\","
                      "\"type\":\"DiskOrCreate\",\"capacity\":\"1Mi\",\"shared\":true}}]"));
    ck_assert_int_eq(plan.disk[0].source, PLAN_HOST_FILE);
    ck_assert_str_eq(plan.disk[0].path, "/run/podvisor/volumes/h/a.img");
    ck_assert_uint_eq(plan.disk[0].capacity, 1 << 20);
    ck_assert(plan.disk[0].create && !plan.disk[0].shared);
    ck_assert_str_eq(plan.holder, "machine /web");
    must_make(VMI("", ",\"volumes\":[{\"name\":\"c\",\"configMap\":{\"name\":\"x\"}}]"));
    ck_assert_int_eq(plan.disk[0].source, PLAN_SEED);
    ck_assert_str_eq(plan.disk[0].path, "/run/podvisor/volumes/c");
    must_make(
        "{\"apiVersion\":\"kubevirt.io/v1\",\"kind\":\"VirtualMachineInstance\",\"metadata\":{"
        "\"name\":\"web\"},\"spec\":{\"domain\":{\"memory\":{\"guest\":\"64Mi\"},\"devices\":{"
        "\"autoattachPodInterface\":false,\"disks\":[{\"name\":\"cd\",\"cdrom\":{}}]}},"
        "\"volumes\":[{\"name\":\"cd\",\"containerDisk\":{\"image\":\"example/r\"}}]}}");
    ck_assert(plan.disk[0].readonly);
    ck_assert_str_eq(plan.disk[0].overlay, "");
    options.disk_count = 1;
    options.disk[0] = (struct disk_option){.name = "root", .path = "/mine"};
    must_make(
        VMI("", ",\"volumes\":[{\"name\":\"root\",\"containerDisk\":{\"image\":\"example/r\"}}]"));
    ck_assert_int_eq(plan.disk[0].source, PLAN_PATH);
    ck_assert_str_eq(plan.disk[0].path, "/mine");
}
END_TEST

START_TEST(policies)
{
    options.kernel = "vmlinux";
    must_make(VMI("", ""));
    ck_assert(!plan.start_paused && !plan.reboot_terminates);
    ck_assert_int_eq(plan.console, CONSOLE_STDIO);
    must_make(VMI(",\"rebootPolicy\":\"Terminate\"", ",\"startStrategy\":\"Paused\""));
    ck_assert(plan.start_paused && plan.reboot_terminates);
}
END_TEST

START_TEST(manifests_that_are_none)
{
    options.kernel = "vmlinux";
    must_fail("", "PODVISOR_VMI");
    must_fail("kind: VirtualMachineInstance", "PODVISOR_VMI"); /* JSON, not YAML */
    must_fail("{\"kind\":\"Pod\"}", "PODVISOR_VMI");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("front-pod");
    TCase *tc = tcase_create("pod");
    tcase_add_checked_fixture(tc, set_up, NULL);
    tcase_add_test(tc, kernel_comes_from_the_image);
    tcase_add_test(tc, flags_take_the_place_of_images);
    tcase_add_test(tc, volumes);
    tcase_add_test(tc, policies);
    tcase_add_test(tc, manifests_that_are_none);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
