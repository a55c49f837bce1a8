// SPDX-License-Identifier: Apache-2.0
/* What a manifest can have wrong, or ask for in vain: each with its severity, path and words. */
#include "run_suite.h"
#include <check.h>
#include <podvisor/vmspec.h>
#include <stdio.h>
#include <string.h>

#define WARNING VMSPEC_WARNING
#define ERROR   VMSPEC_ERROR
#define DOMAIN  "spec.domain"
#define DEVICES "spec.domain.devices"
#define ONE     "volumes: [{name: a, emptyDisk: {capacity: 1Mi}}]"
#define SOURCE  "{source: {secret: {secretName: s}}"

/* Parts of an instance: of its spec (not the domain), its domain, its devices. One diagnostic. */
static const struct {
    const char *spec, *domain, *devices;
    enum vmspec_severity severity;
    const char *path, *message;
} cases[] = {
    /* unknown fields and wrong types */
    {"foo: 1", "", "", ERROR, "spec.foo", "unknown field"},
    {"volume: []", "", "", ERROR, "spec.volume", "unknown field; did you mean 'volumes'?"},
    {"", "memmory: {}", "", ERROR, DOMAIN ".memmory", "unknown field; did you mean 'memory'?"},
    {"", "cpu: {corse: 2}", "", ERROR, DOMAIN ".cpu.corse", "unknown field; did you mean 'cores'?"},
    {"", "", "disks: [{name: a, disc: {}}]", ERROR, DEVICES ".disks[0].disc",
     "unknown field; did you mean 'disk'?"},
    {"", "cpu: {cores: '2'}", "", ERROR, DOMAIN ".cpu.cores", "must be an integer, not a string"},
    {"", "cpu: {cores: 1.5}", "", ERROR, DOMAIN ".cpu.cores", "must be an integer, not a number"},
    {"", "cpu: []", "", ERROR, DOMAIN ".cpu", "must be an object, not an array"},
    {"", "", "disks: {}", ERROR, DEVICES ".disks", "must be a list, not an object"},
    {"", "", "rng: 1", ERROR, DEVICES ".rng", "must be an object, not a number"},
    {"nodeSelector: {a: yes}", "", "", ERROR, "spec.nodeSelector.a",
     "must be a string, not a boolean"},
    {"", "", "autoattachMemBalloon: 'no'", ERROR, DEVICES ".autoattachMemBalloon",
     "must be true or false, not a string"},
    {"hostname: 12", "", "", ERROR, "spec.hostname", "must be a string, not a number"},

    /* CPU and memory */
    {"", "cpu: {cores: 0}", "", ERROR, DOMAIN ".cpu.cores",
     "must be at least 1 and at most 4294967295"},
    {"", "cpu: {cores: -1}", "", ERROR, DOMAIN ".cpu.cores",
     "must be at least 1 and at most 4294967295"},
    {"", "cpu: {sockets: 65}", "", ERROR, DOMAIN ".cpu", "a machine has at most 64 CPUs"},
    {"", "cpu: {sockets: 4294967295, cores: 4294967295, threads: 4294967295}", "", ERROR,
     DOMAIN ".cpu", "a machine has at most 64 CPUs"},
    {"", "resources: {requests: {cpu: 1000}}", "", ERROR, DOMAIN ".cpu",
     "a machine has at most 64 CPUs"},
    {"", "cpu: {sockets: 3, maxSockets: 2}", "", ERROR, DOMAIN ".cpu.sockets",
     "Number of sockets in CPU topology is greater than the maximum sockets allowed"},
    {"", "cpu: {model: Haswell}", "", WARNING, DOMAIN ".cpu.model",
     "the CPU model 'Haswell' is not supported; the guest sees the host's"},
    {"", "cpu: {features: [{name: apic}]}", "", WARNING, DOMAIN ".cpu.features[0]",
     "choosing CPU features is not supported; the guest sees the host's"},
    {"", "cpu: {features: [{name: apic, policy: x}]}", "", ERROR, DOMAIN ".cpu.features[0].policy",
     "CPU feature apic uses policy x that is not supported."},
    {"", "cpu: {isolateEmulatorThread: true}", "", ERROR, DOMAIN ".cpu.isolateEmulatorThread",
     "IsolateEmulatorThread should be only set in combination with DedicatedCPUPlacement"},
    {"", "cpu: {numa: {guestMappingPassthrough: {}}}", "", WARNING,
     DOMAIN ".cpu.numa.guestMappingPassthrough",
     "NUMA topology is not supported; the guest sees one node"},
    {"", "cpu: {realtime: {}}", "", WARNING, DOMAIN ".cpu.realtime",
     "real-time scheduling of vCPUs is not supported"},
    {"", "resources: {requests: {cpu: 2}, limits: {cpu: 1}}", "", ERROR,
     DOMAIN ".resources.requests.cpu",
     DOMAIN ".resources.requests.cpu '2' is greater than " DOMAIN ".resources.limits.cpu '1'"},
    {"", "resources: {requests: {cpu: -1}}", "", ERROR, DOMAIN ".resources.requests.cpu",
     DOMAIN ".resources.requests.cpu '-1': must be greater than or equal to 0."},
    {"", "resources: {requests: {memory: 2Gi}, limits: {memory: 1Gi}}", "", ERROR,
     DOMAIN ".resources.requests.memory",
     DOMAIN ".resources.requests.memory '2Gi' is greater than " DOMAIN
            ".resources.limits.memory '1Gi'"},

    /* firmware, features, clock */
    {"", "firmware: {uuid: x}", "", ERROR, DOMAIN ".firmware.uuid", "'x' is not a UUID"},
    {"", "firmware: {serial: x}", "", WARNING, DOMAIN ".firmware.serial",
     "an SMBIOS serial number is not supported"},
    {"", "firmware: {bootloader: {efi: {}}}", "", ERROR,
     DOMAIN ".firmware.bootloader.efi.secureBoot",
     "secure boot, which is the default with EFI, is not supported; set it to false"},
    {"", "firmware: {bootloader: {efi: {secureBoot: false, persistent: true}}}", "", ERROR,
     DOMAIN ".firmware.bootloader.efi.persistent",
     "persistent EFI variables are not supported, and what the guest stores would be lost"},
    {"", "firmware: {bootloader: {bios: {}, efi: {secureBoot: false}}}", "", ERROR,
     DOMAIN ".firmware.bootloader",
     DOMAIN
     ".firmware.bootloader has both EFI and BIOS configured, but they are mutually exclusive."},
    {"", "firmware: {acpi: {slicNameRef: x}}", "", WARNING, DOMAIN ".firmware.acpi",
     "ACPI tables of the user's (SLIC, MSDM) are not supported"},
    {"", "firmware: {kernelBoot: {kernelArgs: x}}", "", ERROR,
     DOMAIN ".firmware.kernelBoot.kernelArgs",
     "kernel arguments cannot be provided without an external kernel"},
    {"", "firmware: {kernelBoot: {container: {kernelPath: /k}}}", "", ERROR,
     DOMAIN ".firmware.kernelBoot.container.image",
     DOMAIN ".firmware.kernelBoot.container must be defined with an image"},
    {"", "firmware: {kernelBoot: {container: {image: i}}}", "", ERROR,
     DOMAIN ".firmware.kernelBoot.container",
     DOMAIN ".firmware.kernelBoot.container must be defined with at least one of the following: "
            "kernelPath, initrdPath"},
    {"", "firmware: {kernelBoot: {container: {image: i, initrdPath: /i}}}", "", ERROR,
     DOMAIN ".firmware.kernelBoot.container.initrdPath",
     "an initial RAM disk without a kernel is not supported"},
    {"", "firmware: {kernelBoot: {container: {image: i, kernelPath: /}}}", "", ERROR,
     DOMAIN ".firmware.kernelBoot.container.kernelPath",
     DOMAIN ".firmware.kernelBoot.container.kernelPath must not point to root"},
    {"", "firmware: {kernelBoot: {container: {image: i, kernelPath: /a/../k}}}", "", ERROR,
     DOMAIN ".firmware.kernelBoot.container.kernelPath",
     DOMAIN ".firmware.kernelBoot.container.kernelPath must be an absolute path to a file without "
            "relative components"},
    {"", "firmware: {kernelBoot: {container: {image: i, kernelPath: k}}}", "", ERROR,
     DOMAIN ".firmware.kernelBoot.container.kernelPath",
     DOMAIN ".firmware.kernelBoot.container.kernelPath must be an absolute path to a file without "
            "relative components"},
    {"", "launchSecurity: {sev: {}}", "", ERROR, DOMAIN ".launchSecurity",
     "confidential computing is not supported, and the guest's memory would be unprotected"},
    {"", "chassis: {sku: x}", "", WARNING, DOMAIN ".chassis",
     "SMBIOS chassis information is not supported"},
    {"", "features: {hyperv: {}}", "", WARNING, DOMAIN ".features.hyperv",
     "Hyper-V enlightenments are not supported"},
    {"", "features: {smm: {}}", "", WARNING, DOMAIN ".features.smm",
     "system management mode is not supported"},
    {"", "features: {acpi: {enabled: false}}", "", WARNING, DOMAIN ".features.acpi",
     "the machine always has ACPI"},
    {"", "features: {kvm: {hidden: true}}", "", WARNING, DOMAIN ".features.kvm.hidden",
     "the guest will see that it runs on KVM"},
    {"", "clock: {timezone: Europe/Berlin}", "", WARNING, DOMAIN ".clock.timezone",
     "a clock in local time is not supported; the guest's clock runs in UTC"},
    {"", "clock: {utc: {offsetSeconds: -60}}", "", WARNING, DOMAIN ".clock.utc.offsetSeconds",
     "a clock offset is not supported; the guest's clock runs in UTC"},
    {"", "clock: {timer: {kvm: {present: false}}}", "", WARNING, DOMAIN ".clock.timer.kvm.present",
     "the machine always offers kvmclock"},
    {"", "rebootPolicy: Never", "", ERROR, DOMAIN ".rebootPolicy", "must be Reboot or Terminate"},
    {"", "ioThreadsPolicy: many", "", ERROR, DOMAIN ".ioThreadsPolicy",
     "Invalid IOThreadsPolicy (many)"},

    /* devices */
    {"", "", "gpus: [{name: g}]", ERROR, DEVICES ".gpus[0]", "GPUs are not supported"},
    {"", "", "hostDevices: [{name: g}]", ERROR, DEVICES ".hostDevices[0]",
     "host devices are not supported"},
    {"", "", "tpm: {}", WARNING, DEVICES ".tpm", "a TPM is not supported"},
    {"", "", "tpm: {persistent: true}", ERROR, DEVICES ".tpm",
     "a TPM is not supported, and the guest would lose what it keeps there"},
    {"", "", "sound: {name: s}", WARNING, DEVICES ".sound", "sound devices are not supported"},
    {"", "", "watchdog: {name: w}", WARNING, DEVICES ".watchdog",
     "watchdog devices are not supported"},
    {"", "", "inputs: [{type: tablet, name: t}]", WARNING, DEVICES ".inputs[0]",
     "input devices are not supported"},
    {"", "", "video: {type: vga}", WARNING, DEVICES ".video",
     "video devices are not supported; use the serial console"},
    {"", "", "autoattachGraphicsDevice: true", WARNING, DEVICES ".autoattachGraphicsDevice",
     "there is no graphics device; use the serial console"},
    {"", "", "autoattachVSOCK: true", WARNING, DEVICES ".autoattachVSOCK",
     "virtio-vsock is not supported"},
    {"", "", "useVirtioTransitional: true", WARNING, DEVICES ".useVirtioTransitional",
     "legacy virtio is not supported; devices are virtio 1.2"},
    {"", "", "networkInterfaceMultiqueue: true", WARNING, DEVICES ".networkInterfaceMultiqueue",
     "network cards have one pair of queues"},
    {"", "", "clientPassthrough: {}", WARNING, DEVICES ".clientPassthrough",
     "USB redirection is not supported"},
    {ONE, "", "disks: [{name: a, tag: t}]", WARNING, DEVICES ".disks[0].tag",
     "tags are not put into the metadata of config drives"},
    {"", "", "downwardMetrics: {}", WARNING, DEVICES ".downwardMetrics",
     "downward metrics are not supported"},
    {"", "", "panicDevices: [{model: hyperv}]", WARNING, DEVICES ".panicDevices[0].model",
     "the model hyperv is not supported; the machine has the isa model"},
    {"", "", "panicDevices: [{model: x}]", ERROR, DEVICES ".panicDevices[0].model",
     "invalid PanicDeviceModel(x)"},
    {"volumes: [{name: a, configMap: {name: c}}]", "", "filesystems: [{name: a, virtiofs: {}}]",
     WARNING, DEVICES ".filesystems[0].virtiofs", "shared file systems are not supported"},

    /* the instance */
    {"startStrategy: Late", "", "", ERROR, "spec.startStrategy",
     "spec.startStrategy is set with an unrecognized option: Late"},
    {"{startStrategy: Paused, livenessProbe: {}}", "", "", ERROR, "spec.startStrategy",
     "either spec.startStrategy or spec.livenessProbe should be provided.Pausing VMI with "
     "LivenessProbe is not supported"},
    {"evictionStrategy: Never", "", "", ERROR, "spec.evictionStrategy",
     "spec.evictionStrategy is set with an unrecognized option: Never"},
    {"architecture: arm64", "", "", ERROR, "spec.architecture", "unsupported architecture: arm64"},
    {"terminationGracePeriodSeconds: -1", "", "", ERROR, "spec.terminationGracePeriodSeconds",
     "must be at least 0 and at most 4294967295"},
    {"hostname: Host", "", "", ERROR, "spec.hostname",
     "spec.hostname does not conform to the kubernetes DNS_LABEL rules : 1 to 63 of a-z, 0-9 and "
     "'-', with neither end a '-'"},
    {"subdomain: a..b", "", "", ERROR, "spec.subdomain",
     "spec.subdomain does not conform to the kubernetes DNS_SUBDOMAIN rules : labels of a-z, 0-9 "
     "and '-' joined by '.', at most 253 characters"},
    {"accessCredentials: [{userPassword: " SOURCE ", propagationMethod: {qemuGuestAgent: {}}}}]",
     "", "", WARNING, "spec.accessCredentials[0].userPassword",
     "guest agents are not supported; the password is not set in the guest"},
    {"accessCredentials: [{sshPublicKey: " SOURCE
     ", propagationMethod: {qemuGuestAgent: {users: [root]}}}}]",
     "", "", WARNING, "spec.accessCredentials[0].sshPublicKey.propagationMethod.qemuGuestAgent",
     "guest agents are not supported; the keys are not put into the guest"},
    {"accessCredentials: [{sshPublicKey: " SOURCE ", propagationMethod: {noCloud: {}}}}]", "", "",
     ERROR, "spec.accessCredentials[0].sshPublicKey.propagationMethod",
     "spec.accessCredentials[0] requires a noCloud volume to exist when the noCloud "
     "propagationMethod is in use."},
    {"accessCredentials: [{sshPublicKey: " SOURCE "}}]", "", "", ERROR,
     "spec.accessCredentials[0].sshPublicKey.propagationMethod",
     "spec.accessCredentials[0] must have exactly one propagationMethod set"},
    {"accessCredentials: [{sshPublicKey: {source: {}, propagationMethod: {noCloud: {}}}}]", "", "",
     ERROR, "spec.accessCredentials[0].sshPublicKey.source",
     "spec.accessCredentials[0] must have exactly one source set"},
    {"accessCredentials: [{}]", "", "", ERROR, "spec.accessCredentials[0]",
     "spec.accessCredentials[0] must have exactly one access credential type set"},
    {"resourceClaims: [{name: x}]", "", "", WARNING, "spec.resourceClaims[0]",
     "resource claims are not supported"},

    /* disks */
    {"", "", "disks: [{name: a}]", ERROR, DEVICES ".disks[0].name",
     DEVICES ".disks[0].Name 'a' not found."},
    {"", "", "disks: [{name: a, cdrom: {}}]", ERROR, DEVICES ".disks[0].name",
     "DeclarativeHotplugVolumes feature gate not enabled, cannot define an empty CD-ROM disk"},
    {"", "", "disks: [{disk: {}}]", ERROR, DEVICES ".disks[0].name", "must be set"},
    {ONE, "", "disks: [{name: a}, {name: a}]", ERROR, DEVICES ".disks[1].name",
     DEVICES ".disks[1] and " DEVICES ".disks[0] must not have the same Name."},
    {ONE, "", "disks: [{name: a, disk: {}, cdrom: {}}]", ERROR, DEVICES ".disks[0]",
     DEVICES ".disks[0] can only have a single target type defined"},
    {ONE, "", "disks: [{name: a, lun: {}}]", ERROR, DEVICES ".disks[0].lun",
     DEVICES ".disks[0].lun can only be mapped to a DataVolume or PersistentVolumeClaim volume."},
#define CLAIM "volumes: [{name: a, persistentVolumeClaim: {claimName: a}}]"
    {CLAIM, "", "disks: [{name: a, lun: {bus: scsi}}]", WARNING, DEVICES ".disks[0].lun",
     "SCSI commands are not passed through; the guest sees a virtio disk"},
    {CLAIM, "", "disks: [{name: a, lun: {reservation: true}}]", ERROR,
     DEVICES ".disks[0].lun.reservation", "SCSI reservations are not supported"},
#undef CLAIM
    {ONE, "", "disks: [{name: a, disk: {bus: ide}}]", ERROR, DEVICES ".disks[0].disk.bus",
     "IDE bus is not supported"},
    {ONE, "", "disks: [{name: a, disk: {bus: sata}}]", WARNING, DEVICES ".disks[0].disk.bus",
     "a sata bus is not supported; the guest sees a virtio disk"},
    {ONE, "", "disks: [{name: a, disk: {bus: sata, readonly: true}}]", ERROR,
     DEVICES ".disks[0].disk.bus", "sata hard-disks do not support read-only."},
    {ONE, "", "disks: [{name: a, cdrom: {bus: virtio}}]", ERROR, DEVICES ".disks[0].cdrom.bus",
     "Bus type virtio is invalid for CD-ROM device"},
    {ONE, "", "disks: [{name: a, cdrom: {tray: open}}]", WARNING, DEVICES ".disks[0].cdrom.tray",
     "an open tray is not supported; the disk is there"},
    {ONE, "", "disks: [{name: a, disk: {bus: nvme}}]", ERROR, DEVICES ".disks[0].disk.bus",
     DEVICES ".disks[0] is set with an unrecognized bus nvme, must be one of: [virtio scsi sata "
             "usb]"},
    {ONE, "", "disks: [{name: a, disk: {pciAddress: '0000:00:03.0'}}]", WARNING,
     DEVICES ".disks[0].disk.pciAddress", "a fixed PCI address is not supported"},
    {ONE, "", "disks: [{name: a, bootOrder: 0}]", ERROR, DEVICES ".disks[0].bootOrder",
     DEVICES ".disks[0] must have a boot order > 0, if supplied"},
    {ONE, "", "disks: [{name: a, serial: 'a b'}]", ERROR, DEVICES ".disks[0].serial",
     DEVICES ".disks[0] must be made up of the following characters [A-Za-z0-9_.+-], if "
             "specified"},
    {ONE, "", "disks: [{name: a, serial: '123456789012345678901'}]", WARNING,
     DEVICES ".disks[0].serial", "the guest sees the first 20 characters of the serial number"},
    {ONE, "", "disks: [{name: a, cache: unsafe}]", ERROR, DEVICES ".disks[0].cache",
     DEVICES ".disks[0].cache has invalid value unsafe"},
    {ONE, "", "disks: [{name: a, io: uring}]", ERROR, DEVICES ".disks[0].io",
     "Disk IO mode for " DEVICES ".disks is not supported. Supported modes are: native, threads."},
    {ONE, "", "disks: [{name: a, errorPolicy: x}]", ERROR, DEVICES ".disks[0].errorPolicy",
     DEVICES ".disks[0].errorPolicy has invalid value \"x\""},
    {ONE, "", "disks: [{name: a, shareable: true, cache: writeback}]", ERROR,
     DEVICES ".disks[0].cache", "a shareable disk requires cache = none"},
    {"", "ioThreadsPolicy: supplementalPool", "", ERROR, DOMAIN ".ioThreads.count",
     "the number of iothreads needs to be set and positive for the dedicated policy"},
    {ONE, "", "disks: [{name: a, blockSize: {custom: {logical: 100, physical: 512}}}]", ERROR,
     DEVICES ".disks[0].blockSize.custom.logical",
     "Provided size of 100 is less than the supported minimum size of 512"},
    {ONE, "", "disks: [{name: a, blockSize: {custom: {logical: 512, physical: 1000}}}]", ERROR,
     DEVICES ".disks[0].blockSize.custom.physical", "Provided size of 1000 is not a power of 2"},
    {ONE, "", "disks: [{name: a, blockSize: {custom: {logical: 512, physical: 4194304}}}]", ERROR,
     DEVICES ".disks[0].blockSize.custom.physical",
     "Provided size of 4194304 is greater than the supported maximum size of 2097152"},
    {ONE, "", "disks: [{name: a, blockSize: {custom: {logical: 4096, physical: 512}}}]", ERROR,
     DEVICES ".disks[0].blockSize.custom.logical",
     "Logical size 4096 must be the same or less than the physical size of 512"},
    {ONE, "",
     "disks: [{name: a, blockSize: {matchVolume: {}, custom: {logical: 512, physical: 512}}}]",
     ERROR, DEVICES ".disks[0].blockSize",
     "Block size matching can't be enabled together with a custom value"},
    {ONE, "", "disks: [{name: a, changedBlockTracking: true}]", WARNING,
     DEVICES ".disks[0].changedBlockTracking", "changed block tracking is not supported"},
    {ONE, "", "disks: [{name: a, disk: {bus: scsi}, dedicatedIOThread: true}]", ERROR,
     DEVICES ".disks[0]", "IOThreads are not supported for disks on a scsi bus"},

    /* volumes */
    {"volumes: [{emptyDisk: {capacity: 1Gi}}]", "", "", ERROR, "spec.volumes[0].name",
     "must be set"},
    {"volumes: [{name: A, emptyDisk: {capacity: 1Gi}}]", "", "", ERROR, "spec.volumes[0].name",
     "'A' must be an RFC 1123 label: 1 to 63 of a-z, 0-9 and '-'"},
    {"volumes: [{name: a, emptyDisk: {capacity: 1Gi}}, {name: a, emptyDisk: {capacity: 1Gi}}]", "",
     "", ERROR, "spec.volumes[1].name",
     "spec.volumes[1] and spec.volumes[0] must not have the same Name."},
    {"volumes: [{name: a}]", "", "", ERROR, "spec.volumes[0]",
     "spec.volumes[0] must have exactly one source type set"},
    {"volumes: [{name: a, dataVolume: {name: b}, secret: {secretName: c}}]", "", "", ERROR,
     "spec.volumes[0]", "spec.volumes[0] must have exactly one source type set"},
    {"volumes: [{name: a, downwardMetrics: {}}]", "", "disks: [{name: a}]", WARNING,
     "spec.volumes[0].downwardMetrics", "downward metrics are not supported"},
    {"volumes: [{name: a, memoryDump: {claimName: c}}]", "", "", WARNING,
     "spec.volumes[0].memoryDump",
     "memory dumps are not supported; nothing is written to the claim"},
    {"volumes: [{name: a, dataVolume: {name: dv}}]", "", "", WARNING, "spec.volumes[0].dataVolume",
     "the claim 'dv' is taken as it is; nothing waits until CDI has filled it"},
    {"volumes: [{name: a, persistentVolumeClaim: {claimName: c, hotpluggable: true}}]", "", "",
     WARNING, "spec.volumes[0].persistentVolumeClaim.hotpluggable",
     "volumes cannot come and go while the machine runs"},
    {"volumes: [{name: a, emptyDisk: {}}]", "", "", ERROR, "spec.volumes[0].emptyDisk.capacity",
     "spec.volumes[0].emptyDisk.capacity is a required field"},
    {"volumes: [{name: a, emptyDisk: {capacity: 1GB}}]", "", "", ERROR,
     "spec.volumes[0].emptyDisk.capacity",
     "unknown unit 'GB' in '1GB'; did you mean G (1000) or Gi (1024)?"},
    {"volumes: [{name: a, emptyDisk: {capacity: 100}}]", "", "", ERROR,
     "spec.volumes[0].emptyDisk.capacity", "must be at least one sector of 512"},
    {"volumes: [{name: a, dataVolume: {}}]", "", "", ERROR, "spec.volumes[0].dataVolume.name",
     "DataVolume 'name' must be set"},
    {"volumes: [{name: a, persistentVolumeClaim: {}}]", "", "", ERROR,
     "spec.volumes[0].persistentVolumeClaim.claimName",
     "spec.volumes[0].persistentVolumeClaim.claimName is a required field"},
    {"volumes: [{name: a, hostDisk: {type: Disk}}]", "", "", ERROR, "spec.volumes[0].hostDisk.path",
     "spec.volumes[0].hostDisk.path is required for hostDisk volume"},
    {"volumes: [{name: a, hostDisk: {path: /d}}]", "", "", ERROR, "spec.volumes[0].hostDisk.type",
     "spec.volumes[0].hostDisk.type has invalid value '', allowed are 'Disk' or 'DiskOrCreate'"},
    {"volumes: [{name: a, hostDisk: {path: /d, type: Disk, capacity: 1Gi}}]", "", "", ERROR,
     "spec.volumes[0].hostDisk.capacity",
     "spec.volumes[0].hostDisk.capacity is allowed to pass only with spec.volumes[0].hostDisk.type "
     "equal to 'DiskOrCreate'"},
    {"volumes: [{name: a, containerDisk: {image: i, path: disk}}]", "", "", ERROR,
     "spec.volumes[0].containerDisk",
     "spec.volumes[0].containerDisk must be an absolute path to a file without relative "
     "components"},
    {"volumes: [{name: a, cloudInitNoCloud: {}}]", "", "", ERROR,
     "spec.volumes[0].cloudInitNoCloud",
     "spec.volumes[0].cloudInitNoCloud must have at least one userdatasource or one "
     "networkdatasource set."},
    {"volumes: [{name: a, cloudInitNoCloud: {userData: a, userDataBase64: YQ==}}]", "", "", ERROR,
     "spec.volumes[0].cloudInitNoCloud",
     "spec.volumes[0].cloudInitNoCloud must have only one userdatasource set."},
    {"volumes: [{name: a, cloudInitNoCloud: {userDataBase64: 'YQ='}}]", "", "", ERROR,
     "spec.volumes[0].cloudInitNoCloud.userDataBase64",
     "spec.volumes[0].cloudInitNoCloud.userDataBase64 is not a valid base64 value."},
    {"volumes: [{name: a, serviceAccount: {serviceAccountName: s}}, "
     "{name: b, serviceAccount: {serviceAccountName: s}}]",
     "", "", ERROR, "spec.volumes", "spec.volumes must have max one serviceAccount volume set"},
    {"volumes: [{name: a, secret: {secretName: s, volumeLabel: "
     "x23456789012345678901234567890123}}]",
     "", "", ERROR, "spec.volumes[0].secret.volumeLabel", "must have at most 32 ASCII characters"},
    {"volumes: [{name: a, configMap: {name: c, volumeLabel: \xc3\xa4}}]", "", "", ERROR,
     "spec.volumes[0].configMap.volumeLabel", "must have at most 32 ASCII characters"},
    {"volumes: [{name: a, sysprep: {}}]", "", "", ERROR, "spec.volumes[0].sysprep",
     "must name either a secret or a configMap"},
    {"volumes: [{name: a, secret: {name: s, secretName: s}}]", "", "", ERROR,
     "spec.volumes[0].secret.name", "unknown field"},

    /* networks */
    {"networks: [{name: a, pod: {}}]", "", "", ERROR, "spec.networks[0].name",
     "spec.networks[0].name 'a' not found."},
    {"", "", "interfaces: [{name: a, bridge: {}}]", ERROR, DEVICES ".interfaces[0].name",
     DEVICES ".interfaces[0].name 'a' not found."},
#define NET  "networks: [{name: a, pod: {}}]"
#define DHCP "the guest's DHCP server does not send it"
    {NET, "", "interfaces: [{name: a}, {name: a}]", ERROR, DEVICES ".interfaces[1].name",
     "Only one interface can be connected to one specific network"},
    {NET, "", "interfaces: [{name: a, bridge: {}, masquerade: {}}]", ERROR,
     DEVICES ".interfaces[0]", DEVICES ".interfaces[0] must have only one binding method"},
    {NET, "", "interfaces: [{name: a, slirp: {}}]", ERROR, DEVICES ".interfaces[0].slirp",
     "Slirp interface support has been discontinued since v1.3"},
    {NET, "", "interfaces: [{name: a, sriov: {}}]", ERROR, DEVICES ".interfaces[0].sriov",
     "SR-IOV interfaces are not supported"},
    {NET, "", "interfaces: [{name: a, binding: {name: x}}]", ERROR,
     DEVICES ".interfaces[0].binding", "network binding plugins are not supported"},
    {NET, "", "interfaces: [{name: a, model: e1000}]", WARNING, DEVICES ".interfaces[0].model",
     "the model e1000 is not supported; the guest sees a virtio interface"},
    {NET, "", "interfaces: [{name: a, model: x}]", ERROR, DEVICES ".interfaces[0].model",
     "interface " DEVICES ".interfaces[0].name uses model x that is not supported."},
    {NET, "", "interfaces: [{name: a, macAddress: x}]", ERROR, DEVICES ".interfaces[0].macAddress",
     "interface " DEVICES ".interfaces[0].name has malformed MAC address (x)."},
    {NET, "", "interfaces: [{name: a, macAddress: '02:00:00:00:00:00'}]", ERROR,
     DEVICES ".interfaces[0].macAddress",
     "The requested MAC address is reserved for the in-pod bridge. Please choose another one."},
    {NET, "", "interfaces: [{name: a, macAddress: '01:00:00:00:00:00'}]", ERROR,
     DEVICES ".interfaces[0].macAddress",
     "the MAC address 01:00:00:00:00:00 is a multicast address"},
    {NET, "", "interfaces: [{name: a, macAddress: '00:00:00:00:00:00'}]", ERROR,
     DEVICES ".interfaces[0].macAddress", "the MAC address must not be zero"},
    {NET, "", "interfaces: [{name: a, ports: [{}]}]", ERROR, DEVICES ".interfaces[0].ports[0]",
     "Port field is mandatory."},
    {NET, "", "interfaces: [{name: a, ports: [{port: 65536}]}]", ERROR,
     DEVICES ".interfaces[0].ports[0]", "Port field must be in range 0 < x < 65536."},
    {NET, "", "interfaces: [{name: a, ports: [{port: 1, protocol: SCTP}]}]", ERROR,
     DEVICES ".interfaces[0].ports[0].protocol", "Unknown protocol, only TCP or UDP allowed"},
    {NET, "", "interfaces: [{name: a, ports: [{port: 1, name: x}, {port: 2, name: x}]}]", ERROR,
     DEVICES ".interfaces[0].ports[1].name", "Duplicate name of the port: x"},
    {NET, "", "interfaces: [{name: a, dhcpOptions: {privateOptions: [{option: 1, value: x}]}}]",
     ERROR, DEVICES ".interfaces[0].dhcpOptions.privateOptions[0].option",
     "provided DHCPPrivateOptions are out of range, must be in range 224 to 254"},
    {NET, "", "interfaces: [{name: a, dhcpOptions: {bootFileName: b}}]", WARNING,
     DEVICES ".interfaces[0].dhcpOptions.bootFileName", DHCP},
    {NET, "", "interfaces: [{name: a, dhcpOptions: {tftpServerName: t}}]", WARNING,
     DEVICES ".interfaces[0].dhcpOptions.tftpServerName", DHCP},
    {NET, "", "interfaces: [{name: a, dhcpOptions: {ntpServers: [10.0.0.1, 10.0.0.2]}}]", WARNING,
     DEVICES ".interfaces[0].dhcpOptions.ntpServers", DHCP},
    {NET, "", "interfaces: [{name: a, dhcpOptions: {privateOptions: [{option: 240, value: x}]}}]",
     WARNING, DEVICES ".interfaces[0].dhcpOptions.privateOptions[0]", DHCP},
    {NET, "", "interfaces: [{name: a, state: down}]", WARNING, DEVICES ".interfaces[0].state",
     "a link that is down is not supported; it is up"},
    {NET, "", "interfaces: [{name: a, state: away}]", ERROR, DEVICES ".interfaces[0].state",
     "logical a interface state value is unsupported: away"},
    {NET, "", "interfaces: [{name: a, masquerade: {}, state: absent}]", ERROR,
     DEVICES ".interfaces[0].state",
     "\"a\" interface's state \"absent\" is supported only for bridge binding"},
    {NET, "", "interfaces: [{name: a, bootOrder: 1}]", WARNING, DEVICES ".interfaces[0].bootOrder",
     "booting from the network is not supported"},
    {NET, "", "interfaces: [{name: a, acpiIndex: 1}]", WARNING, DEVICES ".interfaces[0].acpiIndex",
     "an ACPI index is not supported"},
    {"networks: [{name: a}]", "", "interfaces: [{name: a}]", ERROR, "spec.networks[0]",
     "should have a network type"},
    {"networks: [{name: a, pod: {}, multus: {networkName: nad}}]", "", "interfaces: [{name: a}]",
     ERROR, "spec.networks[0]", "should have only one network type"},
    {"networks: [{name: a, multus: {}}]", "", "interfaces: [{name: a}]", ERROR, "spec.networks[0]",
     "CNI delegating plugin must have a networkName"},
    {"networks: [{name: a, multus: {networkName: nad}}]", "",
     "interfaces: [{name: a, masquerade: {}}]", ERROR, DEVICES ".interfaces[0].name",
     "Masquerade interface only implemented with pod network"},
    {"networks: [{name: a, pod: {}}, {name: b, pod: {}}]", "", "interfaces: [{name: a}, {name: b}]",
     ERROR, "spec.interfaces",
     "more than one interface is connected to a pod network in spec.interfaces"},
    {"networks: [{name: a, pod: {}}, {name: b, multus: {networkName: nad, default: true}}]", "",
     "interfaces: [{name: a}, {name: b}]", ERROR, "spec.networks",
     "Pod network cannot be defined when Multus default network is defined"},
    {"networks: [{name: a, pod: {vmNetworkCIDR: '10.0.2.0/24,tap=lo'}}]", "",
     "interfaces: [{name: a, masquerade: {}}]", ERROR, "spec.networks[0].pod.vmNetworkCIDR",
     "'10.0.2.0/24,tap=lo' is not a network such as 10.0.2.0/24"},
    {"networks: [{name: a, pod: {vmNetworkCIDR: 10.0.2.0/33}}]", "",
     "interfaces: [{name: a, masquerade: {}}]", ERROR, "spec.networks[0].pod.vmNetworkCIDR",
     "'10.0.2.0/33' is not a network such as 10.0.2.0/24"},
    {"networks: [{name: a, pod: {vmIPv6NetworkCIDR: 'fd00::'}}]", "",
     "interfaces: [{name: a, masquerade: {}}]", ERROR, "spec.networks[0].pod.vmIPv6NetworkCIDR",
     "'fd00::' is not a network such as fd10:0:2::/120"},
    {"networks: [{name: a, pod: {vmIPv6NetworkCIDR: 'fd00::/120'}}]", "",
     "interfaces: [{name: a, masquerade: {}}]", WARNING, "spec.networks[0].pod.vmIPv6NetworkCIDR",
     "masquerade is of IPv4 only"},
    {"networks: [{name: a, pod: {}}, {name: a, pod: {}}]", "", "interfaces: [{name: a}]", ERROR,
     "spec.networks[1].name",
     "Network with name \"a\" already exists, every network must have a unique name"},
};

