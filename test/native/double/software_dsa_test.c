/*
 * The software DSA against what the DSA specification says, and against references that are written
 * in another way.
 */
#define _GNU_SOURCE

#include "check.h"
#include "instruction_emulation.h"
#include "job.h"
#include "portal.h"
#include "software_dsa.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096

/* Sanitizers are slow. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define MANY 1000
#else
#define MANY 10000
#endif

/* ---- helpers ---- */

static struct software_dsa* make(struct software_dsa_config config) {
  struct software_dsa* device = NULL;
  CHECK(software_dsa_create(&config, &device) == 0);
  return device;
}

static struct software_dsa_config shared_config(uint32_t size) {
  struct software_dsa_config config = software_dsa_default_config();
  config.shared = true;
  config.size = size;
  return config;
}

static struct software_dsa_counters counters_of(const struct software_dsa* device) {
  struct software_dsa_counters counters;
  software_dsa_get_counters(device, &counters);
  return counters;
}

/* Submits and waits. Returns the status. */
static int run(struct software_dsa* device, struct job* job) {
  job->record.status = 0;
  while (!software_dsa_submit(device, &job->descriptor))
    (void)sched_yield();
  return job_wait(job);
}

static unsigned char* map_pages(size_t count) {
  void* pages =
      mmap(NULL, count * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(pages != MAP_FAILED);
  (void)madvise(pages, count * PAGE, MADV_NOHUGEPAGE);
  return pages;
}

static void fill_random(unsigned char* bytes, size_t length) {
  for (size_t i = 0; i < length; i++)
    bytes[i] = (unsigned char)rand();
}

/* CRC-32C bit by bit, without a table. */
static uint32_t crc32c(uint32_t seed, const unsigned char* bytes, size_t length) {
  uint32_t crc = ~seed;
  for (size_t i = 0; i < length * 8; i++) {
    const uint32_t bit = (crc ^ bytes[i / 8] >> i % 8) & 1;
    crc >>= 1;
    if (bit != 0) crc ^= 0x82f63b78;
  }
  return ~crc;
}

/* ---- operations ---- */

static void check_memmove(struct software_dsa* device) {
  enum { SIZE = 5 * PAGE };
  static unsigned char bytes[SIZE], expected[SIZE];
  struct job job;
  for (int round = 0; round < 200; round++) {
    fill_random(bytes, SIZE);
    memcpy(expected, bytes, SIZE);
    const size_t from = (size_t)rand() % PAGE, to = (size_t)rand() % PAGE;
    const size_t length = (size_t)rand() % (SIZE - PAGE) + 1;
    memmove(expected + to, expected + from, length);
    job_memmove(&job, bytes + to, bytes + from, length);
    CHECK(run(device, &job) == DSA_COMP_SUCCESS);
    CHECK(memcmp(bytes, expected, SIZE) == 0);
    CHECK(job.record.bytes_completed == 0 && job.record.result == 0);
  }
}

static void check_memfill(struct software_dsa* device) {
  static unsigned char bytes[3 * PAGE];
  struct job job;
  memset(bytes, 0xaa, sizeof bytes);
  job_init(&job, DSA_OPCODE_MEMFILL, IDXD_OP_FLAG_CC);
  job.descriptor.pattern = 0x0807060504030201;
  job.descriptor.dst_addr = (uintptr_t)bytes + 5;
  job.descriptor.xfer_size = 2 * PAGE + 3;
  CHECK(run(device, &job) == DSA_COMP_SUCCESS);
  for (size_t i = 0; i < sizeof bytes; i++) {
    const bool inside = i >= 5 && i < 5 + 2 * PAGE + 3;
    CHECK(bytes[i] == (inside ? (i - 5) % 8 + 1 : 0xaa));
  }
}

static void check_compare(struct software_dsa* device) {
  enum { SIZE = 20000 };
  static unsigned char a[SIZE], b[SIZE];
  struct job job;
  fill_random(a, SIZE);
  memcpy(b, a, SIZE);
  job_init(&job, DSA_OPCODE_COMPARE, 0);
  job.descriptor.src_addr = (uintptr_t)a;
  job.descriptor.src2_addr = (uintptr_t)b;
  job.descriptor.xfer_size = SIZE;
  CHECK(run(device, &job) == DSA_COMP_SUCCESS);
  CHECK(job.record.result == 0 && job.record.bytes_completed == SIZE);

  b[12345] ^= 1;
  CHECK(run(device, &job) == DSA_COMP_SUCCESS);
  CHECK(job.record.result == 1 && job.record.bytes_completed == 12345);

  /* With an expectation. */
  job.descriptor.flags |= IDXD_OP_FLAG_CR;
  CHECK(run(device, &job) == DSA_COMP_SUCCESS_PRED);
  job.descriptor.expected_res = 1;
  CHECK(run(device, &job) == DSA_COMP_SUCCESS);
  b[12345] ^= 1;
  CHECK(run(device, &job) == DSA_COMP_SUCCESS_PRED && job.record.result == 0);
}

static void check_crcgen(struct software_dsa* device) {
  static unsigned char bytes[3 * PAGE];
  struct job job;
  job_init(&job, DSA_OPCODE_CRCGEN, 0);
  job.descriptor.src_addr = (uintptr_t)"123456789";
  job.descriptor.xfer_size = 9;
  CHECK(run(device, &job) == DSA_COMP_SUCCESS);
  CHECK(job.record.crc_val == 0xe3069283);

  for (int round = 0; round < 20; round++) {
    fill_random(bytes, sizeof bytes);
    const size_t length = (size_t)rand() % sizeof bytes + 1;
    const uint32_t seed = (uint32_t)rand();
    job.descriptor.src_addr = (uintptr_t)bytes;
    job.descriptor.xfer_size = (uint32_t)length;
    job.descriptor.crc_seed = seed;
    CHECK(run(device, &job) == DSA_COMP_SUCCESS);
    CHECK(job.record.crc_val == crc32c(seed, bytes, length));
  }
}

static void check_descriptor_errors(struct software_dsa* device) {
  static unsigned char bytes[2 * PAGE] __attribute__((aligned(64)));
  const struct {
    int expected;
    uint8_t opcode;
    uint32_t flags, size;
    size_t zero_at; /* of the descriptor, where a byte becomes 1; 0: nowhere */
  } cases[] = {
      {DSA_COMP_SUCCESS, DSA_OPCODE_MEMMOVE, 0, 64, 0},
      {DSA_COMP_SUCCESS, DSA_OPCODE_NOOP, 0, 0, 0},
      {DSA_COMP_SUCCESS, DSA_OPCODE_DRAIN, 0, 0, 0},
      {DSA_COMP_BAD_OPCODE, 0x33, 0, 64, 0},
      {DSA_COMP_INVALID_FLAGS, DSA_OPCODE_MEMMOVE, 0x20, 64, 0},
      {DSA_COMP_INVALID_FLAGS, DSA_OPCODE_MEMMOVE, IDXD_OP_FLAG_FENCE, 64, 0},
      {DSA_COMP_INVALID_FLAGS, DSA_OPCODE_MEMMOVE, IDXD_OP_FLAG_BOF, 64, 0},
      {DSA_COMP_NOZERO_RESERVE, DSA_OPCODE_MEMMOVE, 0, 64, 38},
      {DSA_COMP_NOZERO_RESERVE, DSA_OPCODE_MEMMOVE, 0, 64, 60},
      {DSA_COMP_XFER_ERANGE, DSA_OPCODE_MEMMOVE, 0, 0, 0},
      {DSA_COMP_XFER_ERANGE, DSA_OPCODE_MEMMOVE, 0, (2U << 20) + 1, 0},
      {DSA_COMP_INT_HANDLE_INVAL, DSA_OPCODE_MEMMOVE, IDXD_OP_FLAG_RCI, 64, 0},
      {DSA_COMP_DESC_CNT_ERANGE, DSA_OPCODE_BATCH, 0, 1, 0},
      {DSA_COMP_DESC_CNT_ERANGE, DSA_OPCODE_BATCH, 0, 33, 0},
  };
  struct job job;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    const bool has_operands =
        cases[i].opcode >= DSA_OPCODE_MEMMOVE || cases[i].opcode == DSA_OPCODE_BATCH;
    job_init(&job, cases[i].opcode, cases[i].flags);
    job.descriptor.src_addr = has_operands ? (uintptr_t)bytes : 0;
    job.descriptor.dst_addr =
        has_operands && cases[i].opcode != DSA_OPCODE_BATCH ? (uintptr_t)bytes + PAGE : 0;
    job.descriptor.xfer_size = cases[i].size;
    if (cases[i].zero_at != 0) ((unsigned char*)&job.descriptor)[cases[i].zero_at] = 1;
    CHECK(run(device, &job) == cases[i].expected);
    if (cases[i].expected == DSA_COMP_INVALID_FLAGS)
      CHECK(job.record.invalid_flags == cases[i].flags);
  }
  job_init(&job, DSA_OPCODE_BATCH, 0);
  job.descriptor.desc_list_addr = (uintptr_t)bytes + 32;
  job.descriptor.desc_count = 2;
  CHECK(run(device, &job) == DSA_COMP_DESCLIST_ALIGN);
}

