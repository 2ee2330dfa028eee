#include "portal.h"

#include <errno.h>

#if defined(__x86_64__)

#include <stdbool.h>

#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#endif

/*
 * The instructions are spelt out in bytes: assemblers older than binutils 2.31 do not know them,
 * and their intrinsics would need -mmovdir64b and -menqcmd, which let the compiler use them
 * anywhere. Encodings: Intel SDM vol. 2, MOVDIR64B and ENQCMD. Both name the destination by its
 * address in the ModRM reg field (here RAX) and the source as memory (here [RDX], ModRM byte 0x02).
 */

/* A descriptor as the operand of an instruction that reads all 64 bytes of it. */
struct descriptor {
  unsigned char bytes[SVM_DESCRIPTOR_SIZE];
};

static void movdir64b(void* portal, const struct descriptor* source) {
  /*
   * SAFETY: `portal` is 64-byte aligned inside the caller's mapping (struct svm_portal) and
   * `source` is one of its `count` descriptors, so no byte outside of the two is touched. No
   * register changes. The destination counts as "memory": a device has it, not the compiler.
   */
  __asm__ volatile(".byte 0x66, 0x0f, 0x38, 0xf8, 0x02"
                   :
                   : "a"(portal), "d"(source), "m"(*source)
                   : "memory");
}

static bool enqcmd(void* portal, const struct descriptor* source) {
  bool retry;
  /*
   * SAFETY: as for movdir64b. F2 is ENQCMD, the one for user space; F3 would be ENQCMDS, which
   * faults there. ZF is the device's answer, the other arithmetic flags are cleared.
   */
  __asm__ volatile(".byte 0xf2, 0x0f, 0x38, 0xf8, 0x02\n\t"
                   "setz %0"
                   : "=q"(retry)
                   : "a"(portal), "d"(source), "m"(*source)
                   : "memory", "cc");
  return retry;
}

/*
 * Neither instruction is ordered after earlier stores (SDM, "weakly-ordered"), and non-temporal
 * ones may still be in a write-combining buffer.
 */
static void store_fence(void) {
  /* SAFETY: no operands; SFENCE is part of x86-64. */
  __asm__ volatile("sfence" : : : "memory");
}

/* Where the next descriptor goes; the offset wraps at the end of the page. */
static void* next_line(struct svm_portal* portal) {
  /* SAFETY: `offset` is below SVM_PORTAL_SIZE, the size of the mapping at `base`. */
  void* line = (unsigned char*)portal->base + portal->offset;
  portal->offset = (portal->offset + SVM_DESCRIPTOR_SIZE) % SVM_PORTAL_SIZE;
#if defined(__SANITIZE_THREAD__)
  /* ThreadSanitizer does not look into asm: the store gives the descriptor's operands away. */
  __tsan_release(line);
#endif
  return line;
}

int svm_portal_movdir64b(struct svm_portal* portal, const void* descriptors, size_t count) {
  const struct descriptor* source = descriptors;
  store_fence();
  for (size_t i = 0; i < count; i++) {
    movdir64b(next_line(portal), &source[i]);
  }
  return 0;
}

/* Whether the PASID and privilege of a descriptor are zero, as ENQCMD demands: bits 31:0. */
static bool is_unprivileged(const struct descriptor* source) {
  return (source->bytes[0] | source->bytes[1] | source->bytes[2] | source->bytes[3]) == 0;
}

int64_t svm_portal_enqcmd(struct svm_portal* portal, const void* descriptors, size_t count) {
  const struct descriptor* source = descriptors;
  store_fence();
  for (size_t i = 0; i < count; i++) {
    if (!is_unprivileged(&source[i])) return i == 0 ? -EINVAL : (int64_t)i;
    if (enqcmd(next_line(portal), &source[i])) return (int64_t)i;
  }
  return (int64_t)count;
}

#else

int svm_portal_movdir64b(struct svm_portal* portal, const void* descriptors, size_t count) {
  (void)portal;
  (void)descriptors;
  (void)count;
  return -ENOSYS;
}

int64_t svm_portal_enqcmd(struct svm_portal* portal, const void* descriptors, size_t count) {
  (void)portal;
  (void)descriptors;
  (void)count;
  return -ENOSYS;
}

#endif
