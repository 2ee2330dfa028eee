/* For the tests of the double: a descriptor with its completion record, and how to wait for it. */
#ifndef SVM_DOUBLE_JOB_H
#define SVM_DOUBLE_JOB_H

#include <linux/idxd.h>
#include <sched.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

struct job {
  struct dsa_hw_desc descriptor;
  struct dsa_completion_record record;
  uint8_t padding[32];
} __attribute__((aligned(64)));

static inline void job_init(struct job* job, uint8_t opcode, uint32_t flags) {
  memset(job, 0, sizeof *job);
  job->descriptor.opcode = opcode;
  job->descriptor.flags = (flags | IDXD_OP_FLAG_CRAV | IDXD_OP_FLAG_RCR) & 0xffffff;
  job->descriptor.completion_addr = (uintptr_t)&job->record;
}

static inline void job_memmove(struct job* job, void* to, const void* from, size_t size) {
  job_init(job, DSA_OPCODE_MEMMOVE, 0);
  job->descriptor.src_addr = (uintptr_t)from;
  job->descriptor.dst_addr = (uintptr_t)to;
  job->descriptor.xfer_size = (uint32_t)size;
}

/*
 * Returns the status; 0 if there is none after 20 seconds. Unlike svm_wait_byte it leaves the CPU
 * to the device at once, which is a thread.
 */
static inline int job_wait(const struct job* job) {
  const uint8_t* status = (const uint8_t*)&job->record;
  struct timespec start, now;
  (void)clock_gettime(CLOCK_MONOTONIC, &start);
  do {
    for (int i = 0; i < 100; i++) {
      const uint8_t value = __atomic_load_n(status, __ATOMIC_ACQUIRE);
      if (value != 0) return value;
      (void)sched_yield();
    }
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
  } while (now.tv_sec - start.tv_sec < 20);
  return 0;
}

#endif