static void check_batch(struct software_dsa* device) {
  enum { COUNT = 32, SIZE = 100 };
  static struct job jobs[COUNT];
  static struct dsa_hw_desc list[COUNT] __attribute__((aligned(64)));
  static unsigned char from[COUNT * SIZE], to[COUNT * SIZE];
  struct job batch;
  fill_random(from, sizeof from);
  for (size_t i = 0; i < COUNT; i++) {
    job_memmove(&jobs[i], to + i * SIZE, from + i * SIZE, SIZE);
    if (i == 7) jobs[i].descriptor.flags |= IDXD_OP_FLAG_FENCE;
    list[i] = jobs[i].descriptor;
  }
  job_init(&batch, DSA_OPCODE_BATCH, 0);
  batch.descriptor.desc_list_addr = (uintptr_t)list;
  batch.descriptor.desc_count = COUNT;
  CHECK(run(device, &batch) == DSA_COMP_SUCCESS);
  CHECK(batch.record.bytes_completed == COUNT);
  for (size_t i = 0; i < COUNT; i++)
    CHECK(jobs[i].record.status == DSA_COMP_SUCCESS);
  CHECK(memcmp(from, to, sizeof from) == 0);

  /* One that fails does not keep the others. A batch within a batch is none. */
  list[10].opcode = DSA_OPCODE_BATCH;
  for (size_t i = 0; i < COUNT; i++)
    jobs[i].record.status = 0;
  CHECK(run(device, &batch) == DSA_COMP_BATCH_FAIL);
  CHECK(jobs[10].record.status == DSA_COMP_BAD_OPCODE);
  CHECK(jobs[COUNT - 1].record.status == DSA_COMP_SUCCESS);

  /* A list that ends in nothing. */
  unsigned char* pages = map_pages(2);
  memcpy(pages + PAGE - 3 * sizeof *list, list, 3 * sizeof *list);
  CHECK(mprotect(pages + PAGE, PAGE, PROT_NONE) == 0);
  batch.descriptor.desc_list_addr = (uintptr_t)pages + PAGE - 3 * sizeof *list;
  CHECK(run(device, &batch) == DSA_COMP_BATCH_PAGE_FAULT);
  CHECK(batch.record.bytes_completed == 3);
  CHECK(batch.record.fault_addr == (uintptr_t)pages + PAGE);
  CHECK(munmap(pages, 2 * PAGE) == 0);
}

