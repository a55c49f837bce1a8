/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parameters: blank separated words `name=value` of the kernel command line.
 */
#include "payload.h"

#define COMMAND_LINE_SIZE 1024

static char command_line[COMMAND_LINE_SIZE];
static char value_buffer[COMMAND_LINE_SIZE];

void parameter_init(const char *from)
{
    size_t length = from ? strlen(from) : 0;

    length = MIN(length, sizeof(command_line) - 1);
    memcpy(command_line, from, length);
    command_line[length] = '\0';
}

/* Where the value starts in the command line, or NULL. */
static const char *find(const char *name)
{
    size_t length = strlen(name);

    for (const char *at = command_line; *at; at++) {
        bool starts_word = at == command_line || at[-1] == ' ';

        if (starts_word && strlen(at) > length && !memcmp(at, name, length) && at[length] == '=')
            return at + length + 1;
    }
    return NULL;
}

/* Valid until the next call. */
const char *parameter(const char *name)
{
    const char *at = find(name);
    size_t length = 0;

    if (!at)
        return NULL;
    while (at[length] && at[length] != ' ')
        length++;
    memcpy(value_buffer, at, length);
    value_buffer[length] = '\0';
    return value_buffer;
}

static uint64_t number(const char *at, uint64_t otherwise)
{
    unsigned int base = 10;
    uint64_t value = 0;

    if (!at || !*at)
        return otherwise;
    if (at[0] == '0' && at[1] == 'x') {
        base = 16;
        at += 2;
    }
    for (; *at; at++) {
        unsigned int digit =
            *at >= 'a' ? (unsigned int)(*at - 'a') + 10 : (unsigned int)(*at - '0');

        if (digit >= base)
            return otherwise;
        value = value * base + digit;
    }
    return value;
}

uint64_t parameter_number(const char *name, uint64_t otherwise)
{
    return number(parameter(name), otherwise);
}

bool parameter_is(const char *name, const char *value)
{
    const char *at = parameter(name);

    return at && string_equal(at, value);
}

bool parameter_lists(const char *name, const char *word)
{
    const char *at = parameter(name);
    size_t length = strlen(word);

    while (at && *at) {
        size_t end = 0;

        while (at[end] && at[end] != ',')
            end++;
        if (end == length && !memcmp(at, word, length))
            return true;
        at += at[end] ? end + 1 : end;
    }
    return false;
}

const char *parameter_option(const char *name, const char *option)
{
    const char *list = parameter(name);
    size_t length = strlen(option);
    char *value = value_buffer;

    for (const char *at = list; at && *at;) {
        size_t end = 0;

        while (at[end] && at[end] != ',')
            end++;
        if (end > length && !memcmp(at, option, length) && at[length] == '=') {
            value += at - list + (ptrdiff_t)length + 1;
            value[end - length - 1] = '\0';
            return value;
        }
        at += at[end] ? end + 1 : end;
    }
    return NULL;
}

uint64_t parameter_option_number(const char *name, const char *option, uint64_t otherwise)
{
    return number(parameter_option(name, option), otherwise);
}
