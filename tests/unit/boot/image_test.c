// SPDX-License-Identifier: Apache-2.0
/* What is no kernel is named, and files that cannot be read are errors of their own. */
#include "check_main.h"
#include <fcntl.h>
#include <stdio.h>

static const struct {
    size_t offset, len;
    const char *magic;
    const char *text;
} formats[] = {
    {0x38, 4, "ARM\x64", "arm64"},
    {0x38, 4, "RSC\x05", "RISC-V"},
    {0x24, 4, "\x18\x28\x6f\x01", "32-bit ARM"},
    {0, 8, "MZ\0\0zimg", "zboot"},
    {0, 4, "\x27\x05\x19\x56", "U-Boot"},
    {0, 4, "\xd0\x0d\xfe\xed", "device tree"},
    {0, 3, "\x1f\x8b\x08", "gzip"},
    {0, 6, "\xfd\x37zXZ", "xz"},
    {0, 4, "\x28\xb5\x2f\xfd", "zstd"},
    {0, 4, "\x04\x22\x4d\x18", "LZ4"},
    {0, 4, "\x02\x21\x4c\x18", "LZ4"},
    {0, 3, "BZh", "bzip2"},
    {0, 3, "\x5d\0\0", "LZMA"},
    {0, 6, "070701", "cpio"},
    {0, 4, "QFI\xfb", "qcow2"},
    {0, 2, "MZ", "EFI program"},
    {0x1fe, 2, "\x55\xaa", "boot sector"},
    {0, 5, "hello", "neither"},
};

START_TEST(names_other_formats)
{
    struct image image = {.size = 2048};
    memcpy(image.data + formats[_i].offset, formats[_i].magic, formats[_i].len);
    expect_refusal(&image, formats[_i].text);
    /* No shorter file is read beyond its end. */
    for (image.size = 1; image.size < 1024; image.size += 7) {
        struct boot_image_info info;
        ck_assert_int_eq(identify(&image, image.size, &info, NULL), -ENOEXEC);
    }
}
END_TEST

START_TEST(empty_file)
{
    struct image image = {.size = 0};
    expect_refusal(&image, "empty");
}
END_TEST

START_TEST(not_a_regular_file)
{
    struct boot_image_info info;
    struct error err = ERROR_INIT;
    int fds[2];
    ck_assert_int_eq(pipe(fds), 0);
    ck_assert_int_eq(boot_image_identify(fds[0], &info, &err), -EINVAL);
    ck_assert_ptr_nonnull(strstr(err.text, "not a regular file"));
    close(fds[0]);
    close(fds[1]);
    ck_assert_int_eq(boot_image_identify(fds[0], &info, &err), -EBADF);
}
END_TEST

START_TEST(unreadable_file)
{
    struct image image;
    image_bzimage(&image);
    int fd = image_fd(&image, image.size);
    char path[64];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    int wo = open(path, O_WRONLY | O_CLOEXEC);
    ck_assert_int_ge(wo, 0);
    struct boot_image_info info;
    struct error err = ERROR_INIT;
    ck_assert_int_eq(boot_image_identify(wo, &info, &err), -EBADF);
    ck_assert_ptr_nonnull(strstr(err.text, "cannot read"));
    close(wo);
    close(fd);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("boot-image");
    TCase *tc = tcase_create("identify");
    tcase_add_loop_test(tc, names_other_formats, 0, sizeof(formats) / sizeof(formats[0]));
    tcase_add_test(tc, empty_file);
    tcase_add_test(tc, not_a_regular_file);
    tcase_add_test(tc, unreadable_file);
    suite_add_tcase(s, tc);
    return run_suite(s);
}
