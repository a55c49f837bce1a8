// SPDX-License-Identifier: Apache-2.0
/* What a sidecar says, and which file it is for; start-up, one thread. See images.h. */
#include "images.h"
#include <fcntl.h>
#include <podvisor/cleanup.h>
#include <podvisor/json.h>
#include <string.h>
#include <sys/stat.h>

#define MESSAGE_DEPTH 2

static int read_kind(const char *word, enum image_kind *ret, struct error *err)
{
    if (strcmp(word, "volume") == 0)
        *ret = IMAGE_VOLUME;
    else if (strcmp(word, "kernelBoot") == 0)
        *ret = IMAGE_KERNEL_BOOT;
    else
        return error_set(err, EPROTO, "unknown kind '%.40s'", word);
    return 0;
}

static int check_members(const cJSON *object, struct error *err)
{
    static const char *const names[] = {"kind", "name", "error"};
    json_for_each (member, object) {
        bool known = false;
        for (size_t i = 0; i < ARRAY_SIZE(names); i++)
            known = known || strcmp(member->string, names[i]) == 0;
        if (!known)
            return error_set(err, EPROTO, "unknown member '%.40s'", member->string);
    }
    return 0;
}

static int read_message(const cJSON *object, struct image_message *ret, struct error *err)
{
    const char *kind = "", *name = "", *error = NULL;
    struct image_message message = {.name = ""};
    if (!cJSON_IsObject(object))
        return error_set(err, EPROTO, "not an object");
    if (check_members(object, err) < 0 || json_get_string(object, "kind", NULL, &kind, err) < 0 ||
        json_get_string(object, "name", NULL, &name, err) < 0 ||
        json_get_string(object, "error", NULL, &error, err) < 0 ||
        read_kind(kind, &message.kind, err) < 0)
        return -EPROTO;
    size_t len = strlen(name);
    if (len == 0 || len >= sizeof(message.name))
        return error_set(err, EPROTO, "the name must have 1 to %zu bytes",
                         sizeof(message.name) - 1);
    memcpy(message.name, name, len + 1);
    if (error != NULL)
        snprintf(message.error, sizeof(message.error), "%s",
                 *error != '\0' ? error : "no reason given");
    *ret = message;
    return 0;
}

int image_message_parse(const char *text, size_t len, struct image_message *ret, struct error *err)
{
    static const struct json_limits limits = {.bytes = IMAGE_MESSAGE_MAX, .depth = MESSAGE_DEPTH};
    cleanup_json cJSON *tree = NULL;
    int r = json_parse(text, len, &limits, &tree, err);
    if (r == 0)
        r = read_message(tree, ret, err);
    if (r == 0)
        return 0;
    error_wrap(err, "a message on the image socket");
    return -EPROTO;
}

static struct image_wanted *find(struct images *images, enum image_kind kind, const char *name)
{
    for (unsigned i = 0; i < images->wanted_count; i++) {
        if (images->wanted[i].kind == kind && strcmp(images->wanted[i].name, name) == 0)
            return &images->wanted[i];
    }
    return NULL;
}

static int wrap_with_name(const struct image_wanted *wanted, struct error *err)
{
    return error_wrap(err, "%s%s (image %s)", wanted->kind == IMAGE_VOLUME ? "volume " : "",
                      wanted->name, wanted->image);
}

/* Only what a disk or a kernel can be, and nothing that a bug of ours could write to. */
static int check_file(int fd, struct error *err)
{
    struct stat st;
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fstat(fd, &st) < 0)
        return error_sys(err, errno, "cannot examine the descriptor");
    if ((flags & (O_ACCMODE | O_PATH)) != O_RDONLY)
        return error_set(err, EPROTO, "the descriptor is not open for reading only");
    if (!S_ISREG(st.st_mode))
        return error_set(err, EPROTO, "the descriptor is not a regular file");
    if (st.st_size == 0)
        return error_set(err, EPROTO, "the file is empty");
    return 0;
}

static int accept_message(struct images *images, const char *text, size_t len, int *fd,
                          unsigned fd_count, struct error *err)
{
    struct image_message message = {.name = ""};
    int r = image_message_parse(text, len, &message, err);
    if (r < 0)
        return r;
    struct image_wanted *wanted = find(images, message.kind, message.name);
    if (wanted == NULL)
        return error_set(err, EPROTO, "an image socket's message is for '%s', which nobody wants",
                         message.name);
    if (message.error[0] != '\0') {
        error_set(err, EREMOTEIO, "%s", message.error);
        return wrap_with_name(wanted, err);
    }
    if (fd_count != 1)
        error_set(err, EPROTO, "%u descriptors came where one was due", fd_count);
    else if (wanted->arrived)
        error_set(err, EPROTO, "its file came twice");
    else if (check_file(*fd, err) == 0) {
        wanted->arrived = true;
        wanted->fd = steal_fd(fd);
        return 0;
    }
    wrap_with_name(wanted, err);
    return -EPROTO;
}

int images_accept(struct images *images, const char *text, size_t len, int *fds, unsigned fd_count,
                  struct error *err)
{
    int r = accept_message(images, text, len, fds, fd_count, err);
    for (unsigned i = 0; i < fd_count; i++) {
        if (fds[i] >= 0)
            close(fds[i]);
    }
    return r;
}

int images_want(struct images *images, enum image_kind kind, const char *name, const char *image,
                struct error *err)
{
    if (images->wanted_count == IMAGES_MAX)
        return error_set(err, E2BIG, "more than %d files of container images", IMAGES_MAX);
    images->wanted[images->wanted_count++] =
        (struct image_wanted){.kind = kind, .name = name, .image = image, .fd = -1};
    return 0;
}

int images_take(struct images *images, enum image_kind kind, const char *name)
{
    struct image_wanted *wanted = find(images, kind, name);
    return wanted != NULL ? steal_fd(&wanted->fd) : -1;
}
