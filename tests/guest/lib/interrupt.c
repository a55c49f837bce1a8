/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Local APIC in xAPIC mode (Intel SDM vol. 3, chapter 11) and the counters that the interrupt stubs
 * of boot/entry.S increment; fatal exceptions end in fault_report().
 */
#include "../boot/layout.h"
#include "payload.h"

#define LAPIC_TPR        0x80
#define LAPIC_SVR        0xf0
#define LAPIC_SVR_ENABLE 0x100

volatile uint32_t irq_count[256];

_Noreturn void fault_report(uint64_t vector, uint64_t error, uint64_t rip, uint64_t address);

void interrupt_init(void)
{
    lapic_write(LAPIC_TPR, 0);
    lapic_write(LAPIC_SVR, LAPIC_SVR_ENABLE | VECTOR_SPURIOUS);
}

uint32_t lapic_read(uint32_t reg)
{
    return mmio_read32((volatile uint8_t *)LAPIC_BASE + reg);
}

void lapic_write(uint32_t reg, uint32_t value)
{
    mmio_write32((volatile uint8_t *)LAPIC_BASE + reg, value);
}

/* Interrupts are enabled all the time: the stub counts. */
bool interrupt_wait(uint8_t vector, uint32_t count, uint64_t milliseconds)
{
    uint64_t deadline = deadline_after_ms(milliseconds);

    while (irq_count[vector] < count) {
        if (deadline_passed(deadline))
            return false;
        cpu_relax();
    }
    return true;
}

_Noreturn void fault_report(uint64_t vector, uint64_t error, uint64_t rip, uint64_t address)
{
    print("\nBail out! exception %lu error 0x%lx rip 0x%lx cr2 0x%lx\n", vector, error, rip,
          address);
    machine_exit(0x7f);
}
