// SPDX-License-Identifier: Apache-2.0
/* Folders watched through inotify; see folder_watch.h. */
#include "folder_watch.h"
#include <podvisor/cleanup.h>
#include <sys/inotify.h>

#define EVENTS                                                                          \
    (IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_ATTRIB | IN_DELETE_SELF | \
     IN_MOVE_SELF | IN_ONLYDIR)

static void watch_ready(struct loop_source *source, uint32_t events)
{
    struct folder_watch *watch = container_of(source, struct folder_watch, source);
    _Alignas(struct inotify_event) char buf[8192];
    (void)events;
    ssize_t len = read(watch->fd, buf, sizeof(buf));
    for (ssize_t at = 0; at < len;) {
        const struct inotify_event *event = (const struct inotify_event *)(const void *)(buf + at);
        at += (ssize_t)(sizeof(*event) + event->len);
        if ((event->mask & IN_Q_OVERFLOW) != 0)
            watch->changed(watch, -1, NULL);
        else
            watch->changed(watch, event->wd, event->len > 0 ? event->name : NULL);
        if (watch->fd < 0)
            return;
    }
}

int folder_watch_start(struct folder_watch *watch, struct loop *loop,
                       void (*changed)(struct folder_watch *watch, int wd, const char *name),
                       struct error *err)
{
    *watch = (struct folder_watch){
        .loop = loop, .source = LOOP_SOURCE_INIT(watch_ready), .changed = changed};
    watch->fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (watch->fd < 0)
        return error_sys(err, errno, "cannot create an inotify instance");
    int r = loop_add(loop, &watch->source, watch->fd, EPOLLIN, err);
    if (r < 0)
        close(steal_fd(&watch->fd));
    return r;
}

int folder_watch_add(struct folder_watch *watch, const char *path, struct error *err)
{
    int wd = inotify_add_watch(watch->fd, path, EVENTS);
    return wd >= 0 ? wd : error_sys(err, errno, "cannot watch the folder %s", path);
}

void folder_watch_done(struct folder_watch *watch)
{
    if (watch->fd < 0)
        return;
    loop_del(watch->loop, &watch->source);
    close(steal_fd(&watch->fd));
}
