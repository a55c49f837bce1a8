// SPDX-License-Identifier: Apache-2.0
/*
 * The pod as a whole: names, labels, scheduling, volumes. docs/pod.md; KubeVirt's
 * pkg/virt-controller/services/template.go for what users and their tools look at.
 */
#include "pod.h"
#include "kinds.h"
#include "overhead.h"
#include "pod_internal.h"
#include "tree.h"
#include "uuid.h"
#include <podvisor/cleanup.h>
#include <podvisor/str.h>
#include <string.h>

/* The kubelet makes a folder <namespace>_<name>_<uid>, and a file's name has 255 bytes at most. */
#define POD_NAME_MAX   (255 - 1 - 63 - 1 - 36)
#define POD_LABEL_MAX  63
#define POD_HASH_CHARS 5

/* Beyond the machine's own grace: for the kubelet, and for vmm to end after its deadline. */
#define POD_GRACE_EXTRA 30

/* Lower-case letters and digits, from which no word can be made. */
static void short_hash(const char *text, char ret[POD_HASH_CHARS + 1])
{
    static const char alphabet[] = "bcdfghjklmnpqrstvwxz2456789";
    uint8_t digest[20];
    sha1(text, strlen(text), NULL, 0, digest);
    for (unsigned i = 0; i < POD_HASH_CHARS; i++)
        ret[i] = alphabet[digest[i] % (sizeof(alphabet) - 1)];
    ret[POD_HASH_CHARS] = '\0';
}

/* PREFIX + text + "-" + hash of `seed`, with the text cut to keep within `max`. For free(). */
static char *hashed_name(const char *prefix, const char *text, const char *seed, size_t max)
{
    char hash[POD_HASH_CHARS + 1];
    short_hash(seed, hash);
    size_t room = max - strlen(prefix) - POD_HASH_CHARS - 1;
    size_t len = strlen(text);
    if (len > room) {
        len = room;
        while (len > 0 && (text[len - 1] == '.' || text[len - 1] == '-'))
            len--;
    }
    return xasprintf("%s%.*s-%s", prefix, (int)len, text, hash);
}

char *pod_name(const cJSON *vmi)
{
    return hashed_name("virt-launcher-", kube_name(vmi), kube_uid(vmi), POD_NAME_MAX);
}

bool pod_is_of(const cJSON *pod, const cJSON *vmi)
{
    const char *uid = kube_uid(vmi);
    const cJSON *owner = kube_controller_ref(pod);
    return *uid != '\0' && str_equal(tree_text(json_get(owner, "uid"), NULL), uid);
}

char *pod_volume_container(const char *volume)
{
    if (strlen("volume") + strlen(volume) <= POD_LABEL_MAX)
        return xasprintf("volume%s", volume);
    return hashed_name("volume", volume, volume, POD_LABEL_MAX);
}

bool pod_has_images(const struct vmspec *spec)
{
    if (spec->kernel.given && spec->kernel.image != NULL)
        return true;
    for (size_t i = 0; i < spec->volumes.count; i++) {
        if (spec->volumes.item[i].kind == VMSPEC_VOLUME_CONTAINER_DISK)
            return true;
    }
    return false;
}

bool pod_has_network(const struct vmspec *spec)
{
    for (size_t i = 0; i < spec->interfaces.count; i++) {
        const struct vmspec_interface *nic = &spec->interfaces.item[i];
        if (nic->link != VMSPEC_LINK_ABSENT &&
            spec->networks.item[nic->network].kind == VMSPEC_NETWORK_POD)
            return true;
    }
    return false;
}

bool pod_volume_is_claim(const struct vmspec_volume *volume)
{
    return volume->kind == VMSPEC_VOLUME_PVC || volume->kind == VMSPEC_VOLUME_DATA_VOLUME ||
           volume->kind == VMSPEC_VOLUME_EPHEMERAL;
}

const cJSON *pod_specification(const struct vmspec *spec)
{
    const cJSON *own = json_get(spec->object, "spec");
    return spec->is_instance ? own : json_get(json_get(own, "template"), "spec");
}

int pod_host_folder_length(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL && slash > path ? (int)(slash - path) : 1;
}

