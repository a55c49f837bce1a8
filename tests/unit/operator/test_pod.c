// SPDX-License-Identifier: Apache-2.0
/* The pod of a machine: docs/pod.md and KubeVirt's services/template.go, field by field. */
#include "kinds.h"
#include "kit.h"
#include "overhead.h"
#include "pod.h"
#include "run_suite.h"
#include "tree.h"
#include <podvisor/cleanup.h>
#include <podvisor/kube.h>
#include <podvisor/str.h>
#include <stdio.h>
#include <string.h>

static const struct pod_config config = {
    .launcher_image = "launcher:1", .launcher_pull_policy = "Never", .cpu_allocation_ratio = 10};

static cJSON *render(cJSON *vmi, const struct pod_claim *claims, size_t claim_count)
{
    struct vmspec *spec = NULL;
    struct vmspec_diagnostics diag = {0};
    struct error err = ERROR_INIT;
    ck_assert_msg(vmspec_from_object(vmi, &spec, &diag, &err) == 0, "%s", err.text);
    struct pod_input input = {&config, vmi, spec, claims, claim_count};
    cJSON *pod = pod_render(&input);
    vmspec_diagnostics_done(&diag);
    vmspec_free(spec);
    cJSON_Delete(vmi);
    return pod;
}

static void expect(const cJSON *pod, const char *path, const char *value)
{
    ck_assert_msg(strcmp(kit_text(pod, path), value) == 0, "%s is %s, not %s", path,
                  kit_text(pod, path), value);
}

START_TEST(test_identity)
{
    cleanup_json cJSON *pod = render(kit_vmi(NULL), NULL, 0);
    ck_assert(str_starts_with(kit_text(pod, "metadata.name"), "virt-launcher-box-"));
    expect(pod, "metadata.namespace", "lab");
    expect(pod, "metadata.labels.app", "web");
    expect(pod, "metadata.labels.\"kubevirt.io\"", "virt-launcher");
    expect(pod, "metadata.labels.\"kubevirt.io/created-by\"", "uid-1");
    expect(pod, "metadata.labels.\"vm.kubevirt.io/name\"", "box");
    expect(pod, "metadata.labels.\"vmi.kubevirt.io/id\"", "box");
    expect(pod, "metadata.annotations.\"kubectl.kubernetes.io/default-container\"", "compute");
    expect(pod, "metadata.ownerReferences[0].uid", "uid-1");
    expect(pod, "metadata.ownerReferences[0].controller", "true");
    expect(pod, "metadata.ownerReferences[0].kind", "VirtualMachineInstance");
    expect(pod, "spec.restartPolicy", "Never");
    expect(pod, "spec.enableServiceLinks", "false");
    expect(pod, "spec.automountServiceAccountToken", "false");
    expect(pod, "spec.terminationGracePeriodSeconds", "60");
    expect(pod, "spec.readinessGates[0].conditionType", READINESS_GATE);
    expect(pod, "spec.nodeSelector.\"kubevirt.io/schedulable\"", "true");
}
END_TEST

START_TEST(test_ownership)
{
    cleanup_json cJSON *vmi = kit_vmi(NULL);
    cleanup_json cJSON *pod = render(kit_vmi(NULL), NULL, 0);
    ck_assert(pod_is_of(pod, vmi));
    cJSON *meta = tree_need_object(pod, "metadata");
    tree_put_string(tree_need_object(meta, "labels"), LABEL_CREATED_BY, "uid-of-another");
    ck_assert(pod_is_of(pod, vmi)); /* whatever the labels have become */
    cJSON *owner = cJSON_GetArrayItem(tree_need_array(meta, "ownerReferences"), 0);
    tree_put_string(tree_need_object(meta, "labels"), LABEL_CREATED_BY, "uid-1");
    tree_put_string(owner, "uid", "uid-2");
    ck_assert(!pod_is_of(pod, vmi));
    tree_put(meta, "ownerReferences", tree_array());
    ck_assert(!pod_is_of(pod, vmi));
    tree_put_string(tree_need_object(vmi, "metadata"), "uid", "");
    ck_assert(!pod_is_of(pod, vmi));
}
END_TEST

