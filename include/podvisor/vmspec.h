// SPDX-License-Identifier: Apache-2.0
/*
 * What a virtual machine needs, read from a KubeVirt VirtualMachine or VirtualMachineInstance
 * (API version kubevirt.io/v1, v1alpha3) or put together from a command line. `vmm run` and the
 * operator both start from this structure. Nothing is opened here and nothing of the host is asked.
 *
 * Every field that KubeVirt knows is either read, or harmless (it asks for what we do anyway, or it
 * belongs to the scheduler), or named in a diagnostic with its full path. A field that KubeVirt
 * does not know is an error.
 *
 * One thread at a time. Out of memory aborts (podvisor/str.h).
 */
#ifndef PODVISOR_VMSPEC_H
#define PODVISOR_VMSPEC_H

#include <podvisor/error.h>
#include <podvisor/json.h>
#include <podvisor/machine_config.h>
#include <podvisor/vec.h>
#include <stdbool.h>
#include <stdint.h>

enum vmspec_severity {
    VMSPEC_WARNING, /* the machine runs without it */
    VMSPEC_ERROR,   /* it must not run, or the manifest is wrong */
};

struct vmspec_diagnostic {
    enum vmspec_severity severity;
    char *path;    /* "spec.template.spec.domain.devices.gpus[0]"; "" for the whole */
    char *message; /* KubeVirt's words where it has the same check; these may repeat the path */
};

struct vmspec_diagnostics {
    VEC(struct vmspec_diagnostic) list; /* in the manifest's order, reading before cross checks */
    unsigned errors;                    /* how many of them are errors */
};

