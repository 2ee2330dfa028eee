#define _GNU_SOURCE

#include "dsa_engine.h"

#include "guarded_access.h"
#include "memory.h"

#include <pthread.h>
#include <string.h>
#include <unistd.h>

#define PAGE 4096U

/* As often as a page may fault again after it was touched, before the device gives up. */
#define MOST_REQUESTS 16

/* Documentation/admin-guide/mm/pagemap.rst */
#define PAGEMAP_EXCLUSIVE ((uint64_t)1 << 56)
#define PAGEMAP_FILE_OR_SHARED ((uint64_t)1 << 61)
#define PAGEMAP_PRESENT ((uint64_t)1 << 63)

/* A descriptor at work. */
struct operation {
  const struct dsa_engine* engine;
  const struct dsa_hw_desc* descriptor;
  struct dsa_completion_record* record;
  bool in_batch;
  bool fault_write; /* of the fault whose address is in the record */
};

/* ---- memory ---- */

/* Whether the process has the page, so that the device's access needs no help of the kernel. */
static bool is_present(const struct dsa_engine* engine, uint64_t address, bool write) {
  uint64_t entry = 0;
  const off_t offset = (off_t)(address / PAGE * sizeof entry);
  if (address >> 47 != 0) return false;
  if (pread(engine->pagemap, &entry, sizeof entry, offset) != (ssize_t)sizeof entry) return false;
  if ((entry & PAGEMAP_PRESENT) == 0) return false;
  /* Shared by fork, or the zero page: a write would have to copy it first. */
  return !write || (entry & (PAGEMAP_EXCLUSIVE | PAGEMAP_FILE_OR_SHARED)) != 0;
}

static size_t to_page_end(uint64_t address) {
  return PAGE - address % PAGE;
}

static size_t least(size_t a, size_t b) {
  return a < b ? a : b;
}

static size_t access_once(const struct dsa_engine* engine, uint64_t address, void* buffer,
                          size_t length, bool write) {
  if (engine->present_only) {
    if (!is_present(engine, address, write)) return 0;
    length = least(length, to_page_end(address));
  }
  return write ? guarded_write(address, buffer, length) : guarded_read(buffer, address, length);
}

/* Reads or writes memory, and has faults served where the operation blocks on them. */
static size_t access_memory(const struct dsa_engine* engine, uint64_t address, void* buffer,
                            size_t length, bool write, bool blocks) {
  size_t done = 0;
  unsigned int requests = 0;
  while (done < length) {
    const size_t moved =
        access_once(engine, address + done, (unsigned char*)buffer + done, length - done, write);
    done += moved;
    if (moved > 0) {
      requests = 0;
      continue;
    }
    if (!blocks || requests++ == MOST_REQUESTS) break;
    if (svm_memory_touch(address + done, 1, write) != 0) break;
  }
  return done;
}

static bool blocks_on_fault(const struct operation* operation) {
  return (operation->descriptor->flags & IDXD_OP_FLAG_BOF) != 0;
}

/* Both note in the operation where they stopped, if they did. */
static size_t read_memory(struct operation* operation, uint64_t address, void* out, size_t length) {
  const size_t done =
      access_memory(operation->engine, address, out, length, false, blocks_on_fault(operation));
  if (done < length) {
    operation->record->fault_addr = address + done;
    operation->fault_write = false;
  }
  return done;
}

static size_t write_memory(struct operation* operation, uint64_t address, void* bytes,
                           size_t length) {
  const size_t done =
      access_memory(operation->engine, address, bytes, length, true, blocks_on_fault(operation));
  if (done < length) {
    operation->record->fault_addr = address + done;
    operation->fault_write = true;
  }
  return done;
}

static uint8_t page_fault(const struct operation* operation, size_t bytes) {
  operation->record->bytes_completed = (uint32_t)bytes;
  const unsigned int code =
      blocks_on_fault(operation) ? DSA_COMP_PAGE_FAULT_IR : DSA_COMP_PAGE_FAULT_NOBOF;
  return (uint8_t)(code | (operation->fault_write ? DSA_COMP_STATUS_WRITE : 0));
}

/* ---- operations ---- */

static uint8_t run_nothing(struct operation* operation) {
  (void)operation;
  return DSA_COMP_SUCCESS;
}

