/*
 * Waiting for a byte that a device writes: the status byte of a completion record, which is zero
 * until the device is done with the record and everything the record speaks of.
 */
#ifndef SVM_SHIM_WAITER_H
#define SVM_SHIM_WAITER_H

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
  SVM_WAIT_PAUSE,  /* PAUSE with back-off */
  SVM_WAIT_TPAUSE, /* TPAUSE: C0.2 for a bounded time */
  SVM_WAIT_UMWAIT, /* UMONITOR on the byte's cache line, then UMWAIT: wakes when it is written */
};

/*
 * The best method that the CPU has (CPUID WAITPKG). The kernel has no switch that forbids one:
 * /sys/devices/system/cpu/umwait_control/enable_c02 limits the depth, max_time the time.
 */
enum svm_wait_method svm_wait_best_method(void);

/*
 * By which one thread ends another's wait. Zero-initialised; then these functions alone use it,
 * from any thread. It stays raised.
 */
struct svm_stop_flag {
  uint32_t raised;
};
void svm_stop_raise(struct svm_stop_flag* flag);

/*
 * Waits until `*byte` is not zero or `timeout_ns` have passed (CLOCK_MONOTONIC); UINT64_MAX waits
 * without end. The byte's memory must stay mapped during the call. What the device wrote before the
 * byte is visible after it (acquire). `stop`, if not NULL, ends the wait early; it is looked at
 * between two sleeps, and no sleep is planned for more than 50 us.
 *
 * For the first millisecond or so the wait does not leave the CPU: chunks of PAUSE that double up
 * to about 1 us, or TPAUSE and UMWAIT. A byte that takes longer is waited for in sleeps of 50 us
 * (clock_nanosleep; the timer's slack comes on top, 50 us by default), whatever the method, so that
 * a long wait leaves the core to others.
 *
 * Returns the byte's value; 0 after the timeout or a stop; -EINVAL for a method the CPU lacks.
 */
int svm_wait_byte(const uint8_t* byte, uint64_t timeout_ns, enum svm_wait_method method,
                  const struct svm_stop_flag* stop);

#ifdef __cplusplus
}
#endif

#endif
