// SPDX-License-Identifier: Apache-2.0
/* UTF-8 as RFC 3629 §4 defines it, for readers and writers of text. */
#ifndef PODVISOR_UTF8_H
#define PODVISOR_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/*
 * The length in bytes of the character at the beginning of `text` (at least one byte), or 0 when
 * the bytes are no character: overlong, a surrogate, beyond U+10FFFF, or cut off.
 */
static inline size_t utf8_length(const char *text, size_t len)
{
    const unsigned char *s = (const unsigned char *)text;
    if (s[0] < 0x80)
        return 1;
    if (s[0] >= 0xc2 && s[0] <= 0xdf)
        return len >= 2 && (s[1] & 0xc0) == 0x80 ? 2 : 0;
    if (s[0] >= 0xe0 && s[0] <= 0xef) {
        if (len < 3 || (s[1] & 0xc0) != 0x80 || (s[2] & 0xc0) != 0x80)
            return 0;
        bool overlong = s[0] == 0xe0 && s[1] < 0xa0;
        bool surrogate = s[0] == 0xed && s[1] >= 0xa0;
        return overlong || surrogate ? 0 : 3;
    }
    if (s[0] >= 0xf0 && s[0] <= 0xf4) {
        if (len < 4 || (s[1] & 0xc0) != 0x80 || (s[2] & 0xc0) != 0x80 || (s[3] & 0xc0) != 0x80)
            return 0;
        bool overlong = s[0] == 0xf0 && s[1] < 0x90;
        bool too_large = s[0] == 0xf4 && s[1] >= 0x90;
        return overlong || too_large ? 0 : 4;
    }
    return 0;
}

#endif
