// SPDX-License-Identifier: Apache-2.0
/* Files of images by descriptor: the messages, and the socket with container-disk's own sender. */
#include "images.h"
#include "run_suite.h"
#include "sender.h"
#include <check.h>
#include <fcntl.h>
#include <podvisor/cleanup.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

static struct images images;
static char folder[32], path[64];

static void set_up(void)
{
    strcpy(folder, "/tmp/test-images-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/images", folder);
    images = IMAGES_INIT;
    images_want(&images, IMAGE_VOLUME, "root", "example.org/root", NULL);
    images_want(&images, IMAGE_KERNEL_BOOT, IMAGE_KERNEL, "example.org/kernel", NULL);
}

static void tear_down(void)
{
    unlink(path);
    rmdir(folder);
    for (unsigned i = 0; i < images.wanted_count; i++)
        close(images.wanted[i].fd);
    for (unsigned i = 0; i < images.connection_count; i++)
        close(images.connection[i].fd);
    if (images.listen_fd >= 0) {
        close(images.listen_fd);
        close(images.signal_fd);
    }
}

/* A file of `size` bytes without a name; open for `mode`. */
static int make_file(off_t size, int mode)
{
    char name[64], again[64];
    snprintf(name, sizeof(name), "%s/file-XXXXXX", folder);
    cleanup_close int fd = mkstemp(name);
    ck_assert_int_eq(ftruncate(fd, size), 0);
    unlink(name);
    snprintf(again, sizeof(again), "/proc/self/fd/%d", fd);
    int opened = open(again, mode);
    ck_assert_int_ge(opened, 0);
    return opened;
}

static void must_parse(const char *text, enum image_kind kind, const char *name, const char *error)
{
    struct image_message m;
    struct error err = ERROR_INIT;
    ck_assert_msg(image_message_parse(text, strlen(text), &m, &err) == 0, "%s", err.text);
    ck_assert_int_eq(m.kind, kind);
    ck_assert_str_eq(m.name, name);
    ck_assert_str_eq(m.error, error);
}

static void must_not_parse(const char *text, const char *why)
{
    struct image_message m;
    struct error err = ERROR_INIT;
    ck_assert_int_eq(image_message_parse(text, strlen(text), &m, &err), -EPROTO);
    ck_assert_msg(strstr(err.text, why) != NULL, "'%s' is not in: %s", why, err.text);
}

START_TEST(messages)
{
    must_parse("{\"kind\":\"volume\",\"name\":\"root\"}", IMAGE_VOLUME, "root", "");
    must_parse("{\"name\":\"initrd\",\"kind\":\"kernelBoot\",\"error\":\"no \\\"x\\\"\"}",
               IMAGE_KERNEL_BOOT, "initrd", "no \"x\"");
    must_parse("{\"kind\":\"volume\",\"name\":\"root\",\"error\":\"\"}", IMAGE_VOLUME, "root",
               "no reason given");
    must_not_parse("", "message on the image socket");
    must_not_parse("[]", "not an object");
    must_not_parse("{}", "unknown kind ''");
    must_not_parse("{\"kind\":\"disk\",\"name\":\"root\"}", "unknown kind 'disk'");
    must_not_parse("{\"kind\":\"volume\"}", "1 to 63 bytes");
    must_not_parse("{\"kind\":\"volume\",\"name\":7}", "must be a string");
    must_not_parse("{\"kind\":\"volume\",\"name\":\"a\",\"path\":\"b\"}", "unknown member 'path'");
    must_not_parse("{\"kind\":\"volume\",\"name\":\"a\",\"name\":\"b\"}", "name");
    must_not_parse("{\"kind\":\"volume\",\"name\":\"a\"}{}", "message on the image socket");
}
END_TEST

static int deliver(const char *text, int fd, struct error *err)
{
    int fds[1] = {fd};
    return images_accept(&images, text, strlen(text), fds, fd >= 0, err);
}

