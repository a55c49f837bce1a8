// SPDX-License-Identifier: Apache-2.0
/*
 * The JSON scanner of podvisor/json_scan.h: RFC 8259 grammar as a state machine over the caller's
 * text, with one bit a nesting level instead of a stack of frames. No allocation, no recursion; the
 * state is the scanner's, so any thread may run one of its own.
 */
#include <math.h>
#include <podvisor/json_scan.h>
#include <podvisor/utf8.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_BYTES ((size_t)64 << 10)

enum expect {
    EXPECT_VALUE,        /* a value must come */
    EXPECT_VALUE_OR_END, /* just after '[' */
    EXPECT_NAME_OR_END,  /* just after '{' */
    EXPECT_NAME,         /* after ',' in an object */
    EXPECT_COLON,        /* after a name */
    EXPECT_COMMA_OR_END, /* after a value inside a container */
    EXPECT_NOTHING,      /* after the outermost value */
};

const char *json_type_name(enum json_type type)
{
    static const char *const name[] = {
        [JSON_OBJECT] = "an object",        [JSON_OBJECT_END] = "the end of an object",
        [JSON_ARRAY] = "an array",          [JSON_ARRAY_END] = "the end of an array",
        [JSON_NAME] = "a member's name",    [JSON_STRING] = "a string",
        [JSON_NUMBER] = "a number",         [JSON_TRUE] = "a boolean",
        [JSON_FALSE] = "a boolean",         [JSON_NULL] = "null",
        [JSON_END] = "the end of the text",
    };
    return name[type];
}

/* Line and column (in bytes, both from 1) cost a pass over the text, so only errors pay for it. */
int json_scan_error(const struct json_scan *scan, size_t offset, int code, struct error *err,
                    const char *what)
{
    size_t line = 1, start = 0;
    for (size_t i = 0; i < offset && i < scan->len; i++) {
        if (scan->text[i] == '\n') {
            line++;
            start = i + 1;
        }
    }
    error_set(err, code, "line %zu, column %zu: %s", line, offset - start + 1, what);
    return -code;
}

static int fail(const struct json_scan *scan, struct error *err, const char *what)
{
    return json_scan_error(scan, scan->pos, EINVAL, err, what);
}

void json_scan_init(struct json_scan *scan, const char *text, size_t len,
                    const struct json_scan_limits *limits)
{
    memset(scan, 0, offsetof(struct json_scan, name));
    scan->text = text;
    scan->len = len;
    if (limits != NULL)
        scan->limits = *limits;
    if (scan->limits.bytes == 0)
        scan->limits.bytes = DEFAULT_BYTES;
    if (scan->limits.depth == 0 || scan->limits.depth > JSON_DEPTH_MAX)
        scan->limits.depth = JSON_DEPTH_MAX;
    scan->expect = EXPECT_VALUE;
}

static void skip_space(struct json_scan *scan)
{
    while (scan->pos < scan->len) {
        char c = scan->text[scan->pos];
        if (c != ' ' && c != '\t' && c != '\n' && c != '\r')
            break;
        scan->pos++;
    }
}

static bool in_object(const struct json_scan *scan)
{
    return scan->depth > 0 && (scan->object_bits >> (scan->depth - 1) & 1) != 0;
}

/* The value of four hexadecimal digits at `s`, or -1. */
static int hex4(const char *s, size_t len)
{
    if (len < 4)
        return -1;
    int value = 0;
    for (int i = 0; i < 4; i++) {
        char c = s[i];
        int digit;
        if (c >= '0' && c <= '9')
            digit = c - '0';
        else if (c >= 'a' && c <= 'f')
            digit = c - 'a' + 10;
        else if (c >= 'A' && c <= 'F')
            digit = c - 'A' + 10;
        else
            return -1;
        value = value << 4 | digit;
    }
    return value;
}

static bool is_high_surrogate(int unit)
{
    return unit >= 0xd800 && unit <= 0xdbff;
}

static bool is_low_surrogate(int unit)
{
    return unit >= 0xdc00 && unit <= 0xdfff;
}

/* Passes the escape whose backslash is at pos. NULL, or what is wrong with it. */
static const char *scan_escape(struct json_scan *scan)
{
    const char *s = scan->text + scan->pos;
    size_t left = scan->len - scan->pos;
    if (left >= 2 && s[1] != '\0' && strchr("\"\\/bfnrt", s[1]) != NULL) {
        scan->pos += 2;
        return NULL;
    }
    if (left < 2 || s[1] != 'u')
        return "invalid escape in a string";
    int unit = hex4(s + 2, left - 2);
    if (unit < 0)
        return "\\u must be followed by four hexadecimal digits";
    if (unit == 0)
        return "the character \\u0000 is not allowed";
    if (is_low_surrogate(unit))
        return "unpaired surrogate in a string";
    if (!is_high_surrogate(unit)) {
        scan->pos += 6;
        return NULL;
    }
    if (left < 12 || s[6] != '\\' || s[7] != 'u' || !is_low_surrogate(hex4(s + 8, left - 8)))
        return "unpaired surrogate in a string";
    scan->pos += 12;
    return NULL;
}

