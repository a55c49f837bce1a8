// SPDX-License-Identifier: Apache-2.0
/* Headers of qcow2: what qcow2_create() writes, and every refusal by name. */
#include "qcow2_create.h"
#include "qcow2_format.h"
#include "qcow2_header.h"
#include "run_suite.h"
#include <check.h>
#include <podvisor/cleanup.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define MIB       (UINT64_C(1) << 20)
#define FILE_SIZE (UINT64_C(1) << 30)

static uint8_t head[4096];
static struct qcow2_header header;
static struct error err;

static int temporary_file(char *path)
{
    strcpy(path, "/tmp/podvisor-qcow2-XXXXXX");
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    return fd;
}

/* A valid header in `head`, with a backing file: what the tests then break. */
static void setup(void)
{
    char path[32];
    cleanup_close int fd = temporary_file(path);
    unlink(path);
    const struct qcow2_create_options options = {
        .size = 64 * MIB, .backing_file = "base\n.img", .backing_format = "raw"};
    ck_assert_int_eq(qcow2_create(fd, &options, NULL), 0);
    ck_assert_int_eq(pread(fd, head, sizeof(head), 0), sizeof(head));
    err = ERROR_INIT;
    memset(&header, 0xee, sizeof(header));
}

static int parse(void)
{
    return qcow2_header_parse(head, sizeof(head), FILE_SIZE, &header, &err);
}

static void expect_refusal(int code, const char *text)
{
    ck_assert_int_eq(parse(), -code);
    ck_assert_msg(strstr(err.text, text) != NULL, "\"%s\" lacks \"%s\"", err.text, text);
    ck_assert_uint_eq(header.version, 0xeeeeeeeeu);
}

START_TEST(test_valid)
{
    ck_assert_msg(parse() == 0, "%s", err.text);
    ck_assert_uint_eq(header.version, 3);
    ck_assert_uint_eq(header.virtual_size, 64 * MIB);
    ck_assert_uint_eq(header.cluster_bits, 16);
    ck_assert_uint_eq(header.refcount_order, 4);
    ck_assert(header.has_backing);
    ck_assert_str_eq(header.backing_file, "base?.img");
    ck_assert_str_eq(header.backing_format, "raw");
}
END_TEST

START_TEST(test_cut_off)
{
    for (size_t len = 0; len < 160; len++) {
        cleanup_free uint8_t *bytes = malloc(len + 1);
        ck_assert_ptr_nonnull(bytes);
        memcpy(bytes, head, len);
        ck_assert_int_lt(qcow2_header_parse(bytes, len, FILE_SIZE, &header, &err),
                         len < 137 ? 0 : 1);
    }
}
END_TEST

