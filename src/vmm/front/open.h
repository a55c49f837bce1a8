// SPDX-License-Identifier: Apache-2.0
/*
 * Opens what a plan names and fills the machine's configuration. In two steps, so that bad input
 * leaves nothing behind: first everything that must be there already (images last: they may take
 * minutes to come), then what is created; when something fails in the second step, what was created
 * before it goes again.
 */
#ifndef PODVISOR_FRONT_OPEN_H
#define PODVISOR_FRONT_OPEN_H

#include "image.h"
#include "images.h"
#include "plan.h"

#define CREATED_MAX (MACHINE_DISK_MAX + 3)

/*
 * Files that this run made; their paths are borrowed. They go by path, so a disk is one of them
 * only while its lock is held: nobody else can have begun to use it.
 */
struct created {
    unsigned count;
    const char *path[CREATED_MAX];
};

void created_add(struct created *created, const char *path);
void created_undo(struct created *created);

/*
 * Opens everything and writes *config (large: keep it static). All descriptors are close-on-exec.
 * `images` listens already; NULL: nothing of the plan comes from an image. Returns 0 or a negative
 * errno; then nothing that was created is left, but for disks that nothing can lock (descriptors
 * may stay open: the process is about to end).
 */
int open_machine(const struct plan *plan, struct images *images, struct machine_config *config,
                 struct created *created, struct error *err);

/* The parts. Each returns 0 or a negative errno and sets what it owns in *config. */
int open_kvm(int *ret_fd, struct error *err);
int open_existing_disks(const struct plan *plan, struct machine_config *config, struct error *err);
int take_image_disks(const struct plan *plan, struct images *images, struct machine_config *config,
                     struct error *err);
int create_missing_disks(const struct plan *plan, struct machine_config *config,
                         struct created *created, struct error *err);

/*
 * What a file of a container image is, by its magic: the one place where a format is looked for.
 * Such a file is a layer of an image, to which no guest can have written. 0 or a negative errno.
 */
int overlay_probe(int fd, enum image_format *ret, struct error *err);
/* Makes disk->overlay, empty, and puts it over the disk that *ret describes. */
int overlay_put(const struct plan_disk *disk, struct machine_disk *ret, struct created *created,
                struct error *err);

/* The storage's word for what a disk's bytes are. */
enum image_format open_format(enum machine_disk_format format);

/*
 * Opens the images below a disk, whose own is open as `fd`, and says in *ret what there is. What a
 * header says about being an overlay must fit. Returns 0 or a negative errno.
 */
int open_layers(const struct plan_disk *disk, int fd, struct machine_disk *ret, struct error *err);
int open_taps(const struct plan *plan, struct machine_config *config, struct error *err);
void warn_taps_down(const struct plan *plan);
int open_console(const struct plan *plan, struct machine_config *config, struct created *created,
                 struct error *err);

/*
 * Listens on a UNIX socket of `type` (SOCK_STREAM, SOCK_SEQPACKET), mode 0600, close-on-exec and
 * non-blocking, and puts it at `path`; the place of a socket that nobody serves is taken. `what`
 * is the word for it in errors. Returns 0 or a negative errno.
 */
int open_socket(const char *path, int type, const char *what, int *ret_fd, struct error *err);
int open_control(const char *path, int *ret_fd, struct created *created, struct error *err);

#endif
