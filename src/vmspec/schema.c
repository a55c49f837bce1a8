// SPDX-License-Identifier: Apache-2.0
/*
 * The table of schema.h: KubeVirt's staging/src/kubevirt.io/api/core/v1/{types,schema}.go, field by
 * field. A USE_HARMLESS or USE_POD field has no message; the comment beside it says why none is
 * needed where that is not plain. Constant data.
 */
#include "schema.h"

/* clang-format off */
#define END                  {.name = NULL}
#define READ(n, t)           {.name = (n), .type = (t), .use = USE_READ}
#define READ_IN(n, t, m)     {.name = (n), .type = (t), .use = USE_READ, .members = (m)}
#define HARMLESS(n, t)       {.name = (n), .type = (t), .use = USE_HARMLESS}
#define HARMLESS_IN(n, t, m) {.name = (n), .type = (t), .use = USE_HARMLESS, .members = (m)}
#define POD(n, t)            {.name = (n), .type = (t), .use = USE_POD}
#define OTHER(n, t, u, w)    {.name = (n), .type = (t), .use = (u), .why = (w)}
#define WARN(n, t, w)        OTHER(n, t, USE_WARN, w)
#define REFUSE(n, t, w)      OTHER(n, t, USE_REFUSE, w)
/* clang-format on */

static const struct field empty[] = {END};

static const struct field metadata[] = {
    READ("name", FIELD_STRING),
    POD("generateName", FIELD_STRING),
    READ("namespace", FIELD_STRING),
    POD("labels", FIELD_STRING_MAP),
    READ("annotations", FIELD_STRING_MAP),
    POD("uid", FIELD_STRING),
    POD("resourceVersion", FIELD_STRING),
    POD("generation", FIELD_INTEGER),
    POD("creationTimestamp", FIELD_STRING),
    POD("deletionTimestamp", FIELD_STRING),
    POD("deletionGracePeriodSeconds", FIELD_INTEGER),
    POD("ownerReferences", FIELD_LIST),
    POD("finalizers", FIELD_STRINGS),
    POD("managedFields", FIELD_LIST),
    POD("selfLink", FIELD_STRING),
    END,
};

/* --- cpu, memory, resources --- */

static const struct field cpu_feature[] = {
    READ("name", FIELD_STRING),
    READ("policy", FIELD_STRING),
    END,
};

static const struct field numa[] = {
    WARN("guestMappingPassthrough", FIELD_OBJECT,
         "NUMA topology is not supported; the guest sees one node"),
    END,
};

static const struct field cpu[] = {
    READ("cores", FIELD_INTEGER),
    READ("sockets", FIELD_INTEGER),
    READ("maxSockets", FIELD_INTEGER), /* a ceiling for later hot-plug */
    READ("threads", FIELD_INTEGER),
    READ("model", FIELD_STRING),
    READ_IN("features", FIELD_LIST, cpu_feature),
    READ("dedicatedCpuPlacement", FIELD_BOOL),
    READ("isolateEmulatorThread", FIELD_BOOL),
    READ_IN("numa", FIELD_OBJECT, numa),
    WARN("realtime", FIELD_OBJECT, "real-time scheduling of vCPUs is not supported"),
    END,
};

static const struct field hugepages[] = {
    READ("pageSize", FIELD_STRING),
    END,
};

static const struct field memory[] = {
    READ_IN("hugepages", FIELD_OBJECT, hugepages), READ("guest", FIELD_QUANTITY),
    HARMLESS("maxGuest", FIELD_QUANTITY), /* a ceiling for later hot-plug */
    POD("reservedOverhead", FIELD_OBJECT),         END,
};

static const struct field resources[] = {
    READ("requests", FIELD_QUANTITY_MAP),
    READ("limits", FIELD_QUANTITY_MAP),
    POD("overcommitGuestOverhead", FIELD_BOOL),
    END,
};

/* --- firmware, features, clock --- */

static const struct field bios[] = {
    HARMLESS("useSerial", FIELD_BOOL), /* the serial console is the only one there is */
    END,
};

