// SPDX-License-Identifier: Apache-2.0
/*
 * Any bytes through the JSON gate. What it takes must also be a tree, whose print it takes again
 * and prints the same; what it refuses the tree builder must refuse too (but for the scanner's
 * bound on member names, which the tree builder does not have).
 */
#include <podvisor/json.h>
#include <podvisor/json_scan.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool what)
{
    if (!what)
        abort();
}

static void read_members(const char *text, size_t size)
{
    struct json_scan scan;
    struct json_token name, value;
    char buf[32];
    json_scan_init(&scan, text, size, NULL);
    int r = json_scan_object(&scan, NULL);
    while (r == 0 && (r = json_scan_member(&scan, &name, &value, NULL)) > 0) {
        int64_t number;
        uint64_t positive;
        double real;
        (void)json_token_is(&name, "id");
        (void)json_token_string(&value, buf, sizeof(buf), NULL, NULL);
        (void)json_token_int64(&value, &number, NULL);
        (void)json_token_uint64(&value, &positive, NULL);
        (void)json_token_double(&value, &real, NULL);
        r = json_scan_skip(&scan, &value, NULL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    read_members(text, size);
    int checked = json_check(text, size, NULL, NULL);
    struct json_limits limits = {.bytes = 64 << 10};
    cJSON *json = NULL;
    int parsed = json_parse(text, size, &limits, &json, NULL);
    require(checked < 0 || parsed == 0);
    require(parsed < 0 || checked == 0 || checked == -E2BIG);
    if (parsed < 0)
        return 0;
    char *once = NULL, *twice = NULL;
    size_t len = 0;
    require(json_print(json, &once, &len, NULL) == 0);
    cJSON *again = NULL;
    require(json_parse(once, len, NULL, &again, NULL) == 0);
    require(json_print(again, &twice, NULL, NULL) == 0);
    require(strcmp(once, twice) == 0);
    free(once);
    free(twice);
    cJSON_Delete(json);
    cJSON_Delete(again);
    return 0;
}
