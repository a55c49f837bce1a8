// SPDX-License-Identifier: Apache-2.0
/* Manifests that must read without an error: each supported field and each default. */
#include "run_suite.h"
#include <check.h>
#include <podvisor/vmspec.h>
#include <stdio.h>
#include <string.h>

static struct vmspec_diagnostics diag;

static struct vmspec *read_text(const char *text)
{
    struct vmspec *spec = NULL;
    struct error err = ERROR_INIT;
    memset(&diag, 0, sizeof(diag));
    ck_assert_msg(vmspec_from_yaml(text, strlen(text), &spec, &diag, &err) == 0, "%s", err.text);
    ck_assert_uint_eq(diag.errors, 0);
    return spec;
}

/* One that also has nothing to warn about. */
static struct vmspec *read_quietly(const char *text)
{
    struct vmspec *spec = read_text(text);
    char line[1024];
    if (diag.list.count > 0)
        ck_abort_msg("%s", vmspec_diagnostic_text(&diag.list.item[0], line, sizeof(line)));
    return spec;
}

static void done(struct vmspec *spec)
{
    vmspec_free(spec);
    vmspec_diagnostics_done(&diag);
}

#define VMI                                                      \
    "apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance\n" \
    "metadata: {name: test}\nspec:\n"

START_TEST(reads_a_minimal_instance)
{
    struct vmspec *spec = read_quietly(VMI "  domain: {devices: {}, memory: {guest: 128Mi}}\n");
    ck_assert(spec->is_instance);
    ck_assert_str_eq(spec->name, "test");
    ck_assert_ptr_null(spec->namespace_);
    ck_assert_uint_eq(spec->cpu.count, 1);
    ck_assert_uint_eq(spec->memory.guest, 128 << 20);
    ck_assert_uint_eq(spec->memory.huge_page_size, 0);
    ck_assert(!spec->kernel.given);
    ck_assert(spec->balloon);
    ck_assert(spec->serial_console);
    ck_assert(spec->log_serial_console);
    ck_assert(!spec->rng);
    ck_assert(!spec->start_paused);
    ck_assert(!spec->reboot_terminates);
    ck_assert_uint_eq(spec->grace_period_seconds, 30);
    ck_assert_int_eq(spec->boot, VMSPEC_BOOT_BIOS);
    ck_assert_uint_eq(spec->disks.count, 0);
    /* KubeVirt's default interface. */
    ck_assert_uint_eq(spec->interfaces.count, 1);
    ck_assert(spec->interfaces.item[0].automatic);
    ck_assert_int_eq(spec->interfaces.item[0].binding, VMSPEC_BINDING_BRIDGE);
    ck_assert_int_eq(spec->networks.item[0].kind, VMSPEC_NETWORK_POD);
    done(spec);
}
END_TEST

