// SPDX-License-Identifier: Apache-2.0
/* The list of what was found about a manifest; see podvisor/vmspec.h. One thread at a time. */
#include <podvisor/str.h>
#include <podvisor/vmspec.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void vmspec_diagnose(struct vmspec_diagnostics *diag, enum vmspec_severity severity,
                     const char *path, const char *fmt, ...)
{
    struct vmspec_diagnostic *d = vec_add(&diag->list);
    d->severity = severity;
    d->path = xstrdup(path);
    va_list ap;
    va_start(ap, fmt);
    d->message = xvasprintf(fmt, ap);
    va_end(ap);
    if (severity == VMSPEC_ERROR)
        diag->errors++;
}

const char *vmspec_diagnostic_text(const struct vmspec_diagnostic *diagnostic, char *buf,
                                   size_t size)
{
    const char *path = diagnostic->path, *message = diagnostic->message;
    if (*path == '\0' || strncmp(message, path, strlen(path)) == 0)
        snprintf(buf, size, "%s", message);
    else
        snprintf(buf, size, "%s: %s", path, message);
    return buf;
}

void vmspec_diagnostics_done(struct vmspec_diagnostics *diag)
{
    for (size_t i = 0; i < diag->list.count; i++) {
        free(diag->list.item[i].path);
        free(diag->list.item[i].message);
    }
    vec_free(&diag->list);
    diag->errors = 0;
}
