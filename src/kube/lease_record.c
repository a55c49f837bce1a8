// SPDX-License-Identifier: Apache-2.0
/* Decisions about a Lease; see lease_record.h. */
#include "lease_record.h"
#include <podvisor/cleanup.h>
#include <podvisor/clock.h>
#include <podvisor/str.h>
#include <string.h>

void lease_record_done(struct lease_record *record)
{
    cJSON_Delete(record->seen);
    free(record->seen_text);
    record->seen = NULL;
    record->seen_text = NULL;
}

static const cJSON *spec_of(const cJSON *lease)
{
    return json_get(lease, "spec");
}

/* "" for a lease that nobody holds. */
static const char *holder_of(const cJSON *lease)
{
    const char *holder = "";
    (void)json_get_string(spec_of(lease), "holderIdentity", NULL, &holder, NULL);
    return holder;
}

static bool is_ours(const struct lease_record *record)
{
    return record->seen != NULL && strcmp(holder_of(record->seen), record->options->identity) == 0;
}

/* The holder's own word counts: it may have been set up with other times. */
static uint64_t duration_of(const struct lease_record *record)
{
    int64_t seconds = 0;
    if (json_get_int64(spec_of(record->seen), "leaseDurationSeconds", NULL, &seconds, NULL) > 0 &&
        seconds > 0 && seconds < INT32_MAX)
        return (uint64_t)seconds * NSEC_PER_SEC;
    return record->options->duration_ns;
}

void lease_record_observe(struct lease_record *record, cJSON *lease, uint64_t now_ns)
{
    char *text = NULL;
    const cJSON *spec = spec_of(lease);
    if (spec == NULL || json_print(spec, &text, NULL, NULL) < 0)
        text = xstrdup("");
    if (record->seen_text == NULL || strcmp(text, record->seen_text) != 0)
        record->observed_ns = now_ns;
    lease_record_done(record);
    record->seen = lease;
    record->seen_text = text;
}

enum lease_action lease_record_decide(const struct lease_record *record, uint64_t now_ns)
{
    if (record->seen == NULL)
        return LEASE_CREATE;
    if (is_ours(record))
        return LEASE_UPDATE;
    bool valid =
        *holder_of(record->seen) != '\0' && now_ns - record->observed_ns < duration_of(record);
    if (record->held)
        return LEASE_LOST;
    return valid ? LEASE_WAIT : LEASE_UPDATE;
}

static void set_member(cJSON *object, const char *name, cJSON *value)
{
    cJSON_DeleteItemFromObjectCaseSensitive(object, name);
    if (value == NULL || !cJSON_AddItemToObject(object, name, value))
        out_of_memory();
}

static cJSON *take_object(cJSON *parent, const char *name)
{
    cJSON *object = cJSON_GetObjectItemCaseSensitive(parent, name);
    if (!cJSON_IsObject(object)) {
        object = cJSON_CreateObject();
        set_member(parent, name, object);
    }
    return object;
}

static cJSON *new_lease(const struct kube_lease_options *options)
{
    cJSON *lease = cJSON_CreateObject();
    set_member(lease, "apiVersion", cJSON_CreateString("coordination.k8s.io/v1"));
    set_member(lease, "kind", cJSON_CreateString("Lease"));
    cJSON *metadata = take_object(lease, "metadata");
    set_member(metadata, "name", cJSON_CreateString(options->name));
    set_member(metadata, "namespace", cJSON_CreateString(options->namespace_));
    return lease;
}

cJSON *lease_record_make(const struct lease_record *record, bool release, int64_t wall_ns)
{
    const struct kube_lease_options *options = record->options;
    char now[KUBE_TIME_SIZE];
    int64_t transitions = 0;
    cJSON *lease = record->seen != NULL ? cJSON_Duplicate(record->seen, true) : new_lease(options);
    if (lease == NULL)
        out_of_memory();
    cJSON *spec = take_object(lease, "spec");
    (void)json_get_int64(spec, "leaseTransitions", NULL, &transitions, NULL);
    kube_micro_time(wall_ns, now);
    bool takeover = record->seen != NULL && !is_ours(record);
    bool keeps = record->seen != NULL && !takeover && !release;
    int64_t seconds = (int64_t)((options->duration_ns + NSEC_PER_SEC - 1) / NSEC_PER_SEC);
    set_member(spec, "holderIdentity", cJSON_CreateString(release ? "" : options->identity));
    set_member(spec, "leaseDurationSeconds", json_create_int64(release ? 1 : seconds));
    set_member(spec, "leaseTransitions", json_create_int64(transitions + (takeover ? 1 : 0)));
    set_member(spec, "renewTime", cJSON_CreateString(now));
    if (!keeps || json_get(spec, "acquireTime") == NULL)
        set_member(spec, "acquireTime", cJSON_CreateString(now));
    return lease;
}

void lease_record_written(struct lease_record *record, cJSON *answer, uint64_t begun_ns,
                          uint64_t now_ns)
{
    lease_record_observe(record, answer, now_ns);
    record->held = is_ours(record);
    record->renewed_ns = begun_ns;
}

uint64_t lease_record_left(const struct lease_record *record, uint64_t now_ns)
{
    if (!record->held)
        return UINT64_MAX;
    uint64_t age = now_ns - record->renewed_ns;
    return age < record->options->renew_deadline_ns ? record->options->renew_deadline_ns - age : 0;
}
