// SPDX-License-Identifier: Apache-2.0
/*
 * What goes onto a disk of files, and how it is read from a folder that the kubelet keeps: a mount
 * of a config map, a secret, a downward API or a projected volume. There every key is a symbolic
 * link into the folder that `..data` leads to, which is replaced as a whole when the object changes
 * (pkg/volume/util/atomic_writer.go of Kubernetes). Read is that one folder, so that files of two
 * versions never meet, and nothing outside of the mount: `..data` must name a neighbour, and behind
 * it no link is followed. One thread; contents never appear in errors.
 */
#ifndef PODVISOR_SEED_FILES_H
#define PODVISOR_SEED_FILES_H

#include "iso9660.h"
#include <podvisor/vec.h>

struct seed_files {
    VEC(struct iso_file) list;
};

/* Copies both. */
void seed_files_add(struct seed_files *files, const char *path, const void *data, size_t len);
void seed_files_done(struct seed_files *files);

static inline void cleanup_seed_files_fn(struct seed_files *files)
{
    seed_files_done(files);
}

#define cleanup_seed_files __attribute__((cleanup(cleanup_seed_files_fn)))

/*
 * Adds every file of the folder, at its path below it, in the order of paths. -ENOENT: there is no
 * such folder; -EINVAL: something in it is neither file nor folder; -E2BIG: more than ISO_FILES_MAX
 * or ISO_DATA_MAX.
 */
int seed_read_folder(const char *folder, struct seed_files *files, struct error *err);

/*
 * Adds the first that is there of two files of the folder, as `path`. Returns 1, 0 when there is
 * neither, or as seed_read_folder().
 */
int seed_read_key(const char *folder, const char *key, const char *other_key, const char *path,
                  struct seed_files *files, struct error *err);

#endif
