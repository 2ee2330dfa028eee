/*
 * What the CPU says it can execute, from CPUID leaf 7, sub-leaf 0, register ECX
 * (Intel SDM vol. 2A, CPUID, "Structured Extended Feature Flags").
 */
#ifndef SVM_SHIM_CPU_FEATURES_H
#define SVM_SHIM_CPU_FEATURES_H

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

struct svm_cpu_features {
  bool waitpkg;   /* UMONITOR, UMWAIT, TPAUSE: ECX bit 5 */
  bool la57;      /* five-level paging, whether or not the kernel switched it on: bit 16 */
  bool cldemote;  /* CLDEMOTE: bit 25 */
  bool movdiri;   /* direct store of 4 or 8 bytes: bit 27 */
  bool movdir64b; /* direct store of 64 bytes, for dedicated work queues: bit 28 */
  bool enqcmd;    /* 64-byte store with a status, for shared work queues: bit 29 */
};

/*
 * Fills `out`. Everything is false on an x86 CPU that has no leaf 7.
 * Under a hypervisor this is the hypervisor's answer, which may hide what the CPU executes.
 * ENQCMD further needs a kernel that loads IA32_PASID: the bit alone does not promise that.
 *
 * Returns 0; -ENOSYS, with `out` all false, on a CPU that has no CPUID instruction.
 */
int svm_get_cpu_features(struct svm_cpu_features* out);

/* The instruction set this was compiled for, by Node's name in `process.arch`; never NULL. */
const char* svm_cpu_arch(void);

#ifdef __cplusplus
}
#endif

#endif
