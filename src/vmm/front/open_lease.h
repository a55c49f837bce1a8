// SPDX-License-Identifier: Apache-2.0
/* Lease files: what `podnet` did to the pod's network for each card. Format: docs/pod.md. */
#ifndef PODVISOR_FRONT_OPEN_LEASE_H
#define PODVISOR_FRONT_OPEN_LEASE_H

#include <podvisor/error.h>
#include <podvisor/lease.h>
#include <stddef.h>
#include <stdint.h>

#define LEASE_TAP_MAX 16 /* IFNAMSIZ, with NUL */

struct lease_file {
    char tap[LEASE_TAP_MAX];
    uint8_t mac[6]; /* the guest's card has this one */
    uint16_t mtu;
    struct lease lease;
};

/*
 * Reads the lease of the card `interface` from `folder` (LEASE_FOLDER in a pod). -ENOENT when
 * podnet wrote none. Returns 0 or a negative errno.
 */
int lease_read(const char *folder, const char *interface, struct lease_file *ret,
               struct error *err);

/* The same from the text of a lease file; the error does not name the file. */
int lease_parse(const char *text, size_t len, const char *interface, struct lease_file *ret,
                struct error *err);

#endif
