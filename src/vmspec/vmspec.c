// SPDX-License-Identifier: Apache-2.0
/*
 * Manifests to struct vmspec: which object, which kind, then the schema and the readers; and the
 * life of the structure. See podvisor/vmspec.h. One thread at a time.
 */
#include "read_machine.h"
#include "schema.h"
#include "uuid.h"

#include <podvisor/cleanup.h>
#include <podvisor/str.h>
#include <podvisor/yaml.h>
#include <string.h>

#define DNS_LABEL_MAX 63 /* RFC 1123 */

static void volume_done(struct vmspec_volume *v)
{
    free(v->name);
    switch (v->kind) {
    case VMSPEC_VOLUME_HOST_DISK:
        free(v->host_disk.path);
        break;
    case VMSPEC_VOLUME_PVC:
    case VMSPEC_VOLUME_DATA_VOLUME:
    case VMSPEC_VOLUME_EPHEMERAL:
    case VMSPEC_VOLUME_MEMORY_DUMP:
        free(v->claim.claim);
        break;
    case VMSPEC_VOLUME_CONTAINER_DISK:
        free(v->container_disk.image);
        free(v->container_disk.path);
        free(v->container_disk.pull_policy);
        free(v->container_disk.pull_secret);
        break;
    case VMSPEC_VOLUME_CLOUD_INIT_NO_CLOUD:
    case VMSPEC_VOLUME_CLOUD_INIT_CONFIG_DRIVE:
        free(v->cloud_init.user_data);
        free(v->cloud_init.user_data_base64);
        free(v->cloud_init.user_data_secret);
        free(v->cloud_init.network_data);
        free(v->cloud_init.network_data_base64);
        free(v->cloud_init.network_data_secret);
        break;
    case VMSPEC_VOLUME_CONFIG_MAP:
    case VMSPEC_VOLUME_SECRET:
    case VMSPEC_VOLUME_DOWNWARD_API:
    case VMSPEC_VOLUME_SERVICE_ACCOUNT:
    case VMSPEC_VOLUME_SYSPREP:
        free(v->files.name);
        free(v->files.label);
        break;
    case VMSPEC_VOLUME_EMPTY_DISK:
    case VMSPEC_VOLUME_UNSUPPORTED:
        break;
    }
}

static void interface_done(struct vmspec_interface *nic)
{
    free(nic->name);
    free(nic->tap);
    for (size_t i = 0; i < nic->ports.count; i++)
        free(nic->ports.item[i].name);
    vec_free(&nic->ports);
}

static void lists_done(struct vmspec *spec)
{
    for (size_t i = 0; i < spec->disks.count; i++) {
        free(spec->disks.item[i].name);
        free(spec->disks.item[i].serial);
    }
    for (size_t i = 0; i < spec->volumes.count; i++)
        volume_done(&spec->volumes.item[i]);
    for (size_t i = 0; i < spec->interfaces.count; i++)
        interface_done(&spec->interfaces.item[i]);
    for (size_t i = 0; i < spec->networks.count; i++) {
        free(spec->networks.item[i].name);
        free(spec->networks.item[i].cidr);
        free(spec->networks.item[i].multus_name);
    }
    vec_free(&spec->disks);
    vec_free(&spec->volumes);
    vec_free(&spec->interfaces);
    vec_free(&spec->networks);
    for (size_t i = 0; i < spec->credentials.count; i++)
        free(spec->credentials.item[i].secret);
    vec_free(&spec->credentials);
}

void vmspec_free(struct vmspec *spec)
{
    if (spec == NULL)
        return;
    lists_done(spec);
    cJSON_Delete(spec->object);
    free(spec->name);
    free(spec->namespace_);
    free(spec->hostname);
    free(spec->subdomain);
    free(spec->cpu.model);
    free(spec->kernel.args);
    free(spec->kernel.image);
    free(spec->kernel.pull_policy);
    free(spec->kernel.pull_secret);
    free(spec->kernel.kernel_path);
    free(spec->kernel.initrd_path);
    free(spec);
}

