// SPDX-License-Identifier: Apache-2.0
/*
 * How the front opens a disk that the user named: every mistake that can be seen beforehand is
 * refused here, in words that say what to do, and the file is locked against a second machine.
 */
#ifndef PODVISOR_STORAGE_IMAGE_FILE_H
#define PODVISOR_STORAGE_IMAGE_FILE_H

#include "image.h"

struct image_file_options {
    enum image_format format;
    bool readonly;
    bool direct; /* O_DIRECT: past the host's page cache */
    /* The folder's content is somebody else's: see image_file_open_beneath(). */
    bool untrusted;
    bool shared; /* no lock: several machines write, and have a file system that knows */
    /* For the message to whoever finds the disk in use: "machine default/web". NULL: none. */
    const char *holder;
};

struct image_file {
    int fd; /* O_CLOEXEC; the caller's */
    struct image_geometry geometry;
    bool locked; /* false: the file system has no locks, nothing guards against a second user */
};

/*
 * Opens the folder that `path` is in (O_PATH) and puts where its last part begins into *ret_name.
 * Returns a descriptor or a negative errno (-EISDIR: the last part is no name). Any thread.
 */
int image_file_open_folder(const char *path, const char **ret_name);

/*
 * open(2) of the last part of `path` in the folder before it: whatever lies there, a symbolic link
 * is not followed and nothing outside of the folder is reached. Only the folder's own path is
 * trusted. Returns a descriptor or a negative errno (-ELOOP: a link). Any thread.
 */
int image_file_open_beneath(const char *path, int flags, mode_t mode);

/*
 * Opens, checks and locks the disk at `path`. The lock of a file is an open file description lock
 * (write, or read when readonly): it stays with the descriptor over execve() and ends when the last
 * copy is closed. A block device, of which each container has a node of its own, is opened with
 * O_EXCL instead when it is written to: that excludes other writers of ours and mounts on the same
 * node. What is locked is what `path` leads to then: a file that was removed while its lock was
 * waited for is let go, and the path opened again. Returns 0 or a negative errno; the error names
 * the path and the way out.
 */
int image_file_open(const char *path, const struct image_file_options *options,
                    struct image_file *ret_file, struct error *err);

/*
 * Checks and locks likewise what is open already; `path` is for the errors. The descriptor is the
 * caller's, before and after, and gets or loses O_DIRECT. Returns 0 or a negative errno.
 */
int image_file_take(const char *path, int fd, const struct image_file_options *options,
                    struct image_file *ret_file, struct error *err);

/* Lets the descriptor survive execve(): call it last. Returns 0 or a negative errno. */
int image_file_hand_over(const struct image_file *file, struct error *err);

#endif