/* Passes the string whose opening quote is at pos. */
static int scan_string(struct json_scan *scan, struct json_token *token, struct error *err)
{
    size_t start = ++scan->pos;
    token->escaped = false;
    while (scan->pos < scan->len) {
        unsigned char c = (unsigned char)scan->text[scan->pos];
        if (c == '"') {
            token->text = scan->text + start;
            token->len = scan->pos++ - start;
            return 0;
        }
        if (c < 0x20)
            return fail(scan, err, "control character in a string; escape it");
        if (c == '\\') {
            token->escaped = true;
            const char *what = scan_escape(scan);
            if (what != NULL)
                return fail(scan, err, what);
            continue;
        }
        size_t n = utf8_length(scan->text + scan->pos, scan->len - scan->pos);
        if (n == 0)
            return fail(scan, err, "invalid UTF-8");
        scan->pos += n;
    }
    return fail(scan, err, "the text ends inside a string");
}

static bool is_digit(const struct json_scan *scan)
{
    return scan->pos < scan->len && scan->text[scan->pos] >= '0' && scan->text[scan->pos] <= '9';
}

static bool take_digits(struct json_scan *scan)
{
    if (!is_digit(scan))
        return false;
    while (is_digit(scan))
        scan->pos++;
    return true;
}

static bool take_char(struct json_scan *scan, char c)
{
    if (scan->pos >= scan->len || scan->text[scan->pos] != c)
        return false;
    scan->pos++;
    return true;
}

/* RFC 8259 §6: [ "-" ] ( "0" / 1-9 digits ) [ "." digits ] [ ( "e" / "E" ) [ sign ] digits ] */
static int scan_number(struct json_scan *scan, struct json_token *token, struct error *err)
{
    size_t start = scan->pos;
    take_char(scan, '-');
    if (take_char(scan, '0')) {
        if (is_digit(scan))
            return fail(scan, err, "a number must not begin with 0");
    } else if (!take_digits(scan)) {
        return fail(scan, err, "a digit is missing in a number");
    }
    if (take_char(scan, '.') && !take_digits(scan))
        return fail(scan, err, "a digit must follow the decimal point");
    if (take_char(scan, 'e') || take_char(scan, 'E')) {
        if (!take_char(scan, '+'))
            take_char(scan, '-');
        if (!take_digits(scan))
            return fail(scan, err, "a digit is missing in an exponent");
    }
    token->type = JSON_NUMBER;
    token->text = scan->text + start;
    token->len = scan->pos - start;
    if (token->len > JSON_NUMBER_MAX)
        return json_scan_error(scan, start, E2BIG, err, "the number is too long");
    double value;
    if (json_token_double(token, &value, NULL) < 0)
        return json_scan_error(scan, start, EINVAL, err, "the number is out of range");
    return 0;
}

static int scan_word(struct json_scan *scan, struct json_token *token, struct error *err)
{
    static const struct {
        const char *word;
        enum json_type type;
    } words[] = {{"true", JSON_TRUE}, {"false", JSON_FALSE}, {"null", JSON_NULL}};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        size_t n = strlen(words[i].word);
        if (scan->len - scan->pos >= n && memcmp(scan->text + scan->pos, words[i].word, n) == 0) {
            token->type = words[i].type;
            token->text = scan->text + scan->pos;
            token->len = n;
            scan->pos += n;
            return 0;
        }
    }
    return fail(scan, err, "a value is missing");
}

static int open_container(struct json_scan *scan, struct json_token *token, bool object,
                          struct error *err)
{
    if (scan->depth == scan->limits.depth)
        return json_scan_error(scan, scan->pos, E2BIG, err,
                               "too many objects and arrays inside each other");
    uint64_t bit = UINT64_C(1) << scan->depth;
    scan->object_bits = object ? scan->object_bits | bit : scan->object_bits & ~bit;
    scan->first_name[scan->depth++] = scan->name_count;
    token->type = object ? JSON_OBJECT : JSON_ARRAY;
    token->text = scan->text + scan->pos++;
    token->len = 1;
    scan->expect = object ? EXPECT_NAME_OR_END : EXPECT_VALUE_OR_END;
    return 0;
}