/* --- reading --- */

static bool is_machine(const cJSON *obj)
{
    const char *version = read_text(obj, "apiVersion"), *kind = read_text(obj, "kind");
    return version != NULL && str_starts_with(version, "kubevirt.io/") &&
           (str_equal(kind, "VirtualMachine") || str_equal(kind, "VirtualMachineInstance"));
}

static void check_annotations(struct reader *r, const cJSON *metadata, const struct json_path *path)
{
    static const char *const sidecars = "hooks.kubevirt.io/hookSidecars";
    static const char *const ignition = "kubevirt.io/ignitiondata";
    const cJSON *annotations = json_get(metadata, "annotations");
    struct json_path outer = {.parent = path, .key = "annotations"};
    if (read_text(annotations, sidecars) != NULL)
        report(r, VMSPEC_ERROR, AT_KEY(&outer, sidecars),
               "hook sidecars are not supported: there is no libvirt domain to change");
    if (read_text(annotations, ignition) != NULL)
        report(r, VMSPEC_WARNING, AT_KEY(&outer, ignition), "Ignition data is not supported");
}

static void read_metadata(struct reader *r, const cJSON *obj)
{
    const cJSON *metadata = json_get(obj, "metadata");
    struct json_path path = {.key = "metadata"};
    const char *name = read_text(metadata, "name"), *ns = read_text(metadata, "namespace");
    if (name == NULL)
        report(r, VMSPEC_ERROR, AT_KEY(&path, "name"), "must be set");
    else if (!str_is_dns_subdomain(name))
        report(r, VMSPEC_ERROR, AT_KEY(&path, "name"),
               "'%s' must be an RFC 1123 subdomain: labels of a-z, 0-9 and '-' joined by '.', at "
               "most 253 characters",
               name);
    if (ns != NULL && !str_is_dns_label(ns))
        report(r, VMSPEC_ERROR, AT_KEY(&path, "namespace"),
               "'%s' must be an RFC 1123 label: 1 to 63 of a-z, 0-9 and '-'", ns);
    r->spec->name = xstrdup(name);
    r->spec->namespace_ = xstrdup(ns);
    check_annotations(r, metadata, &path);
}

static void read_parts(struct reader *r)
{
    read_cpu(r);
    read_memory(r);
    read_firmware(r);
    read_devices(r);
    read_instance(r);
    read_volumes(r);
    read_disks(r);
    read_networks(r);
    read_credentials(r);
}

static void read_object(struct vmspec *spec, struct vmspec_diagnostics *diag)
{
    struct reader r = {.spec = spec, .diag = diag};
    struct json_path outer = {.key = "spec"};
    struct json_path template = {.parent = &outer, .key = "template"};
    struct json_path inner = {.parent = &template, .key = "spec"};
    const cJSON *top = json_get(spec->object, "spec");
    const cJSON *version = json_get(spec->object, "apiVersion");
    if (!str_equal(version->valuestring, "kubevirt.io/v1") &&
        !str_equal(version->valuestring, "kubevirt.io/v1alpha3"))
        report(&r, VMSPEC_ERROR, &(struct json_path){.key = "apiVersion"},
               "'%s' must be kubevirt.io/v1 or kubevirt.io/v1alpha3", version->valuestring);
    read_metadata(&r, spec->object);
    r.path = spec->is_instance ? &outer : &inner;
    r.vmi = spec->is_instance ? top : json_get(json_get(top, "template"), "spec");
    if (!spec->is_instance) {
        if (json_get(top, "running") != NULL && json_get(top, "runStrategy") != NULL)
            report(&r, VMSPEC_ERROR, AT_KEY(&outer, "running"),
                   "Running and RunStrategy are mutually exclusive. Note that Running is "
                   "deprecated, please use RunStrategy");
        if (json_get(top, "template") == NULL) {
            report(&r, VMSPEC_ERROR, &template, "missing virtual machine template.");
            return;
        }
        check_annotations(&r, json_get(json_get(top, "template"), "metadata"),
                          AT_KEY(&template, "metadata"));
    }
    read_parts(&r);
}