/* ---- faults ---- */

static void check_faults(struct software_dsa* device) {
  unsigned char* from = map_pages(4);
  unsigned char* to = map_pages(4);
  struct job job;
  memset(from, 0x5a, 4 * PAGE);

  /* A hole in the target: what lies before it is done. */
  CHECK(munmap(to + 2 * PAGE, PAGE) == 0);
  job_memmove(&job, to + 10, from, 3 * PAGE);
  CHECK(run(device, &job) == (DSA_COMP_PAGE_FAULT_NOBOF | DSA_COMP_STATUS_WRITE));
  CHECK(job.record.fault_addr == (uintptr_t)to + 2 * PAGE);
  CHECK(job.record.bytes_completed == 2 * PAGE - 10);
  CHECK(memcmp(to + 10, from, 2 * PAGE - 10) == 0);

  /* Memory that may only be read. */
  CHECK(mprotect(to + PAGE, PAGE, PROT_READ) == 0);
  CHECK(run(device, &job) == (DSA_COMP_PAGE_FAULT_NOBOF | DSA_COMP_STATUS_WRITE));
  CHECK(job.record.fault_addr == (uintptr_t)to + PAGE);
  CHECK(job.record.bytes_completed == PAGE - 10);

  /* A hole in the source; the bytes before it arrive. */
  CHECK(munmap(from + PAGE, PAGE) == 0);
  memset(to, 0, PAGE);
  job_memmove(&job, to, from + PAGE - 7, PAGE);
  CHECK(run(device, &job) == DSA_COMP_PAGE_FAULT_NOBOF);
  CHECK(job.record.fault_addr == (uintptr_t)from + PAGE);
  CHECK(job.record.bytes_completed == 7);
  CHECK(to[6] == 0x5a && to[7] == 0);

  /* Other operations. */
  job_init(&job, DSA_OPCODE_MEMFILL, 0);
  job.descriptor.dst_addr = (uintptr_t)to + PAGE;
  job.descriptor.xfer_size = 64;
  CHECK(run(device, &job) == (DSA_COMP_PAGE_FAULT_NOBOF | DSA_COMP_STATUS_WRITE));
  job_init(&job, DSA_OPCODE_COMPARE, 0);
  job.descriptor.src_addr = (uintptr_t)from;
  job.descriptor.src2_addr = (uintptr_t)from;
  job.descriptor.xfer_size = 2 * PAGE;
  CHECK(run(device, &job) == DSA_COMP_PAGE_FAULT_NOBOF && job.record.bytes_completed == PAGE);
  job_init(&job, DSA_OPCODE_CRCGEN, 0);
  job.descriptor.src_addr = (uintptr_t)from;
  job.descriptor.xfer_size = 2 * PAGE;
  CHECK(run(device, &job) == DSA_COMP_PAGE_FAULT_NOBOF && job.record.bytes_completed == PAGE);
  CHECK(job.record.crc_val == crc32c(0, from, PAGE));

  /* Nowhere, of the kernel, not canonical. */
  static const uint64_t nowhere[] = {0, 0xffffffff81000000, 0x0123456789abcdef};
  for (size_t i = 0; i < sizeof nowhere / sizeof *nowhere; i++) {
    job_memmove(&job, to, from, 64);
    job.descriptor.src_addr = nowhere[i];
    CHECK(run(device, &job) == DSA_COMP_PAGE_FAULT_NOBOF);
    CHECK(job.record.fault_addr == nowhere[i]);
    job_memmove(&job, to, from, 64);
    job.descriptor.dst_addr = nowhere[i];
    CHECK(run(device, &job) == (DSA_COMP_PAGE_FAULT_NOBOF | DSA_COMP_STATUS_WRITE));
    CHECK(job.record.fault_addr == nowhere[i]);
  }
  CHECK(munmap(from, PAGE) == 0 && munmap(from + 2 * PAGE, 2 * PAGE) == 0);
  CHECK(munmap(to, 2 * PAGE) == 0 && munmap(to + 3 * PAGE, PAGE) == 0);
}

