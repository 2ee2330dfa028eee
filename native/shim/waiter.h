/*
 * Waiting for a byte that a device writes: the status byte of a completion record, which is zero
 * until the device is done with the record and everything the record speaks of.
 */
#ifndef SVM_SHIM_WAITER_H
#define SVM_SHIM_WAITER_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * One step of a spin-wait: PAUSE, or the architecture's equivalent. Never a system call.
 */
void svm_pause(void);

/* How a wait sleeps between two looks. */
enum svm_wait_method {
  SVM_WAIT_PAUSE,   /* PAUSE with back-off */
  SVM_WAIT_TPAUSE,  /* TPAUSE: C0.2 for a bounded time */
  SVM_WAIT_UMWAIT,  /* UMONITOR on the byte's cache line, then UMWAIT: wakes when it is written */
};

/*
 * The best method that the CPU has (CPUID WAITPKG) and the kernel has not switched off:
 * /sys/devices/system/cpu/umwait_control/enable_c02 does not forbid it, only its depth.
 */
enum svm_wait_method svm_wait_best_method(void);

/*
 * Waits until `*byte` is not zero or `timeout_ns` have passed (CLOCK_MONOTONIC). The byte's memory
 * must stay mapped during the call. What the device wrote before the byte is visible after it
 * (acquire). `stop`, if not NULL, ends the wait early when another thread sets it.
 * Returns the byte's value; 0 after the timeout or a stop; -EINVAL for a method the CPU lacks.
 */
int svm_wait_byte(const uint8_t* byte, uint64_t timeout_ns, enum svm_wait_method method,
                  const bool* stop);

#ifdef __cplusplus
}
#endif

#endif