static uint8_t move_forward(struct operation* operation) {
  const struct dsa_hw_desc* d = operation->descriptor;
  unsigned char piece[PAGE];
  for (size_t done = 0; done < d->xfer_size;) {
    const size_t want = least(sizeof piece, d->xfer_size - done);
    const size_t got = read_memory(operation, d->src_addr + done, piece, want);
    const size_t put = write_memory(operation, d->dst_addr + done, piece, got);
    done += put;
    if (put < want) return page_fault(operation, done);
  }
  return DSA_COMP_SUCCESS;
}

/* Pieces that lie in one page each, so that a fault leaves nothing half done at the lower end. */
static uint8_t move_backward(struct operation* operation) {
  const struct dsa_hw_desc* d = operation->descriptor;
  unsigned char piece[PAGE];
  for (size_t left = d->xfer_size; left > 0;) {
    const uint64_t last_source = d->src_addr + left - 1;
    const uint64_t last_target = d->dst_addr + left - 1;
    const size_t in_page = least(last_source % PAGE, last_target % PAGE) + 1;
    const size_t want = least(left, in_page);
    const size_t at = left - want;
    if (read_memory(operation, d->src_addr + at, piece, want) < want ||
        write_memory(operation, d->dst_addr + at, piece, want) < want) {
      operation->record->result = 1;
      return page_fault(operation, d->xfer_size - left);
    }
    left = at;
  }
  return DSA_COMP_SUCCESS;
}

static uint8_t run_memmove(struct operation* operation) {
  const struct dsa_hw_desc* d = operation->descriptor;
  const bool overwrites_source =
      d->dst_addr > d->src_addr && d->dst_addr - d->src_addr < d->xfer_size;
  return overwrites_source ? move_backward(operation) : move_forward(operation);
}

static uint8_t run_memfill(struct operation* operation) {
  const struct dsa_hw_desc* d = operation->descriptor;
  uint64_t piece[PAGE / sizeof(uint64_t)];
  for (size_t i = 0; i < sizeof piece / sizeof *piece; i++)
    piece[i] = d->pattern;
  for (size_t done = 0; done < d->xfer_size;) {
    const size_t want = least(sizeof piece, d->xfer_size - done);
    const size_t put = write_memory(operation, d->dst_addr + done, piece, want);
    done += put;
    if (put < want) return page_fault(operation, done);
  }
  return DSA_COMP_SUCCESS;
}

static size_t equal_bytes(const unsigned char* a, const unsigned char* b, size_t length) {
  size_t i = 0;
  while (i < length && a[i] == b[i])
    i++;
  return i;
}

static uint8_t run_compare(struct operation* operation) {
  const struct dsa_hw_desc* d = operation->descriptor;
  unsigned char first[PAGE], second[PAGE];
  size_t done = 0;
  bool differs = false;
  while (done < d->xfer_size && !differs) {
    const size_t want = least(sizeof first, d->xfer_size - done);
    const size_t got = read_memory(operation, d->src_addr + done, first, want);
    const size_t both = read_memory(operation, d->src2_addr + done, second, got);
    const size_t equal = equal_bytes(first, second, both);
    done += equal;
    differs = equal < both;
    if (!differs && both < want) return page_fault(operation, done);
  }
  operation->record->result = differs ? 1 : 0;
  operation->record->bytes_completed = (uint32_t)done;
  const bool unexpected = operation->record->result != (d->expected_res & 3);
  return (d->flags & IDXD_OP_FLAG_CR) != 0 && unexpected ? DSA_COMP_SUCCESS_PRED : DSA_COMP_SUCCESS;
}

/* CRC-32C, polynomial 0x1EDC6F41, least significant bit first. */
static uint32_t crc_table[256];

static void fill_crc_table(void) {
  for (uint32_t i = 0; i < 256; i++) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; bit++)
      crc = crc >> 1 ^ ((crc & 1) != 0 ? 0x82f63b78U : 0);
    crc_table[i] = crc;
  }
}

static uint8_t run_crcgen(struct operation* operation) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  (void)pthread_once(&once, fill_crc_table);

  const struct dsa_hw_desc* d = operation->descriptor;
  unsigned char piece[PAGE];
  /* Seed and value are the inverted register, so that one's value is the next one's seed. */
  uint32_t crc = ~d->crc_seed;
  for (size_t done = 0; done < d->xfer_size;) {
    const size_t want = least(sizeof piece, d->xfer_size - done);
    const size_t got = read_memory(operation, d->src_addr + done, piece, want);
    for (size_t i = 0; i < got; i++)
      crc = crc >> 8 ^ crc_table[(crc ^ piece[i]) & 0xff];
    done += got;
    operation->record->crc_val = ~crc;
    if (got < want) return page_fault(operation, done);
  }
  return DSA_COMP_SUCCESS;
}

