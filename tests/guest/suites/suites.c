/* SPDX-License-Identifier: Apache-2.0 */
#include "../lib/suites.h"
extern const struct suite suite_pci,suite_pci_bus;
const struct suite *const suites[] = {&suite_pci_bus,&suite_pci};
const unsigned int suite_count = ARRAY_SIZE(suites);
bool bench_run(void){return false;}