/* "a: 1" and "{a: 1, b: 2}" are both taken as members. */
static void add_part(char *text, size_t size, const char *part)
{
    size_t len = strlen(text), n = strlen(part);
    if (n == 0)
        return;
    if (part[0] == '{')
        snprintf(text + len, size - len, ", %.*s", (int)n - 2, part + 1);
    else
        snprintf(text + len, size - len, ", %s", part);
}

START_TEST(reports)
{
    char text[4096] = "---\n{apiVersion: kubevirt.io/v1, kind: VirtualMachineInstance, "
                      "metadata: {name: test}, spec: {priorityClassName: p";
    add_part(text, sizeof(text), cases[_i].spec);
    add_part(text, sizeof(text), "domain: {memory: {guest: 1Gi}");
    add_part(text, sizeof(text), cases[_i].domain);
    add_part(text, sizeof(text), "devices: {disableHotplug: true");
    add_part(text, sizeof(text), cases[_i].devices);
    strcat(text, "}}}}\n");

    struct vmspec *spec = NULL;
    struct vmspec_diagnostics diag = {0};
    struct error err = ERROR_INIT;
    bool refused = cases[_i].severity == VMSPEC_ERROR;
    int r = vmspec_from_yaml(text, strlen(text), &spec, &diag, &err);
    ck_assert_msg(r == (refused ? -EINVAL : 0), "%s: %s", text, err.text);
    const struct vmspec_diagnostic *d = NULL;
    for (size_t i = 0; i < diag.list.count && d == NULL; i++) {
        if (diag.list.item[i].severity == cases[_i].severity)
            d = &diag.list.item[i];
    }
    ck_assert_ptr_nonnull(d);
    ck_assert_str_eq(d->path, cases[_i].path);
    ck_assert_str_eq(d->message, cases[_i].message);
    ck_assert_uint_eq(diag.errors == 0, !refused);
    if (!refused)
        ck_assert_uint_eq(diag.list.count, 1);
    vmspec_free(spec);
    vmspec_diagnostics_done(&diag);
}
END_TEST

