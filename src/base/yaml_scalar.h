// SPDX-License-Identifier: Apache-2.0
/* What a YAML scalar stands for, as sigs.k8s.io/yaml (a go-yaml v2) decides. No allocation. */
#ifndef PODVISOR_BASE_YAML_SCALAR_H
#define PODVISOR_BASE_YAML_SCALAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum scalar_kind { SCALAR_STRING, SCALAR_NULL, SCALAR_BOOL, SCALAR_INTEGER, SCALAR_FLOAT };

struct scalar {
    enum scalar_kind kind;
    bool boolean;
    bool negative;      /* integer: its sign */
    uint64_t magnitude; /* integer: its absolute value */
    double number;      /* float: may be infinite or not a number */
};

#define SCALAR_KEY_MAX 40

/* A plain (unquoted, untagged) scalar, NUL-terminated and without NUL inside. */
struct scalar scalar_resolve(const char *text);

/*
 * The text that a value other than a string or null becomes as a mapping's key: `1:` is "1", `yes:`
 * is "true".
 */
void scalar_key(const struct scalar *scalar, char ret_text[SCALAR_KEY_MAX]);

/* The decimal digits of an integer. */
void scalar_digits(const struct scalar *scalar, char ret_text[SCALAR_KEY_MAX]);

#endif
