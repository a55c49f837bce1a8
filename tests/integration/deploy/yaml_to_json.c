// SPDX-License-Identifier: Apache-2.0
/* yaml-to-json: standard input's YAML documents as one JSON array, for tests in Python. */
#include <podvisor/cleanup.h>
#include <podvisor/str.h>
#include <podvisor/yaml.h>
#include <stdio.h>

#define SIZE_MAX_INPUT ((size_t)4 << 20)

int main(void)
{
    struct error err = ERROR_INIT;
    cleanup_free char *text = xcalloc(1, SIZE_MAX_INPUT), *json = NULL;
    cleanup_json cJSON *documents = NULL;
    size_t len = fread(text, 1, SIZE_MAX_INPUT, stdin);
    if (yaml_parse_all(text, len, NULL, &documents, &err) < 0 ||
        json_print(documents, &json, NULL, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        return EXIT_FAILURE;
    }
    puts(json);
    return EXIT_SUCCESS;
}
