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

/* Closes a string and the object around it. */
#define JSON_END_CUT "\",\"cut\":true}"

struct line {
    char buf[LINE_MAX_BYTES];
    size_t len, room; /* the rest is kept: for the newline, and the end of a JSON object */
    bool cut;
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

/* All of it or nothing, and nothing more once something did not fit. */
static void put_bytes(struct line *l, const char *bytes, size_t len)
{
    l->cut = l->cut || len > l->room - l->len;
    if (l->cut)
        return;
    memcpy(l->buf + l->len, bytes, len);
    l->len += len;
}

static void put_raw(struct line *l, const char *s)
{
    put_bytes(l, s, strlen(s));
}

static void put_char(struct line *l, char c)
{
    put_bytes(l, &c, 1);
}

/* The end of something that was begun, cut or not: in the space that was kept for it. */
static void put_end(struct line *l, const char *s)
{
    size_t len = strlen(s);
    memcpy(l->buf + l->len, s, len);
    l->len += len;
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
            const char pair[2] = {'\\', (char)c};
            bool quote = json && (c == '"' || c == '\\');
            put_bytes(l, quote ? pair : pair + 1, quote ? 2 : 1);
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

static void put_json_field(struct line *l, const struct log_field *field)
{
    put_raw(l, ",\"");
    put_escaped(l, field->key, true);
    put_raw(l, "\":");
    if (field->str == NULL) {
        put_number(l, field->num);
        return;
    }
    put_char(l, '"');
    put_escaped(l, field->str, true);
    put_char(l, '"');
}

/* A line that is too long loses the end of its text, or whole fields: it remains an object. */
static void format_json(struct line *l, enum log_level level, const char *component,
                        const struct log_field *fields, size_t count, const char *text, bool cut)
{
    l->room -= strlen(JSON_END_CUT);
    put_raw(l, "{\"time\":\"");
    put_time(l);
    put_raw(l, "\",\"level\":\"");
    put_raw(l, level_name[level]);
    put_raw(l, "\",\"component\":\"");
    put_escaped(l, component, true);
    put_raw(l, "\",\"msg\":\"");
    put_escaped(l, text, true);
    put_end(l, "\"");
    size_t whole = l->len;
    for (size_t i = 0; i < count && !l->cut; i++) {
        put_json_field(l, &fields[i]);
        if (!l->cut)
            whole = l->len;
    }
    l->len = whole;
    put_end(l, cut || l->cut ? &JSON_END_CUT[1] : "}");
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
    bool cut = vsnprintf(text, sizeof(text), fmt, ap) >= (int)sizeof(text);
    va_end(ap);

    struct line l;
    l.len = 0;
    l.room = sizeof(l.buf) - 1;
    l.cut = false;
    if (settings.format == LOG_FORMAT_JSON)
        format_json(&l, level, component, fields, field_count, text, cut);
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
