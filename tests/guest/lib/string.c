/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory and string functions: the four that a freestanding compiler calls, and test patterns.
 */
#include "payload.h"

void *memcpy(void *to, const void *from, size_t size)
{
    void *start = to;

    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size) : : "memory");
    return start;
}

void *memset(void *to, int byte, size_t size)
{
    void *start = to;

    __asm__ volatile("rep stosb" : "+D"(to), "+c"(size) : "a"(byte) : "memory");
    return start;
}

int memcmp(const void *a, const void *b, size_t size)
{
    const uint8_t *left = a, *right = b;

    for (size_t i = 0; i < size; i++) {
        if (left[i] != right[i])
            return left[i] - right[i];
    }
    return 0;
}

size_t strlen(const char *s)
{
    size_t length = 0;

    while (s[length])
        length++;
    return length;
}

bool string_equal(const char *a, const char *b)
{
    while (*a && *a == *b) {
        a++;
        b++;
    }
    return *a == *b;
}

uint32_t random_next(uint32_t *state)
{
    uint32_t x = *state ? *state : 0x9e3779b9;

    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    *state = x;
    return x;
}

void fill_pattern(void *to, size_t size, uint32_t seed)
{
    uint8_t *bytes = to;
    uint32_t state = seed * 2654435761u + 1;

    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)(random_next(&state) >> 11);
}

bool match_pattern(const void *at, size_t size, uint32_t seed)
{
    const uint8_t *bytes = at;
    uint32_t state = seed * 2654435761u + 1;

    for (size_t i = 0; i < size; i++) {
        if (bytes[i] != (uint8_t)(random_next(&state) >> 11))
            return false;
    }
    return true;
}
