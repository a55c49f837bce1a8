// SPDX-License-Identifier: Apache-2.0
/* inotify(7) for folders in an event loop. Loop thread only. */
#ifndef PODVISOR_DEVICEPLUGIN_FOLDER_WATCH_H
#define PODVISOR_DEVICEPLUGIN_FOLDER_WATCH_H

#include <podvisor/loop.h>

struct folder_watch {
    struct loop *loop;
    struct loop_source source;
    int fd;
    /* A name in the folder `wd` came, went or changed its attributes. wd -1, name NULL: events were
     * lost, anything may have happened. name NULL: the folder itself. */
    void (*changed)(struct folder_watch *watch, int wd, const char *name);
};

int folder_watch_start(struct folder_watch *watch, struct loop *loop,
                       void (*changed)(struct folder_watch *watch, int wd, const char *name),
                       struct error *err);

/* Watches one folder more. Returns its wd (the same one when it is watched already) or a negative
 * errno. */
int folder_watch_add(struct folder_watch *watch, const char *path, struct error *err);

/* Harmless when it was not started and `fd` is -1. */
void folder_watch_done(struct folder_watch *watch);

#endif
