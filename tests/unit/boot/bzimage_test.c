// SPDX-License-Identifier: Apache-2.0
/* bzImage: what a good one says, and each way to be a bad one. */
#include "check_main.h"

START_TEST(describes_a_good_one)
{
    struct image image;
    struct boot_image_info info;
    struct error err = ERROR_INIT;
    image_bzimage(&image);
    ck_assert_msg(identify(&image, image.size, &info, &err) == 0, "%s", err.text);
    ck_assert_int_eq(info.kind, BOOT_IMAGE_BZIMAGE);
    ck_assert_uint_eq(info.file_size, image.size);
    ck_assert_uint_eq(info.entry, IMAGE_PREF_ADDRESS + 0x200);
    ck_assert_uint_eq(info.memory_end, IMAGE_PREF_ADDRESS + IMAGE_INIT_SIZE);
    ck_assert_uint_eq(info.cmdline_max, 2047);
    ck_assert_uint_eq(info.segment_count, 1);
    ck_assert_uint_eq(info.segment[0].offset, IMAGE_SETUP_BYTES);
    ck_assert_uint_eq(info.segment[0].file_size, IMAGE_KERNEL_BYTES);
    ck_assert_uint_eq(info.segment[0].mem_size, IMAGE_INIT_SIZE);
    ck_assert_uint_eq(info.segment[0].gpa, IMAGE_PREF_ADDRESS);
    ck_assert_str_eq(info.version, IMAGE_VERSION);
    ck_assert_uint_eq(info.protocol, 0x020f);
    ck_assert_uint_eq(info.xloadflags, XLF_KERNEL_64 | XLF_CAN_BE_LOADED_ABOVE_4G);
    ck_assert(info.relocatable);
    ck_assert_uint_eq(info.pref_address, IMAGE_PREF_ADDRESS);
    ck_assert_uint_eq(info.alignment, IMAGE_ALIGNMENT);
    ck_assert_uint_eq(info.init_size, IMAGE_INIT_SIZE);
    ck_assert_uint_eq(info.initrd_addr_max, 0x7fffffff);
}
END_TEST

START_TEST(no_shorter_file_is_taken)
{
    struct image image;
    struct boot_image_info info;
    image_bzimage(&image);
    for (size_t size = 0; size < image.size; size++)
        ck_assert_int_eq(identify(&image, size, &info, NULL), -ENOEXEC);
    image.size -= 100;
    expect_refusal(&image, "truncated: 100 of 2048 bytes");
}
END_TEST

START_TEST(a_signature_may_follow)
{
    struct image image;
    struct boot_image_info info;
    image_bzimage(&image);
    ck_assert_int_eq(identify(&image, image.size + 1000, &info, NULL), 0);
    ck_assert_uint_eq(info.segment[0].file_size, IMAGE_KERNEL_BYTES);
}
END_TEST

/* boot.rst, setup_sects: "If the field ... contains 0, the real value is 4." */
START_TEST(no_setup_sectors_means_four)
{
    struct image image;
    struct boot_image_info info;
    image_bzimage(&image);
    image_setup(&image)->setup_sects = 0;
    ck_assert_int_eq(identify(&image, 5 * 512u + IMAGE_KERNEL_BYTES, &info, NULL), 0);
    ck_assert_uint_eq(info.segment[0].offset, 2560);
}
END_TEST

START_TEST(version_is_for_people)
{
    struct image image;
    struct boot_image_info info;
    image_bzimage(&image);
    char *version = (char *)image.data + IMAGE_VERSION_AT;
    memset(version, 'v', IMAGE_SETUP_BYTES - IMAGE_VERSION_AT); /* no NUL anywhere */
    version[1] = '\x1b';
    version[2] = '\xff';
    version[3] = '\n';
    ck_assert_int_eq(identify(&image, image.size, &info, NULL), 0);
    ck_assert_uint_eq(strlen(info.version), BOOT_VERSION_MAX - 1);
    ck_assert(strncmp(info.version, "v???v", 5) == 0);

    image_setup(&image)->kernel_version = IMAGE_SETUP_BYTES - 0x200; /* outside of the setup code */
    ck_assert_int_eq(identify(&image, image.size, &info, NULL), 0);
    ck_assert_str_eq(info.version, "");
    image_setup(&image)->kernel_version = IMAGE_SETUP_BYTES - 0x200 - 3; /* its last bytes */
    ck_assert_int_eq(identify(&image, image.size, &info, NULL), 0);
    ck_assert_str_eq(info.version, "vvv");
}
END_TEST