/* The first error, for a caller that shows one line only. */
static int summarise(const struct vmspec_diagnostics *diag, struct error *err)
{
    char text[ERROR_TEXT_MAX];
    size_t i = 0;
    while (diag->list.item[i].severity != VMSPEC_ERROR)
        i++;
    vmspec_diagnostic_text(&diag->list.item[i], text, sizeof(text));
    if (diag->errors == 1)
        return error_set(err, EINVAL, "%s", text);
    return error_set(err, EINVAL, "%.900s (and %u more)", text, diag->errors - 1);
}

int vmspec_from_object(const cJSON *obj, struct vmspec **ret, struct vmspec_diagnostics *diag,
                       struct error *err)
{
    if (!is_machine(obj)) {
        vmspec_diagnose(diag, VMSPEC_ERROR, "",
                        "this is neither a VirtualMachine nor a VirtualMachineInstance of "
                        "kubevirt.io");
        return summarise(diag, err);
    }
    cleanup_vmspec struct vmspec *spec = xcalloc(1, sizeof(*spec));
    spec->object = cJSON_Duplicate(obj, true);
    if (spec->object == NULL)
        out_of_memory();
    spec->is_instance = str_equal(read_text(obj, "kind"), "VirtualMachineInstance");
    schema_check(spec->object, spec->is_instance ? schema_instance : schema_machine, diag);
    read_object(spec, diag);
    if (diag->errors > 0)
        return summarise(diag, err);
    *ret = steal_ptr(spec);
    return 0;
}

static void report_ignored(struct vmspec_diagnostics *diag, const cJSON *obj, unsigned number)
{
    const char *kind = read_text(obj, "kind"), *name = read_text(json_get(obj, "metadata"), "name");
    vmspec_diagnose(diag, VMSPEC_WARNING, "",
                    "document %u (%s %s) is not read: only a VirtualMachine or a "
                    "VirtualMachineInstance is",
                    number, kind != NULL ? kind : "no kind",
                    name != NULL ? name : "without a name");
}

int vmspec_from_yaml(const char *text, size_t len, struct vmspec **ret,
                     struct vmspec_diagnostics *diag, struct error *err)
{
    cleanup_json cJSON *documents = NULL;
    struct error reason = ERROR_INIT;
    if (yaml_parse_all(text, len, NULL, &documents, &reason) < 0) {
        vmspec_diagnose(diag, VMSPEC_ERROR, "", "%s", reason.text);
        return summarise(diag, err);
    }
    const cJSON *machine = NULL;
    unsigned number = 0;
    json_for_each (obj, documents) {
        number++;
        if (!is_machine(obj))
            report_ignored(diag, obj, number);
        else if (machine != NULL)
            vmspec_diagnose(diag, VMSPEC_ERROR, "", "document %u is a second machine", number);
        else
            machine = obj;
    }
    if (machine == NULL)
        vmspec_diagnose(diag, VMSPEC_ERROR, "",
                        "no VirtualMachine or VirtualMachineInstance of kubevirt.io is in it");
    return diag->errors > 0 ? summarise(diag, err) : vmspec_from_object(machine, ret, diag, err);
}

char *vmspec_hostname(const struct vmspec *spec)
{
    const char *name = spec->hostname != NULL ? spec->hostname : spec->name;
    size_t len = strcspn(name, ".");
    if (len > DNS_LABEL_MAX)
        len = DNS_LABEL_MAX;
    while (len > 1 && name[len - 1] == '-')
        len--;
    return xasprintf("%.*s", (int)len, name);
}
