#include "cpu_features.h"

#include <errno.h>

#if defined(__x86_64__) || defined(__i386__)

#include <cpuid.h>

static bool has_bit(unsigned int value, unsigned int bit) {
  return (value >> bit & 1U) != 0;
}

int svm_get_cpu_features(struct svm_cpu_features* out) {
  unsigned int eax = 0, ebx = 0, ecx = 0, edx = 0;

  /* Leaves ecx at zero where the CPU's highest leaf is below 7. */
  (void)__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx);

  *out = (struct svm_cpu_features){
      .waitpkg = has_bit(ecx, 5),
      .la57 = has_bit(ecx, 16),
      .cldemote = has_bit(ecx, 25),
      .movdiri = has_bit(ecx, 27),
      .movdir64b = has_bit(ecx, 28),
      .enqcmd = has_bit(ecx, 29),
  };
  return 0;
}

#else

int svm_get_cpu_features(struct svm_cpu_features* out) {
  *out = (struct svm_cpu_features){.waitpkg = false};
  return -ENOSYS;
}

#endif

const char* svm_cpu_arch(void) {
#if defined(__x86_64__)
  return "x64";
#elif defined(__i386__)
  return "ia32";
#elif defined(__aarch64__)
  return "arm64";
#elif defined(__riscv) && __riscv_xlen == 64
  return "riscv64";
#else
  return "unknown";
#endif
}
