// SPDX-License-Identifier: Apache-2.0
/* What the front opens and makes, in a folder of the test's own; nothing here needs KVM. */
#include "open.h"
#include "run_suite.h"
#include <check.h>
#include <dirent.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <podvisor/cleanup.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>

static struct plan plan;
static struct machine_config config;
static struct created created;
static char folder[] = "/tmp/test-open-XXXXXX";

static void set_up(void)
{
    strcpy(folder, "/tmp/test-open-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    ck_assert_int_eq(chdir(folder), 0);
    memset(&plan, 0, sizeof(plan));
    memset(&config, 0, sizeof(config));
    memset(&created, 0, sizeof(created));
}

/* Names in the folder, and removes them. */
static unsigned sweep(void)
{
    unsigned count = 0;
    DIR *dir = opendir(folder);
    for (struct dirent *e; (e = readdir(dir)) != NULL;) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        unlinkat(dirfd(dir), e->d_name, 0);
        count++;
    }
    closedir(dir);
    return count;
}

static void tear_down(void)
{
    sweep();
    ck_assert_int_eq(chdir("/"), 0);
    rmdir(folder);
}

static void make_file(const char *name, off_t size)
{
    cleanup_close int fd = open(name, O_RDWR | O_CREAT, 0600);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(ftruncate(fd, size), 0);
}

static struct plan_disk *add_disk(const char *path)
{
    struct plan_disk *disk = &plan.disk[plan.disk_count];
    snprintf(disk->name, sizeof(disk->name), "d%u", plan.disk_count++);
    snprintf(disk->path, sizeof(disk->path), "%s", path);
    disk->discard = true;
    return disk;
}

static void disks_must_fail(const char *text)
{
    struct error err = ERROR_INIT;
    ck_assert_int_lt(open_existing_disks(&plan, &config, &err), 0);
    ck_assert_msg(strstr(err.text, text) != NULL, "'%s' is not in: %s", text, err.text);
}

START_TEST(disk_is_described)
{
    make_file("a", 1 << 20);
    add_disk("a");
    add_disk("a");
    plan.disk[0].readonly = plan.disk[1].readonly = true;
    strcpy(plan.disk[0].serial, "S");
    plan.disk[1].logical_block_size = 4096;
    ck_assert_int_eq(open_existing_disks(&plan, &config, NULL), 0);
    ck_assert_uint_eq(config.disk_count, 2);
    const struct machine_disk *d = config.disk;
    ck_assert_str_eq(d[0].name, "d0");
    ck_assert_str_eq(d[0].serial, "S");
    ck_assert_uint_eq(d[0].size, 1 << 20);
    ck_assert(d[0].readonly && !d[0].direct && !d[0].block_device && !d[0].discard);
    ck_assert_uint_eq(d[0].logical_block_size, 512);
    ck_assert_uint_eq(d[1].logical_block_size, 4096);
    ck_assert_uint_ge(d[1].physical_block_size, 4096);
    ck_assert_int_eq(fcntl(d[0].fd, F_GETFL) & O_ACCMODE, O_RDONLY);
    ck_assert_int_eq(fcntl(d[0].fd, F_GETFD), FD_CLOEXEC);
}
END_TEST

