// SPDX-License-Identifier: Apache-2.0
/* See resolv.h. The text comes from the pod's dnsConfig and from the node. One thread. */
#include "resolv.h"
#include "address.h"
#include <fcntl.h>
#include <podvisor/cleanup.h>
#include <podvisor/str.h>
#include <string.h>

#define LABEL_MAX 63

struct word {
    const char *text;
    size_t len;
};

/* The next word of [*at, end); false at the end. */
static bool next_word(const char **at, const char *end, struct word *ret)
{
    const char *p = *at;
    while (p < end && (*p == ' ' || *p == '\t' || *p == '\r'))
        p++;
    ret->text = p;
    while (p < end && *p != ' ' && *p != '\t' && *p != '\r')
        p++;
    ret->len = (size_t)(p - ret->text);
    *at = p;
    return ret->len > 0;
}

static bool word_is(const struct word *word, const char *text)
{
    return word->len == strlen(text) && memcmp(word->text, text, word->len) == 0;
}

static void add_server(struct resolv *r, const struct word *word)
{
    char text[ADDRESS_TEXT_MAX];
    uint32_t address;
    if (word->len >= sizeof(text) || memchr(word->text, '\0', word->len) != NULL) {
        r->left_out++;
        return;
    }
    memcpy(text, word->text, word->len);
    text[word->len] = '\0';
    /* One on the pod's loopback is out of the guest's reach. */
    if (!address_parse(text, &address) || !address_is_host(address) ||
        r->dns_count == LEASE_DNS_MAX) {
        r->left_out++;
        return;
    }
    r->dns[r->dns_count++] = address;
}

/* Labels of the characters that vmm takes. */
static bool is_domain(const char *text, size_t len)
{
    size_t label = 0;
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (c == '.' && label == 0)
            return false;
        if (c != '.' && !(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') &&
            !(c >= '0' && c <= '9') && c != '-' && c != '_')
            return false;
        label = c == '.' ? 0 : label + 1;
        if (label > LABEL_MAX)
            return false;
    }
    return label > 0;
}

/* Bytes of the list in option 119, RFC 1035 §3.1: a length before each label, and a zero. */
static size_t encoded_size(const struct resolv *r)
{
    size_t size = 0;
    for (unsigned i = 0; i < r->search_count; i++)
        size += strlen(r->search[i]) + 2;
    return size;
}

static void add_domain(struct resolv *r, const struct word *word)
{
    size_t len = word->len;
    if (len > 0 && word->text[len - 1] == '.')
        len--;
    if (len == 0) /* the root: to search there is what a resolver does anyway */
        return;
    if (len >= LEASE_DOMAIN_MAX || !is_domain(word->text, len) ||
        r->search_count == RESOLV_SEARCH_MAX || encoded_size(r) + len + 2 > LEASE_OPTION_MAX) {
        r->left_out++;
        return;
    }
    memcpy(r->search[r->search_count], word->text, len);
    r->search[r->search_count++][len] = '\0';
}

static void parse_line(struct resolv *r, const char *at, const char *end)
{
    struct word word;
    if (*at == '#' || *at == ';' || !next_word(&at, end, &word))
        return;
    if (word_is(&word, "nameserver")) {
        if (next_word(&at, end, &word))
            add_server(r, &word);
    } else if (word_is(&word, "search") || word_is(&word, "domain")) {
        /* The last of them counts. */
        r->search_count = 0;
        while (next_word(&at, end, &word))
            add_domain(r, &word);
    }
}

void resolv_parse(const char *text, size_t len, struct resolv *ret)
{
    const char *at = text, *end = text + len;
    memset(ret, 0, sizeof(*ret));
    while (at < end) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        const char *line_end = newline != NULL ? newline : end;
        if (line_end > at)
            parse_line(ret, at, line_end);
        at = line_end + 1;
    }
}

int resolv_read(struct resolv *ret, struct error *err)
{
    cleanup_free char *text = xcalloc(1, RESOLV_TEXT_MAX);
    cleanup_close int fd = open(RESOLV_PATH, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    memset(ret, 0, sizeof(*ret));
    if (fd < 0 && errno == ENOENT)
        return 0;
    if (fd < 0)
        return error_sys(err, errno, "cannot open " RESOLV_PATH);
    size_t len = 0;
    while (len < RESOLV_TEXT_MAX) {
        ssize_t n = read(fd, text + len, RESOLV_TEXT_MAX - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_sys(err, errno, "cannot read " RESOLV_PATH);
        if (n == 0)
            break;
        len += (size_t)n;
    }
    resolv_parse(text, len, ret);
    return 0;
}
