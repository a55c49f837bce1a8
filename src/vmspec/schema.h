// SPDX-License-Identifier: Apache-2.0
/*
 * KubeVirt's API as a table: every field of VirtualMachine and VirtualMachineInstance with its type
 * and what becomes of it here. One walk over a manifest with this table finds wrong types, unknown
 * fields and everything that is not supported; the readers after it only meet valid types.
 */
#ifndef PODVISOR_VMSPEC_SCHEMA_H
#define PODVISOR_VMSPEC_SCHEMA_H

#include <podvisor/vmspec.h>
#include <stddef.h>

enum field_type {
    FIELD_STRING,
    FIELD_BOOL,
    FIELD_INTEGER,
    FIELD_QUANTITY,   /* a string or a number */
    FIELD_OBJECT,     /* of `members`; NULL: not looked into */
    FIELD_LIST,       /* of objects of `members`; NULL: not looked into */
    FIELD_STRINGS,    /* list of strings */
    FIELD_STRING_MAP, /* any names, string values */
    FIELD_QUANTITY_MAP,
};

enum field_use {
    USE_READ,      /* ends up in struct vmspec */
    USE_HARMLESS,  /* asks for what is so anyway, or is advice that changes nothing for the guest */
    USE_POD,       /* belongs to the scheduler, the pod or the operator */
    USE_WARN,      /* not supported; `why` says what happens instead */
    USE_WARN_TRUE, /* boolean: as USE_WARN when true */
    USE_WARN_FALSE,    /* boolean: as USE_WARN when false */
    USE_WARN_ENABLED,  /* object with "enabled" (default true): as USE_WARN unless that is false */
    USE_WARN_DISABLED, /* the same: as USE_WARN when that is false */
    USE_REFUSE,        /* not supported, and not safe to leave out */
    USE_REFUSE_TRUE,
};

struct field {
    const char *name;
    enum field_type type;
    enum field_use use;
    const char *why;
    const struct field *members; /* ends with a NULL name */
};

extern const struct field schema_machine[];  /* kind VirtualMachine */
extern const struct field schema_instance[]; /* kind VirtualMachineInstance */

/* Walks `obj` and adds what it finds to `diag`. */
void schema_check(const cJSON *obj, const struct field *fields, struct vmspec_diagnostics *diag);

#endif