/* What a manifest without a cache mode gets, and that its flags arrive. */
START_TEST(disk_tuning)
{
    make_file("a", 1 << 20);
    make_file("b", 1 << 20);
    struct plan_disk *disk = add_disk("a");
    plan_set_cache(disk, DISK_CACHE_UNSET);
    disk->tuning = (struct disk_tuning){.io = MACHINE_DISK_IO_THREADS,
                                        .error_policy = MACHINE_ERROR_STOP,
                                        .queues = 4,
                                        .iops = 1,
                                        .iops_burst = 2,
                                        .bps = 3,
                                        .bps_burst = 4};
    disk->io_thread = 5;
    disk->discard_granularity = 8192;
    disk->match_volume = true;
    plan_set_cache(add_disk("b"), DISK_CACHE_WRITETHROUGH);
    plan.io_threads = 6;
    ck_assert_int_eq(open_existing_disks(&plan, &config, NULL), 0);
    const struct machine_disk *d = config.disk;
    ck_assert_uint_eq(config.io_threads, 6);
    ck_assert_int_eq(d[0].direct, (fcntl(d[0].fd, F_GETFL) & O_DIRECT) != 0);
    ck_assert_int_eq(d[0].writethrough, !d[0].direct);
    ck_assert_uint_eq(d[0].io, MACHINE_DISK_IO_THREADS);
    ck_assert_uint_eq(d[0].error_policy, MACHINE_ERROR_STOP);
    ck_assert_uint_eq(d[0].num_queues, 4);
    ck_assert_uint_eq(d[0].io_thread, 5);
    ck_assert_uint_eq(d[0].discard_granularity, 8192);
    ck_assert(d[0].iops == 1 && d[0].iops_burst == 2 && d[0].bps == 3 && d[0].bps_burst == 4);
    struct statvfs fs;
    ck_assert_int_eq(statvfs(".", &fs), 0);
    ck_assert_uint_eq(d[0].logical_block_size, fs.f_bsize);
    ck_assert_uint_eq(d[0].physical_block_size, fs.f_bsize);
    ck_assert(!d[1].direct && d[1].writethrough);
}
END_TEST

START_TEST(disk_mistakes)
{
    add_disk("none");
    disks_must_fail("d0: disk none does not exist");
    ck_assert_uint_eq(sweep(), 0);
    make_file("odd", 1000);
    strcpy(plan.disk[0].path, "odd");
    disks_must_fail("not a multiple of 512");
    make_file("small", 512);
    strcpy(plan.disk[0].path, "small");
    plan.disk[0].logical_block_size = 4096;
    disks_must_fail("not a multiple of its block size 4096");
    plan.disk[0].logical_block_size = 0;
    plan.disk[0].capacity = 1024;
    disks_must_fail("has 512 bytes where 1024 were asked for");
    strcpy(plan.disk[0].path, ".");
    disks_must_fail("is a directory");
    ck_assert_int_eq(mkfifo("fifo", 0600), 0);
    strcpy(plan.disk[0].path, "fifo");
    disks_must_fail("neither a regular file nor a block device");
}
END_TEST

START_TEST(disk_has_one_writer)
{
    make_file("a", 4096);
    add_disk("a");
    add_disk("a");
    disks_must_fail("in use");
    plan.disk[0].shared = plan.disk[1].shared = true;
    ck_assert_int_eq(open_existing_disks(&plan, &config, NULL), 0);
}
END_TEST

START_TEST(missing_disk_is_made_once)
{
    struct plan_disk *disk = add_disk("new");
    struct stat st;
    disk->create = true;
    disk->capacity = 1 << 20;
    ck_assert_int_eq(open_existing_disks(&plan, &config, NULL), 0);
    ck_assert_int_eq(config.disk[0].fd, -1);
    ck_assert_int_ne(access("new", F_OK), 0);
    ck_assert_int_eq(create_missing_disks(&plan, &config, &created, NULL), 0);
    ck_assert_int_eq(stat("new", &st), 0);
    ck_assert_int_eq(st.st_size, 1 << 20);
    ck_assert_int_eq(st.st_blocks, 0);
    ck_assert_uint_eq(config.disk[0].size, 1 << 20);
    close(config.disk[0].fd);
    /* The second start finds it. */
    created.count = 0;
    ck_assert_int_eq(open_existing_disks(&plan, &config, NULL), 0);
    ck_assert_int_ge(config.disk[0].fd, 0);
    ck_assert_int_eq(create_missing_disks(&plan, &config, &created, NULL), 0);
    ck_assert_uint_eq(created.count, 0);
}
END_TEST

START_TEST(failure_leaves_nothing)
{
    struct error err = ERROR_INIT;
    add_disk("new1")->create = true;
    plan.disk[0].capacity = 4096;
    add_disk("no-folder/new2")->create = true;
    plan.disk[1].capacity = 4096;
    ck_assert_int_eq(open_existing_disks(&plan, &config, NULL), 0);
    ck_assert_int_lt(create_missing_disks(&plan, &config, &created, &err), 0);
    ck_assert_ptr_nonnull(strstr(err.text, "d1: cannot create no-folder/new2"));
    created_undo(&created);
    ck_assert_uint_eq(sweep(), 0);
}
END_TEST

