// SPDX-License-Identifier: Apache-2.0
/*
 * Events about objects (events.k8s.io/v1 with series; client-go tools/events), sent by a thread of
 * their own: 200 at once, then 20 a second while other calls of the client are under way. Recording
 * never blocks a reconcile: the queue is bounded, a full one drops and counts.
 */
#ifndef PODVISOR_KUBE_EVENT_H
#define PODVISOR_KUBE_EVENT_H

#include <podvisor/kube.h>

struct kube_events;

/* `controller` and `instance` are copied: "virtualmachine-controller", the pod's name. */
int kube_events_start(struct kube_client *client, const char *controller, const char *instance,
                      struct kube_events **ret, struct error *err);
/* Sends what is queued for at most `drain_ns`, then frees. */
void kube_events_stop(struct kube_events *events, uint64_t drain_ns);

/* `regarding` is read before it returns. `warning`: type Warning, else Normal. */
void kube_event(struct kube_events *events, const struct kube_resource *kind,
                const cJSON *regarding, bool warning, const char *reason, const char *action,
                const char *fmt, ...) __attribute__((format(printf, 7, 8)));

uint64_t kube_events_dropped(const struct kube_events *events);

#endif
