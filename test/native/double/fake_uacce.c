/*
 * drivers/misc/uacce/uacce.c with the ioctls of drivers/crypto/hisilicon/qm.c (v7.2), as one
 * process sees them.
 */
#define _GNU_SOURCE

#include "fake_device.h"
#include "guarded_access.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE 4096U

#define UACCE_CMD_START_Q 0x5700
#define UACCE_CMD_PUT_Q 0x5701
#define UACCE_CMD_QM_SET_QP_CTX 0xc004480a
#define UACCE_CMD_QM_SET_QP_INFO 0xc010480b

/* Queue pair types that there are: 0 to 2. */
#define MOST_QC_TYPE 2

enum { REGION_MMIO, REGION_DUS, REGIONS };

struct uacce {
  uint64_t instances;
  uint64_t region_size[REGIONS];
  uint64_t sqe_size, sq_depth, cq_depth;
  bool put_leaves_zombie, removed;
  uint64_t started, put;
};

enum queue_state { QUEUE_INIT, QUEUE_STARTED, QUEUE_ZOMBIE };

/* Lives as long as its file, so that poll may look at it without a lock. */
struct queue {
  _Atomic enum queue_state state;
  bool in_use;
  uint16_t id;
  void* regions[REGIONS]; /* NULL while not mapped */
};

static struct uacce* state_of(const struct fake_device* device) {
  return device->state;
}

static struct queue* queue_of(const struct fake_file* file) {
  return file->state;
}

static int create(struct fake_device* device) {
  struct uacce* uacce = calloc(1, sizeof *uacce);
  if (uacce == NULL) return -ENOMEM;
  *uacce = (struct uacce){
      .instances = 8,
      .region_size = {[REGION_MMIO] = 16384, [REGION_DUS] = 65536},
      .sqe_size = 128,
      .sq_depth = 1024,
      .cq_depth = 1024,
  };
  device->state = uacce;
  return 0;
}

/* ---- commands ---- */

/* The device is gone: every queue is a zombie, and the mappings are zapped. */
static void remove_device(struct fake_device* device) {
  for (struct fake_file* file = device->all_files; file != NULL; file = file->next) {
    struct queue* queue = queue_of(file);
    if (queue == NULL || !queue->in_use) continue;
    queue->state = QUEUE_ZOMBIE;
    for (size_t i = 0; i < REGIONS; i++) {
      if (queue->regions[i] == NULL) continue;
      (void)mprotect(queue->regions[i], state_of(device)->region_size[i], PROT_NONE);
    }
  }
}

static int set_removed(struct fake_device* device, const char* value) {
  bool removed;
  if (fake_parse_bool(value, &removed) != 0) return -EINVAL;
  if (removed) remove_device(device);
  state_of(device)->removed = removed;
  return 0;
}

static int set_put_q(struct uacce* uacce, const char* value) {
  static const char* const states[] = {"init", "zombie", NULL};
  unsigned state;
  if (fake_parse_choice(value, states, &state) != 0) return -EINVAL;
  uacce->put_leaves_zombie = state == 1;
  return 0;
}

static int set_pending(struct fake_device* device, const char* value) {
  bool pending;
  if (fake_parse_bool(value, &pending) != 0) return -EINVAL;
  fake_device_set_readable(device, pending);
  return 0;
}

static int set(struct fake_device* device, const char* key, const char* value) {
  struct uacce* uacce = state_of(device);
  if (strcmp(key, "instances") == 0) return fake_parse_number(value, &uacce->instances);
  if (strcmp(key, "put_q") == 0) return set_put_q(uacce, value);
  if (strcmp(key, "mmio_size") == 0) {
    return fake_parse_number(value, &uacce->region_size[REGION_MMIO]);
  }
  if (strcmp(key, "dus_size") == 0) {
    return fake_parse_number(value, &uacce->region_size[REGION_DUS]);
  }
  if (strcmp(key, "sqe_size") == 0) return fake_parse_number(value, &uacce->sqe_size);
  if (strcmp(key, "sq_depth") == 0) return fake_parse_number(value, &uacce->sq_depth);
  if (strcmp(key, "cq_depth") == 0) return fake_parse_number(value, &uacce->cq_depth);
  if (strcmp(key, "pending") == 0) return set_pending(device, value);
  if (strcmp(key, "removed") == 0) return set_removed(device, value);
  return -ENOENT;
}

/* ---- file operations ---- */

static bool is_used(const struct fake_device* device, uint16_t id) {
  for (const struct fake_file* file = device->all_files; file != NULL; file = file->next) {
    const struct queue* queue = queue_of(file);
    if (queue != NULL && queue->in_use && queue->id == id) return true;
  }
  return false;
}

