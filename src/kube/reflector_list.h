// SPDX-License-Identifier: Apache-2.0
/*
 * The body of a LIST, item by item: {"metadata": {"resourceVersion", "continue"}, "items": [...]}.
 * Nothing of it counts before its last brace was read: whoever collects the items keeps them apart
 * until kube_list_read() has returned 0: a list that ended early is none. Any thread.
 */
#ifndef PODVISOR_KUBE_REFLECTOR_LIST_H
#define PODVISOR_KUBE_REFLECTOR_LIST_H

#include "store.h"

#define KUBE_LIST_BYTES_MAX    ((size_t)64 << 20)
#define KUBE_LIST_CONTINUE_MAX 4096 /* a token has some 100 to 500 bytes */

/* The text of one item, which may be no JSON. A negative errno, with `err`, ends the reading. */
typedef int kube_list_item(void *user, const char *text, size_t len, struct error *err);

struct kube_list_meta {
    char version[KUBE_VERSION_SIZE];        /* resourceVersion of the list */
    char continue_[KUBE_LIST_CONTINUE_MAX]; /* for the next page; "": this is the last */
};

/* Returns 0, -EINVAL or -E2BIG, or what `item` returned. */
int kube_list_read(const char *body, size_t len, kube_list_item *item, void *user,
                   struct kube_list_meta *ret, struct error *err);

#endif
