// SPDX-License-Identifier: Apache-2.0
/*
 * YAML 1.1 scalars (https://yaml.org/type/) in the dialect of go-yaml v2's resolve.go, which is
 * what Kubernetes reads manifests with: no sexagesimal numbers, Go's integer prefixes (0x, 0o, 0b,
 * and 0 for octal), underscores anywhere in a number, and a time stamp stays a string. Any thread.
 */
#include "yaml_scalar.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NUMBER_MAX 1024 /* a longer scalar is a string */

static const char *const true_words[] = {"y",    "Y",    "yes", "Yes", "YES", "true",
                                         "True", "TRUE", "on",  "On",  "ON",  NULL};
static const char *const false_words[] = {"n",     "N",     "no",  "No",  "NO",  "false",
                                          "False", "FALSE", "off", "Off", "OFF", NULL};
static const char *const null_words[] = {"", "~", "null", "Null", "NULL", NULL};
static const char *const nan_words[] = {".nan", ".NaN", ".NAN", NULL};
static const char *const infinity_words[] = {".inf",  ".Inf",  ".INF", "+.inf",
                                             "+.Inf", "+.INF", NULL};
static const char *const minus_infinity_words[] = {"-.inf", "-.Inf", "-.INF", NULL};

static bool is_one_of(const char *text, const char *const *words)
{
    for (; *words != NULL; words++) {
        if (strcmp(text, *words) == 0)
            return true;
    }
    return false;
}

/* The words that are no strings. */
static bool parse_word(const char *text, struct scalar *ret)
{
    if (is_one_of(text, true_words))
        *ret = (struct scalar){.kind = SCALAR_BOOL, .boolean = true};
    else if (is_one_of(text, false_words))
        *ret = (struct scalar){.kind = SCALAR_BOOL};
    else if (is_one_of(text, null_words))
        *ret = (struct scalar){.kind = SCALAR_NULL};
    else if (is_one_of(text, nan_words))
        *ret = (struct scalar){.kind = SCALAR_FLOAT, .number = NAN};
    else if (is_one_of(text, infinity_words))
        *ret = (struct scalar){.kind = SCALAR_FLOAT, .number = INFINITY};
    else if (is_one_of(text, minus_infinity_words))
        *ret = (struct scalar){.kind = SCALAR_FLOAT, .number = -INFINITY};
    else
        return false;
    return true;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Digits of one base up to the end of the text, at least one, within 64 bits. */
static bool parse_digits(const char *s, unsigned base, uint64_t *ret)
{
    uint64_t value = 0;
    if (*s == '\0')
        return false;
    for (; *s != '\0'; s++) {
        unsigned digit = 99;
        if (is_digit(*s))
            digit = (unsigned)(*s - '0');
        else if ((*s | 0x20) >= 'a' && (*s | 0x20) <= 'f')
            digit = (unsigned)((*s | 0x20) - 'a') + 10;
        if (digit >= base || __builtin_mul_overflow(value, base, &value) ||
            __builtin_add_overflow(value, digit, &value))
            return false;
    }
    *ret = value;
    return true;
}

/* Go's strconv.ParseInt and ParseUint with base 0. */
static bool parse_integer(const char *s, struct scalar *ret)
{
    bool has_sign = *s == '-' || *s == '+';
    bool negative = *s == '-';
    if (has_sign)
        s++;
    unsigned base = 10;
    if (s[0] == '0' && s[1] != '\0') {
        char prefix = (char)(s[1] | 0x20);
        base = prefix == 'x' ? 16 : prefix == 'b' ? 2 : 8;
        s += base != 8 || prefix == 'o' ? 2 : 1;
    }
    uint64_t value;
    if (!parse_digits(s, base, &value))
        return false;
    if (has_sign && value > (uint64_t)INT64_MAX + (negative ? 1 : 0))
        return false; /* only an unsigned form may be that large */
    *ret = (struct scalar){
        .kind = SCALAR_INTEGER, .negative = negative && value != 0, .magnitude = value};
    return true;
}

/* [-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)? and finite. */
static bool parse_float(const char *text, struct scalar *ret)
{
    const char *s = text;
    if (*s == '-' || *s == '+')
        s++;
    bool before = is_digit(*s);
    while (is_digit(*s))
        s++;
    if (*s == '.') {
        s++;
        if (!before && !is_digit(*s))
            return false;
        while (is_digit(*s))
            s++;
    } else if (!before) {
        return false;
    }
    if (*s == 'e' || *s == 'E') {
        s++;
        if (*s == '-' || *s == '+')
            s++;
        if (!is_digit(*s))
            return false;
        while (is_digit(*s))
            s++;
    }
    if (*s != '\0')
        return false;
    double value = strtod(text, NULL);
    if (!isfinite(value))
        return false;
    *ret = (struct scalar){.kind = SCALAR_FLOAT, .number = value};
    return true;
}

struct scalar scalar_resolve(const char *text)
{
    struct scalar value = {.kind = SCALAR_STRING};
    if (parse_word(text, &value))
        return value;
    if (text[0] == '.') {
        parse_float(text, &value);
        return value;
    }
    if (!is_digit(text[0]) && text[0] != '-' && text[0] != '+')
        return value;
    char plain[NUMBER_MAX];
    size_t len = 0;
    for (const char *s = text; *s != '\0'; s++) {
        if (*s == '_')
            continue;
        if (len == sizeof(plain) - 1)
            return value;
        plain[len++] = *s;
    }
    plain[len] = '\0';
    if (!parse_integer(plain, &value))
        parse_float(plain, &value);
    return value;
}

void scalar_digits(const struct scalar *scalar, char ret_text[SCALAR_KEY_MAX])
{
    snprintf(ret_text, SCALAR_KEY_MAX, "%s%llu", scalar->negative ? "-" : "",
             (unsigned long long)scalar->magnitude);
}

/* Go's FormatFloat(v, 'g', -1, 32): the fewest digits that read back as the same binary32. */
static void float_key(double number, char ret_text[SCALAR_KEY_MAX])
{
    if (isnan(number) || isinf(number)) {
        snprintf(ret_text, SCALAR_KEY_MAX, "%s",
                 isnan(number) ? ".nan"
                 : number > 0  ? ".inf"
                               : "-.inf");
        return;
    }
    float value = (float)number;
    if (isinf(value)) {
        float_key((double)value, ret_text);
        return;
    }
    int digits = 0;
    do
        snprintf(ret_text, SCALAR_KEY_MAX, "%.*e", digits++, (double)value);
    while (strtof(ret_text, NULL) != value && digits < 9);
    int exponent = atoi(strchr(ret_text, 'e') + 1);
    if (exponent < -4 || exponent >= 6)
        return;
    int decimals = digits - 1 - exponent;
    snprintf(ret_text, SCALAR_KEY_MAX, "%.*f", decimals > 0 ? decimals : 0, (double)value);
}

void scalar_key(const struct scalar *scalar, char ret_text[SCALAR_KEY_MAX])
{
    if (scalar->kind == SCALAR_BOOL)
        snprintf(ret_text, SCALAR_KEY_MAX, "%s", scalar->boolean ? "true" : "false");
    else if (scalar->kind == SCALAR_INTEGER)
        scalar_digits(scalar, ret_text);
    else
        float_key(scalar->number, ret_text);
}
