// SPDX-License-Identifier: Apache-2.0
/* Disks in the making (image_draft): when they have a name, and when nothing of them stays. */
#include "image_draft.h"
#include "run_suite.h"
#include <check.h>
#include <dirent.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <podvisor/cleanup.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[] = "/tmp/podvisor-draft-XXXXXX";
static struct error err;

static void setup(void)
{
    strcpy(folder, "/tmp/podvisor-draft-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    ck_assert_int_eq(chdir(folder), 0);
    err = ERROR_INIT;
}

/* Names in the folder. */
static unsigned count(void)
{
    unsigned n = 0;
    DIR *dir = opendir(folder);
    for (struct dirent *e; (e = readdir(dir)) != NULL;)
        n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    closedir(dir);
    return n;
}

static void teardown(void)
{
    unlink("disk.img");
    ck_assert_int_eq(chdir("/"), 0);
    rmdir(folder);
}

/* A file system without files without names, as NFS; for this process, a test's. */
static void forbid_unnamed(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, O_TMPFILE & ~O_DIRECTORY, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EOPNOTSUPP),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = ARRAY_SIZE(filter), .filter = filter};
    ck_assert_int_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    ck_assert_int_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

static void check_publishing(void)
{
    struct image_draft first = IMAGE_DRAFT_INIT, second = IMAGE_DRAFT_INIT;
    struct stat own, there;
    ck_assert_int_eq(image_draft_open("./disk.img", &first, &err), 0);
    ck_assert_int_eq(image_draft_open("disk.img", &second, &err), 0);
    ck_assert_int_ne(access("disk.img", F_OK), 0);
    ck_assert_int_eq(ftruncate(first.fd, 4096), 0);
    ck_assert_int_eq(image_draft_publish(&first, &err), 0);
    ck_assert_int_eq(fstat(first.fd, &own), 0);
    ck_assert_int_eq(stat("disk.img", &there), 0);
    ck_assert_uint_eq(own.st_ino, there.st_ino);
    ck_assert_int_eq(there.st_size, 4096);
    ck_assert_int_eq(there.st_mode & 0777, 0600);
    ck_assert_int_eq(fcntl(first.fd, F_GETFD), FD_CLOEXEC);
    ck_assert_int_eq(image_draft_publish(&second, &err), -EEXIST);
    image_draft_done(&first);
    image_draft_done(&second);
    ck_assert_int_eq(stat("disk.img", &there), 0);
    ck_assert_uint_eq(own.st_ino, there.st_ino);
    ck_assert_uint_eq(count(), 1);
}

START_TEST(test_publishing)
{
    check_publishing();
}
END_TEST

START_TEST(test_publishing_with_temporary_names)
{
    struct image_draft draft;
    forbid_unnamed();
    ck_assert_int_eq(image_draft_open("disk.img", &draft, &err), 0);
    ck_assert_uint_eq(count(), 1);
    image_draft_done(&draft);
    ck_assert_uint_eq(count(), 0);
    check_publishing();
}
END_TEST

START_TEST(test_killed_maker_leaves_nothing)
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        struct image_draft draft;
        int r = image_draft_open("disk.img", &draft, &err);
        kill(getpid(), r == 0 ? SIGKILL : SIGTERM);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    ck_assert_uint_eq(count(), 0);
}
END_TEST

START_TEST(test_mistakes)
{
    struct image_draft draft = IMAGE_DRAFT_INIT;
    ck_assert_int_eq(image_draft_open("none/disk.img", &draft, &err), -ENOENT);
    ck_assert_ptr_nonnull(strstr(err.text, "cannot create none/disk.img"));
    ck_assert_int_eq(image_draft_open("./", &draft, &err), -EISDIR);
    ck_assert_int_eq(image_draft_open("..", &draft, &err), -EISDIR);
    ck_assert_int_eq(draft.fd, -1);
    ck_assert_int_eq(symlink("made", "disk.img"), 0);
    ck_assert_int_eq(image_draft_open("disk.img", &draft, &err), 0);
    ck_assert_int_eq(image_draft_publish(&draft, &err), -EEXIST);
    image_draft_done(&draft);
    ck_assert_uint_eq(count(), 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("draft");
    TCase *t = tcase_create("draft");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, test_publishing);
    tcase_add_test(t, test_killed_maker_leaves_nothing);
    tcase_add_test(t, test_mistakes);
    /* The last one: without a process for each test (CK_FORK=no) its filter stays. */
    tcase_add_test(t, test_publishing_with_temporary_names);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