/* Upwards over itself, copied from the end: the rest is the head. */
static void check_backward_fault(struct software_dsa* device) {
  unsigned char* pages = map_pages(4);
  static unsigned char expected[4 * PAGE];
  struct job job;
  fill_random(pages, 4 * PAGE);
  memcpy(expected, pages, 4 * PAGE);
  const size_t shift = 100, length = 3 * PAGE;
  memmove(expected + shift, expected, length);

  CHECK(mprotect(pages, PAGE, PROT_READ) == 0);
  job_memmove(&job, pages + shift, pages, length);
  CHECK(run(device, &job) == (DSA_COMP_PAGE_FAULT_NOBOF | DSA_COMP_STATUS_WRITE));
  CHECK(job.record.result == 1);
  const size_t done = job.record.bytes_completed;
  CHECK(done == 2 * PAGE + shift);
  CHECK(job.record.fault_addr / PAGE == (uintptr_t)pages / PAGE);
  CHECK(memcmp(pages + shift + length - done, expected + shift + length - done, done) == 0);

  CHECK(mprotect(pages, PAGE, PROT_READ | PROT_WRITE) == 0);
  job.descriptor.xfer_size -= (uint32_t)done;
  CHECK(run(device, &job) == DSA_COMP_SUCCESS);
  CHECK(memcmp(pages, expected, 4 * PAGE) == 0);
  CHECK(munmap(pages, 4 * PAGE) == 0);
}

static atomic_uint errors_reported;

static void on_error(void* context) {
  CHECK(context == &errors_reported);
  atomic_fetch_add(&errors_reported, 1);
}

/* A record that cannot be written, and one that was not asked for. */
static void check_completion_record(void) {
  struct software_dsa_config config = shared_config(8);
  config.on_error = on_error;
  config.context = &errors_reported;
  struct software_dsa* device = make(config);
  unsigned char* page = map_pages(1);
  struct job job;

  /* Success without RCR, and without an address: nothing is written. */
  memset(page, 0, PAGE);
  job_init(&job, DSA_OPCODE_NOOP, 0);
  job.descriptor.opcode = DSA_OPCODE_NOOP;
  job.descriptor.flags = IDXD_OP_FLAG_CRAV;
  CHECK(software_dsa_submit(device, &job.descriptor));
  job.descriptor.opcode = DSA_OPCODE_NOOP;
  job.descriptor.flags = 0;
  CHECK(software_dsa_submit(device, &job.descriptor));
  software_dsa_drain(device);
  CHECK(job.record.status == 0 && counters_of(device).completed == 2);
  /* An error is written even so. */
  job.descriptor.opcode = DSA_OPCODE_MEMMOVE;
  job.descriptor.flags = IDXD_OP_FLAG_CRAV;
  CHECK(run(device, &job) == DSA_COMP_XFER_ERANGE);
  CHECK(counters_of(device).error == 0 && atomic_load(&errors_reported) == 0);

  CHECK(mprotect(page, PAGE, PROT_READ) == 0);
  job_init(&job, DSA_OPCODE_NOOP, 0);
  job.descriptor.completion_addr = (uintptr_t)page + 64;
  CHECK(software_dsa_submit(device, &job.descriptor));
  software_dsa_drain(device);
  CHECK(counters_of(device).error == DSA_COMP_CRA_XLAT);
  CHECK(counters_of(device).error_address == (uintptr_t)page + 64);
  CHECK(atomic_load(&errors_reported) == 1);

  /* The first stays. */
  job_init(&job, DSA_OPCODE_MEMMOVE, 0);
  job.descriptor.completion_addr += 8;
  CHECK(software_dsa_submit(device, &job.descriptor));
  software_dsa_drain(device);
  CHECK(counters_of(device).error == DSA_COMP_CRA_XLAT && atomic_load(&errors_reported) == 1);
  software_dsa_destroy(device);
  CHECK(munmap(page, PAGE) == 0);
}

