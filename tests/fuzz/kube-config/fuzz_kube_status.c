// SPDX-License-Identifier: Apache-2.0
/*
 * Any bytes as the body of a refusal, as header lines and as a time. The first byte chooses the
 * HTTP status. Texts end, are printable and fit; an errno is always found.
 */
#include "internal.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool what)
{
    if (!what)
        abort();
}

static void require_printable(const char *text, size_t size)
{
    size_t len = strnlen(text, size);
    require(len < size);
    for (size_t i = 0; i < len; i++)
        require((unsigned char)text[i] >= ' ' && text[i] != 0x7f);
}

static void check_time(const char *data, size_t size)
{
    char text[64], again[KUBE_TIME_SIZE];
    int64_t ns, back;
    if (size >= sizeof(text))
        return;
    memcpy(text, data, size);
    text[size] = '\0';
    if (kube_time_parse(text, &ns) < 0)
        return;
    require(kube_time_parse(kube_micro_time(ns, again), &back) == 0);
    require(ns - back >= 0 && ns - back < 1000);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    static const int codes[] = {200, 301, 400, 401, 403, 404, 409, 410, 422, 429, 500, 503, 0};
    int code = codes[data[0] % (sizeof(codes) / sizeof(codes[0]))];
    const char *text = (const char *)data + 1;
    size--;
    struct kube_status status;
    kube_status_parse(code, text, size, &status);
    require_printable(status.reason, sizeof(status.reason));
    require_printable(status.message, sizeof(status.message));
    require_printable(status.cause_field, sizeof(status.cause_field));
    require(status.retry_after <= 3600);
    int r = kube_status_errno(&status);
    require(code / 100 == 2 || r < 0);
    require(kube_retry_after(text, size) <= 3600);
    check_time(text, size);
    return 0;
}
