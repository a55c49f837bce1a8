// SPDX-License-Identifier: Apache-2.0
/*
 * Which changes of a starting machine's status can wait for the next: each write costs the API
 * server milliseconds and every watcher an event, and most machines run a moment later. What a user
 * waits for or must act on (a phase, a printable status, an error's condition, readiness) never
 * waits. Pure functions.
 */
#ifndef PODVISOR_OPERATOR_SETTLE_H
#define PODVISOR_OPERATOR_SETTLE_H

#include <podvisor/json.h>
#include <stdint.h>

#define SETTLE_NS (UINT64_C(30) * 1000000000) /* from the instance's creation */

/*
 * How long, in ns, the write that makes `to` of `from` may wait at most; 0: write now. `now` is
 * wall time in ns.
 */
uint64_t settle_vmi(const cJSON *from, const cJSON *to, int64_t now);
/* The same for a VirtualMachine with this instance (NULL: none). */
uint64_t settle_vm(const cJSON *from, const cJSON *to, const cJSON *vmi, int64_t now);

#endif