/* Whole texts, and the error that sums them up. */
static const struct {
    const char *text, *message;
} texts[] = {
    {"", "no VirtualMachine or VirtualMachineInstance of kubevirt.io is in it"},
    {"a: [", "line 2, column 1: did not find expected node content"},
    {"apiVersion: v1\nkind: Pod\n",
     "no VirtualMachine or VirtualMachineInstance of kubevirt.io is in it"},
    {"apiVersion: kubevirt.io/v1\nkind: VirtualMachinePool\n",
     "no VirtualMachine or VirtualMachineInstance of kubevirt.io is in it"},
    {"apiVersion: kubevirt.io/v2\nkind: VirtualMachineInstance\nmetadata: {name: a}\n"
     "spec: {domain: {memory: {guest: 1Gi}}}\n",
     "apiVersion: 'kubevirt.io/v2' must be kubevirt.io/v1 or kubevirt.io/v1alpha3"},
    {"apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance\nmetadata: {name: a}\nspec: {}\n",
     "spec.domain: no memory requested, at least one of 'spec.domain.memory.guest', "
     "'spec.domain.memory.hugepages.size' or 'spec.domain.resources.requests.memory' must be set"},
    {"apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance\nmetadata: {}\n"
     "spec: {domain: {memory: {guest: 1Gi}}}\n",
     "metadata.name: must be set"},
    {"apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance\nmetadata: {name: A}\n"
     "spec: {domain: {memory: {guest: 1k}}}\n",
     "metadata.name: 'A' must be an RFC 1123 subdomain: labels of a-z, 0-9 and '-' joined by '.', "
     "at most 253 characters (and 1 more)"},
    {"apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance\nmetadata: {name: a}\n"
     "spec: {domain: {memory: {guest: 999999}}}\n",
     "spec.domain.memory.guest '999999': must be greater than or equal to 1M."},
    {"apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance\nmetadata: {name: a}\n"
     "spec: {domain: {memory: {guest: 1G, hugepages: {pageSize: 2Mi}}}}\n",
     "spec.domain.memory.guest '1G' is not a multiple of the page size "
     "spec.domain.memory.hugepages.pageSize '2Mi'"},
    {"apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance\nmetadata: {name: a}\n"
     "spec: {domain: {memory: {guest: 64Mi, hugepages: {pageSize: 1Gi}}}}\n",
     "spec.domain.memory.guest '64Mi' must be equal to or larger than page size "
     "spec.domain.memory.hugepages.pageSize '1Gi'"},
    {"apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance\nmetadata: {name: a}\n"
     "spec: {domain: {memory: {guest: 64Mi, hugepages: {pageSize: 4Ki}}}}\n",
     "spec.domain.memory.hugepages.pageSize: huge pages are 2Mi or 1Gi large"},
    {"apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance\nmetadata: {name: a}\n"
     "spec: {domain: {memory: {guest: 1GB}}}\n",
     "spec.domain.memory.guest: unknown unit 'GB' in '1GB'; did you mean G (1000) or Gi (1024)?"},
    {"apiVersion: kubevirt.io/v1\nkind: VirtualMachine\nmetadata: {name: a}\nspec: {}\n",
     "spec.template: missing virtual machine template."},
    {"apiVersion: kubevirt.io/v1\nkind: VirtualMachine\nmetadata: {name: a}\n"
     "spec: {running: yes, runStrategy: Always,\n"
     "       template: {spec: {domain: {memory: {guest: 1Gi}}}}}\n",
     "spec.running: Running and RunStrategy are mutually exclusive. Note that Running is "
     "deprecated, please use RunStrategy"},
    {"apiVersion: kubevirt.io/v1\nkind: VirtualMachine\nmetadata: {name: a}\n"
     "spec: {template: {spec: {domain: {memory: {guest: 1Gi}, devices: {gpus: [{}, {}]}}}}}\n",
     "spec.template.spec.domain.devices.gpus[0]: GPUs are not supported (and 1 more)"},
    {"apiVersion: kubevirt.io/v1\nkind: VirtualMachine\nmetadata: {name: a}\n"
     "spec:\n  template:\n    metadata: {annotations: {hooks.kubevirt.io/hookSidecars: '[]'}}\n"
     "    spec: {domain: {memory: {guest: 1Gi}}}\n",
     "spec.template.metadata.annotations[hooks.kubevirt.io/hookSidecars]: hook sidecars are not "
     "supported: there is no libvirt domain to change"},
    {"apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance\nmetadata: {name: a}\n"
     "spec: {domain: {memory: {guest: 1Gi}}}\n"
     "---\napiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance\nmetadata: {name: a}\n",
     "document 2 is a second machine"},
};

