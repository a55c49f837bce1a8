// SPDX-License-Identifier: Apache-2.0
/* The readers of everything but volumes, disks and networks. */
#ifndef PODVISOR_VMSPEC_READ_MACHINE_H
#define PODVISOR_VMSPEC_READ_MACHINE_H

#include "reader.h"

/* CPU topology and memory, from the domain or from its resources. */
void read_cpu(struct reader *r);
void read_memory(struct reader *r);

/* Firmware, kernel, clock; devices without a name; what the instance says about its life. */
void read_firmware(struct reader *r);
void read_devices(struct reader *r);
void read_instance(struct reader *r);

#endif