/* Pages that nobody has touched fault, are touched, and the rest is done. */
static void check_present_only(void) {
  struct software_dsa_config config = shared_config(8);
  config.present_only = true;
  struct software_dsa* device = make(config);
  unsigned char* from = map_pages(4);
  unsigned char* to = map_pages(4);
  struct job job;
  memset(from, 0x5a, 4 * PAGE);
  job_memmove(&job, to, from, 4 * PAGE);
  int faults = 0;
  while (run(device, &job) == (DSA_COMP_PAGE_FAULT_NOBOF | DSA_COMP_STATUS_WRITE) && faults < 10) {
    faults++;
    *(volatile unsigned char*)(uintptr_t)job.record.fault_addr = 0;
    const uint32_t done = job.record.bytes_completed;
    job.descriptor.src_addr += done;
    job.descriptor.dst_addr += done;
    job.descriptor.xfer_size -= done;
  }
  CHECK(job.record.status == DSA_COMP_SUCCESS && faults == 4);
  CHECK(memcmp(from, to, 4 * PAGE) == 0);
  CHECK(counters_of(device).faults == 4);
  software_dsa_destroy(device);
  CHECK(munmap(from, 4 * PAGE) == 0 && munmap(to, 4 * PAGE) == 0);
}

/* The device has the pages brought in by itself, and gives up where there are none. */
static void check_block_on_fault(void) {
  struct software_dsa_config config = shared_config(8);
  config.present_only = true;
  config.block_on_fault = true;
  struct software_dsa* device = make(config);
  unsigned char* from = map_pages(4);
  unsigned char* to = map_pages(4);
  struct job job;
  memset(from, 0x5a, 4 * PAGE);
  job_memmove(&job, to, from, 4 * PAGE);
  job.descriptor.flags |= IDXD_OP_FLAG_BOF;
  CHECK(run(device, &job) == DSA_COMP_SUCCESS);
  CHECK(memcmp(from, to, 4 * PAGE) == 0);

  CHECK(mprotect(to + 2 * PAGE, PAGE, PROT_READ) == 0);
  CHECK(run(device, &job) == (DSA_COMP_PAGE_FAULT_IR | DSA_COMP_STATUS_WRITE));
  CHECK(job.record.bytes_completed == 2 * PAGE);
  CHECK(mprotect(from + PAGE, PAGE, PROT_NONE) == 0);
  CHECK(run(device, &job) == DSA_COMP_PAGE_FAULT_IR);
  CHECK(job.record.bytes_completed == PAGE && job.record.fault_addr == (uintptr_t)from + PAGE);
  software_dsa_destroy(device);
  CHECK(munmap(from, 4 * PAGE) == 0 && munmap(to, 4 * PAGE) == 0);
}

/* ---- the queue ---- */

static void check_create_refused(void) {
  struct software_dsa* device;
  struct software_dsa_config config = software_dsa_default_config();
  config.size = 0;
  CHECK(software_dsa_create(&config, &device) == -EINVAL);
  config.size = 65;
  CHECK(software_dsa_create(&config, &device) == -EINVAL);
  config.shared = true;
  CHECK(software_dsa_create(&config, &device) == 0);
  software_dsa_destroy(device);
}

