// SPDX-License-Identifier: Apache-2.0
/* Opening disks by name (image_file) and what a descriptor is found to be (image). */
#include "image_file.h"
#include "run_suite.h"
#include <check.h>
#include <fcntl.h>
#include <podvisor/cleanup.h>
#include <podvisor/iov.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

static char folder[64];
static char path[96];
static struct error err;

static void setup(void)
{
    strcpy(folder, "/tmp/podvisor-image-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/disk.img", folder);
    err = ERROR_INIT;
}

static void teardown(void)
{
    unlink(path);
    rmdir(path);
    rmdir(folder);
}

static void make_file(off_t size, mode_t mode)
{
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(ftruncate(fd, size), 0);
    close(fd);
}

static int open_disk(bool readonly, bool direct, struct image_file *file)
{
    struct image_file_options options = {.readonly = readonly, .direct = direct};
    return image_file_open(path, &options, file, &err);
}

static void expect_refusal(bool readonly, int code, const char *text)
{
    struct image_file file = {.fd = -7};
    ck_assert_int_eq(open_disk(readonly, false, &file), -code);
    ck_assert_int_eq(file.fd, -7);
    ck_assert_msg(strstr(err.text, text) != NULL, "\"%s\" lacks \"%s\"", err.text, text);
    ck_assert_msg(strstr(err.text, path) != NULL, "\"%s\" does not name the file", err.text);
}

START_TEST(test_missing)
{
    expect_refusal(false, ENOENT, "does not exist");
}
END_TEST

START_TEST(test_directory)
{
    ck_assert_int_eq(mkdir(path, 0700), 0);
    expect_refusal(false, EISDIR, "is a directory");
    expect_refusal(true, EISDIR, "is a directory");
}
END_TEST

START_TEST(test_fifo)
{
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    expect_refusal(false, EINVAL, "neither a regular file nor a block device");
    expect_refusal(true, EINVAL, "neither a regular file nor a block device");
}
END_TEST

START_TEST(test_empty)
{
    make_file(0, 0600);
    expect_refusal(false, EINVAL, "truncate -s 10G");
}
END_TEST

START_TEST(test_not_a_multiple)
{
    make_file(1000, 0600);
    expect_refusal(false, EINVAL, "truncate -s %512");
}
END_TEST

START_TEST(test_no_permission)
{
    make_file(4096, 0444);
    ck_assert_int_eq(chmod(folder, 0755), 0);
    uid_t uid = geteuid();
    if (uid == 0)
        ck_assert_int_eq(seteuid(65534), 0);
    expect_refusal(false, EACCES, "mark the disk read-only");
    struct image_file file;
    int r = open_disk(true, false, &file);
    if (uid == 0)
        ck_assert_int_eq(seteuid(uid), 0);
    ck_assert_int_eq(r, 0);
    close(file.fd);
}
END_TEST

START_TEST(test_good)
{
    make_file(8192, 0600);
    struct image_file file;
    ck_assert_int_eq(open_disk(false, false, &file), 0);
    ck_assert(file.locked);
    ck_assert_uint_eq(file.geometry.size, 8192);
    ck_assert(!file.geometry.block_device && !file.geometry.direct);
    ck_assert_uint_eq(file.geometry.offset_align, 1);
    ck_assert_int_eq(fcntl(file.fd, F_GETFD), FD_CLOEXEC);
    ck_assert_int_eq(fcntl(file.fd, F_GETFL) & O_NONBLOCK, 0);
    ck_assert_int_eq(image_file_hand_over(&file, &err), 0);
    ck_assert_int_eq(fcntl(file.fd, F_GETFD), 0);
    close(file.fd);
}
END_TEST

START_TEST(test_locks)
{
    make_file(4096, 0600);
    struct image_file writer, reader, second;
    ck_assert_int_eq(open_disk(false, false, &writer), 0);
    expect_refusal(false, EBUSY, "another process");
    expect_refusal(true, EBUSY, "another process");
    close(writer.fd);
    ck_assert_int_eq(open_disk(true, false, &reader), 0);
    ck_assert_int_eq(open_disk(true, false, &second), 0);
    expect_refusal(false, EBUSY, "another process");
    close(reader.fd);
    close(second.fd);
    ck_assert_int_eq(open_disk(false, false, &writer), 0);
    close(writer.fd);
}
END_TEST

