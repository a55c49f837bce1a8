// SPDX-License-Identifier: Apache-2.0
/* See support.h. */
#include "support.h"
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

static char cmdline[4096];
static int console = -1;

/* ---- Text ---------------------------------------------------------------------------------------------------------- */

void say(const char *fmt, ...)
{
        char line[512] = "GUEST ";
        va_list ap;
        int n;

        va_start(ap, fmt);
        n = vsnprintf(line + 6, sizeof(line) - 7, fmt, ap);
        va_end(ap);
        n = n < (int)sizeof(line) - 8 ? n + 6 : (int)sizeof(line) - 2;
        line[n++] = '\n';
        (void)!write(console, line, (size_t)n);
}

int fail(const char *test, const char *what)
{
        say("fail %s %s: %s", test, what, strerror(errno));
        return -1;
}

size_t read_file(const char *path, char *buf, size_t size)
{
        size_t len = 0;
        int fd = open(path, O_RDONLY);

        buf[0] = '\0';
        if (fd < 0)
                return 0;
        while (len < size - 1) {
                ssize_t n = read(fd, buf + len, size - 1 - len);

                if (n <= 0)
                        break;
                len += n;
        }
        close(fd);
        buf[len] = '\0';
        return len;
}

int write_file(const char *path, const char *text)
{
        int fd = open(path, O_WRONLY);
        ssize_t n;

        if (fd < 0)
                return -1;
        n = write(fd, text, strlen(text));
        close(fd);
        return n < 0 ? -1 : 0;
}

char *field(char *text, const char *key)
{
        size_t len = strlen(key);

        for (char *p = text; p && *p; p = strchr(p, '\n'), p = p ? p + 1 : NULL) {
                char *value = p + len;

                if (strncmp(p, key, len) != 0)
                        continue;
                value += strspn(value, " \t:");
                value[strcspn(value, "\n")] = '\0';
                return value;
        }
        return NULL;
}

/* ---- Command line parameters --------------------------------------------------------------------------------------- */

const char *param(const char *name, const char *otherwise)
{
        static char values[512];
        static size_t used;
        size_t name_len = strlen(name);

        for (char *p = cmdline; *p;) {
                size_t len = strcspn(p, " \n");

                if (len > 9 + name_len && strncmp(p, "podvisor.", 9) == 0 && strncmp(p + 9, name, name_len) == 0 &&
                    p[9 + name_len] == '=') {
                        size_t value_len = len - name_len - 10;
                        char *value = values + used;

                        if (used + value_len + 1 > sizeof(values))
                                return otherwise;
                        memcpy(value, p + 10 + name_len, value_len);
                        value[value_len] = '\0';
                        used += value_len + 1;
                        return value;
                }
                p += len;
                p += strspn(p, " \n");
        }
        return otherwise;
}

unsigned long number(const char *name, unsigned long otherwise)
{
        const char *value = param(name, NULL);

        return value ? (unsigned long)atol(value) : otherwise;
}

void start_reporting(void)
{
        console = open("/dev/console", O_RDWR | O_NOCTTY);
        read_file("/proc/cmdline", cmdline, sizeof(cmdline));
}

/* ---- Time, pattern, SHA-256 ---------------------------------------------------------------------------------------- */

unsigned long now_us(void)
{
        struct timeval tv;

        gettimeofday(&tv, NULL);
        return tv.tv_sec * 1000000ul + tv.tv_usec;
}

void fill_pattern(char *buf, size_t size, uint64_t *state)
{
        for (size_t i = 0; i < size; i += sizeof(*state)) {
                *state = *state * 6364136223846793005u + 1442695040888963407u;
                memcpy(buf + i, state, sizeof(*state));
        }
}

static const uint32_t sha256_k[64] = {
        0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
        0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
        0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
        0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
        0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
        0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
        0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
        0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t ror(uint32_t v, int n)
{
        return v >> n | v << (32 - n);
}

static void sha256_block(struct sha256 *s, const unsigned char *p)
{
        uint32_t w[64], v[8];

        for (int i = 0; i < 16; i++) {
                memcpy(&w[i], p + i * 4, 4);
                w[i] = __builtin_bswap32(w[i]);
        }
        for (int i = 16; i < 64; i++)
                w[i] = w[i - 16] + (ror(w[i - 15], 7) ^ ror(w[i - 15], 18) ^ w[i - 15] >> 3) + w[i - 7] +
                       (ror(w[i - 2], 17) ^ ror(w[i - 2], 19) ^ w[i - 2] >> 10);
        memcpy(v, s->h, sizeof(v));
        for (int i = 0; i < 64; i++) {
                uint32_t t1 = v[7] + (ror(v[4], 6) ^ ror(v[4], 11) ^ ror(v[4], 25)) +
                                  ((v[4] & v[5]) ^ (~v[4] & v[6])) + sha256_k[i] + w[i];
                uint32_t t2 = (ror(v[0], 2) ^ ror(v[0], 13) ^ ror(v[0], 22)) +
                                  ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));

                for (int j = 7; j > 0; j--)
                        v[j] = v[j - 1];
                v[4] += t1;
                v[0] = t1 + t2;
        }
        for (int i = 0; i < 8; i++)
                s->h[i] += v[i];
}

void sha256_init(struct sha256 *s)
{
        static const uint32_t start[8] = {
                0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
        };

        memcpy(s->h, start, sizeof(start));
        s->total = 0;
}

void sha256_add(struct sha256 *s, const void *data, size_t size)
{
        const unsigned char *p = data;

        while (size) {
                size_t fill = s->total % 64, n = 64 - fill < size ? 64 - fill : size;

                if (n == 64) {
                        sha256_block(s, p);
                } else {
                        memcpy(s->block + fill, p, n);
                        if (fill + n == 64)
                                sha256_block(s, s->block);
                }
                s->total += n;
                p += n;
                size -= n;
        }
}

void sha256_end(struct sha256 *s, char hex[65])
{
        static const unsigned char pad[64] = { 0x80 };
        uint64_t bits = __builtin_bswap64(s->total * 8);

        sha256_add(s, pad, (119 - s->total % 64) % 64 + 1);
        sha256_add(s, &bits, sizeof(bits));
        for (int i = 0; i < 8; i++)
                snprintf(hex + i * 8, 9, "%08x", s->h[i]);
}