static const struct field efi[] = {
    READ("secureBoot", FIELD_BOOL),
    OTHER("persistent", FIELD_BOOL, USE_REFUSE_TRUE,
          "persistent EFI variables are not supported, and what the guest stores would be lost"),
    END,
};

static const struct field bootloader[] = {
    READ_IN("bios", FIELD_OBJECT, bios),
    READ_IN("efi", FIELD_OBJECT, efi),
    END,
};

static const struct field kernel_container[] = {
    READ("image", FIELD_STRING),           READ("imagePullSecret", FIELD_STRING),
    READ("imagePullPolicy", FIELD_STRING), READ("kernelPath", FIELD_STRING),
    READ("initrdPath", FIELD_STRING),      END,
};

static const struct field kernel_boot[] = {
    READ("kernelArgs", FIELD_STRING),
    READ_IN("container", FIELD_OBJECT, kernel_container),
    END,
};

static const struct field firmware[] = {
    READ("uuid", FIELD_STRING),
    READ_IN("bootloader", FIELD_OBJECT, bootloader),
    WARN("serial", FIELD_STRING, "an SMBIOS serial number is not supported"),
    READ_IN("kernelBoot", FIELD_OBJECT, kernel_boot),
    WARN("acpi", FIELD_OBJECT, "ACPI tables of the user's (SLIC, MSDM) are not supported"),
    END,
};

static const struct field machine[] = {
    POD("type", FIELD_STRING), /* a label for the scheduler: there is one machine */
    END,
};

static const struct field apic[] = {
    HARMLESS("enabled", FIELD_BOOL),
    HARMLESS("endOfInterrupt", FIELD_BOOL), /* paravirtual EOI: KVM's offer, the guest's choice */
    END,
};

static const struct field feature_state[] = {
    HARMLESS("enabled", FIELD_BOOL),
    END,
};

static const struct field kvm_feature[] = {
    OTHER("hidden", FIELD_BOOL, USE_WARN_TRUE, "the guest will see that it runs on KVM"),
    END,
};

static const struct field features[] = {
    {"acpi", FIELD_OBJECT, USE_WARN_DISABLED, "the machine always has ACPI", feature_state},
    {"apic", FIELD_OBJECT, USE_WARN_DISABLED, "the machine always has local APICs", apic},
    OTHER("hypervPassthrough", FIELD_OBJECT, USE_WARN_ENABLED,
          "Hyper-V enlightenments are not supported"),
    WARN("hyperv", FIELD_OBJECT, "Hyper-V enlightenments are not supported"),
    {"smm", FIELD_OBJECT, USE_WARN_ENABLED, "system management mode is not supported",
     feature_state},
    READ_IN("kvm", FIELD_OBJECT, kvm_feature),
    HARMLESS_IN("pvspinlock", FIELD_OBJECT, feature_state), /* KVM's offer, the guest's choice */
    END,
};

static const struct field clock_utc[] = {
    READ("offsetSeconds", FIELD_INTEGER),
    END,
};

static const struct field timer[] = {
    HARMLESS("present", FIELD_BOOL),
    HARMLESS("tickPolicy", FIELD_STRING), /* no timer here counts ticks for the guest */
    HARMLESS("track", FIELD_STRING),
    END,
};

static const struct field kvm_timer[] = {
    OTHER("present", FIELD_BOOL, USE_WARN_FALSE, "the machine always offers kvmclock"),
    END,
};

static const struct field timers[] = {
    HARMLESS_IN("hpet", FIELD_OBJECT, timer), /* Linux and Windows do without */
    READ_IN("kvm", FIELD_OBJECT, kvm_timer),
    HARMLESS_IN("pit", FIELD_OBJECT, timer),
    HARMLESS_IN("rtc", FIELD_OBJECT, timer),
    HARMLESS_IN("hyperv", FIELD_OBJECT, timer), /* only a guest with hyperv features asks it */
    END,
};

static const struct field clock[] = {
    READ_IN("utc", FIELD_OBJECT, clock_utc),
    READ("timezone", FIELD_STRING),
    READ_IN("timer", FIELD_OBJECT, timers),
    END,
};

/* --- devices --- */