START_TEST(reads_a_machine_with_everything_of_the_pod)
{
    struct vmspec *spec = read_quietly(
        "apiVersion: kubevirt.io/v1alpha3\n"
        "kind: VirtualMachine\n"
        "metadata:\n"
        "  name: full.machine-1\n"
        "  namespace: default\n"
        "  labels: {app: test}\n"
        "spec:\n"
        "  runStrategy: Always\n"
        "  template:\n"
        "    metadata: {labels: {kubevirt.io/vm: full}}\n"
        "    spec:\n"
        "      priorityClassName: high\n"
        "      nodeSelector: {disk: ssd}\n"
        "      affinity: {nodeAffinity: {}}\n"
        "      schedulerName: s\n"
        "      tolerations: [{key: a, operator: Exists}]\n"
        "      topologySpreadConstraints: []\n"
        "      evictionStrategy: LiveMigrate\n"
        "      terminationGracePeriodSeconds: 0\n"
        "      hostname: host\n"
        "      subdomain: sub.domain\n"
        "      dnsPolicy: None\n"
        "      dnsConfig: {nameservers: [10.0.0.1]}\n"
        "      livenessProbe: {tcpSocket: {port: 22}}\n"
        "      readinessProbe: {httpGet: {port: 80}}\n"
        "      architecture: amd64\n"
        "      domain:\n"
        "        machine: {type: q35}\n"
        "        ioThreadsPolicy: shared\n"
        "        rebootPolicy: Terminate\n"
        "        clock: {utc: {}, timer: {hpet: {present: false}, pit: {tickPolicy: delay},\n"
        "                rtc: {tickPolicy: catchup}, kvm: {}}}\n"
        "        features: {acpi: {}, apic: {}, smm: {enabled: false}, kvm: {hidden: false}}\n"
        "        cpu: {sockets: 2, cores: 2, threads: 2, maxSockets: 4, model: host-passthrough}\n"
        "        memory: {guest: 1Gi, maxGuest: 4Gi}\n"
        "        firmware: {uuid: 5d307ca9-b3ef-428c-8861-06e72d69f223}\n"
        "        devices:\n"
        "          rng: {}\n"
        "          autoattachPodInterface: false\n"
        "          autoattachGraphicsDevice: false\n"
        "          autoattachMemBalloon: false\n"
        "          autoattachSerialConsole: false\n"
        "          logSerialConsole: false\n"
        "          blockMultiQueue: true\n"
        "          networkInterfaceMultiqueue: false\n"
        "          disableHotplug: true\n"
        "          panicDevices: [{model: isa}, {}]\n"
        "          gpus: []\n");
    static const uint8_t uuid[16] = {0x5d, 0x30, 0x7c, 0xa9, 0xb3, 0xef, 0x42, 0x8c,
                                     0x88, 0x61, 0x06, 0xe7, 0x2d, 0x69, 0xf2, 0x23};
    ck_assert(!spec->is_instance);
    ck_assert_str_eq(spec->name, "full.machine-1");
    ck_assert_str_eq(spec->namespace_, "default");
    ck_assert_str_eq(spec->hostname, "host");
    ck_assert_str_eq(spec->subdomain, "sub.domain");
    ck_assert_uint_eq(spec->cpu.count, 8);
    ck_assert_uint_eq(spec->cpu.threads, 2);
    ck_assert(spec->uuid_given);
    ck_assert_mem_eq(spec->uuid, uuid, sizeof(uuid));
    ck_assert_uint_eq(spec->grace_period_seconds, 0);
    ck_assert(spec->reboot_terminates);
    ck_assert(spec->rng);
    ck_assert(!spec->balloon);
    ck_assert(!spec->serial_console);
    ck_assert(!spec->log_serial_console);
    ck_assert(spec->block_multi_queue);
    ck_assert_uint_eq(spec->interfaces.count, 0);
    ck_assert(cJSON_IsObject(json_get(spec->object, "spec")));
    done(spec);
}
END_TEST

