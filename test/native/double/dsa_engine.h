/*
 * Carries out DSA descriptors on the memory of this process: NOOP, BATCH, DRAIN, MEMMOVE, MEMFILL,
 * COMPARE, CRCGEN; any other opcode ends as BAD_OPCODE. Knows nothing of queues and time.
 */
#ifndef SVM_DOUBLE_DSA_ENGINE_H
#define SVM_DOUBLE_DSA_ENGINE_H

#include <linux/idxd.h>
#include <stdbool.h>
#include <stdint.h>

/* An error that no completion record can tell, as the software error register would have it. */
typedef void dsa_error_reporter(void* context, uint8_t error, uint64_t address);

struct dsa_engine {
  bool block_on_fault; /* BOF is valid: a fault is served by svm_memory_touch, then resumed */
  bool present_only;   /* a page that the process has not touched faults, as it does on a device */
  uint32_t max_transfer_size;
  uint32_t max_batch_size;
  dsa_error_reporter* report;
  void* context;
  int pagemap; /* /proc/self/pagemap, with `present_only` */
};

/* What became of a descriptor, still untold. */
struct dsa_outcome {
  struct dsa_completion_record record;
  uint64_t record_addr;
  bool record_wanted;
};

/* Carries out a descriptor, all but its completion record. */
void dsa_engine_run(const struct dsa_engine* engine, const struct dsa_hw_desc* descriptor,
                    struct dsa_outcome* outcome);

/*
 * Writes the record, its status byte last and by itself, with everything before it visible to
 * whoever reads the byte with acquire. A record that cannot be written, or an error without a valid
 * completion address, is reported.
 */
void dsa_engine_complete(const struct dsa_engine* engine, const struct dsa_outcome* outcome);

#endif