static const struct field disk_target[] = {
    READ("bus", FIELD_STRING),
    READ("readonly", FIELD_BOOL),
    WARN("pciAddress", FIELD_STRING, "a fixed PCI address is not supported"),
    END,
};

static const struct field lun_target[] = {
    READ("bus", FIELD_STRING),
    READ("readonly", FIELD_BOOL),
    OTHER("reservation", FIELD_BOOL, USE_REFUSE_TRUE, "SCSI reservations are not supported"),
    END,
};

static const struct field cdrom_target[] = {
    READ("bus", FIELD_STRING),
    READ("readonly", FIELD_BOOL),
    READ("tray", FIELD_STRING),
    END,
};

static const struct field block_size_custom[] = {
    READ("logical", FIELD_INTEGER),
    READ("physical", FIELD_INTEGER),
    READ("discardGranularity", FIELD_INTEGER),
    END,
};

static const struct field block_size[] = {
    READ_IN("custom", FIELD_OBJECT, block_size_custom),
    READ_IN("matchVolume", FIELD_OBJECT, feature_state),
    END,
};

static const struct field disk[] = {
    READ("name", FIELD_STRING),
    READ_IN("disk", FIELD_OBJECT, disk_target),
    READ_IN("lun", FIELD_OBJECT, lun_target),
    READ_IN("cdrom", FIELD_OBJECT, cdrom_target),
    READ("bootOrder", FIELD_INTEGER),
    READ("serial", FIELD_STRING),
    READ("dedicatedIOThread", FIELD_BOOL),
    READ("cache", FIELD_STRING),
    READ("io", FIELD_STRING),
    WARN("tag", FIELD_STRING, "tags are not put into the metadata of config drives"),
    READ_IN("blockSize", FIELD_OBJECT, block_size),
    READ("shareable", FIELD_BOOL),
    READ("errorPolicy", FIELD_STRING),
    OTHER("changedBlockTracking", FIELD_BOOL, USE_WARN_TRUE,
          "changed block tracking is not supported"),
    END,
};

static const struct field port[] = {
    READ("name", FIELD_STRING),
    READ("protocol", FIELD_STRING),
    READ("port", FIELD_INTEGER),
    END,
};

static const struct field dhcp_private_option[] = {
    READ("option", FIELD_INTEGER),
    READ("value", FIELD_STRING),
    END,
};

static const char no_dhcp_option[] = "the guest's DHCP server does not send it";

static const struct field dhcp_options[] = {
    WARN("bootFileName", FIELD_STRING, no_dhcp_option),
    WARN("tftpServerName", FIELD_STRING, no_dhcp_option),
    WARN("ntpServers", FIELD_STRINGS, no_dhcp_option),
    {"privateOptions", FIELD_LIST, USE_WARN, no_dhcp_option, dhcp_private_option},
    END,
};

static const struct field interface[] = {
    READ("name", FIELD_STRING),
    READ("model", FIELD_STRING),
    READ_IN("bridge", FIELD_OBJECT, empty),
    READ_IN("masquerade", FIELD_OBJECT, empty),
    READ_IN("passtBinding", FIELD_OBJECT, empty),
    REFUSE("sriov", FIELD_OBJECT, "SR-IOV interfaces are not supported"),
    REFUSE("slirp", FIELD_OBJECT, "Slirp interface support has been discontinued since v1.3"),
    REFUSE("macvtap", FIELD_OBJECT, "Macvtap network binding has been discontinued since v1.3"),
    REFUSE("passt", FIELD_OBJECT, "Passt network binding has been discontinued since v1.3"),
    REFUSE("binding", FIELD_OBJECT, "network binding plugins are not supported"),
    READ_IN("ports", FIELD_LIST, port),
    WARN("portRanges", FIELD_LIST, "port ranges are not supported; list the ports"),
    READ("macAddress", FIELD_STRING),
    READ("bootOrder", FIELD_INTEGER),
    WARN("pciAddress", FIELD_STRING, "a fixed PCI address is not supported"),
    READ_IN("dhcpOptions", FIELD_OBJECT, dhcp_options),
    WARN("tag", FIELD_STRING, "tags are not put into the metadata of config drives"),
    WARN("acpiIndex", FIELD_INTEGER, "an ACPI index is not supported"),
    READ("state", FIELD_STRING),
    END,
};