const struct pod_claim *pod_claim_of(const struct pod_input *input,
                                     const struct vmspec_volume *volume)
{
    for (size_t i = 0; pod_volume_is_claim(volume) && i < input->claim_count; i++) {
        if (str_equal(input->claims[i].name, volume->claim.claim))
            return &input->claims[i];
    }
    return NULL;
}

cJSON *pod_container(const char *name, const char *image, const char *pull_policy)
{
    cJSON *container = tree_object();
    tree_put_string(container, "name", name);
    tree_put_string(container, "image", image);
    if (pull_policy != NULL)
        tree_put_string(container, "imagePullPolicy", pull_policy);
    cJSON *security = tree_put(container, "securityContext", tree_object());
    tree_put_bool(security, "allowPrivilegeEscalation", false);
    tree_put_bool(security, "readOnlyRootFilesystem", true);
    cJSON *capabilities = tree_put(security, "capabilities", tree_object());
    tree_push_string(tree_put(capabilities, "drop", tree_array()), "ALL");
    return container;
}

char *pod_literal(const char *text)
{
    char *literal = xcalloc(2 * strlen(text) + 1, 1), *to = literal;
    for (; *text != '\0'; text++) {
        if (*text == '$')
            *to++ = '$';
        *to++ = *text;
    }
    return literal;
}

void pod_mount(cJSON *container, const char *volume, const char *path, bool readonly)
{
    cJSON *mount = tree_push(tree_need_array(container, "volumeMounts"), tree_object());
    tree_put_string(mount, "name", volume);
    tree_put_string(mount, "mountPath", path);
    if (readonly)
        tree_put_bool(mount, "readOnly", true);
}

void pod_small_resources(cJSON *container)
{
    cJSON *resources = tree_put(container, "resources", tree_object());
    cJSON *requests = tree_put(resources, "requests", tree_object());
    tree_put_string(requests, "cpu", "1m");
    tree_put_string(requests, "memory", "1Mi");
    cJSON *limits = tree_put(resources, "limits", tree_object());
    tree_put_string(limits, "cpu", "100m");
    tree_put_string(limits, "memory", "40Mi");
}

static void put_labels(cJSON *meta, const struct pod_input *input)
{
    cJSON *labels = tree_put(meta, "labels", tree_object());
    const char *name = kube_name(input->vmi);
    cleanup_free char *hostname = vmspec_hostname(input->spec);
    cleanup_free char *id =
        strlen(name) <= POD_LABEL_MAX ? xstrdup(name) : hashed_name("", name, name, POD_LABEL_MAX);
    tree_put_members(labels, kube_path(input->vmi, "metadata.labels"));
    tree_put_string(labels, LABEL_APP, LABEL_APP_LAUNCHER);
    tree_put_string(labels, LABEL_CREATED_BY, kube_uid(input->vmi));
    tree_put_string(labels, LABEL_VM_NAME, hostname);
    tree_put_string(labels, LABEL_VMI_ID, id);
}

/*
 * Annotations that stay with the instance: those that are about it alone, and those with which
 * kubelets and container runtimes take a container's confinement away or give it devices. Who may
 * only make machines must not reach through them to what their pods run in.
 */
static bool annotation_stays(const char *key)
{
    static const char *const whole[] = {
        "kubectl.kubernetes.io/last-applied-configuration",
        "kubevirt.io/latest-observed-api-version", "kubevirt.io/storage-observed-api-version",
        "kubernetes.io/config.mirror", "kubernetes.io/config.source"};
    static const char *const prefixes[] = {
        "container.apparmor.security.beta.kubernetes.io", /* unconfined */
        "container.seccomp.security.alpha.kubernetes.io", /* the same; it wins until 1.26 */
        "seccomp.security.alpha.kubernetes.io",
        "seccomp-profile.kubernetes.cri-o.io",
        "io.kubernetes.cri-o.", /* Devices, userns-mode, ... */
        "io.containerd.",
        "io.katacontainers.",
        "cdi.k8s.io", /* devices, as a device plugin gives them */
    };
    for (size_t i = 0; i < sizeof(whole) / sizeof(whole[0]); i++) {
        if (strcmp(key, whole[i]) == 0)
            return true;
    }
    for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
        if (str_starts_with(key, prefixes[i]))
            return true;
    }
    return strstr(key, ".nri.io/") != NULL; /* devices.nri.io and its like, plugins of containerd */
}

