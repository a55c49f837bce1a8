/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Port, memory-mapped and CPU access primitives. All of them work at CPL 3.
 */
#ifndef GUEST_IO_H
#define GUEST_IO_H

#include <stdint.h>

#define DEFINE_IO(width, suffix)                                             \
    static inline uint##width##_t in##width(uint16_t port)                   \
    {                                                                        \
        uint##width##_t value;                                               \
        __asm__ volatile("in" suffix " %1, %0" : "=a"(value) : "Nd"(port));  \
        return value;                                                        \
    }                                                                        \
    static inline void out##width(uint16_t port, uint##width##_t value)      \
    {                                                                        \
        __asm__ volatile("out" suffix " %0, %1" : : "a"(value), "Nd"(port)); \
    }

DEFINE_IO(8, "b")
DEFINE_IO(16, "w")
DEFINE_IO(32, "l")

/*
 * One plain MOV each: a monitor that decodes instructions meets the same few encodings as from an
 * ordinary kernel. "memory" orders them with the accesses to rings in RAM around them.
 */
#define DEFINE_MMIO(width, suffix, load, store)                                    \
    static inline uint##width##_t mmio_read##width(const volatile void *at)        \
    {                                                                              \
        uint##width##_t value;                                                     \
        __asm__ volatile("mov" suffix " %1, %0"                                    \
                         : load(value)                                             \
                         : "m"(*(const volatile uint##width##_t *)at)              \
                         : "memory");                                              \
        return value;                                                              \
    }                                                                              \
    static inline void mmio_write##width(volatile void *at, uint##width##_t value) \
    {                                                                              \
        __asm__ volatile("mov" suffix " %1, %0"                                    \
                         : "=m"(*(volatile uint##width##_t *)at)                   \
                         : store(value)                                            \
                         : "memory");                                              \
    }

DEFINE_MMIO(8, "b", "=q", "q")
DEFINE_MMIO(16, "w", "=r", "r")
DEFINE_MMIO(32, "l", "=r", "r")
DEFINE_MMIO(64, "q", "=r", "r")

static inline void memory_barrier(void)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static inline void compiler_barrier(void)
{
    __asm__ volatile("" : : : "memory");
}

static inline void cpu_relax(void)
{
    __asm__ volatile("pause" : : : "memory");
}

static inline uint64_t rdtsc(void)
{
    uint32_t low, high;

    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
    return (uint64_t)high << 32 | low;
}

struct cpuid {
    uint32_t eax, ebx, ecx, edx;
};

static inline struct cpuid cpuid(uint32_t leaf, uint32_t subleaf)
{
    struct cpuid r;

    __asm__ volatile("cpuid"
                     : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx)
                     : "a"(leaf), "c"(subleaf));
    return r;
}

#endif
