// SPDX-License-Identifier: Apache-2.0
/*
 * Opens the files of the image that the process runs in. The image is the user's and may hold
 * anything: what is opened is a regular file below the image's root, for reading, or it is refused.
 */
#ifndef PODVISOR_CONTAINERDISK_FILES_H
#define PODVISOR_CONTAINERDISK_FILES_H

#include <podvisor/error.h>

/* Where KubeVirt's images have their disk. */
#define FILES_DISK_FOLDER "disk"

/*
 * Opens `path` in the image whose root is `root_fd`; symbolic links are followed and stay in the
 * image. The descriptor is close-on-exec. Returns 0 or a negative errno.
 */
int files_open(int root_fd, const char *path, int *ret_fd, struct error *err);

/*
 * Opens the one regular file in /disk. Folders, symbolic links and names that begin with a dot do
 * not count. -ENOENT when there is none, -EINVAL when there are several: the error names them.
 */
int files_open_disk(int root_fd, int *ret_fd, struct error *err);

#endif