START_TEST(relocatable_address_is_rounded)
{
    struct image image;
    struct boot_image_info info;
    image_bzimage(&image);
    image_setup(&image)->pref_address = 0x1000001;
    ck_assert_int_eq(identify(&image, image.size, &info, NULL), 0);
    ck_assert_uint_eq(info.segment[0].gpa, 0x1200000);
    image_setup(&image)->pref_address = 0;
    ck_assert_int_eq(identify(&image, image.size, &info, NULL), 0);
    ck_assert_uint_eq(info.segment[0].gpa, 0x200000);
    image_setup(&image)->relocatable_kernel = 0;
    image_setup(&image)->pref_address = 0x1000001;
    ck_assert_int_eq(identify(&image, image.size, &info, NULL), 0);
    ck_assert_uint_eq(info.segment[0].gpa, 0x1000001);
}
END_TEST

START_TEST(cmdline_is_limited_by_our_page)
{
    struct image image;
    struct boot_image_info info;
    image_bzimage(&image);
    image_setup(&image)->cmdline_size = UINT32_MAX;
    ck_assert_int_eq(identify(&image, image.size, &info, NULL), 0);
    ck_assert_uint_eq(info.cmdline_max, 4095);
}
END_TEST

#define FIELD(f) offsetof(struct setup_header, f), sizeof(((struct setup_header *)0)->f)

static const struct {
    size_t offset, len;
    uint64_t value;
    const char *text;
} malformations[] = {
    {FIELD(boot_flag), 0x55aa, "boot flag is 0x55aa"},
    {FIELD(version), 0x020b, "boot protocol 2.11"},
    {FIELD(jump), 0x61eb, "setup header is only"},
    {FIELD(jump), 0x00eb, "setup header is only"},
    {FIELD(loadflags), 0, "zImage"},
    {FIELD(xloadflags), XLF_CAN_BE_LOADED_ABOVE_4G, "32-bit bzImage"},
    {FIELD(setup_sects), 255, "truncated"},
    {FIELD(syssize), 65, "truncated: 16 of 2064 bytes"},
    {FIELD(syssize), UINT32_MAX, "truncated"},
    {FIELD(syssize), 0, "contradict"},
    {FIELD(syssize), 0x20, "contradict"}, /* ends where the entry would be */
    {FIELD(init_size), 1023, "contradict"},
    {FIELD(init_size), 0, "contradict"},
    {FIELD(kernel_alignment), 0, "no power of two"},
    {FIELD(kernel_alignment), 0x300000, "no power of two"},
    {FIELD(pref_address), UINT64_C(0x100000000), "above 4 GiB"},
    {FIELD(pref_address), UINT64_MAX, "above 4 GiB"},
};

START_TEST(refuses_malformed)
{
    struct image image;
    image_bzimage(&image);
    memcpy((uint8_t *)image_setup(&image) + malformations[_i].offset, &malformations[_i].value,
           malformations[_i].len);
    expect_refusal(&image, malformations[_i].text);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("boot-bzimage");
    TCase *tc = tcase_create("parse");
    tcase_add_test(tc, describes_a_good_one);
    tcase_add_test(tc, no_shorter_file_is_taken);
    tcase_add_test(tc, a_signature_may_follow);
    tcase_add_test(tc, no_setup_sectors_means_four);
    tcase_add_test(tc, version_is_for_people);
    tcase_add_test(tc, relocatable_address_is_rounded);
    tcase_add_test(tc, cmdline_is_limited_by_our_page);
    tcase_add_loop_test(tc, refuses_malformed, 0, sizeof(malformations) / sizeof(malformations[0]));
    suite_add_tcase(s, tc);
    return run_suite(s);
}
