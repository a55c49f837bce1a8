// SPDX-License-Identifier: Apache-2.0
/*
 * A machine that ends in the middle: the same small workload is stopped at each of its writes in
 * turn. What is left must be an image in which `qemu-img check` finds no error (leaks are allowed),
 * with all that was flushed, and it must go on working.
 *
 * Two ways to end. Killed: the file has every write until then. Power lost: of what was written
 * since the last barrier any sectors may be there, in any order, and the file may be as short as it
 * was; which ones is chosen by chance.
 *
 * The system calls that change the file are wrapped by the linker.
 */
#include "qcow2kit.h"
#include "run_suite.h"
#include <fcntl.h>
#include <linux/falloc.h>
#include <podvisor/cleanup.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SECTOR     512
#define SIZE_MAX_  (4u << 20)
#define OPERATIONS 36
#define UNSYNCED   4096
#define POINTS     40 /* at most so many stops a kind and way */

static const struct kind {
    const char *options;
    uint64_t size;
    bool backing;
    bool snapshot;
    const char *filled; /* what QEMU writes first */
} kinds[] = {
    {"cluster_size=4k", 1 << 20, true, false, "write -P 7 100k 200k"},
    {"cluster_size=512,refcount_bits=64", 4 << 20, false, false, "write -P 7 64k 1800k"},
    {"cluster_size=4k,refcount_bits=8", 1 << 20, false, true, "write -P 7 0 500k"},
    {"cluster_size=64k,compat=0.10", 4 << 20, false, true, "write -P 7 1M 1M"},
};

/* What the process that ends tells the one that looks. */
struct shared {
    uint8_t flushed[SIZE_MAX_], current[SIZE_MAX_];
    uint8_t touched[SIZE_MAX_ / SECTOR]; /* since the last flush */
    unsigned events;
};

struct unsynced {
    uint64_t offset, len;
    uint8_t *before, *after;
};

static struct shared *shared;
static const struct kind *kind;
static uint64_t seed;

/* ---- the file, and the end ---- */

static bool armed, power_lost;
static unsigned events, last_event;
static struct unsynced unsynced[UNSYNCED];
static unsigned unsynced_count;
static off_t synced_size;

ssize_t __real_pwritev2(int fd, const struct iovec *iov, int count, off_t offset, int flags);
int __real_fdatasync(int fd);
int __real_fallocate(int fd, int mode, off_t offset, off_t len);
ssize_t __wrap_pwritev2(int fd, const struct iovec *iov, int count, off_t offset, int flags);
int __wrap_fdatasync(int fd);
int __wrap_fallocate(int fd, int mode, off_t offset, off_t len);

static void lose_power(int fd)
{
    for (unsigned i = unsynced_count; i-- > 0;)
        (void)!pwrite(fd, unsynced[i].before, unsynced[i].len, (off_t)unsynced[i].offset);
    (void)!ftruncate(fd, synced_size);
    for (unsigned i = 0; i < unsynced_count; i++) {
        for (uint64_t at = 0; at < unsynced[i].len; at += SECTOR) {
            if (kit_random(&seed) % 2 == 0)
                (void)!pwrite(fd, unsynced[i].after + at, SECTOR, (off_t)(unsynced[i].offset + at));
        }
    }
}

static void event(int fd)
{
    if (!armed || ++events != last_event)
        return;
    if (power_lost)
        lose_power(fd);
    _exit(0);
}

static struct unsynced *remember(int fd, off_t offset, uint64_t len)
{
    if (unsynced_count == UNSYNCED)
        abort();
    struct unsynced *u = &unsynced[unsynced_count++];
    *u = (struct unsynced){
        .offset = (uint64_t)offset, .len = len, .before = calloc(1, len), .after = calloc(1, len)};
    if (u->before == NULL || u->after == NULL || pread(fd, u->before, len, offset) < 0)
        abort();
    return u;
}

ssize_t __wrap_pwritev2(int fd, const struct iovec *iov, int count, off_t offset, int flags)
{
    event(fd);
    if (armed && power_lost) {
        uint64_t len = 0;
        for (int i = 0; i < count; i++)
            len += iov[i].iov_len;
        struct unsynced *u = remember(fd, offset, len);
        uint8_t *to = u->after;
        for (int i = 0; i < count; to += iov[i++].iov_len)
            memcpy(to, iov[i].iov_base, iov[i].iov_len);
    }
    return __real_pwritev2(fd, iov, count, offset, flags);
}

int __wrap_fallocate(int fd, int mode, off_t offset, off_t len)
{
    event(fd);
    if (armed && power_lost)
        (void)remember(fd, offset, (uint64_t)len);
    return __real_fallocate(fd, mode, offset, len);
}

int __wrap_fdatasync(int fd)
{
    event(fd);
    for (unsigned i = 0; i < unsynced_count; i++) {
        free(unsynced[i].before);
        free(unsynced[i].after);
    }
    unsynced_count = 0;
    synced_size = lseek(fd, 0, SEEK_END);
    return 0;
}

/* ---- the workload ---- */

