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
    bool direct;    /* O_DIRECT: past the host's page cache */
    bool no_follow; /* refuse a path that is a symbolic link */
    bool shared;    /* no lock: several machines write, and have a file system that knows */
};

struct image_file {
    int fd; /* O_CLOEXEC; the caller's */
    struct image_geometry geometry;
    bool locked; /* false: the file system has no locks, nothing guards against a second user */
};

/*
 * Opens, checks and locks the disk at `path`. The lock is an open file description lock (write, or
 * read when readonly): it stays with the descriptor over execve() and ends when the last copy is
 * closed. Returns 0 or a negative errno; the error names the path and the way out.
 */
int image_file_open(const char *path, const struct image_file_options *options,
                    struct image_file *ret_file, struct error *err);

/* Lets the descriptor survive execve(): call it last. Returns 0 or a negative errno. */
int image_file_hand_over(const struct image_file *file, struct error *err);

#endif
