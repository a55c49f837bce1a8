// SPDX-License-Identifier: Apache-2.0
/* The body of the DSDT, without its table header. */
#ifndef PODVISOR_VMM_ACPI_DSDT_H
#define PODVISOR_VMM_ACPI_DSDT_H

#include "acpi.h"
#include "aml.h"

/* Emits the definition block's objects; see `overflow` afterwards. */
void dsdt_emit(struct aml *a, const struct acpi_config *config);

#endif
