// SPDX-License-Identifier: Apache-2.0
/* The operator's flags that decide what machines may reach. */
#include "options.h"
#include "run_suite.h"
#include <check.h>
#include <getopt.h>
#include <podvisor/cleanup.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORDS_MAX (HOST_DISK_FOLDERS_MAX + 3)

static struct options options;
static struct error err;

static void set_up(void)
{
    setenv("PODVISOR_LAUNCHER_IMAGE", "launcher:1", 1);
    err = ERROR_INIT;
}

static int parse(const char *const *words)
{
    static char copy[WORDS_MAX][64];
    char *argv[WORDS_MAX];
    int argc = 0;
    for (; words[argc] != NULL; argc++) {
        snprintf(copy[argc], sizeof(copy[argc]), "%s", words[argc]);
        argv[argc] = copy[argc];
    }
    argv[argc] = NULL;
    optind = 0; /* glibc: from the beginning */
    return options_parse(argc, argv, &options, &err);
}

START_TEST(test_no_folder_is_allowed)
{
    const char *words[] = {"operator", NULL};
    ck_assert_int_eq(parse(words), 0);
    ck_assert_uint_eq(options.pod.host_disk_folders, 0);
}
END_TEST

START_TEST(test_folders_are_allowed)
{
    const char *words[] = {"operator", "--host-disk-folder", "/var/data", "--host-disk-folder=/srv",
                           NULL};
    ck_assert_int_eq(parse(words), 0);
    ck_assert_uint_eq(options.pod.host_disk_folders, 2);
    ck_assert_str_eq(options.pod.host_disk_folder[0], "/var/data");
    ck_assert_str_eq(options.pod.host_disk_folder[1], "/srv");
}
END_TEST

static const char *const mistakes[] = {"",         "/",          "data", "/data/",
                                       "/data//x", "/data/../x", "/.",   "./x"};

START_TEST(test_folders_that_are_none)
{
    const char *words[] = {"operator", "--host-disk-folder", mistakes[_i], NULL};
    ck_assert_int_eq(parse(words), -EINVAL);
    ck_assert_ptr_nonnull(strstr(err.text, "--host-disk-folder"));
}
END_TEST

START_TEST(test_folders_have_a_bound)
{
    const char *words[WORDS_MAX] = {"operator"};
    for (int i = 1; i <= HOST_DISK_FOLDERS_MAX; i++)
        words[i] = "--host-disk-folder=/data";
    ck_assert_int_eq(parse(words), 0);
    words[HOST_DISK_FOLDERS_MAX + 1] = "--host-disk-folder=/data";
    ck_assert_int_eq(parse(words), -EINVAL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("operator options");
    TCase *tcase = tcase_create("options");
    tcase_add_checked_fixture(tcase, set_up, NULL);
    tcase_add_test(tcase, test_no_folder_is_allowed);
    tcase_add_test(tcase, test_folders_are_allowed);
    tcase_add_loop_test(tcase, test_folders_that_are_none, 0, ARRAY_SIZE(mistakes));
    tcase_add_test(tcase, test_folders_have_a_bound);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
