// SPDX-License-Identifier: Apache-2.0
/* Strings and memory for the front and the operator; see podvisor/str.h. Any thread. */
#include <podvisor/str.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WORD_MAX 63

_Noreturn void out_of_memory(void)
{
    static const char text[] = "podvisor: out of memory\n";
    (void)!write(STDERR_FILENO, text, sizeof(text) - 1);
    abort();
}

void *xcalloc(size_t count, size_t size)
{
    /* Never of size 0, for which calloc() may return NULL. */
    void *p = calloc(count > 0 ? count : 1, size > 0 ? size : 1);
    if (p == NULL)
        out_of_memory();
    return p;
}

char *xstrdup(const char *str)
{
    if (str == NULL)
        return NULL;
    char *copy = strdup(str);
    if (copy == NULL)
        out_of_memory();
    return copy;
}

char *xvasprintf(const char *fmt, va_list ap)
{
    char *str;
    if (vasprintf(&str, fmt, ap) < 0)
        out_of_memory();
    return str;
}

char *xasprintf(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *str = xvasprintf(fmt, ap);
    va_end(ap);
    return str;
}

bool str_equal(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

bool str_starts_with(const char *str, const char *prefix)
{
    return strncmp(str, prefix, strlen(prefix)) == 0;
}

static bool is_alphanumeric(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_label(const char *s, size_t len, size_t max)
{
    if (len == 0 || len > max || !is_alphanumeric(s[0]) || !is_alphanumeric(s[len - 1]))
        return false;
    for (size_t i = 0; i < len; i++) {
        if (!is_alphanumeric(s[i]) && s[i] != '-')
            return false;
    }
    return true;
}

bool str_is_dns_label(const char *str)
{
    return is_label(str, strlen(str), 63);
}

bool str_is_dns_subdomain(const char *str)
{
    /* Kubernetes bounds the whole, not its labels. */
    if (strlen(str) > 253)
        return false;
    for (;;) {
        size_t len = strcspn(str, ".");
        if (!is_label(str, len, 253))
            return false;
        if (str[len] == '\0')
            return true;
        str += len + 1;
    }
}

static char lower(char c)
{
    if (c >= 'A' && c <= 'Z')
        return (char)(c - 'A' + 'a');
    return c;
}

static unsigned least(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

unsigned str_distance(const char *a, const char *b, unsigned max)
{
    size_t a_len = strlen(a), b_len = strlen(b);
    if (a_len > WORD_MAX || b_len > WORD_MAX)
        return max + 1;
    /* Three rows of the usual table: row[i % 3][j] is the distance of a's first i, b's first j. */
    unsigned row[3][WORD_MAX + 1];
    for (size_t j = 0; j <= b_len; j++)
        row[0][j] = (unsigned)j;
    for (size_t i = 1; i <= a_len; i++) {
        unsigned *now = row[i % 3], *before = row[(i - 1) % 3], *earlier = row[(i + 1) % 3];
        now[0] = (unsigned)i;
        for (size_t j = 1; j <= b_len; j++) {
            bool same = lower(a[i - 1]) == lower(b[j - 1]);
            now[j] = least(least(before[j] + 1, now[j - 1] + 1), before[j - 1] + (same ? 0 : 1));
            if (i > 1 && j > 1 && lower(a[i - 1]) == lower(b[j - 2]) &&
                lower(a[i - 2]) == lower(b[j - 1]))
                now[j] = least(now[j], earlier[j - 2] + 1);
        }
    }
    return least(row[a_len % 3][b_len], max + 1);
}