static const struct field tpm[] = {
    READ("enabled", FIELD_BOOL),
    READ("persistent", FIELD_BOOL),
    END,
};

static const struct field panic_device[] = {
    READ("model", FIELD_STRING),
    END,
};

static const struct field filesystem[] = {
    READ("name", FIELD_STRING),
    WARN("virtiofs", FIELD_OBJECT, "shared file systems are not supported"),
    END,
};

static const struct field devices[] = {
    OTHER("useVirtioTransitional", FIELD_BOOL, USE_WARN_TRUE,
          "legacy virtio is not supported; devices are virtio 1.2"),
    HARMLESS("disableHotplug", FIELD_BOOL),
    READ_IN("disks", FIELD_LIST, disk),
    WARN("watchdog", FIELD_OBJECT, "watchdog devices are not supported"),
    READ_IN("interfaces", FIELD_LIST, interface),
    WARN("inputs", FIELD_LIST, "input devices are not supported"),
    READ("autoattachPodInterface", FIELD_BOOL),
    OTHER("autoattachGraphicsDevice", FIELD_BOOL, USE_WARN_TRUE,
          "there is no graphics device; use the serial console"),
    READ("autoattachSerialConsole", FIELD_BOOL),
    READ("logSerialConsole", FIELD_BOOL),
    READ("autoattachMemBalloon", FIELD_BOOL),
    OTHER("autoattachInputDevice", FIELD_BOOL, USE_WARN_TRUE, "input devices are not supported"),
    OTHER("autoattachVSOCK", FIELD_BOOL, USE_WARN_TRUE, "virtio-vsock is not supported"),
    READ_IN("rng", FIELD_OBJECT, empty),
    READ("blockMultiQueue", FIELD_BOOL),
    OTHER("networkInterfaceMultiqueue", FIELD_BOOL, USE_WARN_TRUE,
          "network cards have one pair of queues"),
    REFUSE("gpus", FIELD_LIST, "GPUs are not supported"),
    WARN("downwardMetrics", FIELD_OBJECT, "downward metrics are not supported"),
    READ_IN("panicDevices", FIELD_LIST, panic_device),
    READ_IN("filesystems", FIELD_LIST, filesystem),
    REFUSE("hostDevices", FIELD_LIST, "host devices are not supported"),
    WARN("clientPassthrough", FIELD_OBJECT, "USB redirection is not supported"),
    WARN("sound", FIELD_OBJECT, "sound devices are not supported"),
    READ_IN("tpm", FIELD_OBJECT, tpm),
    WARN("video", FIELD_OBJECT, "video devices are not supported; use the serial console"),
    END,
};

static const struct field io_threads[] = {
    READ("supplementalPoolThreadCount", FIELD_INTEGER),
    END,
};

static const struct field domain[] = {
    READ_IN("resources", FIELD_OBJECT, resources),
    READ_IN("cpu", FIELD_OBJECT, cpu),
    READ_IN("memory", FIELD_OBJECT, memory),
    HARMLESS_IN("machine", FIELD_OBJECT, machine),
    READ_IN("firmware", FIELD_OBJECT, firmware),
    READ_IN("clock", FIELD_OBJECT, clock),
    READ_IN("features", FIELD_OBJECT, features),
    READ_IN("devices", FIELD_OBJECT, devices),
    READ("ioThreadsPolicy", FIELD_STRING),
    READ_IN("ioThreads", FIELD_OBJECT, io_threads),
    WARN("chassis", FIELD_OBJECT, "SMBIOS chassis information is not supported"),
    REFUSE("launchSecurity", FIELD_OBJECT,
           "confidential computing is not supported, and the guest's memory would be unprotected"),
    READ("rebootPolicy", FIELD_STRING),
    END,
};

/* --- volumes, networks --- */

static const struct field host_disk[] = {
    READ("path", FIELD_STRING),
    READ("type", FIELD_STRING),
    READ("capacity", FIELD_QUANTITY),
    READ("shared", FIELD_BOOL),
    END,
};

static const char no_hotplug[] = "volumes cannot come and go while the machine runs";