/* Another process that made the file and holds it; it puts `next` in its place, or removes it. */
static pid_t hold_and_give_up(const char *next)
{
    int ready[2];
    char byte;
    ck_assert_int_eq(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct image_file file;
        bool bad = open_disk(false, false, &file) < 0 || write(ready[1], "", 1) != 1;
        usleep(50000);
        bad = bad || (next != NULL ? rename(next, path) : unlink(path)) < 0;
        _exit(bad);
    }
    ck_assert_int_eq(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    close(ready[1]);
    return pid;
}

static void expect_success(pid_t pid)
{
    int status;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
}

START_TEST(test_removed_while_waiting)
{
    make_file(4096, 0600);
    pid_t holder = hold_and_give_up(NULL);
    expect_refusal(false, ENOENT, "does not exist");
    expect_success(holder);
}
END_TEST

START_TEST(test_replaced_while_waiting)
{
    struct image_file file;
    char next[sizeof(path) + 4];
    make_file(8192, 0600);
    snprintf(next, sizeof(next), "%s.new", path);
    ck_assert_int_eq(rename(path, next), 0);
    make_file(4096, 0600);
    pid_t holder = hold_and_give_up(next);
    ck_assert_int_eq(open_disk(false, false, &file), 0);
    ck_assert_uint_eq(file.geometry.size, 8192);
    close(file.fd);
    expect_success(holder);
}
END_TEST

/* An open file description lock has no process: the name is the one that its owner left. */
START_TEST(test_holder_has_a_name)
{
    struct image_file first, second;
    struct image_file_options options = {.holder = "machine lab/first"};
    make_file(4096, 0600);
    ck_assert_int_eq(image_file_open(path, &options, &first, &err), 0);
    bool has_names = getxattr(path, "user.podvisor.holder", NULL, 0) > 0;
    options.holder = "machine lab/second";
    ck_assert_int_eq(image_file_open(path, &options, &second, &err), -EBUSY);
    ck_assert_ptr_nonnull(strstr(
        err.text, has_names ? "in use; machine lab/first was the last to take it" : "in use by"));
    close(first.fd);
}
END_TEST

/* A POSIX lock of another process: the kernel tells who. */
START_TEST(test_lock_names_the_holder)
{
    make_file(4096, 0600);
    int ready[2], finish[2];
    ck_assert_int_eq(pipe(ready), 0);
    ck_assert_int_eq(pipe(finish), 0);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    char c = 0;
    if (pid == 0) {
        close(finish[1]);
        int fd = open(path, O_RDWR | O_CLOEXEC);
        struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
        int bad = fcntl(fd, F_SETLK, &lock);
        bad |= write(ready[1], &c, 1) != 1;
        bad |= read(finish[0], &c, 1) != 0;
        _exit(bad);
    }
    ck_assert_int_eq(read(ready[0], &c, 1), 1);
    char text[32];
    snprintf(text, sizeof(text), "process %d", (int)pid);
    expect_refusal(false, EBUSY, text);
    for (int i = 0; i < 2; i++) {
        close(ready[i]);
        close(finish[i]);
    }
}
END_TEST

START_TEST(test_direct_size)
{
    make_file(4096 + 100, 0600);
    struct image_file file;
    ck_assert_int_eq(open_disk(false, true, &file), -EINVAL);
    make_file(65536, 0600);
    int r = open_disk(false, true, &file);
    if (r < 0) { /* the file system under /tmp has no direct I/O: it must say so */
        ck_assert_ptr_nonnull(strstr(err.text, "O_DIRECT"));
        return;
    }
    ck_assert(file.geometry.direct);
    ck_assert_uint_ge(file.geometry.offset_align, 512);
    ck_assert_uint_ge(file.geometry.mem_align, 1);
    close(file.fd);
}
END_TEST

START_TEST(test_image_needs_write_access)
{
    make_file(4096, 0600);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct image img;
    struct image_config config = {.fd = fd};
    ck_assert_int_eq(image_init(&img, &config, &err), -EACCES);
    config.readonly = true;
    ck_assert_int_eq(image_init(&img, &config, &err), 0);
    ck_assert_uint_eq(img.geometry.size, 4096);
    image_done(&img);
    ck_assert_int_eq(fcntl(fd, F_GETFD), -1);
}
END_TEST

START_TEST(test_image_refuses_other_formats)
{
    make_file(4096, 0600);
    cleanup_close int fd = open(path, O_RDWR | O_CLOEXEC);
    struct image img;
    struct image_config config = {.fd = fd, .format = (enum image_format)99};
    ck_assert_int_eq(image_init(&img, &config, &err), -ENOTSUP);
}
END_TEST

START_TEST(test_iov)
{
    uint8_t a[3] = {1, 2, 3}, b[4] = {4, 5, 6, 7}, out[8];
    struct iovec v[3] = {{a, 3}, {NULL, 0}, {b, 4}}, *front = v;
    unsigned count = 3;
    ck_assert_uint_eq(iov_length(v, 3), 7);
    ck_assert_uint_eq(iov_read(v, 3, 2, out, 8), 5);
    ck_assert_mem_eq(out, ((uint8_t[]){3, 4, 5, 6, 7}), 5);
    ck_assert_uint_eq(iov_write(v, 3, 1, ((uint8_t[]){9, 8, 7}), 3), 3);
    ck_assert(a[1] == 9 && a[2] == 8 && b[0] == 7);
    ck_assert_uint_eq(iov_read(v, 3, 7, out, 8), 0);
    iov_drop_tail(v, &count, 1);
    ck_assert_uint_eq(iov_length(v, count), 6);
    iov_drop_front(&front, &count, 3);
    ck_assert_uint_eq(count, 1);
    ck_assert_ptr_eq(front->iov_base, b);
    iov_drop_tail(front, &count, 100);
    ck_assert_uint_eq(count, 0);
    iov_drop_front(&front, &count, 100);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("image");
    TCase *t = tcase_create("image");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, test_missing);
    tcase_add_test(t, test_directory);
    tcase_add_test(t, test_fifo);
    tcase_add_test(t, test_empty);
    tcase_add_test(t, test_not_a_multiple);
    tcase_add_test(t, test_no_permission);
    tcase_add_test(t, test_good);
    tcase_add_test(t, test_locks);
    tcase_add_test(t, test_removed_while_waiting);
    tcase_add_test(t, test_replaced_while_waiting);
    tcase_add_test(t, test_holder_has_a_name);
    tcase_add_test(t, test_lock_names_the_holder);
    tcase_add_test(t, test_direct_size);
    tcase_add_test(t, test_image_needs_write_access);
    tcase_add_test(t, test_image_refuses_other_formats);
    tcase_add_test(t, test_iov);
    suite_add_tcase(s, t);
    return run_suite(s);
}
