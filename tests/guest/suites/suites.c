/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The order in which suites run.
 */
#include "../lib/suites.h"

extern const struct suite suite_cpu, suite_pci_bus, suite_pci, suite_virtio, suite_blk, suite_net,
    suite_rng, suite_console, suite_balloon, suite_irq, suite_hostile_queue, suite_hostile_ring,
    suite_hostile_register, suite_hostile_blk, suite_hostile_net;

const struct suite *const suites[] = {
    &suite_cpu,
    &suite_pci_bus,
    &suite_pci,
    &suite_virtio,
    &suite_blk,
    &suite_net,
    &suite_rng,
    &suite_console,
    &suite_balloon,
    &suite_irq,
    &suite_hostile_queue,
    &suite_hostile_ring,
    &suite_hostile_register,
    &suite_hostile_blk,
    &suite_hostile_net,
};
const unsigned int suite_count = ARRAY_SIZE(suites);
