// SPDX-License-Identifier: Apache-2.0
/* Thin, total wrappers over the KVM ioctls; no state, any thread. See kvm.h for the specification.
 */
#include "kvm.h"
#include <podvisor/cleanup.h>
#include <string.h>
#include <sys/ioctl.h>

#define CAP(cap, is_required, why)                                             \
    {                                                                          \
        .id = (cap), .name = #cap, .required = (is_required), .purpose = (why) \
    }

const struct kvm_capability kvm_capabilities[] = {
    CAP(KVM_CAP_USER_MEMORY, true, "guest RAM"),
    CAP(KVM_CAP_IRQCHIP, true, "local APICs in the kernel"),
    CAP(KVM_CAP_SPLIT_IRQCHIP, true, "I/O APIC in the monitor (Linux 4.4 or later)"),
    CAP(KVM_CAP_IRQFD, true, "device interrupts without a system call per vCPU"),
    CAP(KVM_CAP_IRQ_ROUTING, true, "MSI-X routing"),
    CAP(KVM_CAP_SIGNAL_MSI, true, "interrupts of the I/O APIC's pins"),
    CAP(KVM_CAP_IOEVENTFD, true, "queue notifications without leaving the kernel"),
    CAP(KVM_CAP_IMMEDIATE_EXIT, true, "stopping a vCPU without a race"),
    CAP(KVM_CAP_SET_TSS_ADDR, true, "real mode on processors that need it"),
    CAP(KVM_CAP_EXT_CPUID, true, "processor identification"),
    CAP(KVM_CAP_MP_STATE, true, "starting and resetting secondary processors"),
    CAP(KVM_CAP_XSAVE, true, "resetting the floating-point and vector registers"),
    CAP(KVM_CAP_XCRS, false, "processors with XSAVE: resetting XCR0"),
    CAP(KVM_CAP_TSC_DEADLINE_TIMER, false, "the guest's best timer"),
    CAP(KVM_CAP_SET_IDENTITY_MAP_ADDR, false, "real mode on old Intel processors"),
    CAP(KVM_CAP_IOEVENTFD_ANY_LENGTH, false, "notifications of any width at full speed"),
    CAP(KVM_CAP_READONLY_MEM, false, "firmware flash"),
    CAP(KVM_CAP_DIRTY_LOG_RING, false, "live migration"),
    CAP(KVM_CAP_NR_MEMSLOTS, false, "memory hot-plug"),
};
const size_t kvm_capability_count = ARRAY_SIZE(kvm_capabilities);

/* The kernel's pointer arguments are not const even where it only reads. */
static int do_ioctl(int fd, unsigned long request, const void *arg)
{
    int r = ioctl(fd, request, arg);
    return r < 0 ? -errno : r;
}

static int do_ioctl_value(int fd, unsigned long request, unsigned long value)
{
    int r = ioctl(fd, request, value);
    return r < 0 ? -errno : r;
}

int kvm_sys_get_api_version(int kvm_fd)
{
    return do_ioctl_value(kvm_fd, KVM_GET_API_VERSION, 0);
}

int kvm_sys_create_vm(int kvm_fd)
{
    return do_ioctl_value(kvm_fd, KVM_CREATE_VM, 0);
}

int kvm_sys_check_extension(int kvm_fd, int capability)
{
    return do_ioctl_value(kvm_fd, KVM_CHECK_EXTENSION, (unsigned long)capability);
}