/* What the user writes on a machine reaches its pod, but neither our names nor its confinement. */
START_TEST(test_metadata_of_users)
{
    static const char *const stay[] = {
        "kubectl.kubernetes.io/last-applied-configuration",
        "kubernetes.io/config.mirror",
        "container.apparmor.security.beta.kubernetes.io/podnet",
        "container.seccomp.security.alpha.kubernetes.io/compute",
        "seccomp.security.alpha.kubernetes.io/pod",
        "seccomp-profile.kubernetes.cri-o.io/POD",
        "io.kubernetes.cri-o.Devices",
        "io.katacontainers.config.hypervisor.path",
        "cdi.k8s.io/disk",
        "devices.nri.io/container.compute",
    };
    cJSON *vmi = kit_vmi(NULL);
    cJSON *meta = tree_need_object(vmi, "metadata");
    tree_put(meta, "labels",
             kit_yaml("{app: web, kubevirt.io: x, kubevirt.io/created-by: uid-of-another,"
                      " vm.kubevirt.io/name: x, vmi.kubevirt.io/id: x}"));
    cJSON *annotations = tree_put(
        meta, "annotations",
        kit_yaml("{kubernetes.io/egress-bandwidth: 10M, kubevirt.io/domain: x,"
                 " kubectl.kubernetes.io/default-container: x, kubevirt.io/memory-overhead-bytes:"
                 " x}"));
    for (size_t i = 0; i < ARRAY_SIZE(stay); i++)
        tree_put_string(annotations, stay[i], "unconfined");
    cleanup_json cJSON *pod = render(vmi, NULL, 0);
    expect(pod, "metadata.labels.app", "web");
    expect(pod, "metadata.labels.\"kubevirt.io\"", "virt-launcher");
    expect(pod, "metadata.labels.\"kubevirt.io/created-by\"", "uid-1");
    expect(pod, "metadata.labels.\"vm.kubevirt.io/name\"", "box");
    expect(pod, "metadata.labels.\"vmi.kubevirt.io/id\"", "box");
    expect(pod, "metadata.annotations.\"kubernetes.io/egress-bandwidth\"", "10M");
    expect(pod, "metadata.annotations.\"kubevirt.io/domain\"", "box");
    expect(pod, "metadata.annotations.\"kubectl.kubernetes.io/default-container\"", "compute");
    ck_assert_str_ne(kit_text(pod, "metadata.annotations.\"kubevirt.io/memory-overhead-bytes\""),
                     "x");
    for (size_t i = 0; i < ARRAY_SIZE(stay); i++)
        ck_assert_msg(kube_annotation(pod, stay[i]) == NULL, "%s is on the pod", stay[i]);
}
END_TEST

/* The restricted profile of Pod Security: everything but podnet's user and capability. */
START_TEST(test_restricted)
{
    cleanup_json cJSON *pod = render(kit_vmi(NULL), NULL, 0);
    expect(pod, "spec.securityContext.runAsNonRoot", "true");
    expect(pod, "spec.securityContext.runAsUser", "107");
    expect(pod, "spec.securityContext.fsGroup", "107");
    expect(pod, "spec.securityContext.seccompProfile.type", "RuntimeDefault");
    const cJSON *lists[] = {kube_path(pod, "spec.containers"),
                            kube_path(pod, "spec.initContainers")};
    unsigned seen = 0;
    for (size_t i = 0; i < 2; i++) {
        json_for_each (container, lists[i]) {
            bool podnet = strcmp(kit_text(container, "name"), "podnet") == 0;
            seen++;
            expect(container, "securityContext.allowPrivilegeEscalation", "false");
            expect(container, "securityContext.readOnlyRootFilesystem", "true");
            expect(container, "securityContext.capabilities.drop", "[\"ALL\"]");
            expect(container, "securityContext.capabilities.add", podnet ? "[\"NET_ADMIN\"]" : "");
            expect(container, "securityContext.runAsUser", podnet ? "0" : "");
            expect(container, "securityContext.privileged", "");
        }
    }
    ck_assert_uint_eq(seen, 4); /* podnet, container-disk; compute, kernel-boot */
    json_for_each (volume, kube_path(pod, "spec.volumes"))
        expect(volume, "emptyDir", "{}"); /* no hostPath, no secret */
}
END_TEST

START_TEST(test_containers)
{
    cleanup_json cJSON *pod = render(kit_vmi(NULL), NULL, 0);
    expect(pod, "spec.containers[0].name", "compute");
    expect(pod, "spec.containers[0].command", "[\"/usr/bin/vmm\",\"run\",\"--pod\"]");
    expect(pod, "spec.containers[0].imagePullPolicy", "Never");
    expect(pod, "spec.containers[0].env[0].name", "PODVISOR_VMI");
    cleanup_json cJSON *manifest = kit_yaml(kit_text(pod, "spec.containers[0].env[0].value"));
    expect(manifest, "metadata.uid", "uid-1");
    expect(manifest, "spec.domain.memory.guest", "128Mi");
    expect(manifest, "status", "");
    expect(pod, "spec.containers[0].resources.limits.\"devices.kubevirt.io/kvm\"", "1");
    expect(pod, "spec.containers[0].resources.limits.\"devices.kubevirt.io/tun\"", "1");
    expect(pod, "spec.containers[0].resources.requests.cpu", "100m");
    expect(pod, "spec.containers[1].name", "kernel-boot");
    expect(pod, "spec.containers[1].image", "guest");
    expect(pod, "spec.containers[1].command",
           "[\"/run/podvisor/bin/container-disk\",\"--socket\",\"/run/podvisor/vmm/images\","
           "\"--kernel\",\"/k\",\"--initrd\",\"/i\"]");
    expect(pod, "spec.initContainers[0].name", "podnet");
    ck_assert_ptr_nonnull(strstr(kit_text(pod, "spec.initContainers[0].command"),
                                 "\"name=default,binding=masquerade,mac="));
    expect(pod, "spec.initContainers[1].command[1]", "--install");
}
END_TEST