START_TEST(empty_disk_has_no_name)
{
    struct stat st;
    setenv("TMPDIR", folder, 1);
    add_disk("")->capacity = 8192;
    plan.disk[0].source = PLAN_TEMPORARY;
    ck_assert_int_eq(open_existing_disks(&plan, &config, NULL), 0);
    ck_assert_int_eq(create_missing_disks(&plan, &config, &created, NULL), 0);
    ck_assert_int_eq(fstat(config.disk[0].fd, &st), 0);
    ck_assert_int_eq(st.st_size, 8192);
    ck_assert_uint_eq(st.st_nlink, 0);
    ck_assert_uint_eq(sweep(), 0);
    unsetenv("TMPDIR");
}
END_TEST

START_TEST(claim_gets_a_disk_as_large_as_itself)
{
    struct plan_disk *disk = add_disk("disk.img");
    struct stat st;
    disk->source = PLAN_CLAIM_FILE;
    disk->create = true;
    disk->capacity = (3 << 20) + 12345;
    ck_assert_int_eq(open_existing_disks(&plan, &config, NULL), 0);
    ck_assert_int_eq(create_missing_disks(&plan, &config, &created, NULL), 0);
    ck_assert_uint_eq(config.disk[0].size, 3 << 20);
    ck_assert_int_eq(fstat(config.disk[0].fd, &st), 0);
    ck_assert_int_eq(st.st_blocks, 0);
    close(config.disk[0].fd);
    /* A disk that is there keeps its size, whatever the claim has. */
    disk->capacity = 1 << 20;
    ck_assert_int_eq(open_existing_disks(&plan, &config, NULL), 0);
    ck_assert_uint_eq(config.disk[0].size, 3 << 20);
    close(config.disk[0].fd);
}
END_TEST

START_TEST(claim_of_unknown_size_fills_its_file_system)
{
    struct plan_disk *disk = add_disk("disk.img");
    struct statvfs fs;
    disk->source = PLAN_CLAIM_FILE;
    disk->create = true;
    ck_assert_int_eq(open_existing_disks(&plan, &config, NULL), 0);
    ck_assert_int_eq(create_missing_disks(&plan, &config, &created, NULL), 0);
    ck_assert_int_eq(statvfs(folder, &fs), 0);
    uint64_t room = (uint64_t)fs.f_bavail * fs.f_frsize;
    ck_assert_uint_lt(config.disk[0].size, room);
    ck_assert_uint_gt(config.disk[0].size, room / 10 * 9);
    ck_assert_uint_eq(config.disk[0].size % (1 << 20), 0);
}
END_TEST

static void check_hostile_claims(void)
{
    struct error err = ERROR_INIT;
    make_file("secret", 4096);
    add_disk("disk.img");
    plan.disk[0].source = PLAN_CLAIM_FILE;
    plan.disk[0].create = true;
    ck_assert_int_eq(symlink("secret", "disk.img"), 0);
    disks_must_fail("disk disk.img is a symbolic link, which is not followed");
    ck_assert_int_eq(unlink("disk.img"), 0);
    /* One that leads nowhere must not make its target. */
    ck_assert_int_eq(symlink("made", "disk.img"), 0);
    disks_must_fail("is a symbolic link");
    ck_assert_int_eq(create_missing_disks(&plan, &config, &created, &err), -ELOOP);
    ck_assert_uint_eq(created.count, 0);
    ck_assert_int_ne(access("made", F_OK), 0);
    ck_assert_int_eq(unlink("disk.img"), 0);
    ck_assert_int_eq(mkdir("disk.img", 0700), 0);
    disks_must_fail("is a directory");
    ck_assert_int_eq(rmdir("disk.img"), 0);
    plan.disk[0].source = PLAN_CLAIM_BLOCK;
    strcpy(plan.disk[0].path, "secret");
    disks_must_fail("secret is not a block device");
}

START_TEST(hostile_claims)
{
    check_hostile_claims();
}
END_TEST

