// SPDX-License-Identifier: Apache-2.0
/* Writer of yaml_write.h. Recursion is as deep as the tree. */
#include "yaml_write.h"

#include <podvisor/cleanup.h>
#include <string.h>
#include <strings.h>

/* Words that YAML 1.1 does not read as strings, in lower case. */
static const char *const reserved[] = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"};

/* True when the string needs no quotes: it starts with a letter and nothing in it is an indicator.
 */
static bool is_plain(const char *str)
{
    size_t len = strlen(str);
    bool starts_with_letter = (str[0] >= 'a' && str[0] <= 'z') || (str[0] >= 'A' && str[0] <= 'Z');
    if (!starts_with_letter || str[len - 1] == ':' || str[len - 1] == ' ')
        return false;
    for (size_t i = 0; i < ARRAY_SIZE(reserved); i++)
        if (strcasecmp(str, reserved[i]) == 0)
            return false;
    for (const char *c = str; *c != '\0'; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            return false;
    return strstr(str, ": ") == NULL && strstr(str, " #") == NULL;
}

static int write_scalar(FILE *stream, const cJSON *item, struct error *err)
{
    if (cJSON_IsString(item) && is_plain(item->valuestring)) {
        fprintf(stream, "%s\n", item->valuestring);
        return 0;
    }
    cleanup_free char *text = NULL;
    int r = json_print(item, &text, NULL, err);
    if (r < 0)
        return r;
    fprintf(stream, "%s\n", text);
    return 0;
}

static int write_children(FILE *stream, const cJSON *parent, int indent, bool on_this_line,
                          struct error *err);

/* What stands after "key:" or "-"; after a dash the first member shares the line. */
static int write_value(FILE *stream, const cJSON *item, int indent, bool after_dash,
                       struct error *err)
{
    if (item->child == NULL) {
        fputc(' ', stream);
        return write_scalar(stream, item, err);
    }
    fputc(after_dash ? ' ' : '\n', stream);
    return write_children(stream, item, indent, after_dash, err);
}

static int write_children(FILE *stream, const cJSON *parent, int indent, bool on_this_line,
                          struct error *err)
{
    json_for_each (child, parent) {
        fprintf(stream, "%*s", on_this_line ? 0 : indent, "");
        on_this_line = false;
        int r;
        if (cJSON_IsArray(parent)) {
            fputc('-', stream);
            r = write_value(stream, child, indent + 2, true, err);
        } else {
            fprintf(stream, "%s:", child->string);
            r = write_value(stream, child, cJSON_IsArray(child) ? indent : indent + 2, false, err);
        }
        if (r < 0)
            return r;
    }
    return 0;
}

int yaml_write(FILE *stream, const cJSON *tree, struct error *err)
{
    return write_children(stream, tree, 0, false, err);
}