/* The kubelet would replace $(NAME), and "$$" by "$", in what the user wrote. */
START_TEST(test_dollars)
{
    cJSON *vmi = kit_vmi(NULL);
    cJSON *domain = tree_need_object(tree_need_object(vmi, "spec"), "domain");
    tree_put(domain, "firmware",
             kit_yaml("kernelBoot:\n"
                      "  kernelArgs: a=$(KUBERNETES_SERVICE_HOST) b=$$\n"
                      "  container: {image: guest, kernelPath: /$(HOSTNAME), initrdPath: /i}\n"));
    cleanup_json cJSON *pod = render(vmi, NULL, 0);
    ck_assert_ptr_nonnull(strstr(kit_text(pod, "spec.containers[0].env[0].value"),
                                 "\"a=$$(KUBERNETES_SERVICE_HOST) b=$$$$\""));
    expect(pod, "spec.containers[1].command[4]", "/$$(HOSTNAME)");
}
END_TEST

/* The name is a function of the uid: a second create is refused, another instance is not. */
START_TEST(test_name)
{
    cleanup_json cJSON *vmi = kit_vmi(NULL);
    cleanup_free char *first = pod_name(vmi), *again = pod_name(vmi);
    ck_assert_str_eq(first, again);
    tree_put_string(tree_need_object(vmi, "metadata"), "uid", "uid-2");
    cleanup_free char *other = pod_name(vmi);
    ck_assert_str_ne(first, other);
    char longest[254];
    memset(longest, 'a', 253);
    longest[230] = '.';
    longest[253] = '\0';
    tree_put_string(tree_need_object(vmi, "metadata"), "name", longest);
    cleanup_free char *cut = pod_name(vmi);
    ck_assert_uint_le(63 + 1 + strlen(cut) + 1 + 36, 255); /* the kubelet's folder */
    ck_assert(str_is_dns_subdomain(cut));
}
END_TEST

START_TEST(test_long_names)
{
    char name[254], volume[64];
    memset(name, 'b', 253);
    name[63] = name[127] = name[191] = '.';
    name[253] = '\0';
    memset(volume, 'v', 63);
    volume[63] = '\0';
    cJSON *vmi = kit_vmi(NULL);
    tree_put_string(tree_need_object(vmi, "metadata"), "name", name);
    cleanup_json cJSON *pod = render(vmi, NULL, 0);
    ck_assert_uint_le(strlen(kit_text(pod, "metadata.labels.\"vmi.kubevirt.io/id\"")), 63);
    ck_assert_uint_le(strlen(kit_text(pod, "spec.hostname")), 63);
    ck_assert(str_is_dns_label(kit_text(pod, "spec.hostname")));
    cleanup_free char *container = pod_volume_container(volume);
    ck_assert(str_is_dns_label(container));
}
END_TEST