static void add_empty_claim(void)
{
    struct plan_disk *disk = add_disk("disk.img");
    disk->source = PLAN_CLAIM_FILE;
    disk->create = true;
    disk->capacity = 1 << 20;
}

static bool is_at(int fd, const char *path)
{
    struct stat own, there;
    return fstat(fd, &own) == 0 && stat(path, &there) == 0 && own.st_ino == there.st_ino;
}

/* Both found the claim empty. */
START_TEST(second_to_make_a_disk_leaves_it_alone)
{
    static struct machine_config second;
    static struct created none;
    struct error err = ERROR_INIT;
    add_empty_claim();
    ck_assert_int_eq(open_existing_disks(&plan, &config, NULL), 0);
    ck_assert_int_eq(open_existing_disks(&plan, &second, NULL), 0);
    strcpy(plan.holder, "machine lab/first");
    ck_assert_int_eq(create_missing_disks(&plan, &config, &created, NULL), 0);
    bool has_names = getxattr("disk.img", "user.podvisor.holder", NULL, 0) > 0;
    ck_assert_uint_eq(created.count, 1);
    ck_assert_int_eq(create_missing_disks(&plan, &second, &none, &err), -EBUSY);
    ck_assert_ptr_nonnull(strstr(err.text, has_names ? "in use; machine lab/first" : "in use"));
    created_undo(&none);
    ck_assert(is_at(config.disk[0].fd, "disk.img"));
    ck_assert_uint_eq(sweep(), 1);
}
END_TEST

START_TEST(second_to_make_a_disk_takes_one_that_is_free)
{
    add_empty_claim();
    ck_assert_int_eq(open_existing_disks(&plan, &config, NULL), 0);
    make_file("disk.img", 8192);
    ck_assert_int_eq(create_missing_disks(&plan, &config, &created, NULL), 0);
    ck_assert_uint_eq(config.disk[0].size, 8192);
    ck_assert_uint_eq(created.count, 0);
}
END_TEST

/* Takes the disk whenever there is one: exits with 1 when it was not whole, or could be had while
 * it was there. */
static pid_t start_rival(void)
{
    pid_t pid = fork();
    while (pid == 0) {
        struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
        struct stat st;
        int fd = open("disk.img", O_RDWR | O_CLOEXEC);
        if (fd < 0)
            continue;
        bool locked = fcntl(fd, F_OFD_SETLK, &lock) == 0;
        if (fstat(fd, &st) < 0 || st.st_size != 1 << 20 || (locked && st.st_nlink > 0))
            _exit(1);
        close(fd);
    }
    return pid;
}

START_TEST(disk_appears_whole_and_locked)
{
    pid_t rival = start_rival();
    add_empty_claim();
    plan.disk[0].source = PLAN_HOST_FILE;
    for (unsigned i = 0; i < 500; i++) {
        ck_assert_int_eq(open_existing_disks(&plan, &config, NULL), 0);
        ck_assert_int_eq(create_missing_disks(&plan, &config, &created, NULL), 0);
        ck_assert_uint_eq(created.count, 1);
        created_undo(&created);
        close(config.disk[0].fd);
    }
    ck_assert_msg(waitpid(rival, NULL, WNOHANG) == 0, "the rival found a disk that was not taken");
    kill(rival, SIGKILL);
    waitpid(rival, NULL, 0);
    ck_assert_uint_eq(sweep(), 0);
}
END_TEST

/* The first machine made the disk, cannot start, and removes it while the second waits. */
START_TEST(disk_that_goes_while_waited_for_is_made_again)
{
    int ready[2];
    char byte;
    add_empty_claim();
    ck_assert_int_eq(pipe(ready), 0);
    pid_t first = fork();
    if (first == 0) {
        bool bad = open_existing_disks(&plan, &config, NULL) < 0 ||
                   create_missing_disks(&plan, &config, &created, NULL) < 0 ||
                   write(ready[1], "", 1) != 1;
        usleep(50000);
        created_undo(&created);
        _exit(bad);
    }
    ck_assert_int_eq(read(ready[0], &byte, 1), 1);
    ck_assert_int_eq(open_existing_disks(&plan, &config, NULL), 0);
    ck_assert_int_eq(create_missing_disks(&plan, &config, &created, NULL), 0);
    ck_assert(is_at(config.disk[0].fd, "disk.img"));
    ck_assert_int_eq(waitpid(first, NULL, 0), first);
    close(ready[0]);
    close(ready[1]);
}
END_TEST