START_TEST(sums_up)
{
    struct vmspec *spec = NULL;
    struct vmspec_diagnostics diag = {0};
    struct error err = ERROR_INIT;
    ck_assert_int_eq(vmspec_from_yaml(texts[_i].text, strlen(texts[_i].text), &spec, &diag, &err),
                     -EINVAL);
    ck_assert_str_eq(err.text, texts[_i].message);
    ck_assert_ptr_null(spec);
    vmspec_diagnostics_done(&diag);
}
END_TEST

/* What a VirtualMachine can ask for and nothing acts on: each by its path, none twice. */
START_TEST(names_all_that_is_not_acted_on)
{
    static const char text[] =
        "apiVersion: kubevirt.io/v1\nkind: VirtualMachine\nmetadata: {name: a}\nspec:\n"
        "  dataVolumeTemplates: [{metadata: {name: dv}}, {metadata: {name: other}}]\n"
        "  template:\n    spec:\n"
        "      domain:\n        memory: {guest: 1Gi}\n        devices:\n"
        "          networkInterfaceMultiqueue: true\n"
        "          interfaces:\n"
        "          - {name: nic, masquerade: {}, state: down,\n"
        "             dhcpOptions: {bootFileName: b, tftpServerName: t, ntpServers: [10.0.0.1],\n"
        "                           privateOptions: [{option: 240, value: x}]}}\n"
        "          - {name: gone, bridge: {}, state: absent}\n"
        "      networks:\n"
        "      - {name: nic, pod: {vmIPv6NetworkCIDR: 'fd00::/120'}}\n"
        "      - {name: gone, multus: {networkName: nad}}\n"
        "      volumes:\n"
        "      - {name: a, persistentVolumeClaim: {claimName: c, hotpluggable: true}}\n"
        "      - {name: b, dataVolume: {name: dv, hotpluggable: true}}\n"
        "      - {name: c, memoryDump: {claimName: d, hotpluggable: true}}\n";
#define SPEC "spec.template.spec."
#define NIC  SPEC "domain.devices.interfaces[0]."
    static const char *const paths[] = {
        "spec.dataVolumeTemplates[0]",
        "spec.dataVolumeTemplates[1]",
        SPEC "domain.devices.networkInterfaceMultiqueue",
        NIC "dhcpOptions.bootFileName",
        NIC "dhcpOptions.tftpServerName",
        NIC "dhcpOptions.ntpServers",
        NIC "dhcpOptions.privateOptions[0]",
        SPEC "networks[0].pod.vmIPv6NetworkCIDR",
        SPEC "volumes[0].persistentVolumeClaim.hotpluggable",
        SPEC "volumes[1].dataVolume.hotpluggable",
        SPEC "volumes[2].memoryDump",
        SPEC "volumes[1].dataVolume",
        NIC "state",
    };
    struct vmspec *spec = NULL;
    struct vmspec_diagnostics diag = {0};
    struct error err = ERROR_INIT;
    ck_assert_msg(vmspec_from_yaml(text, strlen(text), &spec, &diag, &err) == 0, "%s", err.text);
    ck_assert_uint_eq(diag.list.count, sizeof(paths) / sizeof(paths[0]));
    for (size_t i = 0; i < diag.list.count; i++) {
        ck_assert_int_eq(diag.list.item[i].severity, VMSPEC_WARNING);
        ck_assert_str_eq(diag.list.item[i].path, paths[i]);
    }
    vmspec_free(spec);
    vmspec_diagnostics_done(&diag);
}
END_TEST

