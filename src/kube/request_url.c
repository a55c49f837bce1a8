// SPDX-License-Identifier: Apache-2.0
/*
 * Paths of the API: /api/VERSION for the core group, /apis/GROUP/VERSION for the others, every
 * segment percent-encoded (RFC 3986 §2.3). No state, any thread.
 */
#include "internal.h"
#include <podvisor/str.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool unreserved(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_' || c == '~';
}

char *kube_percent_encode(const char *text, char also)
{
    char *out = xcalloc(strlen(text) * 3 + 1, 1), *to = out;
    for (; *text != '\0'; text++) {
        if (unreserved(*text) || (also != '\0' && *text == also))
            *to++ = *text;
        else
            to += sprintf(to, "%%%02X", (unsigned)(unsigned char)*text);
    }
    return out;
}

/* As k8s.io/apimachinery's IsValidPathSegmentName. */
static int check_segment(const char *what, const char *text, struct error *err)
{
    if (*text == '\0')
        return error_set(err, EINVAL, "the %s is empty", what);
    if (strcmp(text, ".") == 0 || strcmp(text, "..") == 0 || strpbrk(text, "/%") != NULL)
        return error_set(err, EINVAL,
                         "\"%s\" is no %s: it may not be \".\" or \"..\" nor have "
                         "'/' or '%%' in it",
                         text, what);
    return 0;
}

/* Takes `path` and returns path + "/" + word + "/" + encoded text. */
static char *append(char *path_take, const char *word, const char *text, char also)
{
    char *encoded = kube_percent_encode(text, also);
    char *path = xasprintf("%s%s/%s", path_take, word, encoded);
    free(encoded);
    free(path_take);
    return path;
}

int kube_resource_path(const struct kube_resource *resource, const char *namespace_,
                       const char *name, const char *subresource, char **ret, struct error *err)
{
    int r = 0;
    if (namespace_ != NULL)
        r = check_segment("namespace", namespace_, err);
    if (r == 0 && name != NULL)
        r = check_segment("name", name, err);
    if (r < 0)
        return r;
    char *path = *resource->group == '\0' ? xstrdup("/api")
                                          : append(xstrdup("/apis"), "", resource->group, '\0');
    path = append(path, "", resource->version, '\0');
    if (namespace_ != NULL)
        path = append(path, "/namespaces", namespace_, '\0');
    path = append(path, "", resource->plural, '\0');
    if (name != NULL)
        path = append(path, "", name, '\0');
    if (subresource != NULL)
        path = append(path, "", subresource, '/');
    *ret = path;
    return 0;
}

char *kube_url_add(char *url_take, const char *key, const char *value)
{
    char *k = kube_percent_encode(key, '\0'), *v = kube_percent_encode(value, '\0');
    char *url = xasprintf("%s%c%s=%s", url_take, strchr(url_take, '?') == NULL ? '?' : '&', k, v);
    free(k);
    free(v);
    free(url_take);
    return url;
}
