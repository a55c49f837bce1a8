// SPDX-License-Identifier: Apache-2.0
/* UUIDs by name (RFC 4122 §4.3, version 5) and the hash under them. */
#ifndef PODVISOR_VMSPEC_UUID_H
#define PODVISOR_VMSPEC_UUID_H

#include <stddef.h>
#include <stdint.h>

/* SHA-1 (RFC 3174) of two pieces after each other: names things, protects nothing. */
void sha1(const void *first, size_t first_len, const void *second, size_t second_len,
          uint8_t ret[20]);

/* The UUID that KubeVirt gives to the firmware of a machine of this name. */
void uuid_of_machine(const char *name, uint8_t ret_uuid[16]);

#endif
