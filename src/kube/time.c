// SPDX-License-Identifier: Apache-2.0
/* RFC 3339 times as the API writes them (metav1.Time, metav1.MicroTime). Any thread. */
#include <errno.h>
#include <podvisor/clock.h>
#include <podvisor/kube.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define SECOND ((int64_t)NSEC_PER_SEC)

/* Seconds rounded down, also before 1970; the rest in *ret_ns. */
static time_t split(int64_t unix_ns, int64_t *ret_ns)
{
    int64_t seconds = unix_ns / SECOND, rest = unix_ns % SECOND;
    if (rest < 0) {
        rest += SECOND;
        seconds--;
    }
    *ret_ns = rest;
    return (time_t)seconds;
}

const char *kube_time(int64_t unix_ns, char buf[KUBE_TIME_SIZE])
{
    int64_t rest;
    time_t seconds = split(unix_ns, &rest);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    strftime(buf, KUBE_TIME_SIZE, "%Y-%m-%dT%H:%M:%SZ", &tm);
    return buf;
}

const char *kube_micro_time(int64_t unix_ns, char buf[KUBE_TIME_SIZE])
{
    int64_t rest;
    split(unix_ns, &rest);
    kube_time(unix_ns, buf);
    size_t len = strlen(buf) - 1;
    snprintf(buf + len, KUBE_TIME_SIZE - len, ".%06dZ", (int)(rest / 1000));
    return buf;
}

/* `count` digits into *ret, within [min, max]; `text` moves past them. */
static bool digits(const char **text, unsigned count, int min, int max, int *ret)
{
    int value = 0;
    for (unsigned i = 0; i < count; i++, (*text)++) {
        if (**text < '0' || **text > '9')
            return false;
        value = value * 10 + (**text - '0');
    }
    *ret = value;
    return value >= min && value <= max;
}

static bool literal(const char **text, char a, char b)
{
    if (**text != a && **text != b)
        return false;
    (*text)++;
    return true;
}

/* ".123456789": digits beyond the ninth are less than a nanosecond. */
static bool fraction(const char **text, int64_t *ret_ns)
{
    *ret_ns = 0;
    if (**text != '.')
        return true;
    (*text)++;
    int64_t unit = SECOND / 10;
    if (**text < '0' || **text > '9')
        return false;
    for (; **text >= '0' && **text <= '9'; (*text)++, unit /= 10)
        *ret_ns += (**text - '0') * unit;
    return true;
}

/* "Z" or "+02:00", in seconds east. */
static bool zone(const char **text, int *ret_offset)
{
    *ret_offset = 0;
    if (literal(text, 'Z', 'z'))
        return true;
    int sign = **text == '-' ? -1 : 1, hours, minutes;
    if (!literal(text, '+', '-') || !digits(text, 2, 0, 23, &hours) || !literal(text, ':', ':') ||
        !digits(text, 2, 0, 59, &minutes))
        return false;
    *ret_offset = sign * (hours * 3600 + minutes * 60);
    return true;
}

static int days_of(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return month == 2 && leap ? 29 : days[month - 1];
}

int kube_time_parse(const char *text, int64_t *ret_unix_ns)
{
    int year, month, day, hour, minute, second, offset;
    int64_t ns, result;
    if (!digits(&text, 4, 0, 9999, &year) || !literal(&text, '-', '-') ||
        !digits(&text, 2, 1, 12, &month) || !literal(&text, '-', '-') ||
        !digits(&text, 2, 1, days_of(year, month), &day) || !literal(&text, 'T', 't') ||
        !digits(&text, 2, 0, 23, &hour) || !literal(&text, ':', ':') ||
        !digits(&text, 2, 0, 59, &minute) || !literal(&text, ':', ':') ||
        !digits(&text, 2, 0, 59, &second) || !fraction(&text, &ns) || !zone(&text, &offset) ||
        *text != '\0')
        return -EINVAL;
    struct tm tm = {.tm_year = year - 1900,
                    .tm_mon = month - 1,
                    .tm_mday = day,
                    .tm_hour = hour,
                    .tm_min = minute,
                    .tm_sec = second};
    int64_t seconds = timegm(&tm) - offset;
    if (__builtin_mul_overflow(seconds, SECOND, &result) ||
        __builtin_add_overflow(result, ns, &result))
        return -EINVAL;
    *ret_unix_ns = result;
    return 0;
}