static void must_refuse(const char *text, int fd, int code, const char *why)
{
    struct error err = ERROR_INIT;
    ck_assert_int_eq(deliver(text, fd, &err), code);
    ck_assert_msg(strstr(err.text, why) != NULL, "'%s' is not in: %s", why, err.text);
    if (fd >= 0)
        ck_assert_msg(fcntl(fd, F_GETFD) < 0, "a refused descriptor stays open");
}

#define ROOT   "{\"kind\":\"volume\",\"name\":\"root\"}"
#define KERNEL "{\"kind\":\"kernelBoot\",\"name\":\"kernel\"}"

START_TEST(files_are_checked)
{
    must_refuse(ROOT, make_file(4096, O_RDWR), -EPROTO,
                "volume root (image example.org/root): the descriptor is not open for reading");
    must_refuse(ROOT, make_file(4096, O_WRONLY), -EPROTO, "not open for reading");
    must_refuse(ROOT, make_file(4096, O_PATH), -EPROTO, "not open for reading");
    must_refuse(ROOT, make_file(0, O_RDONLY), -EPROTO, "the file is empty");
    must_refuse(ROOT, open("/dev/null", O_RDONLY), -EPROTO, "not a regular file");
    must_refuse(ROOT, open("/tmp", O_RDONLY), -EPROTO, "not a regular file");
    must_refuse(ROOT, -1, -EPROTO, "0 descriptors came where one was due");
    must_refuse("{\"kind\":\"volume\",\"name\":\"kernel\"}", make_file(1, O_RDONLY), -EPROTO,
                "'kernel', which nobody wants");
    must_refuse("{\"kind\":\"kernelBoot\",\"name\":\"initrd\"}", make_file(1, O_RDONLY), -EPROTO,
                "'initrd', which nobody wants");
    must_refuse("{\"kind\":\"volume\",\"name\":\"root\",\"error\":\"no disk\"}", -1, -EREMOTEIO,
                "volume root (image example.org/root): no disk");
}
END_TEST

START_TEST(files_are_taken_once)
{
    int fd = make_file(512, O_RDONLY);
    ck_assert_int_eq(deliver(ROOT, fd, NULL), 0);
    must_refuse(ROOT, make_file(512, O_RDONLY), -EPROTO, "came twice");
    ck_assert_int_eq(images_take(&images, IMAGE_VOLUME, "root"), fd);
    ck_assert_int_eq(images_take(&images, IMAGE_VOLUME, "root"), -1);
    must_refuse(ROOT, make_file(512, O_RDONLY), -EPROTO, "came twice");
    ck_assert_int_eq(images_take(&images, IMAGE_VOLUME, "none"), -1);
    close(fd);
}
END_TEST

START_TEST(several_descriptors)
{
    struct error err = ERROR_INIT;
    int fds[2] = {make_file(512, O_RDONLY), make_file(512, O_RDONLY)}, copy[2] = {fds[0], fds[1]};
    ck_assert_int_eq(images_accept(&images, ROOT, strlen(ROOT), fds, 2, &err), -EPROTO);
    ck_assert_ptr_nonnull(strstr(err.text, "2 descriptors came where one was due"));
    ck_assert_int_lt(fcntl(copy[0], F_GETFD), 0);
    ck_assert_int_lt(fcntl(copy[1], F_GETFD), 0);
}
END_TEST

START_TEST(not_more_than_fit)
{
    struct error err = ERROR_INIT;
    while (images.wanted_count < IMAGES_MAX)
        ck_assert_int_eq(images_want(&images, IMAGE_VOLUME, "x", "y", &err), 0);
    ck_assert_int_eq(images_want(&images, IMAGE_VOLUME, "x", "y", &err), -E2BIG);
}
END_TEST

/* A sidecar as a thread: sends its file and waits for the end. */
struct sidecar {
    const char *kind, *name, *error;
    int file_fd;
};

static void *run_sidecar(void *arg)
{
    struct sidecar *s = arg;
    int fd = -1;
    if (sender_connect(path, 5, &fd, NULL) < 0)
        return (void *)1;
    int r = s->error != NULL ? sender_send_error(fd, s->kind, s->name, s->error, NULL)
                             : sender_send_file(fd, s->kind, s->name, s->file_fd, NULL);
    sender_await_end(fd);
    close(fd);
    return r < 0 ? (void *)1 : NULL;
}