START_TEST(test_passed_on)
{
    cJSON *vmi = kit_vmi(NULL);
    cJSON *spec = tree_need_object(vmi, "spec");
    static const char *const texts[][2] = {
        {"affinity", "{nodeAffinity: {x: 1}}"},
        {"tolerations", "[{key: a, operator: Exists}]"},
        {"topologySpreadConstraints",
         "[{maxSkew: 1, topologyKey: z, whenUnsatisfiable: DoNotSchedule}]"},
        {"dnsConfig", "{nameservers: [1.2.3.4]}"},
        {"nodeSelector",
         "{disk: fast, kubevirt.io/schedulable: \"false\", kubernetes.io/arch: arm64}"},
        {"readinessProbe", "{tcpSocket: {port: 80, host: 169.254.169.254}, periodSeconds: 3}"},
        {"livenessProbe", "{httpGet: {port: 80, host: 10.0.0.1, path: /x}}"},
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        tree_put(spec, texts[i][0], kit_yaml(texts[i][1]));
    tree_put_string(spec, "priorityClassName", "high");
    tree_put_string(spec, "schedulerName", "mine");
    tree_put_string(spec, "dnsPolicy", "None");
    tree_put_string(spec, "subdomain", "sub");
    tree_put_string(spec, "hostname", "host");
    tree_put_int(spec, "terminationGracePeriodSeconds", 0);
    cleanup_json cJSON *pod = render(vmi, NULL, 0);
    expect(pod, "spec.affinity.nodeAffinity.x", "1");
    expect(pod, "spec.tolerations[0].key", "a");
    expect(pod, "spec.topologySpreadConstraints[0].topologyKey", "z");
    expect(pod, "spec.dnsConfig.nameservers[0]", "1.2.3.4");
    expect(pod, "spec.nodeSelector.disk", "fast");
    expect(pod, "spec.nodeSelector.\"kubevirt.io/schedulable\"", "true");
    expect(pod, "spec.nodeSelector.\"kubernetes.io/arch\"", "amd64");
    expect(pod, "spec.priorityClassName", "high");
    expect(pod, "spec.schedulerName", "mine");
    expect(pod, "spec.dnsPolicy", "None");
    expect(pod, "spec.subdomain", "sub");
    expect(pod, "spec.hostname", "host");
    expect(pod, "spec.containers[0].readinessProbe.tcpSocket", "{\"port\":80}");
    expect(pod, "spec.containers[0].readinessProbe.periodSeconds", "3");
    expect(pod, "spec.containers[0].livenessProbe.httpGet", "{\"port\":80,\"path\":\"/x\"}");
    expect(pod, "spec.terminationGracePeriodSeconds", "30");
}
END_TEST

/* domain → requests and limits of compute, in bytes beside the overhead. */
static const struct {
    const char *domain;
    const char *cpu_request, *cpu_limit;
    uint64_t memory_request, memory_limit; /* without overhead; 0: none */
    bool no_overhead;
} sizes[] = {
    {"{memory: {guest: 64Mi}, devices: {}}", "100m", "", 64 << 20, 0, false},
    {"{cpu: {cores: 2, sockets: 2}, memory: {guest: 64Mi}, devices: {}}", "400m", "", 64 << 20, 0,
     false},
    {"{resources: {requests: {memory: 64Mi, cpu: 250m}}, devices: {}}", "250m", "", 64 << 20, 0,
     false},
    {"{memory: {guest: 64Mi}, resources: {requests: {memory: 32Mi}}, devices: {}}", "100m", "",
     32 << 20, 0, false},
    {"{resources: {requests: {memory: 64Mi}, limits: {memory: 128Mi, cpu: 2}}, devices: {}}",
     "200m", "2", 64 << 20, 128 << 20, false},
    {"{memory: {guest: 64Mi}, resources: {overcommitGuestOverhead: true}, devices: {}}", "100m", "",
     64 << 20, 0, true},
    {"{cpu: {cores: 2, dedicatedCpuPlacement: true}, memory: {guest: 64Mi}, devices: {}}", "2", "2",
     64 << 20, 64 << 20, false},
};

START_TEST(test_sizes)
{
    cJSON *vmi = kit_vmi(NULL);
    tree_put(tree_need_object(vmi, "spec"), "domain", kit_yaml(sizes[_i].domain));
    cJSON_DeleteItemFromObjectCaseSensitive(tree_need_object(vmi, "spec"), "networks");
    cleanup_json cJSON *pod = render(vmi, NULL, 0);
    const char *annotation =
        kit_text(pod, "metadata.annotations.\"kubevirt.io/memory-overhead-bytes\"");
    uint64_t overhead = strtoull(annotation, NULL, 10);
    char text[32];
    ck_assert_uint_gt(overhead, 1 << 20);
    ck_assert_uint_le(overhead, 16 << 20); /* the goal: docs/figures.md */
    expect(pod, "spec.containers[0].resources.requests.cpu", sizes[_i].cpu_request);
    expect(pod, "spec.containers[0].resources.limits.cpu", sizes[_i].cpu_limit);
    snprintf(
        text, sizeof(text), "%llu",
        (unsigned long long)(sizes[_i].memory_request + (sizes[_i].no_overhead ? 0 : overhead)));
    expect(pod, "spec.containers[0].resources.requests.memory", text);
    snprintf(text, sizeof(text), "%llu", (unsigned long long)(sizes[_i].memory_limit + overhead));
    expect(pod, "spec.containers[0].resources.limits.memory",
           sizes[_i].memory_limit == 0 ? "" : text);
}
END_TEST

START_TEST(test_huge_pages)
{
    cJSON *vmi = kit_vmi(NULL);
    tree_put(tree_need_object(vmi, "spec"), "domain",
             kit_yaml("{memory: {guest: 64Mi, hugepages: {pageSize: 2Mi}}, devices: {}}"));
    cJSON_DeleteItemFromObjectCaseSensitive(tree_need_object(vmi, "spec"), "networks");
    cleanup_json cJSON *pod = render(vmi, NULL, 0);
    expect(pod, "spec.containers[0].resources.requests.hugepages-2Mi", "67108864");
    expect(pod, "spec.containers[0].resources.limits.hugepages-2Mi", "67108864");
    ck_assert_str_eq(kit_text(pod, "spec.containers[0].resources.requests.memory"),
                     kit_text(pod, "metadata.annotations.\"kubevirt.io/memory-overhead-bytes\""));
}
END_TEST

START_TEST(test_volumes)
{
    cJSON *vmi = kit_vmi(NULL);
    cJSON *spec = tree_need_object(vmi, "spec");
    tree_put(spec, "volumes",
             kit_yaml("- {name: vmm, persistentVolumeClaim: {claimName: data}}\n"
                      "- {name: raw, persistentVolumeClaim: {claimName: blocks, readOnly: true}}\n"
                      "- {name: os, containerDisk: {image: disk-image, path: /disk/a.img,"
                      " imagePullSecret: pull, imagePullPolicy: Always}}\n"
                      "- {name: scratch, emptyDisk: {capacity: 1Gi}}\n"
                      "- {name: copy, ephemeral: {persistentVolumeClaim: {claimName: data}}}\n"));
    const struct pod_claim claims[] = {{"data", false, UINT64_C(5) << 30, NULL},
                                       {"blocks", true, 7, NULL}};
    cleanup_json cJSON *pod = render(vmi, claims, 2);
    expect(pod, "spec.volumes[4].name", "volume0");
    expect(pod, "spec.volumes[4].persistentVolumeClaim.claimName", "data");
    expect(pod, "spec.volumes[5].persistentVolumeClaim.readOnly", "true");
    expect(pod, "spec.containers[0].volumeMounts[3].mountPath", "/run/podvisor/volumes/vmm");
    expect(pod, "spec.containers[0].volumeDevices[0].devicePath", "/dev/disks/raw");
    /* What an overlay lies on is only read; a claim is one volume, however many show it. */
    expect(pod, "spec.volumes[4].persistentVolumeClaim", "{\"claimName\":\"data\"}");
    expect(pod, "spec.volumes[6]", "");
    expect(pod, "spec.containers[0].volumeMounts[4].name", "volume0");
    expect(pod, "spec.containers[0].volumeMounts[4].mountPath", "/run/podvisor/volumes/copy");
    expect(pod, "spec.containers[0].volumeMounts[4].readOnly", "true");
    expect(pod, "spec.containers[0].env[2].name", "PODVISOR_CLAIM_SIZES");
    expect(pod, "spec.containers[0].env[2].value", "{\"vmm\":\"5368709120\"}");
    expect(pod, "spec.containers[2].name", "volumeos");
    expect(pod, "spec.containers[2].image", "disk-image");
    expect(pod, "spec.containers[2].imagePullPolicy", "Always");
    expect(pod, "spec.containers[2].command[3]", "--name");
    expect(pod, "spec.containers[2].command[4]", "os");
    expect(pod, "spec.containers[2].command[6]", "/disk/a.img");
    expect(pod, "spec.imagePullSecrets", "[{\"name\":\"pull\"}]");
}
END_TEST

static const cJSON *volume_named(const cJSON *pod, const char *name)
{
    json_for_each (volume, kube_path(pod, "spec.volumes")) {
        if (strcmp(kit_text(volume, "name"), name) == 0)
            return volume;
    }
    ck_abort_msg("there is no volume %s", name);
    return NULL;
}

/* Where compute has a volume; "" nowhere. No other container may have what holds secrets. */
static const char *place_of(const cJSON *pod, const char *name)
{
    const char *found = "";
    json_for_each (container, kube_path(pod, "spec.containers")) {
        bool compute = strcmp(kit_text(container, "name"), "compute") == 0;
        json_for_each (mount, json_get(container, "volumeMounts")) {
            if (strcmp(kit_text(mount, "name"), name) != 0)
                continue;
            ck_assert(compute);
            expect(mount, "readOnly", "true");
            found = kit_text(mount, "mountPath");
        }
    }
    return found;
}

START_TEST(test_files)
{
    static const char *const places[][2] = {
        {"volume0-userdata", "/run/podvisor/volumes/seed/userdata"},
        {"volume0-networkdata", "/run/podvisor/volumes/seed/networkdata"},
        {"volume2", "/run/podvisor/volumes/cfg"},
        {"volume3", "/run/podvisor/volumes/sec"},
        {"volume4", "/run/podvisor/volumes/api"},
        {"volume5", "/run/podvisor/volumes/account"},
        {"volume6", "/run/podvisor/volumes/win"},
        {"credential0", "/run/podvisor/credentials/0"},
    };
    cJSON *vmi = kit_vmi(NULL);
    tree_put(tree_need_object(vmi, "spec"), "volumes",
             kit_yaml("- {name: seed, cloudInitNoCloud: {secretRef: {name: user},"
                      " networkDataSecretRef: {name: net}}}\n"
                      "- {name: inline, cloudInitConfigDrive: {userData: x}}\n"
                      "- {name: cfg, configMap: {name: settings, optional: true}}\n"
                      "- {name: sec, secret: {secretName: passwords}}\n"
                      "- {name: api, downwardAPI: {fields: [{path: labels,"
                      " fieldRef: {fieldPath: metadata.labels}}]}}\n"
                      "- {name: account, serviceAccount: {serviceAccountName: robot}}\n"
                      "- {name: win, sysprep: {configMap: {name: unattend}}}\n"));
    tree_put(tree_need_object(vmi, "spec"), "accessCredentials",
             kit_yaml("- sshPublicKey: {source: {secret: {secretName: keys}},"
                      " propagationMethod: {noCloud: {}}}\n"));
    cleanup_json cJSON *pod = render(vmi, NULL, 0);
    expect(volume_named(pod, "credential0"), "secret", "{\"secretName\":\"keys\"}");
    for (size_t i = 0; i < ARRAY_SIZE(places); i++)
        ck_assert_str_eq(place_of(pod, places[i][0]), places[i][1]);
    expect(volume_named(pod, "volume0-userdata"), "secret", "{\"secretName\":\"user\"}");
    expect(volume_named(pod, "volume0-networkdata"), "secret.secretName", "net");
    expect(volume_named(pod, "volume2"), "configMap", "{\"name\":\"settings\",\"optional\":true}");
    expect(volume_named(pod, "volume3"), "secret", "{\"secretName\":\"passwords\"}");
    expect(volume_named(pod, "volume4"), "downwardAPI.items[0].path", "labels");
    expect(volume_named(pod, "volume6"), "configMap.name", "unattend");
    const cJSON *account = volume_named(pod, "volume5");
    expect(account, "projected.sources[0].serviceAccountToken.path", "token");
    expect(account, "projected.sources[1].configMap.name", "kube-root-ca.crt");
    expect(account, "projected.sources[2].downwardAPI.items[0].path", "namespace");
    expect(pod, "spec.serviceAccountName", "robot");
    expect(pod, "spec.automountServiceAccountToken", "false");
}
END_TEST

static const struct {
    const char *member, *value; /* of spec.domain, or of spec */
    const char *path;           /* NULL: fine */
} checks[] = {
    {"volumes", "[]", NULL},
    {"volumes", "[{name: a, emptyDisk: {capacity: 1Mi}}]", NULL},
    {"volumes", "[{name: a, cloudInitNoCloud: {userData: x}}]", NULL},
    {"volumes", "[{name: a, sysprep: {secret: {name: x}}}]", NULL},
    {"volumes", "[{name: os, containerDisk: {image: x}}]", NULL},
    {"volumes", "[{name: a, ephemeral: {persistentVolumeClaim: {claimName: b}}}]", NULL},
    {"volumes", "[{name: a, hostDisk: {path: /x, type: Disk}}]", "spec.volumes[0].hostDisk"},
    {"networks", "[{name: default, multus: {networkName: x}}]", "spec.networks[0]"},
    {"domain", "{memory: {guest: 64Mi}, devices: {interfaces: [{name: default, bridge: {}}]}}",
     "spec.domain.firmware"},
};

START_TEST(test_check)
{
    cleanup_json cJSON *vmi = kit_vmi(NULL);
    struct vmspec *spec = NULL;
    struct vmspec_diagnostics diag = {0};
    struct error err = ERROR_INIT;
    cJSON *its_spec = tree_need_object(vmi, "spec");
    tree_put(its_spec, checks[_i].member, kit_yaml(checks[_i].value));
    if (strcmp(checks[_i].member, "networks") == 0) {
        cJSON *devices = tree_need_object(tree_need_object(its_spec, "domain"), "devices");
        tree_put(devices, "interfaces", kit_yaml("[{name: default, bridge: {}}]"));
    }
    ck_assert_msg(vmspec_from_object(vmi, &spec, &diag, &err) == 0, "%s", err.text);
    ck_assert_int_eq(pod_check(&config, spec, &diag), checks[_i].path == NULL);
    if (checks[_i].path != NULL)
        ck_assert_str_eq(diag.list.item[diag.list.count - 1].path, checks[_i].path);
    vmspec_diagnostics_done(&diag);
    vmspec_free(spec);
}
END_TEST

/* A token goes to the guest under its own name only. */
static const struct {
    const char *own, *volume; /* NULL: none */
    const char *account;      /* the pod's; NULL: refused */
} accounts[] = {
    {NULL, NULL, ""},          {"web", NULL, "web"},        {NULL, "robot", "robot"},
    {"", "robot", "robot"},    {"robot", "robot", "robot"}, {"web", "robot", NULL},
    {"robot2", "robot", NULL},
};

START_TEST(test_accounts)
{
    cJSON *vmi = kit_vmi(NULL);
    cJSON *its_spec = tree_need_object(vmi, "spec");
    struct vmspec *spec = NULL;
    struct vmspec_diagnostics diag = {0};
    if (accounts[_i].own != NULL)
        tree_put_string(its_spec, "serviceAccountName", accounts[_i].own);
    cleanup_free char *volumes = xasprintf("[{name: a, serviceAccount: {serviceAccountName: %s}}]",
                                           accounts[_i].volume != NULL ? accounts[_i].volume : "x");
    if (accounts[_i].volume != NULL)
        tree_put(its_spec, "volumes", kit_yaml(volumes));
    ck_assert_int_eq(vmspec_from_object(vmi, &spec, &diag, NULL), 0);
    ck_assert_int_eq(pod_check(&config, spec, &diag), accounts[_i].account != NULL);
    if (accounts[_i].account == NULL)
        ck_assert_str_eq(diag.list.item[diag.list.count - 1].path,
                         "spec.volumes[0].serviceAccount.serviceAccountName");
    vmspec_diagnostics_done(&diag);
    vmspec_free(spec);
    cleanup_json cJSON *pod = render(vmi, NULL, 0);
    if (accounts[_i].account != NULL)
        expect(pod, "spec.serviceAccountName", accounts[_i].account);
}
END_TEST

/* Two of them are refused by the reader of manifests already. */
START_TEST(test_two_account_volumes)
{
    cleanup_json cJSON *vmi = kit_vmi(NULL);
    struct vmspec *spec = NULL;
    struct vmspec_diagnostics diag = {0};
    tree_put(tree_need_object(vmi, "spec"), "volumes",
             kit_yaml("- {name: a, serviceAccount: {serviceAccountName: x}}\n"
                      "- {name: b, serviceAccount: {serviceAccountName: y}}\n"));
    ck_assert_int_eq(vmspec_from_object(vmi, &spec, &diag, NULL), -EINVAL);
    vmspec_diagnostics_done(&diag);
    vmspec_free(spec);
}
END_TEST

/* Files of nodes: only where the operator allows the very folder. */
static const struct {
    const char *path;
    unsigned folders; /* of /var/data and /srv/a.b, from the first */
    bool fine;
} host_disks[] = {
    {"/var/data/disk.img", 1, true},
    {"/var/data/disk.img", 0, false},
    {"/srv/a.b/disk.img", 2, true},
    {"/srv/a.b/disk.img", 1, false},
    {"/var/data/folder/disk.img", 2, false},
    {"/var/database/disk.img", 2, false},
    {"/var/dat/disk.img", 2, false},
    {"/var/data", 2, false},
    {"/var/lib/k0s/x", 2, false},
    {"/home/x", 2, false},
    {"/x", 2, false},
    {"relative", 2, false},
    {"var/data/x", 2, false},
    {"/var/data/../data/x", 2, false},
    {"/var/data//x", 2, false},
    {"/var/data/", 2, false},
    {"/var/data/.", 2, false},
    {"/var/data/..", 2, false},
};

START_TEST(test_host_disk_check)
{
    cleanup_json cJSON *vmi = kit_vmi(NULL);
    struct pod_config allowing = config;
    struct vmspec *spec = NULL;
    struct vmspec_diagnostics diag = {0};
    struct error err = ERROR_INIT;
    cleanup_free char *volumes =
        xasprintf("[{name: a, hostDisk: {path: %s, type: DiskOrCreate}}]", host_disks[_i].path);
    tree_put(tree_need_object(vmi, "spec"), "volumes", kit_yaml(volumes));
    allowing.host_disk_folder[0] = "/var/data";
    allowing.host_disk_folder[1] = "/srv/a.b";
    allowing.host_disk_folders = host_disks[_i].folders;
    ck_assert_msg(vmspec_from_object(vmi, &spec, &diag, &err) == 0, "%s", err.text);
    ck_assert_msg(pod_check(&allowing, spec, &diag) == host_disks[_i].fine, "%s",
                  host_disks[_i].path);
    for (size_t i = 0; i < diag.list.count; i++)
        ck_assert_msg(diag.list.item[i].severity != VMSPEC_ERROR ||
                          strstr(diag.list.item[i].path, "hostDisk") != NULL,
                      "%s", diag.list.item[i].path);
    vmspec_diagnostics_done(&diag);
    vmspec_free(spec);
}
END_TEST

START_TEST(test_host_disk)
{
    cJSON *vmi = kit_vmi(NULL);
    tree_put(tree_need_object(vmi, "spec"), "volumes",
             kit_yaml("- {name: a, hostDisk: {path: /var/data/disk.img, type: DiskOrCreate}}\n"
                      "- {name: b, hostDisk: {path: /data/disk.img, type: Disk}}\n"));
    cleanup_json cJSON *pod = render(vmi, NULL, 0);
    expect(pod, "spec.volumes[4]",
           "{\"name\":\"volume0\",\"hostPath\":{\"path\":\"/var/data\",\"type\":"
           "\"DirectoryOrCreate\"}}");
    expect(pod, "spec.volumes[5].hostPath.path", "/data");
    expect(pod, "spec.volumes[5].hostPath.type", "Directory");
    expect(pod, "spec.containers[0].volumeMounts[3].mountPath", "/run/podvisor/volumes/a");
    expect(pod, "spec.containers[0].volumeMounts[3].readOnly", "");
}
END_TEST

static uint64_t overhead_with(const char *volumes)
{
    cJSON *vmi = kit_vmi(NULL);
    tree_put(tree_need_object(vmi, "spec"), "volumes", kit_yaml(volumes));
    cleanup_json cJSON *pod = render(vmi, NULL, 0);
    return strtoull(kit_text(pod, "metadata.annotations.\"kubevirt.io/memory-overhead-bytes\""),
                    NULL, 10);
}

/* The tables of an overlay are memory of the machine's, too. */
START_TEST(test_overlay_memory)
{
    uint64_t plain = overhead_with("[{name: a, emptyDisk: {capacity: 1Mi}}]");
    ck_assert_uint_eq(overhead_with("[{name: a, containerDisk: {image: x}}]"), plain + (16 << 20));
    ck_assert_uint_eq(
        overhead_with("[{name: a, ephemeral: {persistentVolumeClaim: {claimName: b}}}]"),
        plain + (11 << 19));
}
END_TEST

/* KubeVirt's 50M beside what is asked for. */
START_TEST(test_ephemeral_storage)
{
    cleanup_json cJSON *plain = render(kit_vmi(NULL), NULL, 0);
    expect(plain, "spec.containers[0].resources.requests.ephemeral-storage", "50000000");
    expect(plain, "spec.containers[0].resources.limits.ephemeral-storage", "");
    cJSON *vmi = kit_vmi(NULL);
    cJSON *domain = tree_need_object(tree_need_object(vmi, "spec"), "domain");
    tree_put(domain, "resources",
             kit_yaml("{requests: {ephemeral-storage: 1G}, limits: {ephemeral-storage: 2G}}"));
    cleanup_json cJSON *pod = render(vmi, NULL, 0);
    expect(pod, "spec.containers[0].resources.requests.ephemeral-storage", "1050000000");
    expect(pod, "spec.containers[0].resources.limits.ephemeral-storage", "2050000000");
}
END_TEST

/* Named, not refused: the machine runs without. */
static const struct {
    const char *member, *value, *path;
} warned[] = {
    {"readinessProbe", "{exec: {command: [true]}}", "spec.readinessProbe"},
    {"livenessProbe", "{guestAgentPing: {}}", "spec.livenessProbe"},
    {"evictionStrategy", "LiveMigrate", "spec.evictionStrategy"},
};

START_TEST(test_warned)
{
    cleanup_json cJSON *vmi = kit_vmi(NULL);
    struct vmspec *spec = NULL;
    struct vmspec_diagnostics diag = {0};
    struct error err = ERROR_INIT;
    tree_put(tree_need_object(vmi, "spec"), warned[_i].member, kit_yaml(warned[_i].value));
    ck_assert_msg(vmspec_from_object(vmi, &spec, &diag, &err) == 0, "%s", err.text);
    ck_assert(pod_check(&config, spec, &diag));
    ck_assert_uint_eq(diag.errors, 0);
    ck_assert_uint_gt(diag.list.count, 0);
    ck_assert_str_eq(diag.list.item[diag.list.count - 1].path, warned[_i].path);
    vmspec_diagnostics_done(&diag);
    vmspec_free(spec);
}
END_TEST

START_TEST(test_too_large)
{
    cleanup_json cJSON *vmi = kit_vmi(NULL);
    struct vmspec *spec = NULL;
    struct vmspec_diagnostics diag = {0};
    struct error err = ERROR_INIT;
    char *value = xcalloc(1, (120 << 10) + 1);
    memset(value, 'x', 120 << 10);
    tree_put_string(tree_need_object(tree_need_object(vmi, "spec"), "nodeSelector"), "a", value);
    free(value);
    ck_assert_msg(vmspec_from_object(vmi, &spec, &diag, &err) == 0, "%s", err.text);
    ck_assert(!pod_check(&config, spec, &diag));
    ck_assert_str_eq(diag.list.item[0].path, "spec");
    vmspec_diagnostics_done(&diag);
    vmspec_free(spec);
}
END_TEST

START_TEST(test_network_flags)
{
    cJSON *vmi = kit_vmi(NULL);
    cJSON *spec = tree_need_object(vmi, "spec");
    tree_put(spec, "networks", kit_yaml("[{name: net, pod: {vmNetworkCIDR: 10.9.0.0/24}}]"));
    tree_put(tree_need_object(tree_need_object(spec, "domain"), "devices"), "interfaces",
             kit_yaml("[{name: net, masquerade: {}, macAddress: \"02:11:22:33:44:55\","
                      " ports: [{port: 80, name: web}, {port: 53, protocol: UDP}]}]"));
    cleanup_json cJSON *pod = render(vmi, NULL, 0);
    const char *flags = kit_text(pod, "spec.initContainers[0].command");
    ck_assert_ptr_nonnull(strstr(flags, "\"name=net,binding=masquerade,mac=02:11:22:33:44:55,"
                                        "cidr=10.9.0.0/24,port=tcp/80,port=udp/53\""));
    expect(pod, "spec.containers[0].ports[0].containerPort", "80");
    expect(pod, "spec.containers[0].ports[0].name", "web");
    expect(pod, "spec.containers[0].ports[1].protocol", "UDP");
}
END_TEST

START_TEST(test_no_network_no_images)
{
    cJSON *vmi = kit_vmi(NULL);
    tree_put(tree_need_object(vmi, "spec"), "domain",
             kit_yaml("{memory: {guest: 64Mi}, devices: {autoattachPodInterface: false}}"));
    cJSON_DeleteItemFromObjectCaseSensitive(tree_need_object(vmi, "spec"), "networks");
    cleanup_json cJSON *pod = render(vmi, NULL, 0);
    expect(pod, "spec.initContainers", "");
    expect(pod, "spec.containers[1]", "");
    expect(pod, "spec.containers[0].resources.limits", "{\"devices.kubevirt.io/kvm\":1}");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("operator pod");
    TCase *tcase = tcase_create("pod");
    tcase_add_test(tcase, test_identity);
    tcase_add_test(tcase, test_ownership);
    tcase_add_test(tcase, test_metadata_of_users);
    tcase_add_test(tcase, test_restricted);
    tcase_add_test(tcase, test_containers);
    tcase_add_test(tcase, test_dollars);
    tcase_add_test(tcase, test_name);
    tcase_add_test(tcase, test_long_names);
    tcase_add_test(tcase, test_passed_on);
    tcase_add_loop_test(tcase, test_sizes, 0, sizeof(sizes) / sizeof(sizes[0]));
    tcase_add_test(tcase, test_huge_pages);
    tcase_add_test(tcase, test_volumes);
    tcase_add_test(tcase, test_files);
    tcase_add_loop_test(tcase, test_check, 0, sizeof(checks) / sizeof(checks[0]));
    tcase_add_loop_test(tcase, test_accounts, 0, ARRAY_SIZE(accounts));
    tcase_add_test(tcase, test_two_account_volumes);
    tcase_add_loop_test(tcase, test_host_disk_check, 0, ARRAY_SIZE(host_disks));
    tcase_add_test(tcase, test_host_disk);
    tcase_add_test(tcase, test_ephemeral_storage);
    tcase_add_test(tcase, test_overlay_memory);
    tcase_add_loop_test(tcase, test_warned, 0, sizeof(warned) / sizeof(warned[0]));
    tcase_add_test(tcase, test_too_large);
    tcase_add_test(tcase, test_network_flags);
    tcase_add_test(tcase, test_no_network_no_images);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
