// SPDX-License-Identifier: Apache-2.0
/* See uuid.h. SHA-1 follows RFC 3174 §6.1; any thread. */
#include "uuid.h"

#include <podvisor/vmspec.h>
#include <string.h>

struct sha1 {
    uint32_t h[5];
    uint8_t block[64];
    uint64_t len; /* bytes so far */
};

static uint32_t rotate(uint32_t x, unsigned n)
{
    return x << n | x >> (32 - n);
}

static void add_block(struct sha1 *s)
{
    uint32_t w[80];
    for (size_t t = 0; t < 16; t++) {
        const uint8_t *b = &s->block[t * 4];
        w[t] = (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
    }
    for (unsigned t = 16; t < 80; t++)
        w[t] = rotate(w[t - 3] ^ w[t - 8] ^ w[t - 14] ^ w[t - 16], 1);
    uint32_t a = s->h[0], b = s->h[1], c = s->h[2], d = s->h[3], e = s->h[4];
    for (unsigned t = 0; t < 80; t++) {
        static const uint32_t k[] = {0x5a827999, 0x6ed9eba1, 0x8f1bbcdc, 0xca62c1d6};
        uint32_t f = b ^ c ^ d;
        if (t < 20)
            f = (b & c) | (~b & d);
        else if (t >= 40 && t < 60)
            f = (b & c) | (b & d) | (c & d);
        uint32_t next = rotate(a, 5) + f + e + w[t] + k[t / 20];
        e = d;
        d = c;
        c = rotate(b, 30);
        b = a;
        a = next;
    }
    s->h[0] += a;
    s->h[1] += b;
    s->h[2] += c;
    s->h[3] += d;
    s->h[4] += e;
}

static void add(struct sha1 *s, const void *data, size_t len)
{
    const uint8_t *bytes = data;
    for (size_t i = 0; i < len; i++) {
        s->block[s->len++ % 64] = bytes[i];
        if (s->len % 64 == 0)
            add_block(s);
    }
}

void sha1(const void *first, size_t first_len, const void *second, size_t second_len,
          uint8_t ret[20])
{
    struct sha1 s = {.h = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0}};
    add(&s, first, first_len);
    add(&s, second, second_len);
    uint64_t bits = s.len * 8;
    uint8_t length[8];
    for (unsigned i = 0; i < 8; i++)
        length[i] = (uint8_t)(bits >> (56 - 8 * i));
    add(&s, "\x80", 1);
    while (s.len % 64 != 56)
        add(&s, "", 1);
    add(&s, length, sizeof(length));
    for (unsigned i = 0; i < 20; i++)
        ret[i] = (uint8_t)(s.h[i / 4] >> (24 - 8 * (i % 4)));
}

void uuid_of_machine(const char *name, uint8_t ret_uuid[16])
{
    /* 6a1a24a1-4061-4607-8bf4-a3963d0c5895, KubeVirt's name space for firmware UUIDs. */
    static const uint8_t name_space[16] = {0x6a, 0x1a, 0x24, 0xa1, 0x40, 0x61, 0x46, 0x07,
                                           0x8b, 0xf4, 0xa3, 0x96, 0x3d, 0x0c, 0x58, 0x95};
    uint8_t hash[20];
    sha1(name_space, sizeof(name_space), name, strlen(name), hash);
    memcpy(ret_uuid, hash, 16);
    ret_uuid[6] = (uint8_t)((ret_uuid[6] & 0x0f) | 0x50); /* version 5 */
    ret_uuid[8] = (uint8_t)((ret_uuid[8] & 0x3f) | 0x80); /* variant 10 */
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Two hexadecimal digits, or -1. */
static int hex_byte(const char *s)
{
    int high = hex_digit(s[0]);
    int low = high < 0 ? -1 : hex_digit(s[1]);
    return low < 0 ? -1 : high << 4 | low;
}

int vmspec_parse_uuid(const char *text, uint8_t ret_uuid[16], struct error *err)
{
    uint8_t uuid[16];
    const char *s = text;
    for (unsigned i = 0; i < 16; i++) {
        if ((i == 4 || i == 6 || i == 8 || i == 10) && *s++ != '-')
            return error_set(err, EINVAL, "'%.64s' is not a UUID", text);
        int byte = hex_byte(s);
        if (byte < 0)
            return error_set(err, EINVAL, "'%.64s' is not a UUID", text);
        uuid[i] = (uint8_t)byte;
        s += 2;
    }
    if (*s != '\0')
        return error_set(err, EINVAL, "'%.64s' is not a UUID", text);
    memcpy(ret_uuid, uuid, sizeof(uuid));
    return 0;
}

int vmspec_parse_mac(const char *text, uint8_t ret_mac[6], struct error *err)
{
    static const uint8_t zero[6], reserved[6] = {0x02};
    uint8_t mac[6];
    const char *s = text;
    char separator = '\0';
    for (unsigned i = 0; i < 6; i++) {
        if (i == 1)
            separator = *s;
        int byte = i == 0 || ((separator == ':' || separator == '-') && *s++ == separator)
                       ? hex_byte(s)
                       : -1;
        if (byte < 0)
            return error_set(err, EINVAL, "malformed MAC address (%.64s)", text);
        mac[i] = (uint8_t)byte;
        s += 2;
    }
    if (*s != '\0')
        return error_set(err, EINVAL, "malformed MAC address (%.64s)", text);
    if (memcmp(mac, zero, sizeof(mac)) == 0)
        return error_set(err, EINVAL, "the MAC address must not be zero");
    if ((mac[0] & 1) != 0)
        return error_set(err, EINVAL, "the MAC address %.17s is a multicast address", text);
    if (memcmp(mac, reserved, sizeof(mac)) == 0)
        return error_set(err, EINVAL,
                         "The requested MAC address is reserved for the in-pod bridge. Please "
                         "choose another one.");
    memcpy(ret_mac, mac, sizeof(mac));
    return 0;
}

void vmspec_interface_mac(const struct vmspec *spec, const struct vmspec_interface *nic,
                          uint8_t ret_mac[6])
{
    if (nic->has_mac) {
        memcpy(ret_mac, nic->mac, 6);
        return;
    }
    uint8_t hash[20];
    sha1(spec->uuid, sizeof(spec->uuid), nic->name, strlen(nic->name), hash);
    memcpy(ret_mac, hash, 6);
    /* Locally administered, unicast, and never KubeVirt's reserved 02:00:00:00:00:00. */
    ret_mac[0] = (uint8_t)((ret_mac[0] & 0xfc) | 0x02);
    ret_mac[5] |= 1;
}
