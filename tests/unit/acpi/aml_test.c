// SPDX-License-Identifier: Apache-2.0
/* The AML emitter, byte by byte: lengths at their limits, constants, descriptors, overflow. */
#include "aml.h"
#include "run_suite.h"
#include <check.h>
#include <stdlib.h>
#include <string.h>

static uint8_t buf[8192];
static struct aml a;

static void setup(void)
{
    memset(buf, 0xee, sizeof(buf));
    a = (struct aml){.data = buf, .max = sizeof(buf)};
}

static void expect(const char *bytes, size_t len)
{
    ck_assert(!a.overflow);
    ck_assert_uint_eq(a.len, len);
    ck_assert_mem_eq(buf, bytes, len);
}

#define EXPECT(bytes) expect(bytes, sizeof(bytes) - 1)

START_TEST(integers_are_shortest)
{
    aml_integer(&a, 0);
    aml_integer(&a, 1);
    aml_integer(&a, 2);
    aml_integer(&a, 0xff);
    aml_integer(&a, 0x100);
    aml_integer(&a, 0xffff);
    aml_integer(&a, 0x10000);
    EXPECT("\x00\x01\x0a\x02\x0a\xff\x0b\x00\x01\x0b\xff\xff\x0c\x00\x00\x01\x00");
}
END_TEST

START_TEST(names)
{
    aml_name_integer(&a, "_STA", 15);
    aml_name_string(&a, "_HID", "ACPI0013");
    aml_name_eisaid(&a, "_HID", "PNP0A08");
    EXPECT("\x08_STA\x0a\x0f"
           "\x08_HID\x0d"
           "ACPI0013\0"
           "\x08_HID\x0c\x41\xd0\x0a\x08");
}
END_TEST

START_TEST(nested_objects)
{
    size_t scope = aml_begin_scope(&a, "_SB_");
    size_t dev = aml_begin_device(&a, "DEV0");
    size_t method = aml_begin_method(&a, "_EVT", 1);
    aml_notify(&a, "PWRB", 0x80);
    aml_end(&a, method);
    aml_end(&a, dev);
    aml_end(&a, scope);
    EXPECT("\x10\x1a_SB_\x5b\x82\x13"
           "DEV0\x14\x0d_EVT\x01\x86PWRB\x0a\x80");
}
END_TEST

START_TEST(packages)
{
    size_t mark = aml_begin_name_package(&a, "_S5_", 2);
    aml_integer(&a, 5);
    aml_integer(&a, 0);
    aml_end(&a, mark);
    EXPECT("\x08_S5_\x12\x05\x02\x0a\x05\x00");
}
END_TEST

/* A scope of `content` zero bytes: 4 more for its name, then PkgLength itself. */
static void scope_of(size_t content)
{
    setup();
    size_t mark = aml_begin_scope(&a, "_SB_");
    for (size_t i = 0; i < content; i++)
        aml_integer(&a, i & 1);
    aml_end(&a, mark);
}

static void expect_scope(size_t content, const char *length, size_t length_size)
{
    scope_of(content);
    ck_assert(!a.overflow);
    ck_assert_uint_eq(a.len, 1 + length_size + 4 + content);
    ck_assert_mem_eq(buf + 1, length, length_size);
    ck_assert_mem_eq(buf + 1 + length_size, "_SB_", 4);
    for (size_t i = 0; i < content; i++)
        ck_assert_uint_eq(buf[1 + length_size + 4 + i], i & 1);
}

START_TEST(package_lengths)
{
    expect_scope(0, "\x05", 1);
    expect_scope(63 - 5, "\x3f", 1);     /* the most that one byte says */
    expect_scope(64 - 5, "\x41\x04", 2); /* 0x41: with the second length byte */
    expect_scope(4095 - 6, "\x4f\xff", 2);
    scope_of(4096 - 6);
    ck_assert(a.overflow);
}
END_TEST

START_TEST(resources)
{
    size_t mark = aml_begin_resources(&a);
    aml_io(&a, 0x3f8, 8);
    aml_interrupt_edge(&a, 4);
    aml_end_resources(&a, mark);
    EXPECT("\x08_CRS\x11\x16\x0a\x13"
           "\x47\x01\xf8\x03\xf8\x03\x01\x08"
           "\x89\x06\x00\x03\x01\x04\x00\x00\x00"
           "\x79\x00");
}
END_TEST

START_TEST(windows)
{
    aml_memory32_fixed(&a, 0xe0000000, 0x100000);
    aml_bus_window(&a, 0, 0);
    aml_memory32_window(&a, 0xc0000000, 0x20000000);
    EXPECT("\x86\x09\x00\x01\x00\x00\x00\xe0\x00\x00\x10\x00"
           "\x88\x0d\x00\x02\x0c\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00"
           "\x87\x17\x00\x00\x0c\x01\x00\x00\x00\x00\x00\x00\x00\xc0\xff\xff\xff\xdf"
           "\x00\x00\x00\x00\x00\x00\x00\x20");
}
END_TEST

START_TEST(too_many_resources)
{
    size_t mark = aml_begin_resources(&a);
    for (unsigned i = 0; i < 31; i++)
        aml_io(&a, 0, 1);
    aml_interrupt_edge(&a, 4);
    aml_end_resources(&a, mark);
    ck_assert(a.overflow);
}
END_TEST

/* Whatever the room, nothing is written behind it, and it is known at the end. */
START_TEST(small_buffers)
{
    for (size_t max = 0; max < 100; max++) {
        setup();
        a.max = max;
        size_t scope = aml_begin_scope(&a, "_SB_");
        size_t dev = aml_begin_device(&a, "DEV0");
        size_t crs = aml_begin_resources(&a);
        aml_memory32_window(&a, 0, 1);
        aml_memory32_window(&a, 0, 1);
        aml_end_resources(&a, crs);
        aml_end(&a, dev);
        aml_end(&a, scope);
        ck_assert_uint_eq(a.overflow, max < 78);
        ck_assert_uint_le(a.len, max);
        for (size_t i = max; i < 200; i++)
            ck_assert_uint_eq(buf[i], 0xee);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("aml");
    TCase *tc = tcase_create("emitter");
    tcase_add_checked_fixture(tc, setup, NULL);
    tcase_add_test(tc, integers_are_shortest);
    tcase_add_test(tc, names);
    tcase_add_test(tc, nested_objects);
    tcase_add_test(tc, packages);
    tcase_add_test(tc, package_lengths);
    tcase_add_test(tc, resources);
    tcase_add_test(tc, windows);
    tcase_add_test(tc, too_many_resources);
    tcase_add_test(tc, small_buffers);
    suite_add_tcase(s, tc);
    return run_suite(s);
}