static const struct {
    unsigned offset, bytes;
    uint64_t value;
    int code;
    const char *text;
} refusals[] = {
    {0, 4, 0, EINVAL, "not a qcow2 image"},
    {4, 4, 1, ENOTSUP, "version 1"},
    {4, 4, 4, ENOTSUP, "version 4"},
    {8, 8, UINT64_MAX, EINVAL, "backing file"},
    {8, 8, 16, EINVAL, "backing file"},
    {16, 4, 1024, EINVAL, "backing file"},
    {16, 4, 0, EINVAL, "backing file"},
    {20, 4, 8, EINVAL, "clusters"},
    {20, 4, 22, EINVAL, "clusters"},
    {24, 8, 0, EINVAL, "0 bytes"},
    {24, 8, 513, EINVAL, "multiple of 512"},
    {24, 8, UINT64_C(1) << 63, EINVAL, "impossible"},
    {24, 8, UINT64_C(1) << 40, EINVAL, "L1 table has 1 entries where 2048 are needed"},
    {32, 4, 1, ENOTSUP, "encrypted qcow2 images (AES)"},
    {32, 4, 2, ENOTSUP, "encrypted qcow2 images (LUKS)"},
    {36, 4, 0, EINVAL, "L1 table"},
    {36, 4, 0x10000000, EINVAL, "L1 table"},
    {40, 8, 0, EINVAL, "L1 table"},
    {40, 8, 512, EINVAL, "L1 table"},
    {40, 8, UINT64_C(1) << 31, EINVAL, "L1 table"},
    {40, 8, UINT64_C(1) << 63, EINVAL, "L1 table"},
    {40, 8, 65536, EINVAL, "overlap"},
    {48, 8, 0, EINVAL, "refcount table"},
    {48, 8, 65537, EINVAL, "refcount table"},
    {56, 4, 0, EINVAL, "refcount table"},
    {56, 4, UINT32_MAX, EINVAL, "refcount table"},
    {60, 4, 65537, EINVAL, "snapshots"},
    {72, 8, 4, ENOTSUP, "external data file"},
    {72, 8, 16, ENOTSUP, "subclusters"},
    {72, 8, UINT64_C(1) << 63, ENOTSUP, "feature 'bit 63'"},
    {72, 8, 8, EINVAL, "contradicts itself"},
    {96, 4, 7, EINVAL, "refcounts"},
    {100, 4, 96, EINVAL, "length"},
    {100, 4, 108, EINVAL, "length"},
    {100, 4, 65544, EINVAL, "length"},
    {108, 4, UINT32_MAX, EINVAL, "extension"},
};

START_TEST(test_refusal)
{
    if (refusals[_i].bytes == 4)
        put_be32(head + refusals[_i].offset, (uint32_t)refusals[_i].value);
    else
        put_be64(head + refusals[_i].offset, refusals[_i].value);
    expect_refusal(refusals[_i].code, refusals[_i].text);
}
END_TEST

/* The file's own name for a feature is said, without what could drive a terminal. */
START_TEST(test_feature_name)
{
    memset(head + 104, 0, sizeof(head) - 104);
    put_be64(head + 8, 0);
    put_be64(head + 72, UINT64_C(1) << 40);
    put_be32(head + 104, QCOW2_EXTENSION_FEATURE_NAMES);
    put_be32(head + 108, 96);
    head[112] = 1; /* a compatible feature of the same number */
    head[113] = 40;
    strcpy((char *)head + 114, "not this");
    head[161] = 40;
    strcpy((char *)head + 162, "time\033travel");
    expect_refusal(ENOTSUP, "feature 'time?travel'");
}
END_TEST

START_TEST(test_unknown_extension_is_skipped)
{
    memset(head + 104, 0, sizeof(head) - 104);
    put_be64(head + 8, 0);
    put_be32(head + 104, 0x12345678);
    put_be32(head + 108, 5);
    put_be32(head + 120, QCOW2_EXTENSION_BACKING_FORMAT);
    put_be32(head + 124, 5);
    memcpy(head + 128, "qcow2", 5);
    ck_assert_msg(parse() == 0, "%s", err.text);
    ck_assert(!header.has_backing);
    ck_assert_str_eq(header.backing_format, "qcow2");
}
END_TEST

START_TEST(test_zstd)
{
    memset(head + 104, 0, sizeof(head) - 104);
    put_be64(head + 8, 0);
    put_be32(head + 100, 112);
    put_be64(head + 72, 8);
    head[104] = 1;
    ck_assert_msg(parse() == 0, "%s", err.text);
    ck_assert_int_eq(header.compression, QCOW2_COMPRESSION_ZSTD);
    head[104] = 2;
    memset(&header, 0xee, sizeof(header));
    expect_refusal(ENOTSUP, "compression type 2");
}
END_TEST

static void expect_use(int code, bool readonly, bool has_backing, const char *text)
{
    ck_assert_int_eq(qcow2_header_check_use(&header, readonly, has_backing, &err), -code);
    ck_assert_msg(text == NULL || strstr(err.text, text) != NULL, "%s", err.text);
}

