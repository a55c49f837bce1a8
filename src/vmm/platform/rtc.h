// SPDX-License-Identifier: Apache-2.0
/*
 * The real-time clock and CMOS RAM of a PC: Motorola MC146818A data sheet, at ports 0x70 and 0x71.
 * The time is the host's, in UTC; a guest cannot set it (it keeps its own system time, and the
 * host's clock is the one that is disciplined). There are no alarm, periodic or update interrupts:
 * their enable bits in register B read back as 0, register C is always 0. A system reset changes
 * nothing in it (data sheet, "RESET pin": it clears what we do not have).
 */
#ifndef PODVISOR_VMM_RTC_H
#define PODVISOR_VMM_RTC_H

#include "bus.h"
#include <pthread.h>
#include <time.h>

#define RTC_RAM_SIZE 128

struct rtc {
    void (*now)(struct timespec *ret_now); /* CLOCK_REALTIME unless a test says otherwise */
    pthread_mutex_t lock;                  /* all that follows */
    uint8_t index;
    uint8_t ram[RTC_RAM_SIZE];
};

/* Claims the two ports on `pio`. Borrowed for the device's life. Returns 0 or a negative errno. */
int rtc_init(struct rtc *rtc, struct bus *pio, struct error *err);

/* Frees what init made; no vCPU runs any more. */
void rtc_done(struct rtc *rtc);

#endif
