// SPDX-License-Identifier: Apache-2.0
/* qcow2_header_parse(): whatever the bytes, an error in words or a header that is within limits. */
#include "qcow2_header.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool condition)
{
    if (!condition)
        abort();
}

static void check(const struct qcow2_header *h, uint64_t file_size)
{
    uint64_t cluster = UINT64_C(1) << h->cluster_bits;
    must(h->version == 2 || h->version == 3);
    must(cluster >= 512 && cluster <= 2 << 20);
    must(h->virtual_size > 0 && h->virtual_size % 512 == 0 && h->virtual_size <= INT64_MAX);
    must((uint64_t)h->l1_entries * (cluster / 8) >= (h->virtual_size + cluster - 1) / cluster);
    must(h->l1_offset % cluster == 0 && h->l1_offset >= cluster);
    must(h->l1_offset + (uint64_t)h->l1_entries * 8 <= file_size + cluster);
    must(h->refcount_table_offset % cluster == 0 && h->refcount_table_offset >= cluster);
    must(h->refcount_table_clusters > 0 && h->refcount_order <= 6);
    must(strlen(h->backing_file) <= QCOW2_BACKING_NAME_MAX);
    for (const char *p = h->backing_file; *p != '\0'; p++)
        must(*p >= 0x20 && *p < 0x7f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint64_t sizes[] = {512, 1 << 20, UINT64_C(1) << 40, INT64_MAX};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct qcow2_header h;
        struct error err = ERROR_INIT;
        int r = qcow2_header_parse(data, size, sizes[i], &h, &err);
        if (r == 0)
            check(&h, sizes[i]);
        else
            must(r < 0 && err.text[0] != '\0' && strchr(err.text, '\n') == NULL);
        if (r == 0)
            (void)qcow2_header_check_use(&h, false, false, &err);
    }
    return 0;
}