static void check_full_queue(void) {
  enum { SIZE = 8 };
  struct software_dsa_config config = shared_config(SIZE);
  config.latency_ns = SOFTWARE_DSA_NEVER;
  struct software_dsa* device = make(config);
  static struct job jobs[SIZE];
  for (size_t i = 0; i < SIZE; i++) {
    job_init(&jobs[i], DSA_OPCODE_NOOP, 0);
    CHECK(software_dsa_submit(device, &jobs[i].descriptor));
  }
  CHECK(!software_dsa_submit(device, &jobs[0].descriptor));
  CHECK(software_dsa_in_flight(device) == SIZE);
  CHECK(counters_of(device).retries == 1);

  software_dsa_set_latency(device, 0);
  for (size_t i = 0; i < SIZE; i++)
    CHECK(job_wait(&jobs[i]) == DSA_COMP_SUCCESS);
  /* Whoever sees a completion may submit again. */
  jobs[0].record.status = 0;
  CHECK(software_dsa_submit(device, &jobs[0].descriptor));
  CHECK(job_wait(&jobs[0]) == DSA_COMP_SUCCESS);

  software_dsa_refuse(device, 2);
  CHECK(!software_dsa_submit(device, &jobs[0].descriptor));
  CHECK(!software_dsa_submit(device, &jobs[0].descriptor));
  CHECK(run(device, &jobs[0]) == DSA_COMP_SUCCESS);
  software_dsa_set_enabled(device, false);
  CHECK(!software_dsa_submit(device, &jobs[0].descriptor));
  software_dsa_set_enabled(device, true);
  CHECK(run(device, &jobs[0]) == DSA_COMP_SUCCESS);
  CHECK(counters_of(device).retries == 4);
  software_dsa_destroy(device);
}

static uint64_t now_ns(void) {
  struct timespec now;
  (void)clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

static void check_latency(void) {
  struct software_dsa_config config = shared_config(8);
  config.latency_ns = 3000000;
  struct software_dsa* device = make(config);
  struct job job;
  job_init(&job, DSA_OPCODE_NOOP, 0);
  const uint64_t start = now_ns();
  CHECK(run(device, &job) == DSA_COMP_SUCCESS);
  CHECK(now_ns() - start >= config.latency_ns);
  software_dsa_destroy(device);
}

/* Every one is done; a DRAIN comes after what was before it and before what comes after. */
static void check_reorder(void) {
  enum { COUNT = 512 };
  struct software_dsa_config config = shared_config(COUNT);
  config.reorder = true;
  config.latency_ns = SOFTWARE_DSA_NEVER;
  struct software_dsa* device = make(config);
  static struct job jobs[COUNT];
  static uint32_t from[COUNT];
  uint32_t last = 0, drained[2] = {0};
  /* Each writes its number to the same place; what stands there at the end is the last of all. */
  for (uint32_t i = 0; i < COUNT; i++) {
    from[i] = i + 1;
    job_memmove(&jobs[i], &last, &from[i], sizeof last);
    if (i == COUNT / 2) job_init(&jobs[i], DSA_OPCODE_DRAIN, 0);
    if (i == COUNT / 2 + 1) job_memmove(&jobs[i], &drained[0], &last, sizeof last);
    if (i == COUNT / 2 + 2) job_init(&jobs[i], DSA_OPCODE_DRAIN, 0);
    CHECK(software_dsa_submit(device, &jobs[i].descriptor));
  }
  software_dsa_set_latency(device, 0);
  for (size_t i = 0; i < COUNT; i++)
    CHECK(job_wait(&jobs[i]) == DSA_COMP_SUCCESS);
  CHECK(drained[0] >= 1 && drained[0] <= COUNT / 2);
  CHECK(last > COUNT / 2 + 3);
  software_dsa_destroy(device);
}

/* The close of a queue with much in flight: all of it is done, and nothing after it. */
static void check_destroy_in_flight(void) {
  enum { COUNT = 1000, SIZE = 256 };
  struct software_dsa_config config = shared_config(COUNT);
  config.latency_ns = 5000000;
  struct software_dsa* device = make(config);
  struct job* jobs = aligned_alloc(64, COUNT * sizeof *jobs);
  unsigned char* bytes = malloc((size_t)2 * COUNT * SIZE);
  fill_random(bytes, (size_t)COUNT * SIZE);
  unsigned char* copy = bytes + (size_t)COUNT * SIZE;
  for (size_t i = 0; i < COUNT; i++) {
    job_memmove(&jobs[i], copy + i * SIZE, bytes + i * SIZE, SIZE);
    CHECK(software_dsa_submit(device, &jobs[i].descriptor));
  }
  software_dsa_destroy(device);
  for (size_t i = 0; i < COUNT; i++)
    CHECK(jobs[i].record.status == DSA_COMP_SUCCESS);
  CHECK(memcmp(bytes, copy, (size_t)COUNT * SIZE) == 0);
  free(bytes);
  free(jobs);
}

/* A device that hangs lets go without a completion. */
static void check_destroy_hung(void) {
  enum { COUNT = 1000 };
  struct software_dsa_config config = shared_config(COUNT);
  config.latency_ns = SOFTWARE_DSA_NEVER;
  struct software_dsa* device = make(config);
  struct job* jobs = aligned_alloc(64, COUNT * sizeof *jobs);
  for (size_t i = 0; i < COUNT; i++) {
    job_init(&jobs[i], DSA_OPCODE_NOOP, 0);
    CHECK(software_dsa_submit(device, &jobs[i].descriptor));
  }
  software_dsa_drain(device);
  CHECK(software_dsa_in_flight(device) == 0 && counters_of(device).discarded == COUNT);
  CHECK(software_dsa_submit(device, &jobs[0].descriptor));
  software_dsa_destroy(device);
  for (size_t i = 0; i < COUNT; i++)
    CHECK(jobs[i].record.status == 0);
  free(jobs);
}

/* ---- portals ---- */

static bool submit_instruction(void* context, const void* descriptor, bool posted) {
  if (!posted) return software_dsa_submit(context, descriptor);
  software_dsa_post(context, descriptor);
  return true;
}

/* A portal for the instructions, whether this CPU has them or not. */
static struct svm_portal map_portal(struct software_dsa* device) {
  struct svm_portal portal = {0};
  CHECK(software_dsa_map_portal(device, &portal.base) == 0);
  instruction_emulation_install();
  CHECK(instruction_emulation_add_portal(portal.base, submit_instruction, device) == 0);
  return portal;
}

static void unmap_portal(struct software_dsa* device, const struct svm_portal* portal) {
  instruction_emulation_remove_portal(portal->base);
  CHECK(software_dsa_unmap_portal(device, portal->base) == 0);
}

enum { STRESS_MOST = 64, STRESS_SIZE = 64 };

/* As many rounds as `count`, never more in flight than the queue holds, every result checked. */
static void stress_portal(struct software_dsa* device, uint32_t size, unsigned int count) {
  static struct job jobs[STRESS_MOST];
  static unsigned char from[STRESS_MOST][STRESS_SIZE], to[STRESS_MOST][STRESS_SIZE];
  struct svm_portal portal = map_portal(device);
  for (unsigned int i = 0; i < count + size; i++) {
    const unsigned int slot = i % size;
    if (i >= size) {
      CHECK(job_wait(&jobs[slot]) == DSA_COMP_SUCCESS);
      CHECK(memcmp(from[slot], to[slot], STRESS_SIZE) == 0);
    }
    if (i >= count) continue;
    memcpy(from[slot], &i, sizeof i);
    job_memmove(&jobs[slot], to[slot], from[slot], STRESS_SIZE);
    CHECK(svm_portal_movdir64b(&portal, &jobs[slot].descriptor, 1) == 0);
  }
  unmap_portal(device, &portal);
}

static void check_portal_stress(bool reorder) {
  static const uint32_t sizes[] = {1, 7, 16, 64};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    struct software_dsa_config config = software_dsa_default_config();
    config.size = sizes[i];
    config.reorder = reorder;
    struct software_dsa* device = make(config);
    stress_portal(device, sizes[i], MANY);
    const struct software_dsa_counters counters = counters_of(device);
    CHECK(counters.accepted == MANY && counters.completed == MANY && counters.dropped == 0);
    software_dsa_destroy(device);
  }
}

