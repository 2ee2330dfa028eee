/* clock_gettime, clock_nanosleep. */
#define _POSIX_C_SOURCE 200112L

#include "waiter.h"

#include "cpu_features.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <time.h>

/* After this long on the CPU a wait begins to sleep. */
#define SPIN_NS 1000000U
#define SLEEP_NS 50000U

/* PAUSE takes about 10 to 140 cycles: 16 of them are 1 us or less. */
#define MOST_PAUSES 16

#define NS_PER_S 1000000000U

#if defined(__x86_64__)

/*
 * TSC ticks that one UMWAIT lasts at most, about 20 us: it does not see the stop flag. The kernel's
 * own limit, umwait_control/max_time, is 100000 by default. TPAUSE, which does not see the byte
 * either, begins with fewer.
 */
#define MOST_TICKS 60000U
#define FIRST_TICKS 1000U

/* Bit 0 of the operand: 0 asks for C0.2, the deeper state, 1 for C0.1. */
#define C0_2 0U

void svm_pause(void) {
  /* SAFETY: no operands; PAUSE is a NOP to CPUs that do not know it. */
  __asm__ volatile("pause");
}

static uint64_t read_tsc(void) {
  uint32_t low, high;
  /* SAFETY: RDTSC writes EDX:EAX alone. */
  __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
  return (uint64_t)high << 32 | low;
}

/* Bytes instead of mnemonics, as in portal.c. Encodings: Intel SDM vol. 2, TPAUSE, UMONITOR,
 * UMWAIT. */

static void tpause(uint64_t deadline) {
  /* SAFETY: 66 0F AE /6 with ECX. Reads EDX:EAX, writes the flags; the CPU has it (has_method). */
  __asm__ volatile(".byte 0x66, 0x0f, 0xae, 0xf1"
                   :
                   : "c"(C0_2), "a"((uint32_t)deadline), "d"((uint32_t)(deadline >> 32))
                   : "memory", "cc");
}

static void umonitor(const uint8_t* byte) {
  /* SAFETY: F3 0F AE /6 with RAX. A load of the byte, which the caller keeps mapped. */
  __asm__ volatile(".byte 0xf3, 0x0f, 0xae, 0xf0" : : "a"(byte) : "memory");
}

static void umwait(uint64_t deadline) {
  /* SAFETY: F2 0F AE /6 with ECX; else as tpause. */
  __asm__ volatile(".byte 0xf2, 0x0f, 0xae, 0xf1"
                   :
                   : "c"(C0_2), "a"((uint32_t)deadline), "d"((uint32_t)(deadline >> 32))
                   : "memory", "cc");
}

#elif defined(__aarch64__)

void svm_pause(void) {
  /* SAFETY: no operands; a hint. */
  __asm__ volatile("yield");
}

#else

void svm_pause(void) {
  atomic_signal_fence(memory_order_seq_cst);
}

#endif

static uint8_t look(const uint8_t* byte) {
  /* SAFETY: the caller keeps the byte mapped. Atomic: a device or another thread writes it. */
  return __atomic_load_n(byte, __ATOMIC_ACQUIRE);
}

void svm_stop_raise(struct svm_stop_flag* flag) {
  __atomic_store_n(&flag->raised, 1, __ATOMIC_RELEASE);
}

static bool is_raised(const struct svm_stop_flag* stop) {
  return stop != NULL && __atomic_load_n(&stop->raised, __ATOMIC_ACQUIRE) != 0;
}

static bool has_waitpkg(void) {
  /* CPUID leaves a virtual machine, which takes longer than many a wait: asked once. */
  enum { UNKNOWN, ABSENT, PRESENT };
  static atomic_int known = UNKNOWN;
  int state = atomic_load_explicit(&known, memory_order_relaxed);
  if (state == UNKNOWN) {
    struct svm_cpu_features features;
    state = svm_get_cpu_features(&features) == 0 && features.waitpkg ? PRESENT : ABSENT;
    atomic_store_explicit(&known, state, memory_order_relaxed);
  }
  return state == PRESENT;
}

static bool has_method(enum svm_wait_method method) {
  switch (method) {
  case SVM_WAIT_PAUSE:
    return true;
  case SVM_WAIT_TPAUSE:
  case SVM_WAIT_UMWAIT:
    return has_waitpkg();
  default:
    return false;
  }
}

enum svm_wait_method svm_wait_best_method(void) {
  return has_waitpkg() ? SVM_WAIT_UMWAIT : SVM_WAIT_PAUSE;
}

static uint64_t now_ns(void) {
  struct timespec now;
  (void)clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

/* One wait on the CPU, after the `round` before it. */
static void spin(const uint8_t* byte, enum svm_wait_method method, unsigned int round) {
#if defined(__x86_64__)
  if (method == SVM_WAIT_TPAUSE) {
    tpause(read_tsc() + (round < 6 ? FIRST_TICKS << round : MOST_TICKS));
    return;
  }
  if (method == SVM_WAIT_UMWAIT) {
    umonitor(byte);
    /* A byte written before the monitor was set would not wake. */
    if (look(byte) == 0) umwait(read_tsc() + MOST_TICKS);
    return;
  }
#endif
  (void)byte;
  (void)method;
  const unsigned int pauses = round < 4 ? 1U << round : MOST_PAUSES;
  for (unsigned int i = 0; i < pauses; i++)
    svm_pause();
}

static void sleep_ns(uint64_t ns) {
  const struct timespec time = {.tv_sec = 0, .tv_nsec = (long)ns};
  /* A signal ends it early, which does no harm. */
  (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &time, NULL);
}

int svm_wait_byte(const uint8_t* byte, uint64_t timeout_ns, enum svm_wait_method method,
                  const struct svm_stop_flag* stop) {
  if (!has_method(method)) return -EINVAL;
  uint8_t value = look(byte);
  if (value != 0 || timeout_ns == 0) return value;

  const uint64_t start = now_ns();
  for (unsigned int round = 0;; round++) {
    const uint64_t elapsed = now_ns() - start;
    if (elapsed >= timeout_ns || is_raised(stop)) return look(byte);
    if (elapsed < SPIN_NS) {
      spin(byte, method, round);
    } else {
      const uint64_t left = timeout_ns - elapsed;
      sleep_ns(left < SLEEP_NS ? left : SLEEP_NS);
    }
    value = look(byte);
    if (value != 0) return value;
  }
}
