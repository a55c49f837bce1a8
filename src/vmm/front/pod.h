// SPDX-License-Identifier: Apache-2.0
/*
 * The conventions of a pod (docs/pod.md): where the operator and podnet leave what a machine needs,
 * and how `vmm run --pod` finds it. Start-up, one thread.
 */
#ifndef PODVISOR_FRONT_POD_H
#define PODVISOR_FRONT_POD_H

#include "images.h"
#include "plan.h"
#include <podvisor/vmspec.h>

#define POD_CONTROL     "/run/podvisor/vmm/control"
#define POD_IMAGES      "/run/podvisor/vmm/images"
#define POD_VOLUMES     "/run/podvisor/volumes"     /* <volume>/disk.img, or <volume>/ with files */
#define POD_CREDENTIALS "/run/podvisor/credentials" /* <index>/ with files */
#define POD_DEVICES     "/dev/disks"                /* <volume> */
#define POD_TERMINATION "/dev/termination-log"

#define POD_ENV_VMI         "PODVISOR_VMI"
#define POD_ENV_LOG         "PODVISOR_LOG"
#define POD_ENV_CLAIM_SIZES "PODVISOR_CLAIM_SIZES"

/*
 * First listens for images, so that their containers never wait for a machine that could not start;
 * then fills in what the flags did not say. Strings are the environment's. Returns 0 or a negative
 * errno; the termination message's place is known even then.
 */
int pod_begin(struct run_options *options, struct images *images, struct error *err);

/* Where the volume of a disk is in the pod. `options` are pod_begin()'s. */
int pod_place_volume(const struct run_options *options, const struct vmspec_volume *volume,
                     struct plan_disk *disk, struct error *err);

/* What podnet connected the interface `name` to, and what its DHCP client is told. */
int pod_read_lease(const char *name, struct plan_net *net, struct error *err);

/* The socket of this pod's machine for `vmm ctl` and `vmm console`; NULL outside of a pod. */
const char *pod_control(void);

#endif