static cJSON *render_metadata(const struct pod_input *input)
{
    cJSON *meta = tree_object();
    cleanup_free char *name = pod_name(input->vmi);
    tree_put_string(meta, "name", name);
    tree_put_string(meta, "namespace", kube_namespace(input->vmi));
    put_labels(meta, input);
    cJSON *annotations = tree_put(meta, "annotations", tree_object());
    json_for_each (item, kube_path(input->vmi, "metadata.annotations")) {
        if (item->string != NULL && !annotation_stays(item->string))
            tree_put_copy(annotations, item->string, item);
    }
    tree_put_string(annotations, ANNOTATION_DOMAIN, kube_name(input->vmi));
    tree_put_string(annotations, ANNOTATION_DEFAULT_CONTAINER, COMPUTE_CONTAINER);
    tree_put_string(annotations, ANNOTATION_DEFAULT_LOGS, COMPUTE_CONTAINER);
    tree_put_format(annotations, ANNOTATION_OVERHEAD, "%llu",
                    (unsigned long long)memory_overhead(input->spec));
    tree_push(tree_put(meta, "ownerReferences", tree_array()),
              kube_make_owner_ref(&kind_vmi, input->vmi));
    return meta;
}

/* Parts of an instance's spec that mean the same in a pod's. */
static void put_scheduling(cJSON *pod, const struct pod_input *input)
{
    static const char *const same[] = {
        "affinity",          "tolerations",   "topologySpreadConstraints",
        "priorityClassName", "schedulerName", "dnsPolicy",
        "dnsConfig",         "subdomain"};
    const cJSON *spec = json_get(input->vmi, "spec");
    for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++)
        tree_put_copy(pod, same[i], json_get(spec, same[i]));
    cJSON *selector = tree_put(pod, "nodeSelector", tree_object());
    tree_put_members(selector, json_get(spec, "nodeSelector"));
    tree_put_string(selector, LABEL_SCHEDULABLE, "true");
    tree_put_string(selector, "kubernetes.io/arch", "amd64");
}

static void put_pull_secret(cJSON *pod, const char *name)
{
    if (name == NULL)
        return;
    cJSON *secrets = tree_need_array(pod, "imagePullSecrets");
    json_for_each (secret, secrets) {
        if (str_equal(tree_text(json_get(secret, "name"), NULL), name))
            return;
    }
    tree_put_string(tree_push(secrets, tree_object()), "name", name);
}

static void put_pull_secrets(cJSON *pod, const struct vmspec *spec)
{
    put_pull_secret(pod, spec->kernel.pull_secret);
    for (size_t i = 0; i < spec->volumes.count; i++) {
        if (spec->volumes.item[i].kind == VMSPEC_VOLUME_CONTAINER_DISK)
            put_pull_secret(pod, spec->volumes.item[i].container_disk.pull_secret);
    }
}

static void put_empty_dir(cJSON *volumes, const char *name)
{
    cJSON *volume = tree_push(volumes, tree_object());
    tree_put_string(volume, "name", name);
    tree_put(volume, "emptyDir", tree_object());
}

/* The user's volumes are numbered, so that no name of theirs meets one of ours. */
static cJSON *numbered_volume(cJSON *volumes, size_t index)
{
    cJSON *item = tree_push(volumes, tree_object());
    tree_put_format(item, "name", "volume%zu", index);
    return item;
}

size_t pod_claim_index(const struct vmspec *spec, size_t index)
{
    const char *name = spec->volumes.item[index].claim.claim;
    for (size_t i = 0; i < index; i++) {
        if (pod_volume_is_claim(&spec->volumes.item[i]) &&
            str_equal(spec->volumes.item[i].claim.claim, name))
            return i;
    }
    return index;
}

static bool wants_readonly(const struct vmspec_volume *volume)
{
    const cJSON *asked = volume->source;
    if (volume->kind == VMSPEC_VOLUME_EPHEMERAL)
        asked = json_get(asked, "persistentVolumeClaim");
    return cJSON_IsTrue(json_get(asked, "readOnly"));
}

