/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the entry code to the wanted suites and benchmarks, then out of the machine.
 *
 * suite=a,b  which suites to run (all: every one), test=name  only that test; bench=…  a benchmark
 * instead. end=idle  afterwards say "idle" and halt for ever: for what is to be looked at from
 * outside.
 */
#include "acpi.h"
#include "payload.h"
#include "start_info.h"
#include "suites.h"
#include "virtio.h"

#define EXIT_ALL_PASSED  0
#define EXIT_SOME_FAILED 1
#define EXIT_NOT_PVH     0x7d

static _Noreturn void idle(void)
{
    static const volatile uint32_t never;

    print("idle\n");
    for (;;)
        halt_unless(&never, 0);
}

_Noreturn void guest_main(const struct hvm_start_info *info);

static void describe(void)
{
    diagnostic("ram_end=0x%lx tsc_khz=%lu ecam=0x%lx cf8=%u acpi=%u", memory_low_ram_end(), tsc_khz,
               pci_ecam_base(), pci_has_cf8(), acpi_present());
    for (unsigned int i = 0; i < virtio_device_count; i++) {
        struct virtio_device *device = &virtio_devices[i];

        diagnostic("%s: slot %u queues=%u size=%u features=0x%lx msix=%u", device->name,
                   device->pci.devfn >> 3, virtio_queue_count(device), virtio_queue_size(device, 0),
                   virtio_offered(device), device->pci.msix_count);
    }
}

static unsigned int run_suites(void)
{
    bool all = parameter_lists("suite", "all");

    tap_start();
    describe();
    for (unsigned int i = 0; i < suite_count; i++) {
        if (all || parameter_lists("suite", suites[i]->name))
            tap_run(suites[i]);
    }
    return tap_finish();
}

_Noreturn void guest_main(const struct hvm_start_info *info)
{
    serial_init();
    if (info->magic != HVM_START_MAGIC) {
        print("Bail out! not entered by PVH\n");
        machine_exit(EXIT_NOT_PVH);
    }
    parameter_init((const char *)info->cmdline_paddr);
    time_init();
    memory_init(info);
    acpi_init(info->rsdp_paddr);
    interrupt_init();
    pci_init();
    virtio_discover();
    if (parameter("bench"))
        machine_exit(bench_run() ? EXIT_ALL_PASSED : EXIT_SOME_FAILED);
    unsigned int failed = run_suites();
    if (parameter_lists("end", "idle"))
        idle();
    machine_exit(failed ? EXIT_SOME_FAILED : EXIT_ALL_PASSED);
}