/* The domain's CPU and memory parts, and what comes of them. */
static const struct {
    const char *domain;
    uint32_t cpus;
    uint64_t memory, page;
} sizes[] = {
    {"memory: {guest: 1Gi}", 1, UINT64_C(1) << 30, 0},
    {"memory: {guest: 128M}", 1, UINT64_C(62) << 21, 0}, /* rounded up to 2 MiB */
    {"memory: {guest: 134217728}", 1, UINT64_C(128) << 20, 0},
    {"memory: {guest: 2Mi}", 1, UINT64_C(2) << 20, 0},
    {"resources: {requests: {memory: 64Mi}}", 1, UINT64_C(64) << 20, 0},
    {"resources: {limits: {memory: 64Mi}}", 1, UINT64_C(64) << 20, 0},
    {"resources: {requests: {memory: 64Mi}, limits: {memory: 128Mi}}", 1, UINT64_C(64) << 20, 0},
    {"{memory: {guest: 32Mi}, resources: {requests: {memory: 64Mi}}}", 1, UINT64_C(32) << 20, 0},
    {"memory: {guest: 64Mi, hugepages: {pageSize: 2Mi}}", 1, UINT64_C(64) << 20, 2 << 20},
    {"memory: {hugepages: {pageSize: 1Gi}}", 1, UINT64_C(1) << 30, 1 << 30},
    {"{memory: {guest: 1Gi}, cpu: {cores: 3}}", 3, UINT64_C(1) << 30, 0},
    {"{memory: {guest: 1Gi}, cpu: {sockets: 2, threads: 2}}", 4, UINT64_C(1) << 30, 0},
    {"{memory: {guest: 1Gi}, resources: {requests: {cpu: 500m}}}", 1, UINT64_C(1) << 30, 0},
    {"{memory: {guest: 1Gi}, resources: {requests: {cpu: 1500m}}}", 2, UINT64_C(1) << 30, 0},
    {"{memory: {guest: 1Gi}, resources: {requests: {cpu: 1}, limits: {cpu: 3}}}", 3,
     UINT64_C(1) << 30, 0},
    {"{memory: {guest: 1Gi}, resources: {requests: {cpu: 4}}, cpu: {cores: 2}}", 2,
     UINT64_C(1) << 30, 0},
    {"{memory: {guest: 1Gi}, resources: {requests: {cpu: 1.5}}}", 2, UINT64_C(1) << 30, 0},
    {"{memory: {guest: 1Gi}, cpu: {sockets: 64}}", 64, UINT64_C(1) << 30, 0},
};

START_TEST(sizes_machines)
{
    char text[512];
    bool flow = sizes[_i].domain[0] == '{';
    snprintf(text, sizeof(text), flow ? VMI "  domain: %s\n" : VMI "  domain: {%s}\n",
             sizes[_i].domain);
    struct vmspec *spec = read_quietly(text);
    ck_assert_uint_eq(spec->cpu.count, sizes[_i].cpus);
    ck_assert_uint_eq(spec->memory.guest, sizes[_i].memory);
    ck_assert_uint_eq(spec->memory.huge_page_size, sizes[_i].page);
    done(spec);
}
END_TEST

START_TEST(pins_cpus)
{
    struct vmspec *spec = read_quietly(VMI "  domain:\n    memory: {guest: 1Gi}\n"
                                           "    cpu: {cores: 2, dedicatedCpuPlacement: true,\n"
                                           "          isolateEmulatorThread: true}\n");
    ck_assert(spec->cpu.dedicated);
    ck_assert(spec->cpu.isolate_emulator_thread);
    done(spec);
}
END_TEST

START_TEST(boots_a_kernel)
{
    struct vmspec *spec = read_quietly(VMI "  startStrategy: Paused\n"
                                           "  domain:\n"
                                           "    memory: {guest: 1Gi}\n"
                                           "    firmware:\n"
                                           "      kernelBoot:\n"
                                           "        kernelArgs: console=ttyS0\n"
                                           "        container:\n"
                                           "          image: example.org/kernel:1\n"
                                           "          imagePullPolicy: Always\n"
                                           "          imagePullSecret: key\n"
                                           "          kernelPath: /boot/vmlinuz\n"
                                           "          initrdPath: /boot/initrd\n");
    ck_assert(spec->start_paused);
    ck_assert(spec->kernel.given);
    ck_assert_str_eq(spec->kernel.args, "console=ttyS0");
    ck_assert_str_eq(spec->kernel.image, "example.org/kernel:1");
    ck_assert_str_eq(spec->kernel.pull_policy, "Always");
    ck_assert_str_eq(spec->kernel.pull_secret, "key");
    ck_assert_str_eq(spec->kernel.kernel_path, "/boot/vmlinuz");
    ck_assert_str_eq(spec->kernel.initrd_path, "/boot/initrd");
    done(spec);
}
END_TEST