static uint8_t run_batch(struct operation* operation);

/* What an operation allows and does. */
struct operation_kind {
  uint32_t flags;        /* besides those that all of them allow */
  uint8_t reserved_from; /* from this offset on the descriptor must be zero */
  bool transfers;        /* xfer_size is checked */
  uint8_t (*run)(struct operation* operation);
};

/* DSA specification, chapter 8: one section for each. */
static const struct operation_kind* kind_of(uint8_t opcode) {
  static const struct operation_kind noop = {0, 40, false, run_nothing};
  static const struct operation_kind batch = {IDXD_OP_FLAG_ADDR1_TCS, 40, false, run_batch};
  static const struct operation_kind drain = {IDXD_OP_FLAG_ADDR1_TCS | IDXD_OP_FLAG_ADDR2_TCS, 40,
                                              false, run_nothing};
  static const struct operation_kind memmove = {
      IDXD_OP_FLAG_BOF | IDXD_OP_FLAG_CC | IDXD_OP_FLAG_ADDR1_TCS | IDXD_OP_FLAG_ADDR2_TCS |
          IDXD_OP_FLAG_STORD | IDXD_OP_FLAG_DRDBK,
      40, true, run_memmove};
  static const struct operation_kind memfill = {IDXD_OP_FLAG_BOF | IDXD_OP_FLAG_CC |
                                                    IDXD_OP_FLAG_ADDR2_TCS | IDXD_OP_FLAG_STORD |
                                                    IDXD_OP_FLAG_DRDBK,
                                                40, true, run_memfill};
  static const struct operation_kind compare = {IDXD_OP_FLAG_BOF | IDXD_OP_FLAG_CR |
                                                    IDXD_OP_FLAG_ADDR1_TCS | IDXD_OP_FLAG_ADDR2_TCS,
                                                41, true, run_compare};
  static const struct operation_kind crcgen = {IDXD_OP_FLAG_BOF | IDXD_OP_FLAG_ADDR1_TCS, 44, true,
                                               run_crcgen};
  switch (opcode) {
  case DSA_OPCODE_NOOP:
    return &noop;
  case DSA_OPCODE_BATCH:
    return &batch;
  case DSA_OPCODE_DRAIN:
    return &drain;
  case DSA_OPCODE_MEMMOVE:
    return &memmove;
  case DSA_OPCODE_MEMFILL:
    return &memfill;
  case DSA_OPCODE_COMPARE:
    return &compare;
  case DSA_OPCODE_CRCGEN:
    return &crcgen;
  default:
    return NULL;
  }
}

static uint32_t invalid_flags(const struct operation* operation,
                              const struct operation_kind* kind) {
  const uint32_t flags = operation->descriptor->flags;
  uint32_t valid =
      kind->flags | IDXD_OP_FLAG_CRAV | IDXD_OP_FLAG_RCR | IDXD_OP_FLAG_RCI | IDXD_OP_FLAG_CR_TCS;
  if (!operation->engine->block_on_fault) valid &= ~(uint32_t)IDXD_OP_FLAG_BOF;
  if (operation->in_batch) valid |= IDXD_OP_FLAG_FENCE;
  if ((flags & IDXD_OP_FLAG_CRAV) == 0) valid &= ~(uint32_t)IDXD_OP_FLAG_RCR;
  return flags & ~valid;
}

static bool reserved_is_zero(const struct dsa_hw_desc* descriptor, size_t from) {
  const unsigned char* bytes = (const unsigned char*)descriptor;
  if (descriptor->rsvd1 != 0) return false;
  for (size_t i = from; i < sizeof *descriptor; i++) {
    if (bytes[i] != 0) return false;
  }
  return true;
}

