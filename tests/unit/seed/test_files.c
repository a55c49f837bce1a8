// SPDX-License-Identifier: Apache-2.0
/* Folders as the kubelet makes them, and those that it would not. */
#include "files.h"
#include "run_suite.h"
#include <fcntl.h>
#include <podvisor/cleanup.h>
#include <podvisor/str.h>
#include <string.h>
#include <sys/stat.h>

static char root[] = "/tmp/podvisor-test-XXXXXX";
static struct seed_files files;

static void set_up(void)
{
    snprintf(root, sizeof(root), "/tmp/podvisor-test-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(root));
    ck_assert_int_eq(chdir(root), 0);
}

static void tear_down(void)
{
    cleanup_free char *command = xasprintf("rm -r '%s'", root);
    ck_assert_int_eq(chdir("/"), 0);
    ck_assert_int_eq(system(command), 0);
    seed_files_done(&files);
}

static void put(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    ck_assert_int_ge(fputs(text, f), 0);
    ck_assert_int_eq(fclose(f), 0);
}

static void put_folder(const char *path)
{
    ck_assert_int_eq(mkdir(path, 0755), 0);
}

static void put_link(const char *target, const char *path)
{
    ck_assert_int_eq(symlink(target, path), 0);
}

/* As the kubelet's atomic writer does. */
static void put_version(void)
{
    put_folder("..2026_01");
    put_folder("..2026_01/sub");
    put("..2026_01/key", "value");
    put("..2026_01/empty", "");
    put("..2026_01/sub/inner", "nested");
    put_link("..2026_01", "..data");
    put_link("..data/key", "key");
    put_link("..data/empty", "empty");
    put_link("..data/sub", "sub");
}

static const struct iso_file *find(const char *path)
{
    for (size_t i = 0; i < files.list.count; i++) {
        if (strcmp(files.list.item[i].path, path) == 0)
            return &files.list.item[i];
    }
    return NULL;
}

static void must_have(const char *path, const char *text)
{
    const struct iso_file *file = find(path);
    ck_assert_msg(file != NULL, "%s is missing", path);
    ck_assert_uint_eq(file->len, strlen(text));
    ck_assert_int_eq(memcmp(file->data, text, file->len), 0);
}

static void must_read(void)
{
    struct error err = ERROR_INIT;
    ck_assert_msg(seed_read_folder(root, &files, &err) == 0, "%s", err.text);
}

static void must_fail(int code, const char *text)
{
    struct error err = ERROR_INIT;
    ck_assert_int_eq(seed_read_folder(root, &files, &err), -code);
    ck_assert_msg(strstr(err.text, text) != NULL, "'%s' is not in: %s", text, err.text);
}

START_TEST(a_version)
{
    put_version();
    must_read();
    ck_assert_uint_eq(files.list.count, 3);
    ck_assert_str_eq(files.list.item[0].path, "empty");
    ck_assert_str_eq(files.list.item[2].path, "sub/inner");
    must_have("key", "value");
    must_have("empty", "");
    must_have("sub/inner", "nested");
}
END_TEST

START_TEST(one_key)
{
    struct error err = ERROR_INIT;
    put_version();
    ck_assert_int_eq(seed_read_key(root, "key", "other", "data", &files, &err), 1);
    ck_assert_int_eq(seed_read_key(root, "other", "key", "more", &files, &err), 1);
    must_have("data", "value");
    must_have("more", "value");
    ck_assert_int_eq(seed_read_key(root, "one", "other", "none", &files, &err), 0);
    ck_assert_int_eq(seed_read_key(root, "sub", "other", "none", &files, &err), -EINVAL);
    ck_assert_uint_eq(files.list.count, 2);
}
END_TEST

START_TEST(a_plain_folder)
{
    put("key", "value");
    put_folder("sub");
    put("sub/inner", "nested");
    must_read();
    ck_assert_uint_eq(files.list.count, 2);
    must_have("sub/inner", "nested");
}
END_TEST

START_TEST(nothing)
{
    must_read();
    ck_assert_uint_eq(files.list.count, 0);
    struct error err = ERROR_INIT;
    ck_assert_int_eq(seed_read_folder("/nonexistent/folder", &files, &err), -ENOENT);
}
END_TEST

START_TEST(links_that_lead_out)
{
    put_folder("in");
    put_link("/etc", "in/..data");
    cleanup_free char *inner = xasprintf("%s/in", root);
    struct error err = ERROR_INIT;
    ck_assert_int_eq(seed_read_folder(inner, &files, &err), -EINVAL);
    ck_assert_ptr_nonnull(strstr(err.text, "leads out of its folder"));
    ck_assert_int_eq(unlink("in/..data"), 0);
    put_link("..", "in/..data");
    ck_assert_int_eq(seed_read_folder(inner, &files, &err), -EINVAL);
    ck_assert_int_eq(unlink("in/..data"), 0);
    put_link("version", "in/..data"); /* a neighbour that is a link itself */
    put_link("/etc", "in/version");
    ck_assert_int_lt(seed_read_folder(inner, &files, &err), 0);
    ck_assert_uint_eq(files.list.count, 0);
}
END_TEST

START_TEST(links_in_a_version)
{
    put_version();
    put_link("/etc/passwd", "..2026_01/passwd");
    must_fail(EINVAL, "passwd is a symbolic link");
}
END_TEST

START_TEST(other_things)
{
    ck_assert_int_eq(mkfifo("pipe", 0600), 0);
    must_fail(EINVAL, "pipe is neither a file nor a folder");
}
END_TEST

START_TEST(too_much)
{
    put("large", "");
    ck_assert_int_eq(truncate("large", ISO_DATA_MAX), 0);
    must_read();
    ck_assert_uint_eq(files.list.item[0].len, ISO_DATA_MAX);
    seed_files_done(&files);
    put("more", "x");
    must_fail(E2BIG, "the files have more than 8 MiB");
}
END_TEST

START_TEST(too_many)
{
    char name[32];
    for (unsigned i = 0; i <= ISO_FILES_MAX; i++) {
        snprintf(name, sizeof(name), "%u", i);
        put(name, "");
    }
    must_fail(E2BIG, "more than 2048 files");
}
END_TEST

START_TEST(too_deep)
{
    char path[64] = "";
    for (unsigned i = 0; i < ISO_DEPTH_MAX; i++) {
        snprintf(path + strlen(path), sizeof(path) - strlen(path), "%s", i == 0 ? "a" : "/a");
        put_folder(path);
    }
    must_fail(E2BIG, "folders deep");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("seed-files");
    TCase *tc = tcase_create("files");
    tcase_set_timeout(tc, 60); /* thousands of files on a busy disk */
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, a_version);
    tcase_add_test(tc, one_key);
    tcase_add_test(tc, a_plain_folder);
    tcase_add_test(tc, nothing);
    tcase_add_test(tc, links_that_lead_out);
    tcase_add_test(tc, links_in_a_version);
    tcase_add_test(tc, other_things);
    tcase_add_test(tc, too_much);
    tcase_add_test(tc, too_many);
    tcase_add_test(tc, too_deep);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
