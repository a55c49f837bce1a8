// SPDX-License-Identifier: Apache-2.0
/*
 * What a refusal says: the API's Status object (apimachinery meta/v1), or the text that a proxy put
 * in its place; and what errno stands for it. No state, any thread; the bytes are the network's.
 */
#include "internal.h"
#include <podvisor/cleanup.h>
#include <string.h>
#include <strings.h>

#define RETRY_AFTER_MAX 3600u /* seconds; more is a server that means "not today" */

/* Copies what is printable; a cut text ends in "...". Bytes beyond ASCII are kept as they are. */
static void copy_text(char *to, size_t size, const char *from, size_t len)
{
    size_t n = 0;
    for (size_t i = 0; i < len && n < size - 1; i++) {
        unsigned char c = (unsigned char)from[i];
        if (c >= ' ' && c != 0x7f)
            to[n++] = from[i];
        else if (n > 0 && to[n - 1] != ' ')
            to[n++] = ' ';
    }
    while (n > 0 && to[n - 1] == ' ')
        n--;
    to[n] = '\0';
    if (n == size - 1 && len > n)
        memcpy(to + size - 4, "...", 4);
}

static void copy_member(char *to, size_t size, const cJSON *object, const char *key)
{
    const char *text = NULL;
    if (json_get_string(object, key, NULL, &text, NULL) == 1)
        copy_text(to, size, text, strlen(text));
}

/* Kinds of Status that older or foreign servers leave without a reason. */
static const char *reason_of_code(int code)
{
    switch (code) {
    case 400:
        return "BadRequest";
    case 401:
        return "Unauthorized";
    case 403:
        return "Forbidden";
    case 404:
        return "NotFound";
    case 405:
        return "MethodNotAllowed";
    case 409:
        return "Conflict";
    case 410:
        return "Gone";
    case 415:
        return "UnsupportedMediaType";
    case 422:
        return "Invalid";
    case 429:
        return "TooManyRequests";
    case 500:
        return "InternalError";
    case 503:
        return "ServiceUnavailable";
    case 504:
        return "Timeout";
    default:
        return "";
    }
}

void kube_status_from_object(int http_status, const cJSON *object, struct kube_status *ret)
{
    *ret = (struct kube_status){.code = http_status};
    int64_t code, seconds;
    /* The body's code counts where HTTP had none to give: an ERROR event of a watch is a 200. */
    if (json_get_int64(object, "code", NULL, &code, NULL) == 1 && code >= 400 && code <= 599 &&
        (http_status == 0 || http_status / 100 == 2))
        ret->code = (int)code;
    copy_member(ret->reason, sizeof(ret->reason), object, "reason");
    copy_member(ret->message, sizeof(ret->message), object, "message");
    const cJSON *details = json_get(object, "details"), *causes = json_get(details, "causes");
    if (cJSON_IsArray(causes))
        copy_member(ret->cause_field, sizeof(ret->cause_field), causes->child, "field");
    if (json_get_int64(details, "retryAfterSeconds", NULL, &seconds, NULL) == 1 && seconds > 0)
        ret->retry_after = seconds < RETRY_AFTER_MAX ? (unsigned)seconds : RETRY_AFTER_MAX;
    if (*ret->reason == '\0')
        snprintf(ret->reason, sizeof(ret->reason), "%s", reason_of_code(ret->code));
}

void kube_status_parse(int http_status, const char *body, size_t len, struct kube_status *ret)
{
    cleanup_json cJSON *object = NULL;
    if (len > 0 && json_parse(body, len, NULL, &object, NULL) == 0 && cJSON_IsObject(object)) {
        kube_status_from_object(http_status, object, ret);
        return;
    }
    *ret = (struct kube_status){.code = http_status};
    snprintf(ret->reason, sizeof(ret->reason), "%s", reason_of_code(http_status));
    copy_text(ret->message, sizeof(ret->message), body, len);
}

static int errno_of_4xx(const struct kube_status *status)
{
    switch (status->code) {
    case 401:
        return -EACCES;
    case 403:
        return strstr(status->message, "exceeded quota") != NULL ? -EDQUOT : -EACCES;
    case 404:
        return -ENOENT;
    case 408:
        return -ETIMEDOUT;
    case 409:
        return strcmp(status->reason, "AlreadyExists") == 0 ? -EEXIST : -EAGAIN;
    case 429:
        return -EBUSY;
    default:
        return -EINVAL;
    }
}

int kube_status_errno(const struct kube_status *status)
{
    switch (status->code / 100) {
    case 2:
        return 0;
    case 4:
        return errno_of_4xx(status);
    case 5:
        return -EBUSY;
    default:
        return -EIO; /* redirects are not followed: the API has none */
    }
}

unsigned kube_retry_after(const char *line, size_t len)
{
    static const char name[] = "retry-after:";
    size_t at = sizeof(name) - 1;
    if (len < at || strncasecmp(line, name, at) != 0)
        return 0;
    while (at < len && (line[at] == ' ' || line[at] == '\t'))
        at++;
    unsigned seconds = 0;
    for (; at < len && line[at] >= '0' && line[at] <= '9'; at++) {
        seconds = seconds * 10 + (unsigned)(line[at] - '0');
        if (seconds > RETRY_AFTER_MAX)
            return RETRY_AFTER_MAX;
    }
    while (at < len && (line[at] == ' ' || line[at] == '\r' || line[at] == '\n'))
        at++;
    return at == len ? seconds : 0; /* the other form is a date: the API never sends one */
}
