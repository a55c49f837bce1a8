// SPDX-License-Identifier: Apache-2.0
/*
 * What the cluster knows about this node's KVM, kept on the Node object:
 *   label kubevirt.io/schedulable: "true" or "false"  machines' pods select it
 *   annotation kubevirt.io/heartbeat: RFC 3339        when that was last known to be right
 *   annotation podvisor.io/kvm: TEXT                  why the node has no KVM; absent when it has
 * Written by merge patches from a thread of its own, because calls of the API wait; while the API
 * cannot be reached only this stands still. All functions take NULL for a report that is off.
 */
#ifndef PODVISOR_DEVICEPLUGIN_NODE_REPORT_H
#define PODVISOR_DEVICEPLUGIN_NODE_REPORT_H

#include <podvisor/error.h>
#include <stdbool.h>

struct node_report;

/*
 * Starts the thread; nothing is written before the first node_report_set(). The strings are
 * borrowed; `kubeconfig` NULL means the usual places, `heartbeat_s` is in seconds. Returns 0 or a
 * negative errno.
 */
int node_report_start(const char *node_name, const char *kubeconfig, unsigned heartbeat_s,
                      struct node_report **ret, struct error *err);

/* What is true now; `reason` "" with KVM. A change is written at once. */
void node_report_set(struct node_report *report, bool schedulable, const char *reason);

/* Writes once more that the node takes no machines, then the thread ends. */
void node_report_finish(struct node_report *report);
bool node_report_is_done(const struct node_report *report);

/* After node_report_finish(). A thread that still waits for the API keeps the memory: the process
 * is about to end. */
void node_report_free(struct node_report *report);

/* The merge patch of the Node as JSON text for free(). `heartbeat` is the time to write. */
char *node_report_patch_text(bool schedulable, const char *reason, const char *heartbeat);

#endif
