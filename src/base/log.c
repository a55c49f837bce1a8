// SPDX-License-Identifier: Apache-2.0
/*
 * Owns the process-wide log settings (written once by log_setup() before threads start, only read
 * after) and formats lines on the caller's stack; any thread.
 */
#include <podvisor/clock.h>
#include <podvisor/log.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_BYTES 4096
#define TEXT_MAX_BYTES 2048

static struct {
    const char *program;
    int fd;
    enum log_format format;
    enum log_level max_level;
} settings = {.program = "podvisor", .fd = 2, .max_level = LOG_LEVEL_INFO};

static const char *const level_name[] = {
    [LOG_LEVEL_ERROR] = "error",
    [LOG_LEVEL_WARN] = "warning",
    [LOG_LEVEL_INFO] = "info",
    [LOG_LEVEL_DEBUG] = "debug",
};

struct line {
    char buf[LINE_MAX_BYTES];
    size_t len;
};

void log_setup(const char *program, int fd, enum log_format format, enum log_level max_level)
{
    settings.program = program;
    settings.fd = fd;
    settings.format = format;
    settings.max_level = max_level;
}

bool log_enabled(enum log_level level)
{
    return level <= settings.max_level;
}

/* One byte is always kept for the newline. */
static void put_char(struct line *l, char c)
{
    if (l->len < sizeof(l->buf) - 1)
        l->buf[l->len++] = c;
}

static void put_raw(struct line *l, const char *s)
{
    for (; *s != '\0'; s++)
        put_char(l, *s);
}

/* The same escapes serve both forms: a JSON string body, and text that cannot drive a terminal. */
static void put_escaped(struct line *l, const char *s, bool json)
{
    for (; *s != '\0'; s++) {
        unsigned char c = (unsigned char)*s;
        if (c == '\n') {
            put_raw(l, "\\n");
        } else if (c < 0x20 || c == 0x7f || (json && c >= 0x80)) {
            char esc[8];
            snprintf(esc, sizeof(esc), "\\u%04x", c);
            put_raw(l, esc);
        } else {
            if (json && (c == '"' || c == '\\'))
                put_char(l, '\\');
            put_char(l, (char)c);
        }
    }
}

static void put_time(struct line *l)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    struct tm tm;
    gmtime_r(&now.tv_sec, &tm);
    char buf[64];
    size_t n = strftime(buf, sizeof(buf), "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(buf + n, sizeof(buf) - n, ".%06ldZ", now.tv_nsec / 1000);
    put_raw(l, buf);
}

static void put_number(struct line *l, int64_t num)
{
    char buf[24];
    snprintf(buf, sizeof(buf), "%lld", (long long)num);
    put_raw(l, buf);
}

static void format_json(struct line *l, enum log_level level, const char *component,
                        const struct log_field *fields, size_t count, const char *text)
{
    put_raw(l, "{\"time\":\"");
    put_time(l);
    put_raw(l, "\",\"level\":\"");
    put_raw(l, level_name[level]);
    put_raw(l, "\",\"component\":\"");
    put_escaped(l, component, true);
    put_raw(l, "\",\"msg\":\"");
    put_escaped(l, text, true);
    put_char(l, '"');
    for (size_t i = 0; i < count; i++) {
        put_raw(l, ",\"");
        put_escaped(l, fields[i].key, true);
        put_raw(l, "\":");
        if (fields[i].str != NULL) {
            put_char(l, '"');
            put_escaped(l, fields[i].str, true);
            put_char(l, '"');
        } else {
            put_number(l, fields[i].num);
        }
    }
    put_char(l, '}');
}

static void format_text(struct line *l, enum log_level level, const char *component,
                        const struct log_field *fields, size_t count, const char *text)
{
    put_raw(l, settings.program);
    put_raw(l, ": ");
    if (level != LOG_LEVEL_INFO) {
        put_raw(l, level_name[level]);
        put_raw(l, ": ");
    }
    if (*component != '\0') {
        put_raw(l, component);
        put_raw(l, ": ");
    }
    put_escaped(l, text, false);
    for (size_t i = 0; i < count; i++) {
        put_char(l, ' ');
        put_raw(l, fields[i].key);
        put_char(l, '=');
        if (fields[i].str != NULL)
            put_escaped(l, fields[i].str, false);
        else
            put_number(l, fields[i].num);
    }
}

void log_write(enum log_level level, const char *component, const struct log_field *fields,
               size_t field_count, const char *fmt, ...)
{
    if (!log_enabled(level))
        return;
    char text[TEXT_MAX_BYTES];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);

    struct line l;
    l.len = 0;
    if (settings.format == LOG_FORMAT_JSON)
        format_json(&l, level, component, fields, field_count, text);
    else
        format_text(&l, level, component, fields, field_count, text);
    l.buf[l.len++] = '\n';
    /* Nothing useful can be done when even the log cannot be written. */
    (void)!write(settings.fd, l.buf, l.len);
}

bool log_ratelimit_allow(struct log_ratelimit *rl, uint32_t *ret_suppressed)
{
    uint32_t burst = rl->burst != 0 ? rl->burst : 10;
    uint64_t interval = rl->interval_ns != 0 ? rl->interval_ns : 10 * NSEC_PER_SEC;
    uint64_t now = clock_now_ns();
    uint64_t start = __atomic_load_n(&rl->window_start_ns, __ATOMIC_RELAXED);

    if (start == 0 || now - start >= interval) {
        /* One thread opens the new window; a loser of the race just counts in it. */
        if (__atomic_compare_exchange_n(&rl->window_start_ns, &start, now, false, __ATOMIC_RELAXED,
                                        __ATOMIC_RELAXED))
            __atomic_store_n(&rl->used, 0, __ATOMIC_RELAXED);
    }
    if (__atomic_fetch_add(&rl->used, 1, __ATOMIC_RELAXED) >= burst) {
        __atomic_fetch_add(&rl->suppressed, 1, __ATOMIC_RELAXED);
        return false;
    }
    *ret_suppressed = __atomic_exchange_n(&rl->suppressed, 0, __ATOMIC_RELAXED);
    return true;
}
