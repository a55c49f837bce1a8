// SPDX-License-Identifier: Apache-2.0
/* Any bytes as YAML. What is read must print as JSON that reads as the same tree. */
#include <podvisor/yaml.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool what)
{
    if (!what)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* The array of documents is one level more than a document may have. */
    struct yaml_limits limits = {.bytes = 64 << 10, .depth = 63, .nodes = 10000};
    cJSON *documents = NULL;
    if (yaml_parse_all((const char *)data, size, &limits, &documents, NULL) < 0)
        return 0;
    char *once = NULL, *twice = NULL;
    size_t len = 0;
    require(json_print(documents, &once, &len, NULL) == 0);
    cJSON *again = NULL;
    require(json_parse(once, len, NULL, &again, NULL) == 0);
    require(json_print(again, &twice, NULL, NULL) == 0);
    require(strcmp(once, twice) == 0);
    free(once);
    free(twice);
    cJSON_Delete(documents);
    cJSON_Delete(again);
    return 0;
}
