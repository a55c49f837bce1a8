// SPDX-License-Identifier: Apache-2.0
/* Finding and opening files in an image that somebody else made, and the program's installation. */
#include "files.h"
#include "install.h"
#include "run_suite.h"
#include <check.h>
#include <fcntl.h>
#include <ftw.h>
#include <podvisor/cleanup.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static char folder[32];
static int root_fd;

static void set_up(void)
{
    strcpy(folder, "/tmp/test-files-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    root_fd = open(folder, O_PATH | O_DIRECTORY);
    ck_assert_int_ge(root_fd, 0);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static void tear_down(void)
{
    close(root_fd);
    nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void make_file(const char *name, const char *text)
{
    cleanup_close int fd = openat(root_fd, name, O_WRONLY | O_CREAT | O_EXCL, 0644);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
}

static void make_link(const char *to, const char *name)
{
    ck_assert_int_eq(symlinkat(to, root_fd, name), 0);
}

static void make_folder(const char *name)
{
    ck_assert_int_eq(mkdirat(root_fd, name, 0755), 0);
}

/* `path` NULL: the one disk. */
static void must_open(const char *path, const char *text)
{
    struct error err = ERROR_INIT;
    char got[64] = "";
    cleanup_close int fd = -1;
    int r =
        path != NULL ? files_open(root_fd, path, &fd, &err) : files_open_disk(root_fd, &fd, &err);
    ck_assert_msg(r == 0, "%s", err.text);
    ck_assert_int_eq(fcntl(fd, F_GETFL) & (O_ACCMODE | O_NONBLOCK), O_RDONLY);
    ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
    ck_assert_int_ge(read(fd, got, sizeof(got) - 1), 0);
    ck_assert_str_eq(got, text);
}

static void must_fail(const char *path, int code, const char *why)
{
    struct error err = ERROR_INIT;
    int fd = -1;
    int r =
        path != NULL ? files_open(root_fd, path, &fd, &err) : files_open_disk(root_fd, &fd, &err);
    ck_assert_msg(r == code, "%d: %s", r, err.text);
    ck_assert_msg(strstr(err.text, why) != NULL, "'%s' is not in: %s", why, err.text);
    ck_assert_int_eq(fd, -1);
}

START_TEST(the_one_disk)
{
    must_fail(NULL, -ENOENT, "no folder /disk");
    make_folder("disk");
    must_fail(NULL, -ENOENT, "there is no disk in /disk");
    make_folder("disk/sub");
    make_file("disk/sub/other.img", "no");
    make_file("disk/.hidden", "no");
    make_link("sub/other.img", "disk/link.img");
    ck_assert_int_eq(mkfifoat(root_fd, "disk/fifo", 0644), 0);
    must_fail(NULL, -ENOENT, "there is no disk in /disk");
    make_file("disk/vm.img", "disk");
    must_open(NULL, "disk");
    make_file("disk/vm2.img", "x");
    must_fail(NULL, -EINVAL, "there are 2 files in /disk");
    must_fail(NULL, -EINVAL, "vm2.img");
}
END_TEST

START_TEST(many_disks)
{
    char name[300];
    make_folder("disk");
    for (int i = 0; i < 100; i++) {
        snprintf(name, sizeof(name), "disk/%0200d.img", i);
        make_file(name, "x");
    }
    must_fail(NULL, -EINVAL, "there are 100 files");
}
END_TEST

START_TEST(a_named_file)
{
    make_folder("boot");
    make_file("boot/vmlinuz-6.1", "kernel");
    make_link("vmlinuz-6.1", "boot/vmlinuz");
    make_link("/boot/vmlinuz", "kernel");
    must_open("/boot/vmlinuz-6.1", "kernel");
    must_open("boot/vmlinuz", "kernel");
    must_open("/kernel", "kernel"); /* an absolute link means the image's root */
    must_fail("/boot/none", -ENOENT, "there is no file /boot/none in the image");
    must_fail("/boot/vmlinuz/x", -ENOTDIR, "there is no file");
    must_fail("/boot", -EINVAL, "is not a regular file");
    must_fail("/", -EINVAL, "is not a regular file");
    make_file("empty", "");
    must_fail("/empty", -EINVAL, "/empty in the image is empty");
}
END_TEST

START_TEST(nothing_outside)
{
    make_link("/etc/passwd", "up");
    make_link("../../../../../../etc/passwd", "dots");
    make_link("loop", "loop");
    must_fail("/up", -ENOENT, "there is no file");
    must_fail("/dots", -ENOENT, "there is no file");
    must_fail("/../../../../etc/passwd", -ENOENT, "there is no file");
    must_fail("/loop", -ELOOP, "cannot open /loop");
    ck_assert_int_eq(mkfifoat(root_fd, "fifo", 0644), 0);
    must_fail("/fifo", -EINVAL, "is not a regular file"); /* and does not hang */
    make_link("/etc", "disk");
    must_fail(NULL, -ENOENT, "no folder /disk");
}
END_TEST

START_TEST(program_is_installed_again_and_again)
{
    struct error err = ERROR_INIT;
    struct stat st;
    char program[64], installed[64];
    make_file("program", "new");
    make_file(".container-disk.new", "left over");
    ck_assert_int_eq(fchmodat(root_fd, ".container-disk.new", 0400, 0), 0);
    snprintf(program, sizeof(program), "%s/program", folder);
    snprintf(installed, sizeof(installed), "%s/" INSTALL_NAME, folder);
    for (int i = 0; i < 2; i++) {
        ck_assert_msg(install_program(program, folder, &err) == 0, "%s", err.text);
        ck_assert_int_eq(stat(installed, &st), 0);
        ck_assert_uint_eq(st.st_mode & 07777, 0555);
        must_open(INSTALL_NAME, "new");
    }
    ck_assert_int_ne(faccessat(root_fd, ".container-disk.new", F_OK, 0), 0);
    ck_assert_int_eq(install_program(program, "/none", &err), -ENOENT);
    ck_assert_ptr_nonnull(strstr(err.text, "cannot open the folder /none"));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("containerdisk-files");
    TCase *tc = tcase_create("files");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, the_one_disk);
    tcase_add_test(tc, many_disks);
    tcase_add_test(tc, a_named_file);
    tcase_add_test(tc, nothing_outside);
    tcase_add_test(tc, program_is_installed_again_and_again);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