/* Many in one call, over the end of the page, into a queue that is full afterwards. */
static void check_portal_row(void) {
  struct software_dsa_config config = software_dsa_default_config();
  config.size = 64;
  struct software_dsa* device = make(config);
  struct svm_portal portal = map_portal(device);
  static struct job jobs[64];
  static struct dsa_hw_desc row[64];
  for (int round = 0; round < 100; round++) {
    const size_t count = (size_t)round % 64 + 1;
    for (size_t i = 0; i < count; i++) {
      job_init(&jobs[i], DSA_OPCODE_NOOP, 0);
      row[i] = jobs[i].descriptor;
    }
    CHECK(svm_portal_movdir64b(&portal, row, count) == 0);
    for (size_t i = 0; i < count; i++)
      CHECK(job_wait(&jobs[i]) == DSA_COMP_SUCCESS);
  }
  unmap_portal(device, &portal);
  software_dsa_destroy(device);
}

static void check_portal_overrun(void) {
  struct software_dsa_config config = software_dsa_default_config();
  config.size = 4;
  config.latency_ns = SOFTWARE_DSA_NEVER;
  struct software_dsa* device = make(config);
  struct svm_portal portal = map_portal(device);
  static struct job jobs[10];
  for (size_t i = 0; i < 10; i++) {
    job_init(&jobs[i], DSA_OPCODE_NOOP, 0);
    CHECK(svm_portal_movdir64b(&portal, &jobs[i].descriptor, 1) == 0);
  }
  unmap_portal(device, &portal);
  CHECK(counters_of(device).accepted == 4 && counters_of(device).dropped == 6);
  CHECK(counters_of(device).error != 0);

  /* A new portal on a queue that has been disabled: lost. */
  portal = map_portal(device);
  software_dsa_set_enabled(device, false);
  CHECK(svm_portal_movdir64b(&portal, &jobs[9].descriptor, 1) == 0);
  unmap_portal(device, &portal);
  CHECK(counters_of(device).lost == 1);
  software_dsa_destroy(device);
}