static struct image *open_image(void)
{
    struct image *backing =
        kind->backing ? kit_open("base.raw", IMAGE_FORMAT_RAW, true, NULL) : NULL;
    return kit_open("disk.qcow2", IMAGE_FORMAT_QCOW2, false, backing);
}

static void make_template(void)
{
    kit_run("head -c %llu /dev/zero | tr '\\0' B > base.raw", (unsigned long long)(kind->size / 2));
    kit_run("qemu-img create -q -f qcow2 -o %s %s template.qcow2 %llu", kind->options,
            kind->backing ? "-b base.raw -F raw" : "", (unsigned long long)kind->size);
    kit_run("qemu-io -f qcow2 -c '%s' template.qcow2 > io.txt", kind->filled);
    if (kind->snapshot)
        kit_run("qemu-img snapshot -q -c s template.qcow2");
}

static void touch(uint64_t offset, uint64_t len)
{
    memset(shared->touched + offset / SECTOR, 1, len / SECTOR);
}

static void must(int r)
{
    if (r < 0)
        _exit(1);
}

static void flush(struct image *img)
{
    must(img->ops->flush(img));
    memcpy(shared->flushed, shared->current, kind->size);
    memset(shared->touched, 0, sizeof(shared->touched));
}

static void operate(struct image *img, uint64_t *state, uint64_t stamp)
{
    static uint8_t buf[128 << 10];
    uint64_t len = (1 + kit_random(state) % 64) * SECTOR;
    if (kit_random(state) % 4 == 0)
        len = sizeof(buf);
    uint64_t offset = kit_random(state) % ((kind->size - len) / SECTOR + 1) * SECTOR;
    unsigned dice = (unsigned)(kit_random(state) % 10);
    touch(offset, len);
    if (dice < 6) {
        kit_fill(buf, len, offset, stamp);
        must(kit_write(img, offset, buf, len));
    } else if (dice < 8) {
        must(img->ops->write_zeroes(img, offset, len, dice == 6));
    } else {
        must(img->ops->discard(img, offset, len));
    }
    must(kit_read(img, offset, shared->current + offset, len));
    if (kit_random(state) % 5 == 0)
        flush(img);
}

/* Ends the process, in one way or another. */
static void work(void)
{
    uint64_t state = 42;
    struct image *img = open_image();
    must(kit_read(img, 0, shared->current, kind->size));
    memcpy(shared->flushed, shared->current, kind->size);
    armed = true;
    synced_size = lseek(img->fd, 0, SEEK_END);
    for (unsigned i = 0; i < OPERATIONS; i++)
        operate(img, &state, i + 1);
    flush(img);
    shared->events = events;
    _exit(0);
}

static void run_until(unsigned stop, bool power)
{
    kit_run("cp template.qcow2 disk.qcow2");
    memset(shared, 0, sizeof(*shared));
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        last_event = stop;
        power_lost = power;
        seed = stop;
        work();
    }
    int status;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "stop %u: status 0x%x", stop,
                  status);
}

/* ---- what is left ---- */

static void expect_consistent(unsigned stop, const char *when)
{
    int status = kit_status("qemu-img check -q -f qcow2 disk.qcow2 > check.txt 2>&1");
    if (status != 0 && status != 3)
        kit_run("cat check.txt >&2");
    ck_assert_msg(status == 0 || status == 3, "stop %u, %s: qemu-img check: %d", stop, when,
                  status);
}

static void expect_flushed(struct image *img, unsigned stop)
{
    static uint8_t now[SIZE_MAX_];
    ck_assert_int_eq(kit_read(img, 0, now, kind->size), 0);
    for (uint64_t at = 0; at < kind->size; at += SECTOR) {
        if (!shared->touched[at / SECTOR] && memcmp(now + at, shared->flushed + at, SECTOR) != 0)
            ck_abort_msg("stop %u: what was flushed at %llu is lost", stop, (unsigned long long)at);
    }
}

static void look_at(unsigned stop)
{
    expect_consistent(stop, "after the end");
    struct image *img = open_image();
    expect_flushed(img, stop);
    uint64_t state = stop;
    for (unsigned i = 0; i < 6; i++)
        operate(img, &state, 99);
    flush(img);
    kit_close(img);
    expect_consistent(stop, "after going on");
}

static void test_kind(bool power)
{
    make_template();
    run_until(0, power);
    unsigned total = shared->events;
    ck_assert_uint_gt(total, 60);
    unsigned step = total / POINTS + 1;
    for (unsigned stop = 1; stop <= total; stop += step) {
        run_until(stop, power);
        look_at(stop);
    }
}

START_TEST(test_killed)
{
    kind = &kinds[_i];
    test_kind(false);
}
END_TEST

START_TEST(test_power_lost)
{
    kind = &kinds[_i];
    test_kind(true);
}
END_TEST

int main(void)
{
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        return EXIT_FAILURE;
    Suite *suite = suite_create("qcow2-crash");
    TCase *tc = tcase_create("all");
    tcase_set_timeout(tc, 110);
    tcase_add_checked_fixture(tc, kit_enter, kit_leave);
    tcase_add_loop_test(tc, test_killed, 0, (int)ARRAY_SIZE(kinds));
    tcase_add_loop_test(tc, test_power_lost, 0, (int)ARRAY_SIZE(kinds));
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
