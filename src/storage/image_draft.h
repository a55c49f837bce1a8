// SPDX-License-Identifier: Apache-2.0
/*
 * A disk that is being made: a file without a name, until it has its size and its maker the lock.
 * So nobody ever finds one that is not complete, a maker that dies leaves none, and whoever finds
 * one knows that it is somebody's.
 */
#ifndef PODVISOR_STORAGE_IMAGE_DRAFT_H
#define PODVISOR_STORAGE_IMAGE_DRAFT_H

#include <podvisor/error.h>

#define IMAGE_DRAFT_NAME_MAX 40 /* bytes */

struct image_draft {
    int fd; /* open for reading and writing, O_CLOEXEC, mode 0600 */
    int folder_fd;
    const char *name; /* in that folder: the last part of the path, borrowed */
    /* Where file systems have no files without a name (NFS): the one that it has; "": none. */
    char temporary[IMAGE_DRAFT_NAME_MAX];
};

#define IMAGE_DRAFT_INIT ((struct image_draft){.fd = -1, .folder_fd = -1})

/*
 * Opens an empty draft of what shall be at `path`, which must outlive it. Of the path only the
 * folder is trusted, as in image_file_open_beneath(). Returns 0 or a negative errno.
 */
int image_draft_open(const char *path, struct image_draft *ret_draft, struct error *err);

/*
 * Gives the draft its name, with what is locked by its descriptor. Returns 0 or a negative errno;
 * -EEXIST: something is there already, and stays.
 */
int image_draft_publish(struct image_draft *draft, struct error *err);

/* Closes what is open (a descriptor taken over is -1), and removes a name that is temporary. */
void image_draft_done(struct image_draft *draft);

#define cleanup_image_draft __attribute__((cleanup(image_draft_done)))

#endif