/* A submitter who begins anew at the first line of the same page. */
static void check_portal_restart(void) {
  struct software_dsa_config config = software_dsa_default_config();
  struct software_dsa* device = make(config);
  struct svm_portal portal = map_portal(device);
  struct job job;
  for (int restart = 0; restart < 5; restart++) {
    portal.offset = 0;
    for (int i = 0; i < 7; i++) {
      job_init(&job, DSA_OPCODE_NOOP, 0);
      CHECK(svm_portal_movdir64b(&portal, &job.descriptor, 1) == 0);
      CHECK(job_wait(&job) == DSA_COMP_SUCCESS);
    }
  }
  unmap_portal(device, &portal);
  software_dsa_destroy(device);
}

static void check_portals_of_one_queue(void) {
  struct software_dsa_config config = software_dsa_default_config();
  struct software_dsa* device = make(config);
  struct svm_portal portals[16];
  void* one_more;
  struct job job;
  for (size_t i = 0; i < 16; i++) {
    portals[i] = map_portal(device);
    job_init(&job, DSA_OPCODE_NOOP, 0);
    CHECK(svm_portal_movdir64b(&portals[i], &job.descriptor, 1) == 0);
    CHECK(job_wait(&job) == DSA_COMP_SUCCESS);
  }
  CHECK(software_dsa_map_portal(device, &one_more) == -ENOMEM);
  CHECK(software_dsa_unmap_portal(device, &job) == -EINVAL);
  CHECK(software_dsa_unmap_portal(device, NULL) == -EINVAL);
  for (size_t i = 0; i < 16; i++)
    unmap_portal(device, &portals[i]);
  software_dsa_destroy(device);
}

/* ---- several threads ---- */

enum { THREADS = 4, ROUNDS = 500 };

static void* use_shared_queue(void* argument) {
  struct software_dsa* device = argument;
  struct svm_portal portal = map_portal(device);
  struct job job;
  unsigned char from[512], to[512];
  for (int i = 0; i < ROUNDS; i++) {
    memset(from, i + 1, sizeof from);
    job_memmove(&job, to, from, sizeof from);
    while (svm_portal_enqcmd(&portal, &job.descriptor, 1) == 0)
      (void)sched_yield();
    CHECK(job_wait(&job) == DSA_COMP_SUCCESS);
    CHECK(memcmp(from, to, sizeof from) == 0);
  }
  unmap_portal(device, &portal);
  return NULL;
}

/* ENQCMD from each, to a queue that is smaller than there are. */
static void check_shared_queue(void) {
  struct software_dsa* device = make(shared_config(2));
  pthread_t threads[THREADS];
  for (int i = 0; i < THREADS; i++) {
    CHECK(pthread_create(&threads[i], NULL, use_shared_queue, device) == 0);
  }
  for (int i = 0; i < THREADS; i++)
    CHECK(pthread_join(threads[i], NULL) == 0);
  CHECK(counters_of(device).completed == THREADS * ROUNDS);
  software_dsa_destroy(device);
}

/* ---- speed ---- */

/* Printed, not judged: 64-byte MEMMOVEs through a portal. */
static void print_speed(void) {
  enum { COUNT = 10 * MANY };
  struct software_dsa_config config = software_dsa_default_config();
  config.size = 64;
  struct software_dsa* device = make(config);
  const uint64_t start = now_ns();
  stress_portal(device, 64, COUNT);
  const double seconds = (double)(now_ns() - start) / 1e9;
  (void)printf("%.2f million descriptors/s\n", COUNT / seconds / 1e6);
  software_dsa_destroy(device);
}

int main(void) {
  (void)alarm(120);
  struct software_dsa* device = make(shared_config(16));
  check_memmove(device);
  check_memfill(device);
  check_compare(device);
  check_crcgen(device);
  check_descriptor_errors(device);
  check_batch(device);
  check_faults(device);
  check_backward_fault(device);
  software_dsa_destroy(device);

  check_completion_record();
  check_present_only();
  check_block_on_fault();
  check_create_refused();
  check_full_queue();
  check_latency();
  check_reorder();
  check_destroy_in_flight();
  check_destroy_hung();
  check_portal_stress(false);
  check_portal_stress(true);
  check_portal_row();
  check_portal_overrun();
  check_portal_restart();
  check_portals_of_one_queue();
  check_shared_queue();
  print_speed();
  return failures != 0;
}