START_TEST(test_use)
{
    ck_assert_int_eq(parse(), 0);
    expect_use(0, false, true, NULL);
    expect_use(EINVAL, false, false, "backing-format=");
    header.incompatible = QCOW2_INCOMPATIBLE_DIRTY;
    expect_use(EINVAL, false, true, "qemu-img check -r all");
    expect_use(0, true, true, NULL);
    header.incompatible = QCOW2_INCOMPATIBLE_CORRUPT;
    expect_use(EINVAL, false, true, "marked corrupt");
    expect_use(0, true, true, NULL);
    header.has_backing = false;
    expect_use(EINVAL, true, true, "has no backing file");
}
END_TEST

/* qemu-img has nothing to find in what was made, from the smallest clusters to the largest. */
START_TEST(test_create)
{
    static const uint64_t sizes[] = {512, MIB, 3 * MIB + 512, 1024 * MIB};
    for (uint32_t bits = 9; bits <= 21; bits += 3) {
        for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
            char path[32], command[128];
            cleanup_close int fd = temporary_file(path);
            const struct qcow2_create_options options = {.size = sizes[i], .cluster_bits = bits};
            int r = qcow2_create(fd, &options, &err);
            ck_assert_msg(r == 0, "%s", err.text);
            struct stat st;
            ck_assert_int_eq(fstat(fd, &st), 0);
            r = qcow2_header_read(fd, (uint64_t)st.st_size, &header, &err);
            ck_assert_msg(r == 0, "%s", err.text);
            ck_assert_uint_eq(header.virtual_size, sizes[i]);
            snprintf(command, sizeof(command), "qemu-img check -q -f qcow2 %s", path);
            int status = system(command);
            unlink(path);
            ck_assert_msg(status == 0, "%u bits, %llu bytes: %d", bits,
                          (unsigned long long)sizes[i], status);
        }
    }
}
END_TEST

static void expect_no_create(struct qcow2_create_options options, const char *text)
{
    char path[32];
    cleanup_close int fd = temporary_file(path);
    unlink(path);
    ck_assert_int_lt(qcow2_create(fd, &options, &err), 0);
    ck_assert_msg(strstr(err.text, text) != NULL, "%s", err.text);
}

START_TEST(test_create_refusals)
{
    char name[1100];
    memset(name, 'x', sizeof(name));
    name[1099] = '\0';
    expect_no_create((struct qcow2_create_options){.size = 0}, "multiple of 512");
    expect_no_create((struct qcow2_create_options){.size = 1000}, "multiple of 512");
    expect_no_create((struct qcow2_create_options){.size = 512, .cluster_bits = 8}, "512 bytes");
    expect_no_create((struct qcow2_create_options){.size = 512, .backing_file = name}, "1099");
    expect_no_create((struct qcow2_create_options){.size = 512, .backing_file = ""}, "1 to 1023");
    name[500] = '\0';
    expect_no_create(
        (struct qcow2_create_options){.size = 512, .cluster_bits = 9, .backing_file = name}, "fit");
    expect_no_create((struct qcow2_create_options){.size = UINT64_C(1) << 50, .cluster_bits = 9},
                     "too large");
    char path[32];
    cleanup_close int fd = temporary_file(path);
    unlink(path);
    ck_assert_int_eq(ftruncate(fd, 512), 0);
    const struct qcow2_create_options options = {.size = 512};
    ck_assert_int_eq(qcow2_create(fd, &options, &err), -EEXIST);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("qcow2-header");
    TCase *tc = tcase_create("all");
    tcase_add_checked_fixture(tc, setup, NULL);
    tcase_add_test(tc, test_valid);
    tcase_add_test(tc, test_cut_off);
    tcase_add_loop_test(tc, test_refusal, 0, (int)ARRAY_SIZE(refusals));
    tcase_add_test(tc, test_feature_name);
    tcase_add_test(tc, test_unknown_extension_is_skipped);
    tcase_add_test(tc, test_zstd);
    tcase_add_test(tc, test_use);
    tcase_add_test(tc, test_create);
    tcase_add_test(tc, test_create_refusals);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
