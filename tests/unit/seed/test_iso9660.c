// SPDX-License-Identifier: Apache-2.0
/* Images of files, read back by a reader of the tests' own; and what is refused. */
#include "iso9660.h"
#include "iso_reader.h"
#include "run_suite.h"
#include <podvisor/cleanup.h>
#include <podvisor/str.h>
#include <string.h>

static struct iso_file files[ISO_FILES_MAX + 1];
static size_t count;

static void tear_down(void)
{
    while (count > 0) {
        free(files[--count].path);
        free(files[count].data);
    }
}

static void add_sized(const char *path, size_t len)
{
    char *data = xcalloc(len + 1, 1);
    for (size_t i = 0; i < len; i++)
        data[i] = (char)(i * 7 + len);
    files[count++] = (struct iso_file){.path = xstrdup(path), .data = data, .len = len};
}

static void add(const char *path)
{
    add_sized(path, strlen(path));
}

static size_t must_write(const char *label, bool is_private)
{
    cleanup_free uint8_t *image = NULL, *again = NULL;
    size_t len = 0, again_len = 0;
    struct error err = ERROR_INIT;
    ck_assert_msg(iso_write(label, is_private, files, count, &image, &len, &err) == 0, "%s",
                  err.text);
    iso_verify(image, len, label, is_private, files, count);
    for (size_t i = 0; i < count / 2; i++) { /* in whatever order they come */
        struct iso_file swap = files[i];
        files[i] = files[count - 1 - i];
        files[count - 1 - i] = swap;
    }
    ck_assert_int_eq(iso_write(label, is_private, files, count, &again, &again_len, &err), 0);
    ck_assert_uint_eq(len, again_len);
    return len;
}

static void must_fail(const char *label, int code, const char *text)
{
    uint8_t *image = NULL;
    size_t len;
    struct error err = ERROR_INIT;
    ck_assert_int_eq(iso_write(label, false, files, count, &image, &len, &err), -code);
    ck_assert_ptr_null(image);
    ck_assert_msg(strstr(err.text, text) != NULL, "'%s' is not in: %s", text, err.text);
}

START_TEST(layouts_of_cloud_init)
{
    add("user-data");
    add("meta-data");
    add_sized("network-config", 0);
    ck_assert_uint_eq(must_write("cidata", true) % 4096, 0);
    tear_down();
    add("openstack/latest/meta_data.json");
    add_sized("openstack/latest/user_data", 70000);
    add("openstack/latest/network_data.json");
    must_write("config-2", true);
}
END_TEST

START_TEST(nothing_at_all)
{
    must_write("cfgdata", false);
}
END_TEST

START_TEST(sizes)
{
    static const size_t lengths[] = {0, 1, 2047, 2048, 2049, 4096, 1 << 20};
    char name[32];
    for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
        snprintf(name, sizeof(name), "f%zu", lengths[i]);
        add_sized(name, lengths[i]);
    }
    must_write("cfgdata", false);
}
END_TEST

/* Lengths around those at which a name no longer fits its record, or Joliet. */
START_TEST(long_names)
{
    char name[ISO_NAME_MAX + 2];
    for (size_t len = 1; len <= ISO_NAME_MAX; len++) {
        memset(name, 'n', len);
        name[len] = '\0';
        add(name);
        memset(name, 'm', len);
        memcpy(name + len - 1, "/x", 3);
        if (len % 10 == 0)
            add(name);
    }
    must_write("12345678901234567890123456789012", false);
}
END_TEST

START_TEST(names_that_look_alike)
{
    add("a.b.c");
    add("A.B.C");
    add("ab");
    add("ab;1");
    add("ab_1");
    add("x:y");
    add("x*y");
    add("x_y");
    add("x_y~0001");
    add("x_y~0002");
    add("..data");
    add("...");
    add(".hidden");
    add("\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80 and spaces");
    add("\xff\xfe");
    add("sub/ab");
    add("sub/sub/ab");
    add("sub2/ab");
    must_write("cfgdata", false);
}
END_TEST

START_TEST(many)
{
    char name[64];
    for (unsigned i = 0; i < ISO_FILES_MAX / 2; i++) {
        snprintf(name, sizeof(name), "folder-%u/file", i);
        add(name);
    }
    must_write("cfgdata", true);
    add("one-more");
    must_fail("cfgdata", E2BIG, "more than 2048 files and folders");
}
END_TEST

START_TEST(deep)
{
    add("1/2/3/4/5/6/7/file");
    must_write("cfgdata", false);
    add("1/2/3/4/5/6/7/8/file");
    must_fail("cfgdata", E2BIG, "is more than 7 folders deep");
}
END_TEST

static const struct {
    const char *first, *second, *text;
    int code;
} wrong[] = {
    {"", NULL, "cannot be the path", EINVAL},         {"/a", NULL, "cannot be the path", EINVAL},
    {"a/", NULL, "cannot be the path", EINVAL},       {"a//b", NULL, "cannot be the path", EINVAL},
    {"a/../b", NULL, "cannot be the path", EINVAL},   {"./a", NULL, "cannot be the path", EINVAL},
    {"a\nb", NULL, "control character 0x0a", EINVAL}, {"a", "a", "'a' is there twice", EINVAL},
    {"a", "a/b", "'a/b' is there twice", EINVAL},     {"a/b", "a", "'a' is there twice", EINVAL},
};

START_TEST(wrong_paths)
{
    add(wrong[_i].first);
    if (wrong[_i].second != NULL)
        add(wrong[_i].second);
    must_fail("cfgdata", wrong[_i].code, wrong[_i].text);
}
END_TEST

START_TEST(limits)
{
    char name[ISO_NAME_MAX + 2];
    memset(name, 'x', sizeof(name));
    name[sizeof(name) - 1] = '\0';
    add(name);
    must_fail("cfgdata", E2BIG, "has a name of more than 253 bytes");
    tear_down();
    must_fail("", EINVAL, "volume label");
    must_fail("123456789012345678901234567890123", EINVAL, "volume label");
    must_fail("\xc3\xa4", EINVAL, "volume label");
    add_sized("a", ISO_DATA_MAX);
    must_write("full", false);
    add_sized("b", 1);
    must_fail("full", E2BIG, "more than 8 MiB");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("seed-iso9660");
    TCase *tc = tcase_create("iso9660");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, NULL, tear_down);
    tcase_add_test(tc, layouts_of_cloud_init);
    tcase_add_test(tc, nothing_at_all);
    tcase_add_test(tc, sizes);
    tcase_add_test(tc, long_names);
    tcase_add_test(tc, names_that_look_alike);
    tcase_add_test(tc, many);
    tcase_add_test(tc, deep);
    tcase_add_loop_test(tc, wrong_paths, 0, ARRAY_SIZE(wrong));
    tcase_add_test(tc, limits);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
