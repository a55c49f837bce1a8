// SPDX-License-Identifier: Apache-2.0
/* Any text as resolv.conf: vmm takes whatever podnet makes of it. */
#include "lease_file.h"
#include "open_lease.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char text[LEASE_FILE_MAX];
    static struct resolv resolv;
    char *copy = malloc(size + 1);
    if (copy == NULL)
        abort();
    memcpy(copy, data, size);
    resolv_parse(copy, size, &resolv);
    free(copy);
    const struct lease_values values = {.name = "default",
                                        .tap = "tap0",
                                        .hostname = "h",
                                        .mac = {2, 1},
                                        .mtu = 1500,
                                        .address = 0x0a000202,
                                        .server = 0x0a000201,
                                        .prefix = 24,
                                        .resolv = &resolv};
    struct lease_file file;
    int len = lease_format(&values, text);
    if (len < 0 || lease_parse(text, (size_t)len, "default", &file, NULL) < 0)
        abort();
    if (file.lease.dns_count != resolv.dns_count)
        abort();
    return 0;
}