static void value_done(struct json_scan *scan)
{
    scan->expect = scan->depth == 0 ? EXPECT_NOTHING : EXPECT_COMMA_OR_END;
}

static void close_container(struct json_scan *scan, struct json_token *token, bool object)
{
    scan->name_count = scan->first_name[--scan->depth];
    token->type = object ? JSON_OBJECT_END : JSON_ARRAY_END;
    token->text = scan->text + scan->pos++;
    token->len = 1;
    value_done(scan);
}

static int scan_value(struct json_scan *scan, struct json_token *token, struct error *err)
{
    if (scan->pos >= scan->len)
        return fail(scan, err, "the text ends where a value must come");
    char c = scan->text[scan->pos];
    if (c == '{' || c == '[')
        return open_container(scan, token, c == '{', err);
    int r;
    if (c == '"') {
        r = scan_string(scan, token, err);
        token->type = JSON_STRING;
    } else if (c == '-' || (c >= '0' && c <= '9')) {
        r = scan_number(scan, token, err);
    } else {
        r = scan_word(scan, token, err);
    }
    if (r == 0)
        value_done(scan);
    return r;
}

/*
 * The next byte of the string at *s, unescaped; the caller knows that it is valid and not at its
 * end. A character beyond ASCII comes out of an escape as several bytes: the rest waits in `more`.
 */
struct unescape {
    const char *s, *end;
    char more[4];
    unsigned more_count;
};

static char unescape_unicode(struct unescape *u)
{
    uint32_t c = (uint32_t)hex4(u->s, 4);
    u->s += 4;
    if (is_high_surrogate((int)c)) {
        c = 0x10000 + ((c - 0xd800) << 10) + ((uint32_t)hex4(u->s + 2, 4) - 0xdc00);
        u->s += 6;
    }
    if (c < 0x80)
        return (char)c;
    /* Continuation bytes, last one first, so that the next is taken from the end of `more`. */
    unsigned n = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    for (unsigned i = 0; i < n; i++) {
        u->more[u->more_count++] = (char)(0x80 | (c & 0x3f));
        c >>= 6;
    }
    static const unsigned char lead[] = {0, 0xc0, 0xe0, 0xf0};
    return (char)(lead[n] | c);
}

static bool unescape_done(const struct unescape *u)
{
    return u->more_count == 0 && u->s == u->end;
}

static char unescape_next(struct unescape *u)
{
    if (u->more_count > 0)
        return u->more[--u->more_count];
    char c = *u->s++;
    if (c != '\\')
        return c;
    c = *u->s++;
    switch (c) {
    case 'b':
        return '\b';
    case 'f':
        return '\f';
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    case 'u':
        return unescape_unicode(u);
    default:
        return c; /* '"', '\\', '/' */
    }
}

static struct unescape unescape_init(const char *text, size_t len)
{
    return (struct unescape){.s = text, .end = text + len};
}

static uint32_t hash_name(const struct json_token *token)
{
    uint32_t hash = 2166136261u; /* FNV-1a */
    for (struct unescape u = unescape_init(token->text, token->len); !unescape_done(&u);)
        hash = (hash ^ (unsigned char)unescape_next(&u)) * 16777619u;
    return hash;
}

static bool same_string(struct unescape a, struct unescape b)
{
    while (!unescape_done(&a) && !unescape_done(&b)) {
        if (unescape_next(&a) != unescape_next(&b))
            return false;
    }
    return unescape_done(&a) && unescape_done(&b);
}

/* Remembers a name of the innermost object; refuses the second of a kind. */
static int add_name(struct json_scan *scan, const struct json_token *token, struct error *err)
{
    if (scan->name_count == JSON_SCAN_NAMES_MAX)
        return json_scan_error(scan, token->offset, E2BIG, err, "too many members");
    uint32_t hash = hash_name(token);
    for (unsigned i = scan->first_name[scan->depth - 1]; i < scan->name_count; i++) {
        if (scan->name[i].hash == hash &&
            same_string(unescape_init(token->text, token->len),
                        unescape_init(scan->text + scan->name[i].offset, scan->name[i].len)))
            return json_scan_error(scan, token->offset, EINVAL, err, "duplicate member name");
    }
    scan->name[scan->name_count].hash = hash;
    scan->name[scan->name_count].offset = (uint32_t)(token->text - scan->text);
    scan->name[scan->name_count].len = (uint32_t)token->len;
    scan->name_count++;
    return 0;
}