START_TEST(boots_efi)
{
    struct vmspec *spec = read_quietly(
        VMI
        "  domain: {memory: {guest: 1Gi}, firmware: {bootloader: {efi: {secureBoot: false}}}}\n");
    ck_assert_int_eq(spec->boot, VMSPEC_BOOT_EFI);
    done(spec);
}
END_TEST

START_TEST(joins_disks_and_volumes)
{
    struct vmspec *spec = read_text(
        VMI
        "  domain:\n"
        "    memory: {guest: 1Gi}\n"
        "    devices:\n"
        "      disks:\n"
        "      - name: root\n"
        "        disk: {bus: virtio}\n"
        "        bootOrder: 1\n"
        "        serial: abc-1\n"
        "        cache: writethrough\n"
        "        io: native\n"
        "        errorPolicy: report\n"
        "        dedicatedIOThread: true\n"
        "        blockSize: {custom: {logical: 4096, physical: 8192, discardGranularity: 8192}}\n"
        "      - name: shared\n"
        "        disk: {bus: virtio, readonly: true}\n"
        "        shareable: true\n"
        "        blockSize: {matchVolume: {}}\n"
        "      - name: seed\n"
        "        cdrom: {}\n"
        "      - {name: bare}\n"
        "  volumes:\n"
        "  - {name: auto, emptyDisk: {capacity: 1Gi}}\n"
        "  - {name: seed, cloudInitNoCloud: {userData: '#cloud-config'}}\n"
        "  - {name: root, containerDisk: {image: 'i:1', path: /disk/a.img}}\n"
        "  - {name: shared, persistentVolumeClaim: {claimName: c}}\n"
        "  - {name: bare, hostDisk: {path: /d, type: DiskOrCreate, capacity: 2Gi}}\n"
        "  - {name: dump, memoryDump: {claimName: d}}\n");
    ck_assert_uint_eq(diag.list.count, 1); /* of the memory dump */
    ck_assert_uint_eq(spec->volumes.count, 6);
    ck_assert_uint_eq(spec->disks.count, 5);
    const struct vmspec_disk *d = &spec->disks.item[0];
    ck_assert_str_eq(d->name, "root");
    ck_assert_int_eq(d->kind, VMSPEC_DISK);
    ck_assert_uint_eq(d->boot_order, 1);
    ck_assert_str_eq(d->serial, "abc-1");
    ck_assert_int_eq(d->cache, VMSPEC_CACHE_WRITETHROUGH);
    ck_assert_int_eq(d->io, VMSPEC_IO_NATIVE);
    ck_assert_int_eq(d->error_policy, VMSPEC_ERROR_REPORT);
    ck_assert(d->dedicated_io_thread);
    ck_assert_uint_eq(d->logical_block_size, 4096);
    ck_assert_uint_eq(d->physical_block_size, 8192);
    ck_assert_uint_eq(d->discard_granularity, 8192);
    const struct vmspec_volume *v = vmspec_disk_volume(spec, d);
    ck_assert_int_eq(v->kind, VMSPEC_VOLUME_CONTAINER_DISK);
    ck_assert_str_eq(v->container_disk.image, "i:1");
    ck_assert_str_eq(v->container_disk.path, "/disk/a.img");
    ck_assert_str_eq(json_get(v->source, "image")->valuestring, "i:1");

    d = &spec->disks.item[1];
    ck_assert(d->readonly);
    ck_assert(d->shareable);
    ck_assert_int_eq(d->cache, VMSPEC_CACHE_NONE);
    ck_assert(d->match_volume_block_size);
    ck_assert_str_eq(vmspec_disk_volume(spec, d)->claim.claim, "c");

    d = &spec->disks.item[2];
    ck_assert_int_eq(d->kind, VMSPEC_CDROM);
    ck_assert(d->readonly);
    ck_assert_str_eq(vmspec_disk_volume(spec, d)->cloud_init.user_data, "#cloud-config");

    d = &spec->disks.item[3];
    v = vmspec_disk_volume(spec, d);
    ck_assert(!d->automatic);
    ck_assert_str_eq(v->host_disk.path, "/d");
    ck_assert(v->host_disk.create);
    ck_assert_uint_eq(v->host_disk.capacity, UINT64_C(2) << 30);
    ck_assert_int_eq(v->host_disk.format, VMSPEC_FORMAT_RAW);

    d = &spec->disks.item[4];
    ck_assert_str_eq(d->name, "auto");
    ck_assert(d->automatic);
    ck_assert_uint_eq(vmspec_disk_volume(spec, d)->empty_disk.capacity, UINT64_C(1) << 30);
    done(spec);
}
END_TEST