static pthread_t start_sidecar(struct sidecar *s)
{
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, run_sidecar, s), 0);
    return thread;
}

static void join(pthread_t thread)
{
    void *result;
    ck_assert_int_eq(pthread_join(thread, &result), 0);
    ck_assert_ptr_null(result);
}

START_TEST(sidecars_wait_for_the_socket_and_for_the_end)
{
    struct error err = ERROR_INIT;
    struct sidecar root = {.kind = "volume", .name = "root", .file_fd = make_file(512, O_RDONLY)};
    struct sidecar kernel = {
        .kind = "kernelBoot", .name = "kernel", .file_fd = make_file(1, O_RDONLY)};
    pthread_t first = start_sidecar(&root), second = start_sidecar(&kernel);
    usleep(100000); /* they look for the socket in vain */
    ck_assert_int_eq(images_listen(&images, path, 20, &err), 0);
    ck_assert_msg(images_receive(&images, &err) == 0, "%s", err.text);
    struct stat st;
    int fd = images_take(&images, IMAGE_VOLUME, "root");
    ck_assert_int_eq(fstat(fd, &st), 0);
    ck_assert_int_eq(st.st_size, 512);
    ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
    close(fd);
    int32_t keep[MACHINE_KEEP_MAX];
    ck_assert_uint_eq(images_keep(&images, keep), 2);
    ck_assert_int_eq(pthread_tryjoin_np(first, NULL), EBUSY);
    images.connection_count = 0;
    close(keep[0]);
    close(keep[1]);
    join(first);
    join(second);
    close(root.file_fd);
    close(kernel.file_fd);
}
END_TEST

START_TEST(sidecar_that_cannot_open_ends_the_wait)
{
    struct error err = ERROR_INIT;
    struct sidecar root = {.kind = "volume", .name = "root", .error = "there is no disk"};
    ck_assert_int_eq(images_listen(&images, path, 20, &err), 0);
    pthread_t thread = start_sidecar(&root);
    ck_assert_int_eq(images_receive(&images, &err), -EREMOTEIO);
    ck_assert_ptr_nonnull(strstr(err.text, "volume root (image example.org/root): there is no"));
    while (images.connection_count > 0)
        close(images.connection[--images.connection_count].fd);
    join(thread);
}
END_TEST

START_TEST(what_does_not_come_is_named)
{
    struct error err = ERROR_INIT;
    ck_assert_int_eq(images_listen(&images, path, 1, &err), 0);
    ck_assert_int_eq(images_receive(&images, &err), -ETIMEDOUT);
    ck_assert_ptr_nonnull(
        strstr(err.text, "within 1 s: volume root (image example.org/root), kernel (image "));
}
END_TEST

START_TEST(signal_ends_the_wait)
{
    struct error err = ERROR_INIT;
    ck_assert_int_eq(images_listen(&images, path, 20, &err), 0);
    ck_assert_int_eq(raise(SIGTERM), 0);
    ck_assert_int_eq(images_receive(&images, &err), -ECANCELED);
    ck_assert_int_eq(images.stop_signal, SIGTERM);
}
END_TEST

START_TEST(signal_is_kept_when_nothing_is_awaited)
{
    sigset_t pending;
    images.wanted_count = 0;
    ck_assert_int_eq(images_listen(&images, path, 20, NULL), 0);
    ck_assert_int_eq(raise(SIGTERM), 0);
    ck_assert_int_eq(images_receive(&images, NULL), 0);
    sigpending(&pending);
    ck_assert(sigismember(&pending, SIGTERM));
    char info[128];
    ck_assert_int_eq(read(images.signal_fd, info, sizeof(info)), 128);
}
END_TEST

static int send_raw(const void *bytes, size_t len)
{
    int fd = -1;
    ck_assert_int_eq(sender_connect(path, 5, &fd, NULL), 0);
    ck_assert_int_eq(send(fd, bytes, len, 0), (ssize_t)len);
    return fd;
}

