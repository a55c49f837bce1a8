// SPDX-License-Identifier: Apache-2.0
/*
 * Disks that are made of files (PLAN_SEED): cloud-init's data, config maps, secrets, downward API,
 * service account and sysprep. Start-up, one thread.
 */
#ifndef PODVISOR_FRONT_SEED_H
#define PODVISOR_FRONT_SEED_H

#include "plan.h"

/* Folders of a cloud-init volume in a pod, for the secrets that it names. */
#define SEED_USER_DATA    "userdata"
#define SEED_NETWORK_DATA "networkdata"

/*
 * Makes the image of the disk's volume: an ISO 9660 file system in sealed memory, close-on-exec, so
 * that secrets are on no disk. Returns 0 or a negative errno; errors name the file, never what is
 * in it.
 */
int seed_make(const struct plan_disk *disk, int *ret_fd, struct error *err);

#endif
