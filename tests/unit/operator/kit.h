// SPDX-License-Identifier: Apache-2.0
/* Objects of the API as YAML in tests, and looks into what comes out. */
#ifndef PODVISOR_TEST_OPERATOR_KIT_H
#define PODVISOR_TEST_OPERATOR_KIT_H

#include <podvisor/json.h>
#include <podvisor/vmspec.h>

/* 2026-01-02T03:04:05Z */
#define KIT_NOW INT64_C(1767323045000000000)

/* Aborts the test when the text is none. The caller's. */
cJSON *kit_yaml(const char *text);

/* The string at "spec.containers[0].name"; numbers and booleans as JSON; "" when absent. */
const char *kit_text(const cJSON *object, const char *path);

/* An instance "box" in namespace "lab", uid "uid-1", finalizer set, with this status (YAML, or
 * NULL). */
cJSON *kit_vmi(const char *status);
/* Its pod, with this status. */
cJSON *kit_pod(const char *status);
/* A machine "box" with the run strategy and a status. */
cJSON *kit_vm(const char *strategy, const char *status);

#endif
