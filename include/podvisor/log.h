// SPDX-License-Identifier: Apache-2.0
/*
 * Structured logging to standard error (or a descriptor of the caller's choice): one line an event,
 * as text for people or as JSON for machines, written with a single write(2) so that lines of
 * several threads never mix. No allocation and no locale. Library code logs only what nobody is
 * there to return an error to: what a guest did wrong, what a device noticed on its own.
 */
#ifndef PODVISOR_LOG_H
#define PODVISOR_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };
enum log_format { LOG_FORMAT_TEXT, LOG_FORMAT_JSON };

struct log_field {
    const char *key;
    const char *str; /* NULL: the value is `num` */
    int64_t num;
};

#define LOG_STR(k, v) ((struct log_field){.key = (k), .str = (v)})
#define LOG_INT(k, v) ((struct log_field){.key = (k), .num = (int64_t)(v)})

/*
 * Sets where and how lines are written. Call it before threads start. `program` is the first word
 * of a text line and must outlive all logging. Defaults: "podvisor", fd 2, text, LOG_LEVEL_INFO.
 */
void log_setup(const char *program, int fd, enum log_format format, enum log_level max_level);

/* True when a line of this level would be written. */
bool log_enabled(enum log_level level);

/*
 * Writes one line. `component` names the part that speaks ("virtio-blk", "control"); `fields` may
 * be NULL. Control characters (a guest may have chosen them) are escaped. Text longer than 2 KiB is
 * cut, and so is a line of 4 KiB: as JSON it remains valid, loses the end of "msg" or whole fields,
 * and says "cut":true.
 */
void log_write(enum log_level level, const char *component, const struct log_field *fields,
               size_t field_count, const char *fmt, ...) __attribute__((format(printf, 5, 6)));

#define log_error(component, ...) log_write(LOG_LEVEL_ERROR, component, NULL, 0, __VA_ARGS__)
#define log_warn(component, ...)  log_write(LOG_LEVEL_WARN, component, NULL, 0, __VA_ARGS__)
#define log_info(component, ...)  log_write(LOG_LEVEL_INFO, component, NULL, 0, __VA_ARGS__)
#define log_debug(component, ...)                                        \
    do {                                                                 \
        if (log_enabled(LOG_LEVEL_DEBUG))                                \
            log_write(LOG_LEVEL_DEBUG, component, NULL, 0, __VA_ARGS__); \
    } while (0)

/*
 * Bounds what a guest can make us write: at most `burst` lines an interval for one call site or
 * device. Zero-initialised means 10 lines in 10 s. Safe from any thread.
 */
struct log_ratelimit {
    uint32_t burst;
    uint64_t interval_ns;
    uint64_t window_start_ns;
    uint32_t used;
    uint32_t suppressed;
};

/*
 * True when a line may be written now. When lines were dropped since the last allowed one, their
 * number is stored in *ret_suppressed (0 otherwise) so that the caller can say so.
 */
bool log_ratelimit_allow(struct log_ratelimit *rl, uint32_t *ret_suppressed);

#endif