static int open_queue(struct fake_device* device, struct fake_file* file) {
  const struct uacce* uacce = state_of(device);
  if (uacce->removed) return -ENODEV;
  if (device->files + device->foreign >= uacce->instances) return -EBUSY;
  struct queue* queue = calloc(1, sizeof *queue);
  if (queue == NULL) return -ENOMEM;
  /* The lowest number that is free. */
  while (is_used(device, queue->id))
    queue->id++;
  queue->in_use = true;
  file->state = queue;
  return 0;
}

static void release(struct fake_file* file) {
  queue_of(file)->in_use = false;
}

static int map(struct fake_file* file, size_t length, uint64_t offset, void** address) {
  const struct uacce* uacce = state_of(file->device);
  struct queue* queue = queue_of(file);
  const uint64_t region = offset / PAGE;
  if (region >= REGIONS) return -EINVAL;
  if (queue->state == QUEUE_ZOMBIE) return -ENXIO;
  if (queue->regions[region] != NULL) return -EEXIST;
  const uint64_t size = uacce->region_size[region];
  if (length == 0 || length > size || (region == REGION_DUS && length != size)) return -EINVAL;

  void* mapping = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping == MAP_FAILED) return -errno;
  /* VM_DONTCOPY. */
  (void)madvise(mapping, length, MADV_DONTFORK);
  queue->regions[region] = mapping;
  *address = mapping;
  return 0;
}

static void unmap(struct fake_file* file, void* address, size_t length) {
  struct queue* queue = queue_of(file);
  for (size_t i = 0; i < REGIONS; i++) {
    if (queue->regions[i] == address) queue->regions[i] = NULL;
  }
  (void)munmap(address, length);
}

static int64_t write_nothing(struct fake_file* file, const void* bytes, size_t length) {
  (void)file;
  (void)bytes;
  (void)length;
  return -EINVAL;
}

static int start_queue(struct uacce* uacce, struct queue* queue) {
  if (queue->state == QUEUE_STARTED) return -EINVAL;
  queue->state = QUEUE_STARTED;
  uacce->started++;
  return 0;
}

static int put_queue(struct uacce* uacce, struct queue* queue) {
  queue->state = uacce->put_leaves_zombie ? QUEUE_ZOMBIE : QUEUE_INIT;
  uacce->put++;
  return 0;
}

static int set_context(const struct queue* queue, void* argument) {
  struct {
    uint16_t id, qc_type;
  } context;
  const uint64_t address = (uintptr_t)argument;
  if (guarded_read(&context, address, sizeof context) < sizeof context) return -EFAULT;
  if (context.qc_type > MOST_QC_TYPE) return -EINVAL;
  context.id = queue->id;
  if (guarded_write(address, &context, sizeof context) < sizeof context) return -EFAULT;
  return 0;
}

static int get_info(const struct uacce* uacce, void* argument) {
  const struct {
    uint32_t sqe_size;
    uint16_t sq_depth, cq_depth;
    uint64_t reserved;
  } info = {
      .sqe_size = (uint32_t)uacce->sqe_size,
      .sq_depth = (uint16_t)uacce->sq_depth,
      .cq_depth = (uint16_t)uacce->cq_depth,
  };
  const size_t written = guarded_write((uintptr_t)argument, &info, sizeof info);
  return written < sizeof info ? -EFAULT : 0;
}

static int ioctl_queue(struct fake_file* file, unsigned long request, void* argument) {
  struct uacce* uacce = state_of(file->device);
  struct queue* queue = queue_of(file);
  if (queue->state == QUEUE_ZOMBIE) return -ENXIO;
  switch (request) {
  case UACCE_CMD_START_Q:
    return start_queue(uacce, queue);
  case UACCE_CMD_PUT_Q:
    return put_queue(uacce, queue);
  case UACCE_CMD_QM_SET_QP_CTX:
    return set_context(queue, argument);
  case UACCE_CMD_QM_SET_QP_INFO:
    return get_info(uacce, argument);
  default:
    return -EINVAL;
  }
}

static enum fake_poll poll_completions(const struct fake_file* file) {
  return queue_of(file)->state == QUEUE_ZOMBIE ? FAKE_POLL_NOTHING : FAKE_POLL_EVENT;
}

static void report(struct fake_device* device, FILE* out) {
  const struct uacce* uacce = state_of(device);
  (void)fprintf(out, " started=%lu put=%lu", uacce->started, uacce->put);
}

/* The parent's queues are still its own, and an inherited descriptor is one more user of them. */
static void forget(struct fake_device* device) {
  (void)device;
}

static void drain(struct fake_device* device) {
  (void)device;
}

const struct fake_driver fake_uacce_driver = {
    .type = "uacce",
    .create = create,
    .set = set,
    .open = open_queue,
    .release = release,
    .map = map,
    .unmap = unmap,
    .write = write_nothing,
    .ioctl = ioctl_queue,
    .poll = poll_completions,
    .report = report,
    .forget = forget,
    .drain = drain,
};