START_TEST(reads_every_kind_of_volume)
{
    struct vmspec *spec = read_text(
        VMI
        "  domain: {memory: {guest: 1Gi}}\n"
        "  volumes:\n"
        "  - {name: a, persistentVolumeClaim: {claimName: c, readOnly: true, hotpluggable: "
        "false}}\n"
        "  - {name: b, dataVolume: {name: dv}}\n"
        "  - {name: c, ephemeral: {persistentVolumeClaim: {claimName: base}}}\n"
        "  - {name: d, containerDisk: {image: i, imagePullPolicy: Never, imagePullSecret: s}}\n"
        "  - {name: e, cloudInitConfigDrive: {userDataBase64: 'I2Nsb3VkLWNvbmZpZwo=',\n"
        "       networkDataSecretRef: {name: net}}}\n"
        "  - {name: f, cloudInitNoCloud: {secretRef: {name: user}, networkData: 'version: 2'}}\n"
        "  - {name: g, configMap: {name: cm, optional: true, volumeLabel: cfg}}\n"
        "  - {name: h, secret: {secretName: sec}}\n"
        "  - {name: i, downwardAPI: {fields: [{path: labels}], volumeLabel: api}}\n"
        "  - {name: j, serviceAccount: {serviceAccountName: sa}}\n"
        "  - {name: k, sysprep: {secret: {name: answers}}}\n"
        "  - {name: l, hostDisk: {path: /d, type: Disk, shared: true}}\n"
        "  accessCredentials:\n"
        "  - sshPublicKey: {source: {secret: {secretName: k}}, propagationMethod: {noCloud: {}}}\n"
        "  - sshPublicKey:\n"
        "      source: {secret: {secretName: l}}\n"
        "      propagationMethod: {configDrive: {}}\n");
    const struct vmspec_volume *v = spec->volumes.item;
    ck_assert_uint_eq(spec->credentials.count, 2);
    ck_assert_str_eq(spec->credentials.item[0].secret, "k");
    ck_assert(vmspec_credential_is_for(&spec->credentials.item[0], &v[5]));
    ck_assert(!vmspec_credential_is_for(&spec->credentials.item[0], &v[4]));
    ck_assert(vmspec_credential_is_for(&spec->credentials.item[1], &v[4]));
    ck_assert_uint_eq(diag.list.count, 1); /* of the DataVolume */
    ck_assert_uint_eq(spec->volumes.count, 12);
    ck_assert_uint_eq(spec->disks.count, 12);
    ck_assert(v[0].claim.readonly);
    ck_assert(spec->disks.item[0].readonly);
    ck_assert_int_eq(v[1].kind, VMSPEC_VOLUME_DATA_VOLUME);
    ck_assert_str_eq(v[1].claim.claim, "dv");
    ck_assert_str_eq(v[2].claim.claim, "base");
    ck_assert(!spec->disks.item[2].readonly);
    ck_assert_str_eq(v[3].container_disk.pull_policy, "Never");
    ck_assert_ptr_null(v[3].container_disk.path);
    ck_assert_str_eq(v[4].cloud_init.network_data_secret, "net");
    ck_assert_str_eq(v[4].cloud_init.user_data_base64, "I2Nsb3VkLWNvbmZpZwo=");
    ck_assert_str_eq(v[5].cloud_init.user_data_secret, "user");
    ck_assert_str_eq(v[5].cloud_init.network_data, "version: 2");
    ck_assert_str_eq(v[6].files.name, "cm");
    ck_assert_str_eq(v[6].files.label, "cfg");
    ck_assert(v[6].files.optional);
    ck_assert_str_eq(v[7].files.name, "sec");
    ck_assert_ptr_null(v[8].files.name);
    ck_assert_str_eq(v[9].files.name, "sa");
    ck_assert(v[10].files.is_secret);
    ck_assert(v[11].host_disk.shared);
    static const char *const names[] = {
        "persistentVolumeClaim", "dataVolume",       "ephemeral", "containerDisk",
        "cloudInitConfigDrive",  "cloudInitNoCloud", "configMap", "secret",
        "downwardAPI",           "serviceAccount",   "sysprep",   "hostDisk",
    };
    for (size_t i = 0; i < 12; i++)
        ck_assert_str_eq(vmspec_volume_kind_name(v[i].kind), names[i]);
    done(spec);
}
END_TEST