/* In the order that decides which error is seen. Returns a status, or 0. */
static uint8_t check(const struct operation* operation, const struct operation_kind* kind) {
  const struct dsa_hw_desc* d = operation->descriptor;
  if (kind == NULL || (operation->in_batch && d->opcode == DSA_OPCODE_BATCH))
    return DSA_COMP_BAD_OPCODE;
  const uint32_t invalid = invalid_flags(operation, kind);
  if (invalid != 0) {
    operation->record->invalid_flags = invalid & 0xffffff;
    return DSA_COMP_INVALID_FLAGS;
  }
  const bool has_record = (d->flags & IDXD_OP_FLAG_CRAV) != 0;
  if (has_record && d->completion_addr % sizeof(struct dsa_completion_record) != 0)
    return DSA_COMP_CRA_ALIGN;
  if (!reserved_is_zero(d, kind->reserved_from)) return DSA_COMP_NOZERO_RESERVE;
  /* The driver gives interrupt handles to its own queues alone. */
  if ((d->flags & IDXD_OP_FLAG_RCI) != 0) return DSA_COMP_INT_HANDLE_INVAL;
  if (d->opcode == DSA_OPCODE_BATCH) {
    if (d->desc_list_addr % sizeof *d != 0) return DSA_COMP_DESCLIST_ALIGN;
    if (d->desc_count < 2 || d->desc_count > operation->engine->max_batch_size) {
      return DSA_COMP_DESC_CNT_ERANGE;
    }
  }
  if (kind->transfers &&
      (d->xfer_size == 0 || d->xfer_size > operation->engine->max_transfer_size)) {
    return DSA_COMP_XFER_ERANGE;
  }
  return 0;
}

static void run(const struct dsa_engine* engine, const struct dsa_hw_desc* descriptor,
                bool in_batch, struct dsa_outcome* outcome) {
  memset(outcome, 0, sizeof *outcome);
  struct operation operation = {
      .engine = engine,
      .descriptor = descriptor,
      .record = &outcome->record,
      .in_batch = in_batch,
  };
  const struct operation_kind* kind = kind_of(descriptor->opcode);
  uint8_t status = check(&operation, kind);
  if (status == 0) status = kind->run(&operation);

  const uint32_t flags = descriptor->flags;
  const bool may = (flags & IDXD_OP_FLAG_CRAV) != 0 && status != DSA_COMP_CRA_ALIGN;
  outcome->record.status = status;
  outcome->record_addr = descriptor->completion_addr;
  outcome->record_wanted = may && ((flags & IDXD_OP_FLAG_RCR) != 0 || status != DSA_COMP_SUCCESS);
}

void dsa_engine_run(const struct dsa_engine* engine, const struct dsa_hw_desc* descriptor,
                    struct dsa_outcome* outcome) {
  run(engine, descriptor, false, outcome);
}

static uint8_t run_batch(struct operation* operation) {
  const struct dsa_engine* engine = operation->engine;
  const struct dsa_hw_desc* d = operation->descriptor;
  bool all_succeeded = true;
  for (uint32_t i = 0; i < d->desc_count; i++) {
    struct dsa_hw_desc inner;
    const uint64_t at = d->desc_list_addr + i * sizeof inner;
    operation->record->bytes_completed = i;
    /* The list is read with faults served wherever the queue may block at all. */
    const size_t got =
        access_memory(engine, at, &inner, sizeof inner, false, engine->block_on_fault);
    if (got < sizeof inner) {
      operation->record->fault_addr = at + got;
      return DSA_COMP_BATCH_PAGE_FAULT;
    }
    struct dsa_outcome outcome;
    run(engine, &inner, true, &outcome);
    dsa_engine_complete(engine, &outcome);
    if (outcome.record.status != DSA_COMP_SUCCESS) all_succeeded = false;
  }
  operation->record->bytes_completed = d->desc_count;
  return all_succeeded ? DSA_COMP_SUCCESS : DSA_COMP_BATCH_FAIL;
}

void dsa_engine_complete(const struct dsa_engine* engine, const struct dsa_outcome* outcome) {
  struct dsa_completion_record record = outcome->record;
  if (!outcome->record_wanted) {
    if (record.status != DSA_COMP_SUCCESS) {
      engine->report(engine->context, record.status, record.fault_addr);
    }
    return;
  }
  /* The body first: where that can be written the status byte can be, which lies in its page. */
  unsigned char* body = (unsigned char*)&record + 1;
  const size_t length = sizeof record - 1;
  const size_t done =
      access_memory(engine, outcome->record_addr + 1, body, length, true, engine->block_on_fault);
  if (done < length || !guarded_store_byte(outcome->record_addr, record.status)) {
    engine->report(engine->context, DSA_COMP_CRA_XLAT, outcome->record_addr);
  }
}
