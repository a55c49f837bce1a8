// SPDX-License-Identifier: Apache-2.0
/* How a verb ends that cannot do what it was asked; one thread. */
#include "verbs.h"
#include <podvisor/log.h>

int report_error(const struct error *err)
{
    log_error("", "%s", err->text);
    return EXIT_BAD_CONFIG;
}
