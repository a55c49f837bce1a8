// SPDX-License-Identifier: Apache-2.0
/* Any words, one a line, as podnet's command line; and the rules of nftables that follow. */
#include "nat.h"
#include "options.h"
#include <stdlib.h>
#include <string.h>

#define WORDS_MAX 16
#define TEXT_MAX  16384

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool what)
{
    if (!what)
        abort();
}

/* The table's text has braces of its own only. */
static void check_script(const struct card *card)
{
    const struct nat nat = {.card = "eth0",
                            .tap = card->tap,
                            .pod = 0x0af40007,
                            .gateway = card->network + 1,
                            .guest = card->network + 2,
                            .port = card->port,
                            .port_count = card->port_count};
    char *script = nat_script(&nat);
    int depth = 0;
    for (const char *p = script; *p != '\0'; p++) {
        depth += (*p == '{') - (*p == '}');
        require(depth >= 0 && depth <= 3);
    }
    require(depth == 0);
    free(script);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char text[TEXT_MAX];
    char *argv[WORDS_MAX], *rest = text;
    int argc = 0;
    struct options options;
    struct error err = ERROR_INIT;
    if (size >= sizeof(text))
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    while (rest != NULL && argc < WORDS_MAX) {
        argv[argc] = strsep(&rest, "\n");
        /* These two only print. */
        if (strcmp(argv[argc], "--help") == 0 || strcmp(argv[argc], "-h") == 0 ||
            strcmp(argv[argc], "--version") == 0)
            return 0;
        argc++;
    }
    int r = options_parse(argc, argv, &options, &err);
    require(r == 0 || (r == -EINVAL && err.text[0] != '\0'));
    if (r < 0)
        return 0;
    const struct card *card = &options.card;
    require(options.lease_dir[0] == '/' && options.hostname[0] != '\0' && options.uid != 0);
    require(card->name[0] != '\0' && strchr(card->name, '/') == NULL);
    require(card->tap[0] != '\0' && card->binding != BINDING_NONE);
    require(card->prefix >= 8 && card->prefix <= 30 && card->port_count <= CARD_PORT_MAX);
    check_script(card);
    return 0;
}