START_TEST(bounds_what_a_machine_has)
{
    char text[8192] = "---\n{apiVersion: kubevirt.io/v1, kind: VirtualMachineInstance, "
                      "metadata: {name: test}, spec: {domain: {memory: {guest: 1Gi}}, volumes: [";
    for (int i = 0; i <= MACHINE_DISK_MAX; i++)
        snprintf(text + strlen(text), 100, "{name: v%d, emptyDisk: {capacity: 1Mi}},", i);
    strcat(text, "]}}\n");
    struct vmspec *spec = NULL;
    struct vmspec_diagnostics diag = {0};
    struct error err = ERROR_INIT;
    ck_assert_int_eq(vmspec_from_yaml(text, strlen(text), &spec, &diag, &err), -EINVAL);
    ck_assert_str_eq(err.text, "spec.domain.devices.disks: 17 disks, of which some may be "
                               "automatic, are more than 16");
    vmspec_diagnostics_done(&diag);
}
END_TEST

START_TEST(bounds_cloud_init)
{
    char text[4096], data[2050];
    memset(data, 'a', sizeof(data));
    data[2049] = '\0';
    snprintf(text, sizeof(text),
             "apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance\nmetadata: {name: test}\n"
             "spec: {domain: {memory: {guest: 1Gi}}, volumes: [{name: v, cloudInitNoCloud: "
             "{userData: %s}}]}\n",
             data);
    struct vmspec *spec = NULL;
    struct vmspec_diagnostics diag = {0};
    struct error err = ERROR_INIT;
    ck_assert_int_eq(vmspec_from_yaml(text, strlen(text), &spec, &diag, &err), -EINVAL);
    ck_assert_str_eq(
        err.text, "spec.volumes[0].cloudInitNoCloud userdata exceeds 2048 byte limit. Should use "
                  "UserDataSecretRef for larger data.");
    vmspec_diagnostics_done(&diag);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("vmspec_refuse");
    TCase *tcase = tcase_create("all");
    tcase_add_loop_test(tcase, reports, 0, sizeof(cases) / sizeof(cases[0]));
    tcase_add_loop_test(tcase, sums_up, 0, sizeof(texts) / sizeof(texts[0]));
    tcase_add_test(tcase, names_all_that_is_not_acted_on);
    tcase_add_test(tcase, bounds_what_a_machine_has);
    tcase_add_test(tcase, bounds_cloud_init);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