static void put_claim(cJSON *volumes, const struct vmspec *spec, size_t index)
{
    const char *name = spec->volumes.item[index].claim.claim;
    bool readonly = true;
    for (size_t i = index; i < spec->volumes.count; i++) {
        if (pod_volume_is_claim(&spec->volumes.item[i]) && pod_claim_index(spec, i) == index)
            readonly = readonly && wants_readonly(&spec->volumes.item[i]);
    }
    cJSON *claim =
        tree_put(numbered_volume(volumes, index), "persistentVolumeClaim", tree_object());
    tree_put_string(claim, "claimName", name);
    if (readonly)
        tree_put_bool(claim, "readOnly", true);
}

/* The folder, as in KubeVirt: a file alone could not be made. */
static void put_host_folder(cJSON *item, const struct vmspec_volume *volume)
{
    cJSON *host = tree_put(item, "hostPath", tree_object());
    tree_put_format(host, "path", "%.*s", pod_host_folder_length(volume->host_disk.path),
                    volume->host_disk.path);
    tree_put_string(host, "type", volume->host_disk.create ? "DirectoryOrCreate" : "Directory");
}

static cJSON *render_volumes(const struct pod_input *input)
{
    const struct vmspec *spec = input->spec;
    cJSON *volumes = tree_array();
    put_empty_dir(volumes, "vmm");
    put_empty_dir(volumes, "ephemeral");
    if (pod_has_network(spec))
        put_empty_dir(volumes, "net");
    if (pod_has_images(spec))
        put_empty_dir(volumes, "bin");
    for (size_t i = 0; i < spec->volumes.count; i++) {
        const struct vmspec_volume *volume = &spec->volumes.item[i];
        if (pod_volume_is_claim(volume) && pod_claim_index(spec, i) == i)
            put_claim(volumes, spec, i);
        else if (volume->kind == VMSPEC_VOLUME_HOST_DISK)
            put_host_folder(numbered_volume(volumes, i), volume);
    }
    pod_add_file_volumes(spec, volumes);
    return volumes;
}

static cJSON *render_security(void)
{
    cJSON *security = tree_object();
    tree_put_bool(security, "runAsNonRoot", true);
    tree_put_int(security, "runAsUser", POD_UID);
    tree_put_int(security, "runAsGroup", POD_UID);
    tree_put_int(security, "fsGroup", POD_UID);
    tree_put_string(tree_put(security, "seccompProfile", tree_object()), "type", "RuntimeDefault");
    return security;
}

static void put_containers(cJSON *pod, const struct pod_input *input)
{
    bool images = pod_has_images(input->spec), network = pod_has_network(input->spec);
    if (images || network) {
        cJSON *init = tree_put(pod, "initContainers", tree_array());
        if (network)
            tree_push(init, pod_podnet(input));
        if (images)
            tree_push(init, pod_install_container_disk(input));
    }
    cJSON *containers = tree_put(pod, "containers", tree_array());
    tree_push(containers, pod_compute(input));
    pod_add_image_servers(input, containers);
}

/* No token comes of itself, in no container: a volume that asks for one gets it in compute. */
static void put_service_account(cJSON *pod, const struct pod_input *input)
{
    const char *name = pod_account(input->spec);
    if (name != NULL)
        tree_put_string(pod, "serviceAccountName", name);
    tree_put_bool(pod, "automountServiceAccountToken", false);
}

cJSON *pod_render(const struct pod_input *input)
{
    cJSON *object = tree_object();
    tree_put_string(object, "apiVersion", "v1");
    tree_put_string(object, "kind", "Pod");
    tree_put(object, "metadata", render_metadata(input));
    cJSON *pod = tree_put(object, "spec", tree_object());
    cleanup_free char *hostname = vmspec_hostname(input->spec);
    tree_put_string(pod, "hostname", hostname);
    tree_put_string(pod, "restartPolicy", "Never");
    tree_put_bool(pod, "enableServiceLinks", false);
    tree_put_int(pod, "terminationGracePeriodSeconds",
                 (int64_t)input->spec->grace_period_seconds + POD_GRACE_EXTRA);
    put_service_account(pod, input);
    put_scheduling(pod, input);
    put_pull_secrets(pod, input->spec);
    tree_put(pod, "securityContext", render_security());
    cJSON *gate = tree_push(tree_put(pod, "readinessGates", tree_array()), tree_object());
    tree_put_string(gate, "conditionType", READINESS_GATE);
    put_containers(pod, input);
    tree_put(pod, "volumes", render_volumes(input));
    return object;
}
