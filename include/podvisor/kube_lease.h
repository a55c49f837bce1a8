// SPDX-License-Identifier: Apache-2.0
/*
 * Leader election on a coordination.k8s.io/v1 Lease (client-go tools/leaderelection), on a thread
 * and a connection of its own, outside the client's rate limit. Who loses the lease must stop
 * writing at once: `lost` is called on the lease's thread and is expected to end the process.
 */
#ifndef PODVISOR_KUBE_LEASE_H
#define PODVISOR_KUBE_LEASE_H

#include <podvisor/kube.h>

struct kube_lease_options {
    const char *namespace_, *name, *identity;
    /* 0: 30 s, 20 s, 8 s: 7.5 calls a minute from an idle leader. */
    uint64_t duration_ns, renew_deadline_ns, retry_ns;
    void (*acquired)(void *user);
    void (*lost)(void *user);
    void *user;
};

struct kube_lease;
int kube_lease_start(struct kube_client *client, const struct kube_lease_options *options,
                     struct kube_lease **ret, struct error *err);
bool kube_lease_held(const struct kube_lease *lease);
/* True while a leader's last renewal is not older than deadline + tolerance: for /livez. */
bool kube_lease_healthy(const struct kube_lease *lease);
/* Gives the lease back when held (holderIdentity ""), ends the thread, frees. After all workers. */
void kube_lease_stop(struct kube_lease *lease);

#endif
