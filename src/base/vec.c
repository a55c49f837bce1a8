// SPDX-License-Identifier: Apache-2.0
/* Growing arrays; see podvisor/vec.h. Any thread, one at a time for one array. */
#include <podvisor/str.h>
#include <podvisor/vec.h>
#include <stdint.h>
#include <string.h>

void *vec_grow(void *item, size_t count, size_t *capacity, size_t item_size)
{
    if (count == *capacity) {
        size_t more = count == 0 ? 4 : 2 * count;
        if (more > SIZE_MAX / item_size)
            out_of_memory();
        item = realloc(item, more * item_size);
        if (item == NULL)
            out_of_memory();
        *capacity = more;
    }
    memset((char *)item + count * item_size, 0, item_size);
    return item;
}
