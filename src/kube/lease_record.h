// SPDX-License-Identifier: Apache-2.0
/*
 * Who may lead, from what was seen of a Lease and when (client-go's leaderelection;
 * client-go tools/leaderelection). Only changes that this process observed count, by its own clock:
 * the times inside the object are for people. No input or output; one thread.
 */
#ifndef PODVISOR_KUBE_LEASE_RECORD_H
#define PODVISOR_KUBE_LEASE_RECORD_H

#include <podvisor/json.h>
#include <podvisor/kube_lease.h>

struct lease_record {
    const struct kube_lease_options *options; /* borrowed, its times filled in */
    cJSON *seen;                              /* the object as it was last; NULL: there is none */
    char *seen_text;                          /* its spec, to notice a change */
    uint64_t observed_ns;                     /* when that changed */
    bool held;
    uint64_t renewed_ns; /* when the last write that succeeded was begun */
};

enum lease_action {
    LEASE_WAIT,   /* another holds it */
    LEASE_CREATE, /* there is none */
    LEASE_UPDATE, /* it is ours, given back or expired */
    LEASE_LOST,   /* we held it, and another does now */
};

void lease_record_done(struct lease_record *record);

/* What a GET or a write was answered; takes `lease`; NULL: 404. */
void lease_record_observe(struct lease_record *record, cJSON *lease, uint64_t now_ns);

enum lease_action lease_record_decide(const struct lease_record *record, uint64_t now_ns);

/*
 * The object to create or update with: with us as the holder, or with none when we give it back.
 * What others put into the object stays. The caller's.
 */
cJSON *lease_record_make(const struct lease_record *record, bool release, int64_t wall_ns);

/* The write that was begun at `begun_ns` succeeded, with this answer. Takes it. */
void lease_record_written(struct lease_record *record, cJSON *answer, uint64_t begun_ns,
                          uint64_t now_ns);

/* How long renewals may go on failing; 0: it is lost. UINT64_MAX while we do not hold it. */
uint64_t lease_record_left(const struct lease_record *record, uint64_t now_ns);

#endif