static const struct field claim[] = {
    READ("claimName", FIELD_STRING),
    READ("readOnly", FIELD_BOOL),
    OTHER("hotpluggable", FIELD_BOOL, USE_WARN_TRUE, no_hotplug),
    END,
};

static const struct field data_volume[] = {
    READ("name", FIELD_STRING),
    OTHER("hotpluggable", FIELD_BOOL, USE_WARN_TRUE, no_hotplug),
    END,
};

static const struct field ephemeral[] = {
    READ_IN("persistentVolumeClaim", FIELD_OBJECT, claim),
    END,
};

static const struct field container_disk[] = {
    READ("image", FIELD_STRING),
    READ("imagePullSecret", FIELD_STRING),
    READ("path", FIELD_STRING),
    READ("imagePullPolicy", FIELD_STRING),
    END,
};

static const struct field empty_disk[] = {
    READ("capacity", FIELD_QUANTITY),
    END,
};

static const struct field local_reference[] = {
    READ("name", FIELD_STRING),
    END,
};

static const struct field cloud_init[] = {
    READ_IN("secretRef", FIELD_OBJECT, local_reference),
    READ("userDataBase64", FIELD_STRING),
    READ("userData", FIELD_STRING),
    READ_IN("networkDataSecretRef", FIELD_OBJECT, local_reference),
    READ("networkDataBase64", FIELD_STRING),
    READ("networkData", FIELD_STRING),
    END,
};

static const struct field config_map[] = {
    READ("name", FIELD_STRING),
    READ("optional", FIELD_BOOL),
    READ("volumeLabel", FIELD_STRING),
    END,
};

static const struct field secret[] = {
    READ("secretName", FIELD_STRING),
    READ("optional", FIELD_BOOL),
    READ("volumeLabel", FIELD_STRING),
    END,
};

static const struct field downward_api[] = {
    POD("fields", FIELD_LIST),
    READ("volumeLabel", FIELD_STRING),
    END,
};

static const struct field service_account[] = {
    READ("serviceAccountName", FIELD_STRING),
    END,
};

static const struct field sysprep[] = {
    READ_IN("secret", FIELD_OBJECT, local_reference),
    READ_IN("configMap", FIELD_OBJECT, local_reference),
    END,
};

static const struct field volume[] = {
    READ("name", FIELD_STRING),
    READ_IN("hostDisk", FIELD_OBJECT, host_disk),
    READ_IN("persistentVolumeClaim", FIELD_OBJECT, claim),
    READ_IN("dataVolume", FIELD_OBJECT, data_volume),
    READ_IN("ephemeral", FIELD_OBJECT, ephemeral),
    READ_IN("containerDisk", FIELD_OBJECT, container_disk),
    READ_IN("emptyDisk", FIELD_OBJECT, empty_disk),
    READ_IN("cloudInitNoCloud", FIELD_OBJECT, cloud_init),
    READ_IN("cloudInitConfigDrive", FIELD_OBJECT, cloud_init),
    READ_IN("configMap", FIELD_OBJECT, config_map),
    READ_IN("secret", FIELD_OBJECT, secret),
    READ_IN("downwardAPI", FIELD_OBJECT, downward_api),
    READ_IN("serviceAccount", FIELD_OBJECT, service_account),
    READ_IN("sysprep", FIELD_OBJECT, sysprep),
    {"memoryDump", FIELD_OBJECT, USE_WARN,
     "memory dumps are not supported; nothing is written to the claim", claim},
    WARN("downwardMetrics", FIELD_OBJECT, "downward metrics are not supported"),
    WARN("containerPath", FIELD_OBJECT, "shared file systems are not supported"),
    END,
};

static const struct field pod_network[] = {
    READ("vmNetworkCIDR", FIELD_STRING),
    WARN("vmIPv6NetworkCIDR", FIELD_STRING, "masquerade is of IPv4 only"),
    END,
};

static const struct field multus_network[] = {
    READ("networkName", FIELD_STRING),
    READ("default", FIELD_BOOL),
    END,
};