START_TEST(message_that_is_too_long)
{
    static char text[IMAGE_MESSAGE_MAX + 1];
    struct error err = ERROR_INIT;
    memset(text, ' ', sizeof(text));
    ck_assert_int_eq(images_listen(&images, path, 20, &err), 0);
    int fd = send_raw(text, sizeof(text));
    ck_assert_int_eq(images_receive(&images, &err), -EPROTO);
    close(fd);
    ck_assert_ptr_nonnull(strstr(err.text, "more than 4096 bytes"));
}
END_TEST

START_TEST(silent_connections_do_no_harm)
{
    struct error err = ERROR_INIT;
    int silent[IMAGE_CONNECTION_MAX - 2];
    ck_assert_int_eq(images_listen(&images, path, 20, &err), 0);
    struct sidecar root = {.kind = "volume", .name = "root", .file_fd = make_file(512, O_RDONLY)};
    struct sidecar kernel = {
        .kind = "kernelBoot", .name = "kernel", .file_fd = make_file(1, O_RDONLY)};
    cleanup_close int closed = -1;
    ck_assert_int_eq(sender_connect(path, 5, &closed, NULL), 0);
    close(steal_fd(&closed));
    pthread_t first = start_sidecar(&root), second = start_sidecar(&kernel);
    for (size_t i = 0; i < 10; i++)
        ck_assert_int_eq(sender_connect(path, 5, &silent[i], NULL), 0);
    ck_assert_int_eq(images_receive(&images, &err), 0);
    int32_t keep[MACHINE_KEEP_MAX];
    ck_assert_uint_eq(images_keep(&images, keep), 2);
    while (images.connection_count > 0)
        close(images.connection[--images.connection_count].fd);
    close(steal_fd(&images.listen_fd));
    close(steal_fd(&images.signal_fd));
    join(first);
    join(second);
    for (size_t i = 0; i < 10; i++)
        close(silent[i]);
    close(root.file_fd);
    close(kernel.file_fd);
}
END_TEST

START_TEST(nobody_behind_the_socket)
{
    struct error err = ERROR_INIT;
    int fd;
    ck_assert_int_eq(sender_connect(path, 0, &fd, &err), -ETIMEDOUT);
    ck_assert_int_eq(images_listen(&images, path, 20, NULL), 0);
    close(steal_fd(&images.listen_fd));
    close(steal_fd(&images.signal_fd));
    ck_assert_int_eq(sender_connect(path, 5, &fd, &err), -ECONNREFUSED);
}
END_TEST

START_TEST(worst_error_text_fits_the_message)
{
    char text[ERROR_TEXT_MAX];
    struct error err = ERROR_INIT;
    memset(text, '\x01', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    struct sidecar root = {.kind = "volume", .name = "root", .error = text};
    ck_assert_int_eq(images_listen(&images, path, 20, &err), 0);
    pthread_t thread = start_sidecar(&root);
    ck_assert_int_eq(images_receive(&images, &err), -EREMOTEIO);
    while (images.connection_count > 0)
        close(images.connection[--images.connection_count].fd);
    join(thread);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("front-images");
    TCase *tc = tcase_create("images");
    tcase_set_timeout(tc, 30);
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, messages);
    tcase_add_test(tc, files_are_checked);
    tcase_add_test(tc, files_are_taken_once);
    tcase_add_test(tc, several_descriptors);
    tcase_add_test(tc, not_more_than_fit);
    tcase_add_test(tc, sidecars_wait_for_the_socket_and_for_the_end);
    tcase_add_test(tc, sidecar_that_cannot_open_ends_the_wait);
    tcase_add_test(tc, what_does_not_come_is_named);
    tcase_add_test(tc, signal_ends_the_wait);
    tcase_add_test(tc, signal_is_kept_when_nothing_is_awaited);
    tcase_add_test(tc, message_that_is_too_long);
    tcase_add_test(tc, silent_connections_do_no_harm);
    tcase_add_test(tc, nobody_behind_the_socket);
    tcase_add_test(tc, worst_error_text_fits_the_message);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
