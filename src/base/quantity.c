// SPDX-License-Identifier: Apache-2.0
/*
 * Quantities after the grammar in Kubernetes' apimachinery/pkg/api/resource (quantity.go): the
 * value is mantissa * 10^exponent * 2^shift, kept exactly until the one rounding at the end. Any
 * thread.
 */
#include <podvisor/quantity.h>
#include <stdbool.h>
#include <string.h>

/* 19 digits fit 64 bits, and 128 bits hold them times 2^60 (Ei). */
#define DIGITS_MAX   19
#define EXPONENT_MAX 1000 /* beyond it no mantissa brings the value back into range */

typedef unsigned __int128 uint128_t;

struct quantity {
    uint64_t mantissa;
    int exponent; /* of 10 */
    int shift;    /* of 2 */
    bool negative;
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/*
 * Digits with an optional fraction into mantissa and exponent. Zeros that end a fraction count for
 * nothing; others that do not fit the mantissa are an error. NULL, or what is wrong.
 */
static const char *parse_digits(const char **text, struct quantity *q)
{
    const char *s = *text;
    bool any = false, fraction = false;
    unsigned zeros = 0, digits = 0; /* zeros: held back until a digit follows */
    for (;; s++) {
        if (*s == '.' && !fraction) {
            fraction = true;
            continue;
        }
        if (!is_digit(*s))
            break;
        any = true;
        if (fraction && *s == '0') {
            zeros++;
            continue;
        }
        if (fraction)
            q->exponent -= (int)zeros + 1;
        for (; zeros > 0; zeros--) {
            q->mantissa *= 10;
            digits += digits > 0 ? 1 : 0;
            if (digits > DIGITS_MAX)
                return "has too many digits";
        }
        q->mantissa = q->mantissa * 10 + (uint64_t)(*s - '0');
        digits += digits > 0 || *s != '0' ? 1 : 0;
        if (digits > DIGITS_MAX || s - *text > EXPONENT_MAX)
            return "has too many digits";
    }
    *text = s;
    return any ? NULL : "does not begin with a number";
}

/* A whole suffix: "", a unit, or an exponent. */
static bool parse_suffix(const char *s, struct quantity *q)
{
    static const struct {
        const char *suffix;
        int exponent, shift;
    } units[] = {
        {"", 0, 0},    {"n", -9, 0},  {"u", -6, 0},  {"m", -3, 0},  {"k", 3, 0},   {"M", 6, 0},
        {"G", 9, 0},   {"T", 12, 0},  {"P", 15, 0},  {"E", 18, 0},  {"Ki", 0, 10}, {"Mi", 0, 20},
        {"Gi", 0, 30}, {"Ti", 0, 40}, {"Pi", 0, 50}, {"Ei", 0, 60},
    };
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (strcmp(s, units[i].suffix) == 0) {
            q->exponent += units[i].exponent;
            q->shift = units[i].shift;
            return true;
        }
    }
    if (*s != 'e' && *s != 'E')
        return false;
    s++;
    bool negative = *s == '-';
    if (*s == '-' || *s == '+')
        s++;
    if (!is_digit(*s))
        return false;
    int exponent = 0;
    for (; is_digit(*s); s++)
        exponent = exponent < EXPONENT_MAX ? exponent * 10 + (*s - '0') : exponent;
    q->exponent += negative ? -exponent : exponent;
    return *s == '\0';
}

/* What people write for the units of bytes: the letter in the wrong case, with a B, with "ib". */
static int unknown_unit(const char *text, const char *suffix, struct error *err)
{
    error_set(err, EINVAL, "unknown unit '%.16s' in '%.64s'", suffix, text);
    const char *letters = "kKmMgGtTpPeE";
    const char *known = *suffix != '\0' ? strchr(letters, *suffix) : NULL;
    if (known == NULL) {
        error_hint(err, "units are k M G T P E (1000) and Ki Mi Gi Ti Pi Ei (1024)");
        return -EINVAL;
    }
    char upper = letters[(known - letters) | 1];
    const char *rest = suffix + 1;
    if (*rest == 'i' || *rest == 'I')
        error_hint(err, "did you mean %ci?", upper);
    else
        error_hint(err, "did you mean %c (1000) or %ci (1024)?", upper == 'K' ? 'k' : upper, upper);
    return -EINVAL;
}

static int parse(const char *text, struct quantity *ret, struct error *err)
{
    struct quantity q = {0};
    const char *s = text;
    q.negative = *s == '-';
    if (*s == '-' || *s == '+')
        s++;
    const char *what = parse_digits(&s, &q);
    if (what != NULL)
        return error_set(err, EINVAL, "the quantity '%.64s' %s", text, what);
    if (!parse_suffix(s, &q))
        return unknown_unit(text, s, err);
    *ret = q;
    return 0;
}

static int too_large(const char *text, struct error *err)
{
    return error_set(err, ERANGE, "the quantity '%.64s' is too large", text);
}

/* The value rounded up to an integer. */
static int evaluate(const struct quantity *q, const char *text, uint64_t *ret, struct error *err)
{
    if (q->negative && q->mantissa != 0)
        return error_set(err, ERANGE, "the quantity '%.64s' must not be negative", text);
    uint128_t value = (uint128_t)q->mantissa << q->shift;
    bool inexact = false;
    for (int i = 0; i < q->exponent && value != 0; i++) {
        if (value > (uint128_t)INT64_MAX)
            return too_large(text, err);
        value *= 10;
    }
    for (int i = 0; i > q->exponent && value != 0; i--) {
        inexact = inexact || value % 10 != 0;
        value /= 10;
    }
    if (inexact)
        value++;
    if (value > (uint128_t)INT64_MAX)
        return too_large(text, err);
    *ret = (uint64_t)value;
    return 0;
}

int quantity_parse(const char *text, uint64_t *ret, struct error *err)
{
    struct quantity q = {0};
    int r = parse(text, &q, err);
    return r < 0 ? r : evaluate(&q, text, ret, err);
}

int quantity_parse_milli(const char *text, uint64_t *ret, struct error *err)
{
    struct quantity q = {0};
    int r = parse(text, &q, err);
    if (r < 0)
        return r;
    q.exponent += 3;
    return evaluate(&q, text, ret, err);
}