static int scan_name(struct json_scan *scan, struct json_token *token, struct error *err)
{
    if (scan->pos >= scan->len || scan->text[scan->pos] != '"')
        return fail(scan, err, "a member's name in double quotes must come here");
    int r = scan_string(scan, token, err);
    token->type = JSON_NAME;
    if (r == 0 && !scan->limits.names_by_caller)
        r = add_name(scan, token, err);
    if (r < 0)
        return r;
    skip_space(scan);
    if (!take_char(scan, ':'))
        return fail(scan, err, "a ':' must follow a member's name");
    scan->expect = EXPECT_VALUE;
    return 0;
}

static int scan_end(struct json_scan *scan, struct json_token *token, struct error *err)
{
    if (scan->pos < scan->len)
        return fail(scan, err, "more text after the value");
    token->type = JSON_END;
    token->text = scan->text + scan->pos;
    token->len = 0;
    return 0;
}

static int scan_token(struct json_scan *scan, struct json_token *token, struct error *err)
{
    if (scan->len > scan->limits.bytes || scan->len > UINT32_MAX)
        return error_set(err, E2BIG, "the text of %zu bytes is larger than the limit of %zu",
                         scan->len, scan->limits.bytes);
    skip_space(scan);
    bool object = in_object(scan);
    bool at_end = scan->pos < scan->len && scan->text[scan->pos] == (object ? '}' : ']');
    *token = (struct json_token){.type = JSON_END, .offset = scan->pos};
    switch ((enum expect)scan->expect) {
    case EXPECT_NOTHING:
        return scan_end(scan, token, err);
    case EXPECT_COMMA_OR_END:
        if (at_end)
            break;
        if (!take_char(scan, ','))
            return fail(scan, err,
                        object ? "a ',' or '}' must come here" : "a ',' or ']' must come here");
        skip_space(scan);
        token->offset = scan->pos;
        return object ? scan_name(scan, token, err) : scan_value(scan, token, err);
    case EXPECT_NAME_OR_END:
        if (!at_end)
            return scan_name(scan, token, err);
        break;
    case EXPECT_VALUE_OR_END:
        if (!at_end)
            return scan_value(scan, token, err);
        break;
    default:
        return scan_value(scan, token, err);
    }
    close_container(scan, token, object);
    return 0;
}

int json_scan_next(struct json_scan *scan, struct json_token *ret, struct error *err)
{
    struct json_token token;
    int r = scan_token(scan, &token, err);
    if (r < 0)
        return r;
    *ret = token;
    return 0;
}

int json_scan_skip(struct json_scan *scan, const struct json_token *token, struct error *err)
{
    if (token->type != JSON_OBJECT && token->type != JSON_ARRAY)
        return 0;
    unsigned outside = scan->depth - 1;
    while (scan->depth > outside) {
        struct json_token inside;
        int r = json_scan_next(scan, &inside, err);
        if (r < 0)
            return r;
    }
    return 0;
}

/* Behind the bracket that closes the container which is open at pos; 0: there is none. */
static size_t find_close(const struct json_scan *scan)
{
    size_t open = 1;
    bool quoted = false;
    for (size_t at = scan->pos; at < scan->len; at++) {
        char c = scan->text[at];
        if (quoted && c == '\\')
            at++;
        else if (c == '"')
            quoted = !quoted;
        else if (!quoted && (c == '{' || c == '['))
            open++;
        else if (!quoted && (c == '}' || c == ']') && --open == 0)
            return at + 1;
    }
    return 0;
}

int json_scan_pass(struct json_scan *scan, const struct json_token *token, struct error *err)
{
    if (token->type != JSON_OBJECT && token->type != JSON_ARRAY)
        return 0;
    struct json_token end;
    size_t behind = find_close(scan);
    if (behind == 0)
        return fail(scan, err, "the text ends inside an object or array");
    scan->pos = behind - 1;
    close_container(scan, &end, token->type == JSON_OBJECT);
    return 0;
}

int json_scan_object(struct json_scan *scan, struct error *err)
{
    struct json_token token;
    int r = json_scan_next(scan, &token, err);
    if (r < 0)
        return r;
    if (token.type != JSON_OBJECT)
        return error_set(err, EINVAL, "an object must come here, not %s",
                         json_type_name(token.type));
    return 0;
}

int json_scan_member(struct json_scan *scan, struct json_token *ret_name,
                     struct json_token *ret_value, struct error *err)
{
    struct json_token name, value;
    int r = json_scan_next(scan, &name, err);
    if (r < 0)
        return r;
    if (name.type != JSON_NAME) {
        /* Only the object's end can come where a name can. The outermost one ends the text. */
        return scan->depth == 0 ? json_scan_next(scan, &value, err) : 0;
    }
    r = json_scan_next(scan, &value, err);
    if (r < 0)
        return r;
    *ret_name = name;
    *ret_value = value;
    return 1;
}

