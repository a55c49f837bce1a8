// SPDX-License-Identifier: Apache-2.0
/* Error chains as text in the caller's buffer; any thread. See podvisor/error.h. */
#include <podvisor/error.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static int code_of(const struct error *err)
{
    return err == NULL || err->code == 0 ? -EIO : -err->code;
}

int error_set(struct error *err, int code, const char *fmt, ...)
{
    if (err == NULL)
        return -code;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(err->text, sizeof(err->text), fmt, ap);
    va_end(ap);
    err->code = code;
    return -code;
}

int error_sys(struct error *err, int code, const char *fmt, ...)
{
    if (err == NULL)
        return -code;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(err->text, sizeof(err->text), fmt, ap);
    va_end(ap);
    size_t len = strlen(err->text);
    char buf[128];
    snprintf(err->text + len, sizeof(err->text) - len, ": %s", strerror_r(code, buf, sizeof(buf)));
    err->code = code;
    return -code;
}

int error_wrap(struct error *err, const char *fmt, ...)
{
    if (err == NULL)
        return code_of(err);
    char inner[ERROR_TEXT_MAX];
    memcpy(inner, err->text, sizeof(inner));
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(err->text, sizeof(err->text), fmt, ap);
    va_end(ap);
    size_t len = strlen(err->text);
    snprintf(err->text + len, sizeof(err->text) - len, ": %s", inner);
    return code_of(err);
}

int error_hint(struct error *err, const char *fmt, ...)
{
    if (err == NULL)
        return code_of(err);
    size_t len = strlen(err->text);
    if (len + 2 < sizeof(err->text)) {
        memcpy(err->text + len, "; ", 3);
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(err->text + len + 2, sizeof(err->text) - len - 2, fmt, ap);
        va_end(ap);
    }
    return code_of(err);
}
