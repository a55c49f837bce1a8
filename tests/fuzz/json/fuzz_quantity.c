// SPDX-License-Identifier: Apache-2.0
/* Any string as a quantity: whole units and thousandths must agree with each other. */
#include <podvisor/quantity.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    memcpy(text, data, size);
    text[size] = '\0';
    uint64_t units = 0, milli = 0;
    struct error err = ERROR_INIT;
    int r = quantity_parse(text, &units, &err);
    int r_milli = quantity_parse_milli(text, &milli, NULL);
    /* Thousandths run out of range first; rounded up they are the units. */
    if (r_milli == 0 && (r != 0 || (milli + 999) / 1000 != units))
        abort();
    if (r < 0 && err.text[0] == '\0')
        abort();
    free(text);
    return 0;
}