/* As under a container runtime whose filter is older than the call; for this process, a test's. */
static void forbid_openat2(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat2, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = ARRAY_SIZE(filter), .filter = filter};
    ck_assert_int_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    ck_assert_int_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

START_TEST(hostile_claims_without_openat2)
{
    forbid_openat2();
    check_hostile_claims();
    make_file("mine", 4096);
    plan.disk[0].source = PLAN_CLAIM_FILE;
    strcpy(plan.disk[0].path, "mine");
    ck_assert_int_eq(open_existing_disks(&plan, &config, NULL), 0);
}
END_TEST

START_TEST(overlay_lies_on_what_is_only_read)
{
    struct plan_disk *disk = add_disk("disk.img");
    struct error err = ERROR_INIT;
    struct stat st;
    enum image_format format;
    make_file("disk.img", 1 << 20);
    ck_assert_int_eq(chmod("disk.img", 0400), 0);
    disk->source = PLAN_CLAIM_FILE;
    strcpy(disk->overlay, "d0.qcow2");
    ck_assert_int_eq(open_existing_disks(&plan, &config, NULL), 0);
    ck_assert_int_ne(access("d0.qcow2", F_OK), 0);
    ck_assert_int_eq(create_missing_disks(&plan, &config, &created, NULL), 0);
    const struct machine_disk *d = &config.disk[0];
    ck_assert(!d->readonly && d->discard);
    ck_assert_uint_eq(d->size, 1 << 20);
    ck_assert_uint_eq(d->format, MACHINE_DISK_QCOW2);
    ck_assert_uint_eq(d->backing_count, 1);
    ck_assert_uint_eq(d->backing[0].format, MACHINE_DISK_RAW);
    ck_assert_int_eq(fcntl(d->backing[0].fd, F_GETFL) & O_ACCMODE, O_RDONLY);
    ck_assert_int_eq(fcntl(d->fd, F_GETFL) & O_ACCMODE, O_RDWR);
    /* An image of a container that has one below it is refused. */
    ck_assert_int_lt(overlay_probe(d->fd, &format, &err), 0);
    ck_assert_ptr_nonnull(strstr(err.text, "backing"));
    ck_assert_int_eq(overlay_probe(d->backing[0].fd, &format, NULL), 0);
    ck_assert_int_eq(format, IMAGE_FORMAT_RAW);
    ck_assert_int_eq(stat("d0.qcow2", &st), 0);
    ck_assert_int_lt(st.st_blocks * 512, 1 << 20);
    created_undo(&created);
    ck_assert_int_ne(access("d0.qcow2", F_OK), 0);
    ck_assert_int_eq(access("disk.img", F_OK), 0);
}
END_TEST

static void connect_to(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    close(fd);
}

START_TEST(control_socket_listens)
{
    struct stat st;
    int fd;
    umask(0);
    ck_assert_int_eq(open_control("sock", &fd, &created, NULL), 0);
    ck_assert_int_eq(stat("sock", &st), 0);
    ck_assert(S_ISSOCK(st.st_mode));
    ck_assert_int_eq(st.st_mode & 0777, 0600);
    connect_to("sock");
    ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
    close(fd);
    ck_assert_uint_eq(sweep(), 1); /* no temporary name, no lock file */
}
END_TEST

START_TEST(stale_socket_is_replaced_and_a_live_one_is_not)
{
    struct error err = ERROR_INIT;
    int first, second;
    ck_assert_int_eq(open_control("sock", &first, &created, NULL), 0);
    ck_assert_int_eq(open_control("sock", &second, &created, &err), -EADDRINUSE);
    ck_assert_ptr_nonnull(strstr(err.text, "a running machine serves the control socket sock"));
    connect_to("sock");
    close(first);
    ck_assert_int_eq(open_control("sock", &second, &created, NULL), 0);
    connect_to("sock");
    close(second);
    ck_assert_uint_eq(sweep(), 1);
}
END_TEST

