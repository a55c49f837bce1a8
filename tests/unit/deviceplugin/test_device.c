// SPDX-License-Identifier: Apache-2.0
/* Device nodes: what is one, its mode, and why machines cannot use it. Needs root, for mknod. */
#include "device.h"
#include "kit.h"
#include "run_suite.h"
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

/* /dev/null under a machine's names: it opens on every host. */
static const struct device_type type = {"kvm", "kvm", 1, 3, "turn it on"};
static char folder[64], path[96];
static struct device_health health;

static void setup(void)
{
    make_folder(folder);
    snprintf(path, sizeof(path), "%s/kvm", folder);
}

static void teardown(void)
{
    unlink(path);
    ck_assert_int_eq(rmdir(folder), 0);
}

static void make_node(mode_t mode, unsigned major_number, unsigned minor_number)
{
    unlink(path);
    ck_assert_int_eq(mknod(path, S_IFCHR, makedev(major_number, minor_number)), 0);
    ck_assert_int_eq(chmod(path, mode), 0);
}

static mode_t mode_now(void)
{
    struct stat st;
    ck_assert_int_eq(lstat(path, &st), 0);
    return st.st_mode & 07777;
}

START_TEST(missing)
{
    device_check(&type, folder, 0666, &health);
    ck_assert(!health.healthy);
    ck_assert_str_eq(health.reason, "this node has no /dev/kvm; turn it on");
    device_check(&type, "/nonexistent", 0666, &health);
    ck_assert(!health.healthy);
    const struct device_type below_file = {"tun", "kvm/tun", 10, 200, "load it"};
    fclose(fopen(path, "w"));
    device_check(&below_file, folder, 0666, &health);
    ck_assert_str_eq(health.reason, "this node has no /dev/kvm/tun; load it");
}
END_TEST

START_TEST(healthy_and_open_to_machines)
{
    make_node(0600, 1, 3);
    device_check(&type, folder, 0666, &health);
    ck_assert_msg(health.healthy, "%s", health.reason);
    ck_assert_str_eq(health.reason, "");
    ck_assert_uint_eq(mode_now(), 0666);
}
END_TEST

START_TEST(keep_leaves_the_mode)
{
    make_node(0600, 1, 3);
    device_check(&type, folder, DEVICE_MODE_KEEP, &health);
    ck_assert(health.healthy);
    ck_assert_uint_eq(mode_now(), 0600);
    device_check(&type, folder, 0660, &health);
    ck_assert_uint_eq(mode_now(), 0660);
}
END_TEST

START_TEST(impostors)
{
    make_node(0600, 1, 5);
    device_check(&type, folder, 0666, &health);
    ck_assert(!health.healthy);
    ck_assert_str_eq(health.reason, "/dev/kvm is not the character device 1:3");
    ck_assert_uint_eq(mode_now(), 0600);
    unlink(path);
    ck_assert_int_eq(symlink("/dev/null", path), 0);
    device_check(&type, folder, 0666, &health);
    ck_assert(!health.healthy);
    unlink(path);
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    device_check(&type, folder, 0666, &health);
    ck_assert(!health.healthy);
    ck_assert_uint_eq(mode_now(), 0600);
    unlink(path);
    fclose(fopen(path, "w"));
    device_check(&type, folder, 0666, &health);
    ck_assert(!health.healthy);
}
END_TEST

/* A node without a driver: no misc device has this number. */
START_TEST(no_driver)
{
    const struct device_type gone = {"kvm", "kvm", 10, 1048575, "turn it on"};
    make_node(0666, 10, 1048575);
    device_check(&gone, folder, 0666, &health);
    /* A container that may not open it cannot know. */
    ck_assert(!health.healthy || strstr(health.reason, "may not open") != NULL);
    ck_assert(health.healthy || strstr(health.reason, "has no driver behind it") != NULL);
}
END_TEST

START_TEST(mode_of_anothers_node)
{
    make_node(0600, 1, 3);
    ck_assert_int_eq(chown(path, 1, 1), 0);
    ck_assert_int_eq(chmod(folder, 0755), 0);
    ck_assert_int_eq(seteuid(65534), 0);
    device_check(&type, folder, 0666, &health);
    ck_assert(!health.healthy);
    ck_assert_ptr_nonnull(strstr(health.reason, "stays 0600 instead of 0666"));
    ck_assert_ptr_nonnull(strstr(health.reason, "belongs to uid 1"));
    ck_assert_int_eq(seteuid(0), 0);
    ck_assert_int_eq(chown(path, 0, DEVICE_MACHINE_UID), 0);
    ck_assert_int_eq(chmod(path, 0660), 0);
    ck_assert_int_eq(seteuid(65534), 0);
    device_check(&type, folder, 0666, &health);
    ck_assert_msg(health.healthy, "machines are in its group: %s", health.reason);
    ck_assert_ptr_nonnull(strstr(health.reason, "stays 0660 instead of 0666"));
    ck_assert_int_eq(seteuid(0), 0);
}
END_TEST

START_TEST(types)
{
    ck_assert_str_eq(device_type_find("tun")->node, "net/tun");
    ck_assert_uint_eq(device_type_find("kvm")->minor, 232);
    ck_assert_ptr_null(device_type_find("vfio"));
    ck_assert_ptr_null(device_type_find(""));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("device");
    TCase *tc = tcase_create("device");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, missing);
    tcase_add_test(tc, healthy_and_open_to_machines);
    tcase_add_test(tc, keep_leaves_the_mode);
    tcase_add_test(tc, impostors);
    tcase_add_test(tc, no_driver);
    tcase_add_test(tc, mode_of_anothers_node);
    tcase_add_test(tc, types);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