START_TEST(joins_interfaces_and_networks)
{
    struct vmspec *spec =
        read_quietly(VMI "  domain:\n"
                         "    memory: {guest: 1Gi}\n"
                         "    devices:\n"
                         "      interfaces:\n"
                         "      - name: second_1\n"
                         "        bridge: {}\n"
                         "        state: up\n"
                         "        model: virtio\n"
                         "      - name: first\n"
                         "        masquerade: {}\n"
                         "        macAddress: DE-AD-00-00-BE-AE\n"
                         "        ports: [{port: 80}, {name: dns, protocol: UDP, port: 53}]\n"
                         "        dhcpOptions: {}\n"
                         "      - {name: third, passtBinding: {}}\n"
                         "      - {name: fourth, bridge: {}, state: absent}\n"
                         "  networks:\n"
                         "  - {name: first, pod: {vmNetworkCIDR: 10.1.0.0/24}}\n"
                         "  - {name: second_1, multus: {networkName: ns/nad}}\n"
                         "  - {name: third, multus: {networkName: nad}}\n"
                         "  - {name: fourth, multus: {networkName: nad}}\n");
    static const uint8_t mac[6] = {0xde, 0xad, 0x00, 0x00, 0xbe, 0xae};
    ck_assert_uint_eq(spec->interfaces.count, 4);
    const struct vmspec_interface *nic = &spec->interfaces.item[0];
    ck_assert_int_eq(nic->binding, VMSPEC_BINDING_BRIDGE);
    ck_assert_int_eq(nic->link, VMSPEC_LINK_UP);
    ck_assert(!nic->has_mac);
    ck_assert_str_eq(spec->networks.item[nic->network].multus_name, "ns/nad");
    nic = &spec->interfaces.item[1];
    ck_assert_int_eq(nic->binding, VMSPEC_BINDING_MASQUERADE);
    ck_assert_int_eq(nic->link, VMSPEC_LINK_UP);
    ck_assert(nic->has_mac);
    ck_assert_mem_eq(nic->mac, mac, 6);
    ck_assert_uint_eq(nic->ports.count, 2);
    ck_assert_uint_eq(nic->ports.item[0].port, 80);
    ck_assert(!nic->ports.item[0].udp);
    ck_assert(nic->ports.item[1].udp);
    ck_assert_str_eq(nic->ports.item[1].name, "dns");
    ck_assert_str_eq(spec->networks.item[nic->network].cidr, "10.1.0.0/24");
    ck_assert_int_eq(spec->interfaces.item[2].binding, VMSPEC_BINDING_PASST);
    ck_assert_int_eq(spec->interfaces.item[3].link, VMSPEC_LINK_ABSENT);
    done(spec);
}
END_TEST

