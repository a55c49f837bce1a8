// SPDX-License-Identifier: Apache-2.0
/*
 * MC146818A clock and its RAM; vCPU threads, under the device's lock. Motorola MC146818A data
 * sheet: "Address map", "Registers A to D". The century byte at 0x32 is the PC's convention, named
 * to the guest by the FADT.
 */
#include "rtc.h"
#include "layout.h"
#include <podvisor/clock.h>
#include <stdbool.h>
#include <string.h>

#define REG_SECONDS      0x00
#define REG_MINUTES      0x02
#define REG_HOURS        0x04
#define REG_DAY_OF_WEEK  0x06
#define REG_DAY_OF_MONTH 0x07
#define REG_MONTH        0x08
#define REG_YEAR         0x09
#define REG_A            0x0a
#define REG_B            0x0b
#define REG_C            0x0c
#define REG_D            0x0d
#define REG_CENTURY      0x32

#define A_UIP      0x80 /* update in progress */
#define A_DEFAULT  0x26 /* 32.768 kHz time base, 1024 Hz rate */
#define B_SET      0x80
#define B_BINARY   0x04
#define B_24H      0x02
#define B_WRITABLE (B_SET | B_BINARY | B_24H)
#define D_VALID    0x80 /* the battery is good */
#define HOUR_PM    0x80

#define INDEX_MASK 0x7f /* bit 7 of port 0x70 is the PC's NMI gate */

/* Table 3 of the data sheet: UIP reads 1 for at least 244 us before the time changes. */
#define UIP_NS (244 * (long)NSEC_PER_USEC)

#define SECONDS_PER_DAY 86400
#define DAYS_PER_ERA    146097 /* 400 years of the Gregorian calendar */

struct date {
    unsigned second, minute, hour;
    unsigned week_day;         /* 1: Sunday */
    unsigned day, month, year; /* 1.., 1.., all digits */
};

/*
 * Gregorian date from a time at or after 1970. Not gmtime_r(): libc opens the time zone file in
 * there, which the sandbox answers with SIGSYS. Years are counted from March, so that the leap day
 * comes last.
 */
static void split_time(int64_t seconds, struct date *ret_date)
{
    unsigned of_day = (unsigned)(seconds % SECONDS_PER_DAY);
    unsigned days = (unsigned)(seconds / SECONDS_PER_DAY);
    ret_date->second = of_day % 60;
    ret_date->minute = of_day / 60 % 60;
    ret_date->hour = of_day / 3600;
    ret_date->week_day = (days + 4) % 7 + 1; /* 1970-01-01 was a Thursday */

    days += 719468; /* from 0000-03-01 to 1970-01-01 */
    unsigned era = days / DAYS_PER_ERA;
    unsigned day_of_era = days % DAYS_PER_ERA;
    unsigned year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / (DAYS_PER_ERA - 1)) /
        365;
    unsigned day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    unsigned month = (5 * day_of_year + 2) / 153; /* 0: March */
    ret_date->day = day_of_year - (153 * month + 2) / 5 + 1;
    ret_date->month = month < 10 ? month + 3 : month - 9;
    ret_date->year = year_of_era + era * 400 + (ret_date->month <= 2);
}

/* In BCD unless register B says binary. */
static uint8_t encode(const struct rtc *rtc, unsigned value)
{
    if (rtc->ram[REG_B] & B_BINARY)
        return (uint8_t)value;
    return (uint8_t)(value / 10 << 4 | value % 10);
}

static uint8_t encode_hour(const struct rtc *rtc, unsigned hour)
{
    if (rtc->ram[REG_B] & B_24H)
        return encode(rtc, hour);
    uint8_t value = encode(rtc, hour % 12 == 0 ? 12 : hour % 12);
    return hour >= 12 ? value | HOUR_PM : value;
}

static uint8_t read_register(const struct rtc *rtc, uint8_t index)
{
    struct timespec now;
    rtc->now(&now);
    struct date date;
    split_time(now.tv_sec > 0 ? now.tv_sec : 0, &date);
    switch (index) {
    case REG_SECONDS:
        return encode(rtc, date.second);
    case REG_MINUTES:
        return encode(rtc, date.minute);
    case REG_HOURS:
        return encode_hour(rtc, date.hour);
    case REG_DAY_OF_WEEK:
        return encode(rtc, date.week_day);
    case REG_DAY_OF_MONTH:
        return encode(rtc, date.day);
    case REG_MONTH:
        return encode(rtc, date.month);
    case REG_YEAR:
        return encode(rtc, date.year % 100);
    case REG_CENTURY:
        return encode(rtc, date.year / 100);
    case REG_A:
        if (!(rtc->ram[REG_B] & B_SET) && now.tv_nsec >= (long)NSEC_PER_SEC - UIP_NS)
            return rtc->ram[REG_A] | A_UIP;
        return rtc->ram[REG_A];
    case REG_C:
        return 0;
    case REG_D:
        return D_VALID;
    default:
        return rtc->ram[index];
    }
}

static void write_register(struct rtc *rtc, uint8_t index, uint8_t value)
{
    switch (index) {
    case REG_A:
        rtc->ram[REG_A] = value & (uint8_t)~A_UIP;
        break;
    case REG_B:
        rtc->ram[REG_B] = value & B_WRITABLE;
        break;
    default: /* of the time registers this is never read back: the host keeps the time */
        rtc->ram[index] = value;
        break;
    }
}

static void rtc_read(void *ctx, uint64_t offset, void *data, unsigned len)
{
    (void)len;
    struct rtc *rtc = ctx;
    if (offset == 0) { /* the index is write-only */
        *(uint8_t *)data = 0xff;
        return;
    }
    pthread_mutex_lock(&rtc->lock);
    *(uint8_t *)data = read_register(rtc, rtc->index);
    pthread_mutex_unlock(&rtc->lock);
}

static void rtc_write(void *ctx, uint64_t offset, const void *data, unsigned len)
{
    (void)len;
    struct rtc *rtc = ctx;
    uint8_t value = *(const uint8_t *)data;
    pthread_mutex_lock(&rtc->lock);
    if (offset == 0)
        rtc->index = value & INDEX_MASK;
    else
        write_register(rtc, rtc->index, value);
    pthread_mutex_unlock(&rtc->lock);
}

static const struct bus_ops rtc_bus_ops = {.read = rtc_read, .write = rtc_write, .width = 1};

static void host_now(struct timespec *ret_now)
{
    clock_gettime(CLOCK_REALTIME, ret_now);
}

int rtc_init(struct rtc *rtc, struct bus *pio, struct error *err)
{
    memset(rtc, 0, sizeof(*rtc));
    rtc->now = host_now;
    rtc->ram[REG_A] = A_DEFAULT;
    rtc->ram[REG_B] = B_24H;
    int r = bus_add(pio, "rtc", LAYOUT_PORT_RTC_INDEX, 2, &rtc_bus_ops, rtc, err);
    if (r < 0)
        return r;
    pthread_mutex_init(&rtc->lock, NULL);
    return 0;
}

void rtc_done(struct rtc *rtc)
{
    pthread_mutex_destroy(&rtc->lock);
}
