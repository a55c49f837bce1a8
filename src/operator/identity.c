// SPDX-License-Identifier: Apache-2.0
#include "identity.h"
#include <podvisor/str.h>
#include <stdint.h>
#include <sys/random.h>
#include <unistd.h>

#define HOST_MAX 64 /* HOST_NAME_MAX */

char *operator_identity(void)
{
    char host[HOST_MAX + 1] = "";
    uint8_t u[16];
    if (gethostname(host, HOST_MAX) < 0 || host[0] == '\0')
        host[0] = '-';
    if (getrandom(u, sizeof(u), 0) != (ssize_t)sizeof(u))
        out_of_memory();
    u[6] = (u[6] & 0x0f) | 0x40; /* RFC 4122 §4.4: random, version 4 */
    u[8] = (u[8] & 0x3f) | 0x80;
    return xasprintf("%s_%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
                     host, u[0], u[1], u[2], u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11],
                     u[12], u[13], u[14], u[15]);
}
