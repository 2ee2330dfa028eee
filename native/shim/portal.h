/*
 * Submission by a store to a mapped portal. The caller owns the mapping and has checked that the
 * CPU has the instruction (cpu_features.h); elsewhere these are an illegal instruction.
 * On an architecture other than x86-64 they return -ENOSYS and store nothing.
 */
#ifndef SVM_SHIM_PORTAL_H
#define SVM_SHIM_PORTAL_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SVM_DESCRIPTOR_SIZE 64
#define SVM_PORTAL_SIZE 4096

/*
 * A mapped portal and the place of the next store in it. Any 64-byte aligned offset of the page
 * means the same to the device; rotating through them lets the stores of one CPU overlap.
 * Not for two threads at once.
 */
struct svm_portal {
  void* base; /* page-aligned, SVM_PORTAL_SIZE bytes, mapped writable until unmapped by its owner */
  uint32_t offset; /* multiple of 64 below SVM_PORTAL_SIZE */
};

/*
 * MOVDIR64B of `count` descriptors, in order, to a dedicated work queue. Posted: whether the queue
 * had room is not reported, so the caller must never have more in flight than the queue holds.
 * All earlier stores of this thread are visible to the device before the first descriptor is
 * (SFENCE). The stores themselves are weakly ordered (Intel SDM vol. 2, MOVDIR64B): the device may
 * receive them in another order, and works on several at once anyway.
 * `descriptors` may have any alignment. Returns 0, or -ENOSYS.
 */
int svm_portal_movdir64b(struct svm_portal* portal, const void* descriptors, size_t count);

/*
 * ENQCMD of `count` descriptors, in order, to a shared work queue, after an SFENCE as above; stops
 * at the first that the device answers with "retry" (ZF = 1: queue full or disabled). The low 32
 * bits of a descriptor (PASID, reserved, privilege) must be zero or the CPU raises #GP: such a
 * descriptor is not issued and the result is -EINVAL if it is the first, else the number before it.
 * `descriptors` may have any alignment.
 * Returns the number accepted, 0 to `count`, or -errno.
 */
int64_t svm_portal_enqcmd(struct svm_portal* portal, const void* descriptors, size_t count);

#ifdef __cplusplus
}
#endif

#endif
