// SPDX-License-Identifier: Apache-2.0
/* Lists of conditions as KubeVirt's objects have them, and what a plan says in events. */
#ifndef PODVISOR_OPERATOR_CONDITIONS_H
#define PODVISOR_OPERATOR_CONDITIONS_H

#include <podvisor/json.h>
#include <podvisor/vec.h>
#include <stdbool.h>

struct condition {
    const char *type;
    const char *status;           /* "True", "False", "Unknown" */
    const char *reason, *message; /* NULL: none */
};

/*
 * Sets it in the array. lastTransitionTime changes only with the status; nothing changes when all
 * is as it was. `now` is wall time in ns.
 */
void condition_set(cJSON *conditions, const struct condition *condition, int64_t now);
void condition_remove(cJSON *conditions, const char *type);
/*
 * The same for what a plan took for solved and what then failed again: it goes on from the
 * condition in `before` (an array, or NULL), so that the same failure again changes nothing.
 */
void condition_set_again(cJSON *conditions, const cJSON *before, const struct condition *condition,
                         int64_t now);
/* There, with this status. */
bool condition_is(const cJSON *conditions, const char *type, const char *status);
/* Its reason; "" when there is no such condition. */
const char *condition_reason(const cJSON *conditions, const char *type);

struct planned_event {
    bool warning;
    const char *reason; /* static */
    const char *action; /* static: "Create", "Delete", "Sync" */
    char *note;
};

struct planned_events {
    VEC(struct planned_event) list;
};

void plan_event(struct planned_events *events, bool warning, const char *reason, const char *action,
                const char *fmt, ...) __attribute__((format(printf, 5, 6)));
void planned_events_done(struct planned_events *events);

#endif