static const struct field network[] = {
    READ("name", FIELD_STRING),
    READ_IN("pod", FIELD_OBJECT, pod_network),
    READ_IN("multus", FIELD_OBJECT, multus_network),
    REFUSE("resourceClaim", FIELD_OBJECT, "networks by resource claim are not supported"),
    END,
};

/* --- access credentials --- */

static const struct field credential_secret[] = {
    READ("secretName", FIELD_STRING),
    END,
};

static const struct field credential_source[] = {
    READ_IN("secret", FIELD_OBJECT, credential_secret),
    END,
};

static const struct field key_propagation[] = {
    READ_IN("configDrive", FIELD_OBJECT, empty),
    READ_IN("noCloud", FIELD_OBJECT, empty),
    WARN("qemuGuestAgent", FIELD_OBJECT,
         "guest agents are not supported; the keys are not put into the guest"),
    END,
};

static const struct field ssh_public_key[] = {
    READ_IN("source", FIELD_OBJECT, credential_source),
    READ_IN("propagationMethod", FIELD_OBJECT, key_propagation),
    END,
};

static const struct field access_credential[] = {
    READ_IN("sshPublicKey", FIELD_OBJECT, ssh_public_key),
    WARN("userPassword", FIELD_OBJECT,
         "guest agents are not supported; the password is not set in the guest"),
    END,
};

/* --- the whole --- */

static const struct field instance_spec[] = {
    POD("priorityClassName", FIELD_STRING),
    READ_IN("domain", FIELD_OBJECT, domain),
    POD("nodeSelector", FIELD_STRING_MAP),
    POD("affinity", FIELD_OBJECT),
    POD("schedulerName", FIELD_STRING),
    POD("tolerations", FIELD_LIST),
    POD("topologySpreadConstraints", FIELD_LIST),
    POD("serviceAccountName", FIELD_STRING),
    READ("evictionStrategy", FIELD_STRING), /* checked; acted on by the operator */
    READ("startStrategy", FIELD_STRING),
    READ("terminationGracePeriodSeconds", FIELD_INTEGER),
    READ_IN("volumes", FIELD_LIST, volume),
    POD("livenessProbe", FIELD_OBJECT),
    POD("readinessProbe", FIELD_OBJECT),
    READ("hostname", FIELD_STRING),
    READ("subdomain", FIELD_STRING),
    READ_IN("networks", FIELD_LIST, network),
    POD("dnsPolicy", FIELD_STRING),
    POD("dnsConfig", FIELD_OBJECT),
    READ_IN("accessCredentials", FIELD_LIST, access_credential),
    READ("architecture", FIELD_STRING),
    WARN("resourceClaims", FIELD_LIST, "resource claims are not supported"),
    WARN("utilityVolumes", FIELD_LIST, "utility volumes are not supported"),
    END,
};

static const struct field template[] = {
    READ_IN("metadata", FIELD_OBJECT, metadata),
    READ_IN("spec", FIELD_OBJECT, instance_spec),
    END,
};

static const struct field machine_spec[] = {
    POD("running", FIELD_BOOL),
    POD("runStrategy", FIELD_STRING),
    WARN("instancetype", FIELD_OBJECT,
         "instance types are not resolved; the template alone counts"),
    WARN("preference", FIELD_OBJECT, "preferences are not resolved; the template alone counts"),
    READ_IN("template", FIELD_OBJECT, template),
    WARN("dataVolumeTemplates", FIELD_LIST,
         "no DataVolume is made of it; make it, or its claim, by hand"),
    POD("updateVolumesStrategy", FIELD_STRING),
    END,
};

const struct field schema_machine[] = {
    READ("apiVersion", FIELD_STRING),
    READ("kind", FIELD_STRING),
    READ_IN("metadata", FIELD_OBJECT, metadata),
    READ_IN("spec", FIELD_OBJECT, machine_spec),
    POD("status", FIELD_OBJECT),
    END,
};

const struct field schema_instance[] = {
    READ("apiVersion", FIELD_STRING),
    READ("kind", FIELD_STRING),
    READ_IN("metadata", FIELD_OBJECT, metadata),
    READ_IN("spec", FIELD_OBJECT, instance_spec),
    POD("status", FIELD_OBJECT),
    END,
};