START_TEST(takes_null_and_empty_for_absent)
{
    struct vmspec *spec = read_quietly(
        VMI "  hostname: ''\n  networks: null\n  volumes:\n  startStrategy: null\n"
            "  terminationGracePeriodSeconds: null\n"
            "  domain: {memory: {guest: 1Gi, hugepages: null}, cpu: null, launchSecurity: null}\n");
    ck_assert_ptr_null(spec->hostname);
    ck_assert_uint_eq(spec->grace_period_seconds, 30);
    done(spec);
}
END_TEST

/* uuid.uuid5(UUID("6a1a24a1-4061-4607-8bf4-a3963d0c5895"), "test"), from Python. */
START_TEST(derives_the_uuid_from_the_name)
{
    struct vmspec *spec = read_quietly(VMI "  domain: {memory: {guest: 1Gi}}\n");
    uint8_t expected[16];
    ck_assert_int_eq(vmspec_parse_uuid("feec480d-31a1-59fa-9199-a330c83aa404", expected, NULL), 0);
    ck_assert(!spec->uuid_given);
    ck_assert_mem_eq(spec->uuid, expected, 16);

    uint8_t mac[6], again[6];
    vmspec_interface_mac(spec, &spec->interfaces.item[0], mac);
    vmspec_interface_mac(spec, &spec->interfaces.item[0], again);
    ck_assert_mem_eq(mac, again, 6);
    ck_assert_uint_eq(mac[0] & 3, 2); /* local, unicast */
    done(spec);
}
END_TEST

START_TEST(passes_over_other_documents)
{
    struct vmspec *spec = read_text("kind: Secret\napiVersion: v1\nmetadata: {name: s}\n---\n" VMI
                                    "  domain: {memory: {guest: 1Gi}}\n---\n[]\n");
    ck_assert_uint_eq(diag.list.count, 2);
    ck_assert_int_eq(diag.list.item[0].severity, VMSPEC_WARNING);
    ck_assert_str_eq(diag.list.item[0].message,
                     "document 1 (Secret s) is not read: only a VirtualMachine or a "
                     "VirtualMachineInstance is");
    ck_assert_str_eq(diag.list.item[1].message,
                     "document 3 (no kind without a name) is not read: only a VirtualMachine or a "
                     "VirtualMachineInstance is");
    done(spec);
}
END_TEST

START_TEST(reads_json)
{
    struct vmspec *spec = read_quietly(
        "{\"apiVersion\":\"kubevirt.io/v1\",\"kind\":\"VirtualMachineInstance\",\"metadata\":"
        "{\"name\":\"j\"},\"spec\":{\"domain\":{\"memory\":{\"guest\":\"1Gi\"}}},\"status\":{\"x\":"
        "1}}");
    ck_assert_str_eq(spec->name, "j");
    done(spec);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("vmspec_read");
    TCase *tcase = tcase_create("all");
    tcase_add_test(tcase, reads_a_minimal_instance);
    tcase_add_test(tcase, reads_a_machine_with_everything_of_the_pod);
    tcase_add_loop_test(tcase, sizes_machines, 0, sizeof(sizes) / sizeof(sizes[0]));
    tcase_add_test(tcase, pins_cpus);
    tcase_add_test(tcase, boots_a_kernel);
    tcase_add_test(tcase, boots_efi);
    tcase_add_test(tcase, joins_disks_and_volumes);
    tcase_add_test(tcase, reads_every_kind_of_volume);
    tcase_add_test(tcase, joins_interfaces_and_networks);
    tcase_add_test(tcase, takes_null_and_empty_for_absent);
    tcase_add_test(tcase, derives_the_uuid_from_the_name);
    tcase_add_test(tcase, passes_over_other_documents);
    tcase_add_test(tcase, reads_json);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
