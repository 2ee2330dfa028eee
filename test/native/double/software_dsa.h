/*
 * A DSA work queue as a thread of this process: it takes descriptors, carries them out on the
 * process's memory (dsa_engine.h) and writes completion records, beside and against the program's
 * own threads. For tests; nothing of it is in the product.
 *
 * Two ways in, as with the real one:
 *
 * A portal page, for MOVDIR64B to a dedicated queue. It is ordinary memory, and each of its 64
 * lines a mailbox: empty while all of it is zero. The device looks at the line that is next in
 * rotation, where the submitter of struct svm_portal stores next; if it holds anything, the device
 * copies it, clears the line and goes on to the next line. Why nothing is lost or torn:
 *   - MOVDIR64B writes its 64 bytes as one. The device reads a line again after it has seen a part
 *     that is not zero, so it reads all of the descriptor.
 *   - The stores of one call are weakly ordered, so a line may fill before the one in front of it.
 *     The device waits for the one in front.
 *   - A line is stored to again 64 submissions later. With no more in flight than the queue holds,
 *     which is at most 64, one of those 64 has been completed; the device had taken all before it
 *     in rotation, so the line is empty. Its zeros are visible before the completion is: x86 keeps
 *     the order of a thread's stores.
 * A submitter who begins anew at the first line of a page in use is followed after 100 us. One that
 * keeps to a single line overruns it, which a real portal would not mind. A descriptor of 64 zeros,
 * a NOOP that asks for nothing, is not seen.
 *
 * software_dsa_submit and _post: for ENQCMD, which instruction_emulation.h brings here because
 * ordinary memory gives no answer; for MOVDIR64B on a CPU without it; and for write(2).
 *
 * Every function may be called from any thread, except as said.
 */
#ifndef SVM_DOUBLE_SOFTWARE_DSA_H
#define SVM_DOUBLE_SOFTWARE_DSA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A latency that does not pass: what is in the queue stays there until it is thrown away. */
#define SOFTWARE_DSA_NEVER UINT64_MAX

struct software_dsa_config {
  bool shared;                /* else dedicated */
  uint32_t size;              /* entries; a dedicated queue has at most 64 */
  uint64_t latency_ns;        /* from taking a descriptor to carrying it out, at the least */
  bool block_on_fault;        /* the queue allows BOF */
  bool present_only;          /* pages that the process has not touched fault as well */
  bool reorder;               /* what is due at the same time is carried out in random order */
  uint32_t max_transfer_size; /* bytes */
  uint32_t max_batch_size;    /* descriptors */
  /* Called by the device's thread when its error register becomes valid. May be NULL. */
  void (*on_error)(void* context);
  void* context;
};

/* As an idxd queue is after a reset: dedicated, 16 entries, 2 MiB, batches of 32. */
struct software_dsa_config software_dsa_default_config(void);

struct software_dsa_counters {
  uint64_t accepted;  /* descriptors taken into the queue */
  uint64_t completed; /* of those: done, with or without a record */
  uint64_t discarded; /* of those: thrown away because the latency is NEVER */
  uint64_t faults;    /* of those completed: with a page fault */
  uint64_t retries;   /* submit: refused */
  uint64_t dropped;   /* portal and post: the queue was full or shared, which is an error */
  uint64_t lost;      /* portal and post: the queue was disabled */
  uint8_t error;      /* error register: a status, 0 while it is not valid; the first error stays */
  uint64_t error_address;
};

struct software_dsa;

/*
 * Makes a queue and starts its thread. Returns 0; -EINVAL for a size of 0 or a dedicated queue of
 * more than 64; -errno of pthread_create, or of opening /proc/self/pagemap for `present_only`.
 */
int software_dsa_create(const struct software_dsa_config* config, struct software_dsa** out);

/*
 * Takes what is still in the portals, ends as software_dsa_drain, joins the thread and unmaps the
 * portals. Nothing is written to the process's memory after it. Not beside another call.
 */
void software_dsa_destroy(struct software_dsa* device);

/*
 * Waits until all that was submitted before is completed. With a latency of NEVER it is discarded
 * instead, without completion: so ends a reset of a device that hangs.
 */
void software_dsa_drain(struct software_dsa* device);

/* Maps a portal of the queue. Returns 0, -ENOMEM (at most 16 at a time), or mmap's -errno. */
int software_dsa_map_portal(struct software_dsa* device, void** page);

/* Unmaps it, after taking what was stored to it. Returns 0; -EINVAL if it is none. */
int software_dsa_unmap_portal(struct software_dsa* device, void* page);

/*
 * Take a descriptor of 64 bytes. The first is how a shared queue is asked: it returns false,
 * "retry", if the queue is full, disabled or dedicated. The second is how a dedicated one is told:
 * if the queue is full, disabled or shared, the descriptor is gone.
 */
bool software_dsa_submit(struct software_dsa* device, const void* descriptor);
void software_dsa_post(struct software_dsa* device, const void* descriptor);

/* Refuses the next `count` descriptors of software_dsa_submit, as if the queue were full. */
void software_dsa_refuse(struct software_dsa* device, uint64_t count);

/* A disabled queue loses what is stored to its portals and refuses the rest. */
void software_dsa_set_enabled(struct software_dsa* device, bool enabled);

/* For what is in the queue too. */
void software_dsa_set_latency(struct software_dsa* device, uint64_t latency_ns);

/* Descriptors accepted and not yet completed or discarded. */
uint32_t software_dsa_in_flight(const struct software_dsa* device);

void software_dsa_get_counters(const struct software_dsa* device,
                               struct software_dsa_counters* out);

#endif
