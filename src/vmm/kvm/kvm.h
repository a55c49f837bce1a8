// SPDX-License-Identifier: Apache-2.0
/*
 * Every KVM ioctl the project uses, one function each, and the table of capabilities it asks for.
 * Nothing else in the tree calls ioctl() on /dev/kvm, a VM or a vCPU. Source: the kernel's
 * Documentation/virt/kvm/api.rst; section numbers below are its.
 *
 * All functions return 0 (or the value described) or a negative errno; which descriptor each takes
 * is in its name: sys = /dev/kvm, vm, vcpu.
 */
#ifndef PODVISOR_VMM_KVM_H
#define PODVISOR_VMM_KVM_H

#include <linux/kvm.h>
#include <podvisor/error.h>
#include <podvisor/machine_config.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct kvm_capability {
    int id; /* KVM_CAP_… */
    bool required;
    const char *name;
    const char *purpose; /* for `vmm check` and for the error when it is missing */
};

extern const struct kvm_capability kvm_capabilities[];
extern const size_t kvm_capability_count;

/* Largest CPUID and MSR lists passed to KVM. */
#define KVM_CPUID_MAX 128

struct kvm_cpuid_table {
    struct kvm_cpuid2 head;
    struct kvm_cpuid_entry2 entry[KVM_CPUID_MAX];
};

#define KVM_ROUTING_MAX 512

struct kvm_routing_table {
    struct kvm_irq_routing head;
    struct kvm_irq_routing_entry entry[KVM_ROUTING_MAX];
};

#define KVM_MSR_MAX 16

struct kvm_msr_table {
    struct kvm_msrs head;
    struct kvm_msr_entry entry[KVM_MSR_MAX];
};

int kvm_sys_get_api_version(int kvm_fd);                 /* §4.1; the version, 12 */
int kvm_sys_create_vm(int kvm_fd);                       /* §4.2; a descriptor */
int kvm_sys_check_extension(int kvm_fd, int capability); /* §4.4; 0 = absent */
int kvm_sys_get_vcpu_mmap_size(int kvm_fd);              /* §4.5; bytes */
int kvm_sys_get_supported_cpuid(int kvm_fd, struct kvm_cpuid_table *ret_table); /* §4.46 */

/* Checks the API version and every required capability; names the first one missing. */
int kvm_sys_require(int kvm_fd, struct error *err);

int kvm_vm_set_user_memory_region(int vm_fd, uint32_t slot, uint64_t gpa, uint64_t size,
                                  const void *hva);               /* §4.35; size 0 deletes */
int kvm_vm_set_tss_addr(int vm_fd, uint64_t gpa);                 /* §4.36 */
int kvm_vm_set_identity_map_addr(int vm_fd, uint64_t gpa);        /* §4.41 */
int kvm_vm_enable_split_irqchip(int vm_fd, unsigned ioapic_pins); /* §7.5 */
int kvm_vm_create_vcpu(int vm_fd, unsigned id);                   /* §4.7; a descriptor */
int kvm_vm_set_gsi_routing(int vm_fd, const struct kvm_routing_table *table); /* §4.52 */
int kvm_vm_irqfd(int vm_fd, int event_fd, uint32_t gsi, bool assign);         /* §4.75 */
/* §4.59; signals event_fd on a guest write of any length at `gpa` (MMIO). */
int kvm_vm_ioeventfd(int vm_fd, int event_fd, uint64_t gpa, bool assign);
int kvm_vm_signal_msi(int vm_fd, uint64_t address,
                      uint32_t data); /* §4.70; 1 delivered, 0 blocked */

int kvm_vcpu_run(int vcpu_fd); /* §4.10; -EINTR when kicked */
int kvm_vcpu_get_regs(int vcpu_fd, struct kvm_regs *ret_regs);
int kvm_vcpu_set_regs(int vcpu_fd, const struct kvm_regs *regs);
int kvm_vcpu_get_sregs(int vcpu_fd, struct kvm_sregs *ret_sregs);
int kvm_vcpu_set_sregs(int vcpu_fd, const struct kvm_sregs *sregs);
int kvm_vcpu_set_xsave(int vcpu_fd, const struct kvm_xsave *xsave);       /* §4.43 */
int kvm_vcpu_set_xcr0(int vcpu_fd, uint64_t value);                       /* §4.45 */
int kvm_vcpu_set_cpuid(int vcpu_fd, const struct kvm_cpuid_table *table); /* §4.20 */
int kvm_vcpu_set_msrs(int vcpu_fd,
                      const struct kvm_msr_table *table); /* -EINVAL if one was refused */
int kvm_vcpu_get_lapic(int vcpu_fd, struct kvm_lapic_state *ret_lapic);
int kvm_vcpu_set_lapic(int vcpu_fd, const struct kvm_lapic_state *lapic);
int kvm_vcpu_set_mp_state(int vcpu_fd, uint32_t state); /* §4.39, KVM_MP_STATE_… */
int kvm_vcpu_set_events(int vcpu_fd, const struct kvm_vcpu_events *events);
int kvm_vcpu_set_debugregs(int vcpu_fd, const struct kvm_debugregs *regs);

#endif