int kvm_sys_get_vcpu_mmap_size(int kvm_fd)
{
    return do_ioctl_value(kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
}

int kvm_sys_get_supported_cpuid(int kvm_fd, struct kvm_cpuid_table *ret_table)
{
    memset(ret_table, 0, sizeof(*ret_table));
    ret_table->head.nent = KVM_CPUID_MAX;
    return do_ioctl(kvm_fd, KVM_GET_SUPPORTED_CPUID, ret_table);
}

int kvm_sys_require(int kvm_fd, struct error *err)
{
    int version = kvm_sys_get_api_version(kvm_fd);
    if (version < 0)
        return error_sys(err, -version, "/dev/kvm does not answer as KVM");
    if (version != KVM_API_VERSION)
        return error_set(err, EPROTO, "/dev/kvm speaks API version %d, this program version %d",
                         version, KVM_API_VERSION);
    for (size_t i = 0; i < kvm_capability_count; i++) {
        const struct kvm_capability *cap = &kvm_capabilities[i];
        if (cap->required && kvm_sys_check_extension(kvm_fd, cap->id) <= 0)
            return error_set(err, EOPNOTSUPP,
                             "this kernel's KVM lacks %s (%s); a newer kernel is needed", cap->name,
                             cap->purpose);
    }
    return 0;
}

int kvm_vm_set_user_memory_region(int vm_fd, uint32_t slot, uint64_t gpa, uint64_t size,
                                  const void *hva)
{
    struct kvm_userspace_memory_region region = {
        .slot = slot,
        .guest_phys_addr = gpa,
        .memory_size = size,
        .userspace_addr = (uintptr_t)hva,
    };
    return do_ioctl(vm_fd, KVM_SET_USER_MEMORY_REGION, &region);
}

int kvm_vm_set_tss_addr(int vm_fd, uint64_t gpa)
{
    return do_ioctl_value(vm_fd, KVM_SET_TSS_ADDR, gpa);
}

int kvm_vm_set_identity_map_addr(int vm_fd, uint64_t gpa)
{
    return do_ioctl(vm_fd, KVM_SET_IDENTITY_MAP_ADDR, &gpa);
}

int kvm_vm_enable_split_irqchip(int vm_fd, unsigned ioapic_pins)
{
    struct kvm_enable_cap cap = {.cap = KVM_CAP_SPLIT_IRQCHIP, .args = {ioapic_pins}};
    return do_ioctl(vm_fd, KVM_ENABLE_CAP, &cap);
}

int kvm_vm_create_vcpu(int vm_fd, unsigned id)
{
    return do_ioctl_value(vm_fd, KVM_CREATE_VCPU, id);
}

int kvm_vm_set_gsi_routing(int vm_fd, const struct kvm_routing_table *table)
{
    return do_ioctl(vm_fd, KVM_SET_GSI_ROUTING, table);
}

int kvm_vm_irqfd(int vm_fd, int event_fd, uint32_t gsi, bool assign)
{
    struct kvm_irqfd irqfd = {
        .fd = (uint32_t)event_fd,
        .gsi = gsi,
        .flags = assign ? 0 : KVM_IRQFD_FLAG_DEASSIGN,
    };
    return do_ioctl(vm_fd, KVM_IRQFD, &irqfd);
}

int kvm_vm_ioeventfd(int vm_fd, int event_fd, uint64_t gpa, bool assign)
{
    struct kvm_ioeventfd ioeventfd = {
        .addr = gpa,
        .fd = event_fd,
        .flags = assign ? 0 : KVM_IOEVENTFD_FLAG_DEASSIGN,
    };
    return do_ioctl(vm_fd, KVM_IOEVENTFD, &ioeventfd);
}

int kvm_vm_signal_msi(int vm_fd, uint64_t address, uint32_t data)
{
    struct kvm_msi msi = {
        .address_lo = (uint32_t)address,
        .address_hi = (uint32_t)(address >> 32),
        .data = data,
    };
    return do_ioctl(vm_fd, KVM_SIGNAL_MSI, &msi);
}

int kvm_vcpu_run(int vcpu_fd)
{
    return do_ioctl_value(vcpu_fd, KVM_RUN, 0);
}

int kvm_vcpu_get_regs(int vcpu_fd, struct kvm_regs *ret_regs)
{
    return do_ioctl(vcpu_fd, KVM_GET_REGS, ret_regs);
}

int kvm_vcpu_set_regs(int vcpu_fd, const struct kvm_regs *regs)
{
    return do_ioctl(vcpu_fd, KVM_SET_REGS, regs);
}

int kvm_vcpu_get_sregs(int vcpu_fd, struct kvm_sregs *ret_sregs)
{
    return do_ioctl(vcpu_fd, KVM_GET_SREGS, ret_sregs);
}

int kvm_vcpu_set_sregs(int vcpu_fd, const struct kvm_sregs *sregs)
{
    return do_ioctl(vcpu_fd, KVM_SET_SREGS, sregs);
}

int kvm_vcpu_set_xsave(int vcpu_fd, const struct kvm_xsave *xsave)
{
    return do_ioctl(vcpu_fd, KVM_SET_XSAVE, xsave);
}

int kvm_vcpu_set_xcr0(int vcpu_fd, uint64_t value)
{
    struct kvm_xcrs xcrs = {.nr_xcrs = 1, .xcrs = {{.xcr = 0, .value = value}}};
    return do_ioctl(vcpu_fd, KVM_SET_XCRS, &xcrs);
}

int kvm_vcpu_set_cpuid(int vcpu_fd, const struct kvm_cpuid_table *table)
{
    return do_ioctl(vcpu_fd, KVM_SET_CPUID2, table);
}

int kvm_vcpu_set_msrs(int vcpu_fd, const struct kvm_msr_table *table)
{
    int r = do_ioctl(vcpu_fd, KVM_SET_MSRS, table);
    if (r < 0)
        return r;
    return (uint32_t)r == table->head.nmsrs ? 0 : -EINVAL;
}

int kvm_vcpu_get_lapic(int vcpu_fd, struct kvm_lapic_state *ret_lapic)
{
    return do_ioctl(vcpu_fd, KVM_GET_LAPIC, ret_lapic);
}

int kvm_vcpu_set_lapic(int vcpu_fd, const struct kvm_lapic_state *lapic)
{
    return do_ioctl(vcpu_fd, KVM_SET_LAPIC, lapic);
}

int kvm_vcpu_set_mp_state(int vcpu_fd, uint32_t state)
{
    struct kvm_mp_state mp = {.mp_state = state};
    return do_ioctl(vcpu_fd, KVM_SET_MP_STATE, &mp);
}

int kvm_vcpu_set_events(int vcpu_fd, const struct kvm_vcpu_events *events)
{
    return do_ioctl(vcpu_fd, KVM_SET_VCPU_EVENTS, events);
}

int kvm_vcpu_set_debugregs(int vcpu_fd, const struct kvm_debugregs *regs)
{
    return do_ioctl(vcpu_fd, KVM_SET_DEBUGREGS, regs);
}
