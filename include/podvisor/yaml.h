// SPDX-License-Identifier: Apache-2.0
/*
 * YAML text to cJSON trees, for the front and the operator. Parsing is libyaml's (YAML 1.1); what a
 * scalar means is decided as sigs.k8s.io/yaml does it, so that a manifest reads here as kubectl
 * reads it: yes/no/on/off are booleans, 0777 is octal, 1e3 is a number, 12:30 is a string.
 * Different on purpose: a duplicate key is an error (strict mode there), integers stay exact beyond
 * 2^53, NUL in a string is refused.
 *
 * A text that begins with '{' is JSON and goes through json_parse().
 */
#ifndef PODVISOR_YAML_H
#define PODVISOR_YAML_H

#include <podvisor/error.h>
#include <podvisor/json.h>
#include <stddef.h>

struct yaml_limits {
    size_t bytes;   /* 0: 4 MiB */
    unsigned depth; /* 0: JSON_DEPTH_MAX (64), which is also the most */
    unsigned nodes; /* scalars, mappings and sequences of all documents; 0: 100,000 */
    /* Aliases may copy at most 10 times the text's size, plus 64 KiB. */
};

/*
 * Parses a text that holds exactly one document; empty ones beside it (a leading or trailing "---")
 * are passed over. `limits` may be NULL. The tree is the caller's. Returns 0, -EINVAL (the error
 * says line and column), -E2BIG over a limit, -ENOMEM.
 */
int yaml_parse(const char *text, size_t len, const struct yaml_limits *limits, cJSON **ret,
               struct error *err);

/*
 * Parses a text of any number of documents into an array of trees in their order, without the empty
 * ones. The array is the caller's. Returns as yaml_parse().
 */
int yaml_parse_all(const char *text, size_t len, const struct yaml_limits *limits,
                   cJSON **ret_array, struct error *err);

#endif
