// SPDX-License-Identifier: Apache-2.0
/*
 * crd-gen SOURCE OUTPUT: writes OUTPUT/<plural>.yaml for each kind from SOURCE/<plural>.crd.yaml (a
 * CustomResourceDefinition whose versions have no schema yet), fields.yaml and types.yaml.
 */
#include "schema_tree.h"
#include "yaml_write.h"
#include <errno.h>
#include <podvisor/cleanup.h>
#include <podvisor/str.h>
#include <podvisor/yaml.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>

#define FILE_SIZE_MAX (1 << 20)

static const char head[] =
    "# Written by crd-gen from src/crdgen and the table of src/vmspec/schema.c; edit those, then\n"
    "#     cmake --build --preset dev --target manifests\n";

static int read_yaml(const char *folder, const char *name, cJSON **ret, struct error *err)
{
    cleanup_free char *path = xasprintf("%s/%s", folder, name);
    cleanup_free char *text = xcalloc(1, FILE_SIZE_MAX);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return error_sys(err, errno, "cannot open %s", path);
    size_t len = fread(text, 1, FILE_SIZE_MAX, file);
    bool failed = ferror(file) != 0;
    fclose(file);
    if (failed)
        return error_set(err, EIO, "cannot read %s", path);
    int r = yaml_parse(text, len, NULL, ret, err);
    return r < 0 ? error_wrap(err, "%s", path) : 0;
}

static int write_crd(const char *folder, const char *plural, const cJSON *crd, struct error *err)
{
    cleanup_free char *path = xasprintf("%s/%s.yaml", folder, plural);
    FILE *file = fopen(path, "we");
    if (file == NULL)
        return error_sys(err, errno, "cannot write %s", path);
    fputs(head, file);
    int r = yaml_write(file, crd, err);
    bool failed = ferror(file) != 0;
    if ((fclose(file) != 0 || failed) && r == 0)
        r = error_sys(err, EIO, "cannot write %s", path);
    return r;
}

static int make_crd(struct schema_source *source, const char *folder, const char *output,
                    const char *plural, struct error *err)
{
    cleanup_free char *name = xasprintf("%s.crd.yaml", plural);
    cleanup_json cJSON *crd = NULL;
    int r = read_yaml(folder, name, &crd, err);
    if (r < 0)
        return r;
    const cJSON *spec = json_get(crd, "spec");
    const char *kind = cJSON_GetStringValue(json_get(json_get(spec, "names"), "kind"));
    for (cJSON *version = json_get(spec, "versions")->child; version != NULL;
         version = version->next) {
        cJSON *tree = NULL, *schema = cJSON_AddObjectToObject(version, "schema");
        r = schema_tree(source, kind, &tree, err);
        if (r < 0)
            return r;
        cJSON_AddItemToObject(schema, "openAPIV3Schema", tree);
    }
    return write_crd(output, plural, crd, err);
}

static int make_all(const char *folder, const char *output, struct error *err)
{
    static const char *const plurals[] = {"virtualmachines", "virtualmachineinstances"};
    cleanup_json cJSON *fields = NULL, *types = NULL;
    struct schema_source source = {0};
    int r = read_yaml(folder, "fields.yaml", &fields, err);
    if (r == 0)
        r = read_yaml(folder, "types.yaml", &types, err);
    source.fields = fields;
    source.types = types;
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(plurals); i++)
        r = make_crd(&source, folder, output, plurals[i], err);
    if (r == 0)
        r = schema_source_check_used(&source, err);
    vec_free(&source.used);
    return r;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: crd-gen SOURCE OUTPUT\n");
        return EX_USAGE;
    }
    struct error err = ERROR_INIT;
    if (make_all(argv[1], argv[2], &err) < 0) {
        fprintf(stderr, "crd-gen: %s\n", err.text);
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}
