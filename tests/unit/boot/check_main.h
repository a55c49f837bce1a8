// SPDX-License-Identifier: Apache-2.0
/* Runs one suite as the whole program, and what all tests of image parsing ask. */
#ifndef PODVISOR_TESTS_BOOT_CHECK_MAIN_H
#define PODVISOR_TESTS_BOOT_CHECK_MAIN_H

#include "boot.h"
#include "images.h"
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static inline int run_suite(Suite *s)
{
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* Identifies the first `size` bytes; returns what boot_image_identify() returns. */
static inline int identify(const struct image *image, size_t size, struct boot_image_info *info,
                           struct error *err)
{
    int fd = image_fd(image, size);
    int r = boot_image_identify(fd, info, err);
    close(fd);
    return r;
}

/* The image is refused as none that can be booted, for the reason in `text`. */
static inline void expect_refusal(const struct image *image, const char *text)
{
    struct boot_image_info info = {.memory_end = 77};
    struct error err = ERROR_INIT;
    ck_assert_int_eq(identify(image, image->size, &info, &err), -ENOEXEC);
    ck_assert_int_eq(err.code, ENOEXEC);
    ck_assert_msg(strstr(err.text, text) != NULL, "'%s' does not say '%s'", err.text, text);
    ck_assert_uint_eq(info.memory_end, 77); /* written on success only */
}

#endif