int json_check(const char *text, size_t len, const struct json_scan_limits *limits,
               struct error *err)
{
    struct json_scan scan;
    json_scan_init(&scan, text, len, limits);
    struct json_token token;
    do {
        int r = json_scan_next(&scan, &token, err);
        if (r < 0)
            return r;
    } while (token.type != JSON_END);
    return 0;
}

static bool is_string(const struct json_token *token)
{
    return token->type == JSON_STRING || token->type == JSON_NAME;
}

bool json_token_is(const struct json_token *token, const char *str)
{
    if (!is_string(token))
        return false;
    struct unescape u = unescape_init(token->text, token->len);
    while (!unescape_done(&u)) {
        if (unescape_next(&u) != *str++)
            return false; /* also at the end of str: the token holds no NUL */
    }
    return *str == '\0';
}

int json_token_string(const struct json_token *token, char *buf, size_t size, size_t *ret_len,
                      struct error *err)
{
    if (!is_string(token))
        return error_set(err, EINVAL, "must be a string, not %s", json_type_name(token->type));
    size_t len = 0;
    for (struct unescape u = unescape_init(token->text, token->len); !unescape_done(&u);) {
        char c = unescape_next(&u);
        if (len + 1 >= size)
            return error_set(err, E2BIG, "the string is longer than %zu bytes", size - 1);
        buf[len++] = c;
    }
    if (size == 0)
        return error_set(err, E2BIG, "no room for a string");
    buf[len] = '\0';
    if (ret_len != NULL)
        *ret_len = len;
    return 0;
}

bool json_token_is_integer(const struct json_token *token)
{
    if (token->type != JSON_NUMBER)
        return false;
    for (size_t i = 0; i < token->len; i++) {
        char c = token->text[i];
        if (c == '.' || c == 'e' || c == 'E')
            return false;
    }
    return true;
}

/* The digits as an absolute value. -EINVAL when the token is no integer, -ERANGE beyond 64 bits. */
static int token_magnitude(const struct json_token *token, bool *ret_negative, uint64_t *ret,
                           struct error *err)
{
    if (token->type != JSON_NUMBER)
        return error_set(err, EINVAL, "must be an integer, not %s", json_type_name(token->type));
    if (!json_token_is_integer(token))
        return error_set(err, EINVAL, "must be an integer, without fraction or exponent");
    size_t i = token->text[0] == '-' ? 1 : 0;
    *ret_negative = i == 1;
    uint64_t value = 0;
    for (; i < token->len; i++) {
        if (__builtin_mul_overflow(value, 10u, &value) ||
            __builtin_add_overflow(value, (uint64_t)(token->text[i] - '0'), &value))
            return error_set(err, ERANGE, "the integer is too large");
    }
    *ret = value;
    return 0;
}

int json_token_int64(const struct json_token *token, int64_t *ret, struct error *err)
{
    bool negative = false;
    uint64_t value = 0;
    int r = token_magnitude(token, &negative, &value, err);
    if (r < 0)
        return r;
    if (value > (uint64_t)INT64_MAX + (negative ? 1 : 0))
        return error_set(err, ERANGE, "the integer is too large");
    *ret = negative ? (int64_t)(0 - value) : (int64_t)value;
    return 0;
}

int json_token_uint64(const struct json_token *token, uint64_t *ret, struct error *err)
{
    bool negative = false;
    uint64_t value = 0;
    int r = token_magnitude(token, &negative, &value, err);
    if (r < 0)
        return r;
    if (negative && value != 0)
        return error_set(err, ERANGE, "the integer must not be negative");
    *ret = value;
    return 0;
}

int json_token_double(const struct json_token *token, double *ret, struct error *err)
{
    if (token->type != JSON_NUMBER)
        return error_set(err, EINVAL, "must be a number, not %s", json_type_name(token->type));
    char buf[JSON_NUMBER_MAX + 1];
    memcpy(buf, token->text, token->len);
    buf[token->len] = '\0';
    double value = strtod(buf, NULL);
    if (!isfinite(value))
        return error_set(err, ERANGE, "the number is out of range");
    *ret = value;
    return 0;
}

int json_token_bool(const struct json_token *token, bool *ret, struct error *err)
{
    if (token->type != JSON_TRUE && token->type != JSON_FALSE)
        return error_set(err, EINVAL, "must be true or false, not %s", json_type_name(token->type));
    *ret = token->type == JSON_TRUE;
    return 0;
}