/* Adds one; `path` is copied. */
void vmspec_diagnose(struct vmspec_diagnostics *diag, enum vmspec_severity severity,
                     const char *path, const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* "PATH: MESSAGE", without the path when the message begins with it; cut to fit. Returns `buf`. */
const char *vmspec_diagnostic_text(const struct vmspec_diagnostic *diagnostic, char *buf,
                                   size_t size);

/* Frees the texts and empties the list. */
void vmspec_diagnostics_done(struct vmspec_diagnostics *diag);

enum vmspec_disk_kind { VMSPEC_DISK, VMSPEC_CDROM };
enum vmspec_cache {
    VMSPEC_CACHE_DEFAULT,
    VMSPEC_CACHE_NONE,
    VMSPEC_CACHE_WRITETHROUGH,
    VMSPEC_CACHE_WRITEBACK
};
enum vmspec_io { VMSPEC_IO_DEFAULT, VMSPEC_IO_NATIVE, VMSPEC_IO_THREADS };
enum vmspec_error_policy {
    VMSPEC_ERROR_STOP,
    VMSPEC_ERROR_REPORT,
    VMSPEC_ERROR_IGNORE,
    VMSPEC_ERROR_ENOSPACE
};

enum vmspec_io_threads {
    VMSPEC_IO_THREADS_NONE, /* no policy given */
    VMSPEC_IO_THREADS_SHARED,
    VMSPEC_IO_THREADS_AUTO,
    VMSPEC_IO_THREADS_POOL
};

/* Formats of host disks: said, never probed. Manifests have no such field and mean raw. */
enum vmspec_format { VMSPEC_FORMAT_RAW, VMSPEC_FORMAT_QCOW2 };

struct vmspec_disk {
    char *name;
    enum vmspec_disk_kind kind;
    size_t volume;  /* index in vmspec.volumes; always valid */
    bool automatic; /* the manifest has a volume of that name and no disk for it */
    bool readonly;
    bool shareable;
    bool dedicated_io_thread;
    enum vmspec_cache cache;
    enum vmspec_io io;
    enum vmspec_error_policy error_policy;
    char *serial;                 /* NULL: none; the guest sees its first 20 bytes */
    uint32_t boot_order;          /* 0: none given */
    uint32_t logical_block_size;  /* bytes; 0: default, which is 512 */
    uint32_t physical_block_size; /* bytes; 0: as the logical one */
    uint32_t discard_granularity; /* bytes; 0: none given */
    bool match_volume_block_size; /* take the sizes from what lies under it */
};

enum vmspec_volume_kind {
    VMSPEC_VOLUME_HOST_DISK,
    VMSPEC_VOLUME_PVC,
    VMSPEC_VOLUME_DATA_VOLUME,
    VMSPEC_VOLUME_EPHEMERAL, /* a copy on write over a PVC */
    VMSPEC_VOLUME_CONTAINER_DISK,
    VMSPEC_VOLUME_EMPTY_DISK,
    VMSPEC_VOLUME_CLOUD_INIT_NO_CLOUD, /* from here to SYSPREP: vmspec_volume_is_files() */
    VMSPEC_VOLUME_CLOUD_INIT_CONFIG_DRIVE,
    VMSPEC_VOLUME_CONFIG_MAP,
    VMSPEC_VOLUME_SECRET,
    VMSPEC_VOLUME_DOWNWARD_API,
    VMSPEC_VOLUME_SERVICE_ACCOUNT,
    VMSPEC_VOLUME_SYSPREP,
    VMSPEC_VOLUME_MEMORY_DUMP, /* never a disk */
    VMSPEC_VOLUME_UNSUPPORTED, /* there is a warning about it; never a disk */
};

struct vmspec_volume {
    char *name;
    enum vmspec_volume_kind kind;
    const cJSON *source; /* the object under the kind's key, in vmspec.object; NULL from flags */
    union {
        struct {
            char *path;
            bool create;       /* DiskOrCreate */
            uint64_t capacity; /* bytes; 0: none given */
            bool shared;
            enum vmspec_format format; /* RAW from a manifest */
        } host_disk;
        struct {
            char *claim; /* PVC, ephemeral, memory dump: claim; dataVolume: the DataVolume's name */
            bool readonly;
        } claim;
        struct {
            char *image, *path, *pull_policy, *pull_secret; /* path NULL: the one file in /disk */
        } container_disk;
        struct {
            uint64_t capacity; /* bytes */
        } empty_disk;
        struct { /* cloudInitNoCloud and cloudInitConfigDrive; at most one source for each of both
                  */
            char *user_data, *user_data_base64, *user_data_secret;
            char *network_data, *network_data_base64, *network_data_secret;
        } cloud_init;
        struct {         /* configMap, secret, downwardAPI, serviceAccount, sysprep */
            char *name;  /* of the object; NULL for downwardAPI */
            char *label; /* the disk's volume label; NULL: default */
            bool optional;
            bool is_secret; /* sysprep: a secret, not a config map */
        } files;
    };
};

/* SSH public keys of a secret that go into cloud-init's metadata; others are warned of. */
struct vmspec_credential {
    char *secret;
    bool config_drive; /* for volumes cloudInitConfigDrive; else cloudInitNoCloud */
};

enum vmspec_binding { VMSPEC_BINDING_BRIDGE, VMSPEC_BINDING_MASQUERADE, VMSPEC_BINDING_PASST };
enum vmspec_link { VMSPEC_LINK_UP, VMSPEC_LINK_ABSENT };

struct vmspec_port {
    char *name; /* NULL: none */
    bool udp;   /* else TCP */
    uint16_t port;
};

struct vmspec_interface {
    char *name;
    size_t network; /* index in vmspec.networks; always valid */
    bool automatic; /* the manifest names none: KubeVirt's default NIC on the pod network */
    enum vmspec_binding binding;
    bool has_mac;
    uint8_t mac[6];
    enum vmspec_link link;
    uint32_t boot_order;           /* 0: none given */
    VEC(struct vmspec_port) ports; /* masquerade: forward these only; empty: all */
    char *tap;                     /* a host tap's name, from flags only; else NULL */
};

enum vmspec_network_kind { VMSPEC_NETWORK_POD, VMSPEC_NETWORK_MULTUS, VMSPEC_NETWORK_TAP };

struct vmspec_network {
    char *name;
    enum vmspec_network_kind kind;
    char *cidr;          /* pod: the guest's subnet under masquerade; NULL: KubeVirt's default */
    char *multus_name;   /* multus: [namespace/]name of the NetworkAttachmentDefinition */
    bool multus_default; /* it takes the place of the pod network */
};

struct vmspec_cpu {
    uint32_t sockets, cores, threads; /* at least 1 each */
    uint32_t count;                   /* their product: vCPUs */
    char *model;                      /* NULL, "host-model" and "host-passthrough" are the same */
    bool dedicated;                   /* one vCPU thread a host CPU */
    bool isolate_emulator_thread;
};

struct vmspec_memory {
    uint64_t guest; /* bytes, as asked for, rounded up to 2 MiB; 0: not given yet (flags) */
    uint64_t huge_page_size; /* 0, 2 MiB or 1 GiB */
};

struct vmspec_kernel {
    bool given;
    char *args;  /* kernel command line; NULL: none */
    char *image; /* container image that holds the files; NULL: paths of this host (flags) */
    char *pull_policy, *pull_secret;
    char *kernel_path; /* NULL: none */
    char *initrd_path; /* NULL: none */
};

enum vmspec_boot { VMSPEC_BOOT_BIOS, VMSPEC_BOOT_EFI }; /* how disks boot without a kernel */

struct vmspec {
    cJSON *object;    /* own copy of the manifest, for the operator; NULL from flags */
    bool is_instance; /* VirtualMachineInstance; else VirtualMachine, or flags */
    char *name;       /* RFC 1123 subdomain; may be longer than MACHINE_NAME_MAX */
    char *namespace_; /* NULL: none given */
    uint8_t uuid[16];
    bool uuid_given;            /* else derived from the name, as KubeVirt derives it */
    char *firmware_serial;      /* SMBIOS type 1; NULL: none */
    char *hostname, *subdomain; /* NULL: none given */

    struct vmspec_cpu cpu;
    struct vmspec_memory memory;
    struct vmspec_kernel kernel;
    enum vmspec_boot boot;

    VEC(struct vmspec_disk) disks;
    VEC(struct vmspec_volume) volumes;
    VEC(struct vmspec_interface) interfaces;
    VEC(struct vmspec_network) networks;
    VEC(struct vmspec_credential) credentials;

    bool rng;
    bool balloon;            /* autoattachMemBalloon, default true */
    bool serial_console;     /* autoattachSerialConsole, default true */
    bool log_serial_console; /* default true */
    bool block_multi_queue;
    enum vmspec_io_threads io_threads; /* ioThreadsPolicy */
    uint32_t io_pool_threads;          /* of the supplemental pool */
    bool start_paused;                 /* startStrategy: Paused */
    bool reboot_terminates;            /* rebootPolicy: Terminate */
    uint32_t grace_period_seconds;     /* terminationGracePeriodSeconds, default 30 */
};

/*
 * Reads a manifest. On success *ret is the caller's, for vmspec_free(), and `diag`
 * (zero-initialised by the caller) holds warnings at most. -EINVAL: `diag` holds at least one
 * error, and `err` has the text of the first with the number of the others. `obj` is not kept.
 */
int vmspec_from_object(const cJSON *obj, struct vmspec **ret, struct vmspec_diagnostics *diag,
                       struct error *err);

/*
 * The same from text, YAML or JSON: the one VirtualMachine or VirtualMachineInstance in it. Other
 * documents in the text (a Secret beside it) get a warning each. Two machines are an error.
 */
int vmspec_from_yaml(const char *text, size_t len, struct vmspec **ret,
                     struct vmspec_diagnostics *diag, struct error *err);

/*
 * A machine with nothing but a name (RFC 1123 subdomain): 1 vCPU, no memory yet, balloon and serial
 * console on. For vmspec_free().
 */
int vmspec_new(const char *name, struct vmspec **ret, struct error *err);

/* NULL is allowed. */
void vmspec_free(struct vmspec *spec);

static inline void cleanup_vmspec_fn(struct vmspec **spec)
{
    vmspec_free(*spec);
}

#define cleanup_vmspec __attribute__((cleanup(cleanup_vmspec_fn)))

/*
 * Setters for flags, with the checks a manifest gets; also on top of one (flags win). Strings are
 * copied. They return 0 or -EINVAL (-ERANGE).
 */
int vmspec_set_name(struct vmspec *spec, const char *name, struct error *err);
int vmspec_set_cpus(struct vmspec *spec, uint32_t count, struct error *err);
int vmspec_set_memory(struct vmspec *spec, const char *quantity, struct error *err);
/* "2Mi", "1Gi", or NULL for none. */
int vmspec_set_huge_pages(struct vmspec *spec, const char *quantity, struct error *err);
/* `initrd_path`, `args` may be NULL. Paths are of this host. */
int vmspec_set_kernel(struct vmspec *spec, const char *kernel_path, const char *initrd_path,
                      const char *args, struct error *err);

struct vmspec_host_disk {
    const char *name; /* NULL: "disk0", "disk1"... */
    const char *path;
    enum vmspec_format format;
    bool readonly;
    enum vmspec_cache cache;
    const char *serial; /* NULL: none */
};

/* Adds a disk and its host disk volume. */
int vmspec_add_host_disk(struct vmspec *spec, const struct vmspec_host_disk *disk,
                         struct error *err);

struct vmspec_tap {
    const char *name; /* NULL: "net0", "net1"... */
    const char *tap;  /* name of the host's tap interface, at most 15 characters */
    const char *mac;  /* "02:..."; NULL: derived by vmspec_interface_mac() */
};

/* Adds an interface on a tap of this host. An automatic interface of a manifest goes. */
int vmspec_add_tap(struct vmspec *spec, const struct vmspec_tap *tap, struct error *err);

/*
 * The checks across parts (names, memory, limits of machine_config.h), for a machine that flags put
 * together or changed; a manifest's have run. Returns 0 or -EINVAL.
 */
int vmspec_check(const struct vmspec *spec, struct error *err);

/* The disk's volume. */
static inline const struct vmspec_volume *vmspec_disk_volume(const struct vmspec *spec,
                                                             const struct vmspec_disk *disk)
{
    return &spec->volumes.item[disk->volume];
}

/* The machine's name among others, for free(): an RFC 1123 label from its host name or name. */
char *vmspec_hostname(const struct vmspec *spec);

/* "hostDisk", "containerDisk"...: the manifest's word. */
const char *vmspec_volume_kind_name(enum vmspec_volume_kind kind);

/* A disk of files, made at the start: cloud-init, configMap, secret, downwardAPI... */
bool vmspec_volume_is_files(const struct vmspec_volume *volume);

/* Do these keys belong into that volume? */
bool vmspec_credential_is_for(const struct vmspec_credential *credential,
                              const struct vmspec_volume *volume);

/*
 * The address of an interface: the one given, or a locally administered one derived from the
 * machine's UUID and the interface's name, the same at every start.
 */
void vmspec_interface_mac(const struct vmspec *spec, const struct vmspec_interface *nic,
                          uint8_t ret_mac[6]);

/* "xx:xx:xx:xx:xx:xx" or with dashes; refuses multicast, all zero and 02:00:00:00:00:00. */
int vmspec_parse_mac(const char *text, uint8_t ret_mac[6], struct error *err);

/* The canonical form of a UUID, with dashes. */
int vmspec_parse_uuid(const char *text, uint8_t ret_uuid[16], struct error *err);

#endif