START_TEST(control_socket_mistakes)
{
    static char path[200];
    struct error err = ERROR_INIT;
    int fd;
    memset(path, 'x', sizeof(path) - 1);
    ck_assert_int_eq(open_control(path, &fd, &created, &err), -ENAMETOOLONG);
    ck_assert_ptr_nonnull(strstr(err.text, "199 bytes and a UNIX socket's at most 107"));
    ck_assert_int_eq(open_control("none/sock", &fd, &created, &err), -ENOENT);
    ck_assert_int_eq(open_control("./", &fd, &created, &err), -EISDIR);
    make_file("file", 3);
    ck_assert_int_eq(open_control("file", &fd, &created, &err), -EEXIST);
    ck_assert_ptr_nonnull(strstr(err.text, "taken by something that is not a socket"));
    ck_assert_uint_eq(created.count, 0);
    struct stat st;
    ck_assert_int_eq(stat("file", &st), 0);
    ck_assert_int_eq(st.st_size, 3);
    ck_assert_uint_eq(sweep(), 1);
}
END_TEST

START_TEST(long_socket_path_fits_to_the_last_byte)
{
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
    int fd;
    memset(path, 'x', sizeof(path));
    memcpy(path, "./", 2);
    path[sizeof(path) - 1] = '\0';
    ck_assert_int_eq(open_control(path, &fd, &created, NULL), 0);
    connect_to(path);
    close(fd);
}
END_TEST

START_TEST(console_file_is_appended_to)
{
    config.console_in_fd = config.console_out_fd = -1;
    plan.console = CONSOLE_OFF;
    ck_assert_int_eq(open_console(&plan, &config, &created, NULL), 0);
    ck_assert_int_eq(config.console_out_fd, -1);
    plan.console = CONSOLE_FILE;
    plan.console_path = "log";
    ck_assert_int_eq(open_console(&plan, &config, &created, NULL), 0);
    ck_assert_int_eq(config.console_in_fd, -1);
    ck_assert(fcntl(config.console_out_fd, F_GETFL) & O_APPEND);
    ck_assert_uint_eq(created.count, 1);
    close(config.console_out_fd);
    created.count = 0;
    ck_assert_int_eq(open_console(&plan, &config, &created, NULL), 0);
    ck_assert_uint_eq(created.count, 0); /* it was there: it is not ours to remove */
    plan.console_path = "none/log";
    ck_assert_int_lt(open_console(&plan, &config, &created, NULL), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("front-open");
    TCase *tc = tcase_create("open");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, disk_is_described);
    tcase_add_test(tc, disk_tuning);
    tcase_add_test(tc, disk_mistakes);
    tcase_add_test(tc, disk_has_one_writer);
    tcase_add_test(tc, missing_disk_is_made_once);
    tcase_add_test(tc, failure_leaves_nothing);
    tcase_add_test(tc, empty_disk_has_no_name);
    tcase_add_test(tc, claim_gets_a_disk_as_large_as_itself);
    tcase_add_test(tc, claim_of_unknown_size_fills_its_file_system);
    tcase_add_test(tc, second_to_make_a_disk_leaves_it_alone);
    tcase_add_test(tc, second_to_make_a_disk_takes_one_that_is_free);
    tcase_add_test(tc, disk_appears_whole_and_locked);
    tcase_add_test(tc, disk_that_goes_while_waited_for_is_made_again);
    tcase_add_test(tc, hostile_claims);
    tcase_add_test(tc, hostile_claims_without_openat2);
    tcase_add_test(tc, overlay_lies_on_what_is_only_read);
    tcase_add_test(tc, control_socket_listens);
    tcase_add_test(tc, stale_socket_is_replaced_and_a_live_one_is_not);
    tcase_add_test(tc, control_socket_mistakes);
    tcase_add_test(tc, long_socket_path_fits_to_the_last_byte);
    tcase_add_test(tc, console_file_is_appended_to);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
