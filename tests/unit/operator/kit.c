// SPDX-License-Identifier: Apache-2.0
#include "kit.h"
#include "kinds.h"
#include "tree.h"
#include <check.h>
#include <podvisor/cleanup.h>
#include <podvisor/str.h>
#include <podvisor/yaml.h>
#include <stdio.h>
#include <string.h>

cJSON *kit_yaml(const char *text)
{
    cJSON *ret = NULL;
    struct error err = ERROR_INIT;
    cleanup_free char *yaml = xasprintf("---\n%s", text); /* a text that begins with { is JSON */
    int r = yaml_parse(yaml, strlen(yaml), NULL, &ret, &err);
    ck_assert_msg(r == 0, "%s in: %s", err.text, text);
    return ret;
}

static const cJSON *step(const cJSON *item, const char **path)
{
    char key[128];
    size_t len;
    if (**path == '[') {
        int index = atoi(*path + 1);
        *path = strchr(*path, ']') + 1;
        return cJSON_GetArrayItem(item, index);
    }
    if (**path == '.')
        (*path)++;
    len = strcspn(*path, **path == '"' ? "" : ".[");
    if (**path == '"') { /* a key with dots: "kubevirt.io/domain" in quotes */
        (*path)++;
        len = strcspn(*path, "\"");
    }
    snprintf(key, sizeof(key), "%.*s", (int)len, *path);
    *path += len;
    if (**path == '"')
        (*path)++;
    return json_get(item, key);
}

const char *kit_text(const cJSON *object, const char *path)
{
    static char buf[4][4096];
    static unsigned next;
    while (*path != '\0' && object != NULL)
        object = step(object, &path);
    if (object == NULL)
        return "";
    if (cJSON_IsString(object))
        return object->valuestring;
    cleanup_free char *text = NULL;
    ck_assert_int_eq(json_print(object, &text, NULL, NULL), 0);
    next = (next + 1) % 4;
    snprintf(buf[next], sizeof(buf[next]), "%s", text);
    return buf[next];
}

static void put_status(cJSON *object, const char *status)
{
    if (status != NULL)
        tree_put(object, "status", kit_yaml(status));
}

cJSON *kit_vmi(const char *status)
{
    cJSON *vmi = kit_yaml("apiVersion: kubevirt.io/v1\n"
                          "kind: VirtualMachineInstance\n"
                          "metadata:\n"
                          "  name: box\n"
                          "  namespace: lab\n"
                          "  uid: uid-1\n"
                          "  resourceVersion: \"7\"\n"
                          "  labels: {app: web}\n"
                          "  finalizers: [kubevirt.io/foregroundDeleteVirtualMachine]\n"
                          "spec:\n"
                          "  domain:\n"
                          "    memory: {guest: 128Mi}\n"
                          "    devices:\n"
                          "      interfaces: [{name: default, masquerade: {}}]\n"
                          "    firmware:\n"
                          "      kernelBoot:\n"
                          "        kernelArgs: console=ttyS0\n"
                          "        container: {image: guest, kernelPath: /k, initrdPath: /i}\n"
                          "  networks: [{name: default, pod: {}}]\n");
    put_status(vmi, status);
    return vmi;
}

cJSON *kit_pod(const char *status)
{
    cJSON *pod = kit_yaml("apiVersion: v1\n"
                          "kind: Pod\n"
                          "metadata:\n"
                          "  name: virt-launcher-box-x\n"
                          "  namespace: lab\n"
                          "  uid: pod-1\n"
                          "  labels: {kubevirt.io/created-by: uid-1}\n"
                          "spec: {nodeName: node1}\n");
    put_status(pod, status);
    return pod;
}

cJSON *kit_vm(const char *strategy, const char *status)
{
    cleanup_free char *text =
        xasprintf("apiVersion: kubevirt.io/v1\n"
                  "kind: VirtualMachine\n"
                  "metadata:\n"
                  "  name: box\n"
                  "  namespace: lab\n"
                  "  uid: vm-1\n"
                  "  generation: 3\n"
                  "  finalizers: [kubevirt.io/virtualMachineControllerFinalize]\n"
                  "spec:\n"
                  "  runStrategy: %s\n"
                  "  template:\n"
                  "    metadata: {labels: {app: web}}\n"
                  "    spec:\n"
                  "      domain: {memory: {guest: 64Mi}, devices: {}}\n",
                  strategy);
    cJSON *vm = kit_yaml(text);
    put_status(vm, status);
    return vm;
}
