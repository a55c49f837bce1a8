// SPDX-License-Identifier: Apache-2.0
/* Block-style YAML of a JSON tree, for people to read: what kubectl prints with -o yaml. */
#ifndef PODVISOR_CRDGEN_YAML_WRITE_H
#define PODVISOR_CRDGEN_YAML_WRITE_H

#include <podvisor/error.h>
#include <podvisor/json.h>
#include <stdio.h>

/*
 * Writes one document; yaml_parse() of it gives the same tree. Member names must be plain words.
 * Returns 0, or the error of json_print(); errors of the stream are the caller's to ask for.
 */
int yaml_write(FILE *stream, const cJSON *tree, struct error *err);

#endif
