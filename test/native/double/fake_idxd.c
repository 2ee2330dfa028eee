/* drivers/dma/idxd/cdev.c (v7.2) as one process sees it. */
#define _GNU_SOURCE

#include "fake_device.h"
#include "guarded_access.h"
#include "instruction_emulation.h"
#include "software_dsa.h"

#include <errno.h>
#include <linux/idxd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAGE 4096U

struct idxd {
  struct software_dsa_config config; /* of the next queue */
  struct software_dsa* queue;        /* while somebody has it open */
  bool queue_shared;
  bool enabled, batch_write;
  uint64_t refusals; /* asked for while there is no queue */
  uint64_t write_limit;
  struct software_dsa_counters before; /* sums of queues that are gone; the error stays */
};

static struct idxd* state_of(const struct fake_device* device) {
  return device->state;
}

static void on_error(void* context) {
  fake_device_set_readable(context, true);
}

static int create(struct fake_device* device) {
  struct idxd* idxd = calloc(1, sizeof *idxd);
  if (idxd == NULL) return -ENOMEM;
  idxd->config = software_dsa_default_config();
  idxd->config.on_error = on_error;
  idxd->config.context = device;
  idxd->enabled = true;
  device->state = idxd;
  return 0;
}

/* ---- commands ---- */

static int parse_latency(const char* value, uint64_t* out) {
  static const struct {
    const char* suffix;
    uint64_t ns;
  } units[] = {{"ns", 1}, {"us", 1000}, {"ms", 1000000}, {"s", 1000000000}, {"", 1}};
  if (strcmp(value, "never") == 0) {
    *out = SOFTWARE_DSA_NEVER;
    return 0;
  }
  char digits[24];
  const size_t length = strspn(value, "0123456789");
  if (length >= sizeof digits) return -EINVAL;
  memcpy(digits, value, length);
  digits[length] = '\0';
  for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
    if (strcmp(value + length, units[i].suffix) != 0) continue;
    if (fake_parse_number(digits, out) != 0) return -EINVAL;
    *out *= units[i].ns;
    return 0;
  }
  return -EINVAL;
}

static int set_mode(struct idxd* idxd, const char* value) {
  static const char* const modes[] = {"dedicated", "shared", NULL};
  unsigned mode;
  if (fake_parse_choice(value, modes, &mode) != 0) return -EINVAL;
  idxd->config.shared = mode == 1;
  return 0;
}

static int set_state(struct idxd* idxd, const char* value) {
  static const char* const states[] = {"disabled", "enabled", NULL};
  unsigned state;
  if (fake_parse_choice(value, states, &state) != 0) return -EINVAL;
  idxd->enabled = state == 1;
  if (idxd->queue != NULL) software_dsa_set_enabled(idxd->queue, idxd->enabled);
  return 0;
}

static int set_latency(struct idxd* idxd, const char* value) {
  if (parse_latency(value, &idxd->config.latency_ns) != 0) return -EINVAL;
  if (idxd->queue != NULL) software_dsa_set_latency(idxd->queue, idxd->config.latency_ns);
  return 0;
}

static int set_retries(struct idxd* idxd, const char* value) {
  if (fake_parse_number(value, &idxd->refusals) != 0) return -EINVAL;
  if (idxd->queue == NULL) return 0;
  software_dsa_refuse(idxd->queue, idxd->refusals);
  idxd->refusals = 0;
  return 0;
}

static int set_u32(const char* value, uint32_t* out) {
  uint64_t number;
  if (fake_parse_number(value, &number) != 0 || number == 0 || number > UINT32_MAX) return -EINVAL;
  *out = (uint32_t)number;
  return 0;
}

static int set(struct fake_device* device, const char* key, const char* value) {
  struct idxd* idxd = state_of(device);
  struct software_dsa_config* config = &idxd->config;
  if (strcmp(key, "mode") == 0) return set_mode(idxd, value);
  if (strcmp(key, "state") == 0) return set_state(idxd, value);
  if (strcmp(key, "latency") == 0) return set_latency(idxd, value);
  if (strcmp(key, "retries") == 0) return set_retries(idxd, value);
  if (strcmp(key, "size") == 0) return set_u32(value, &config->size);
  if (strcmp(key, "max_transfer_size") == 0) return set_u32(value, &config->max_transfer_size);
  if (strcmp(key, "max_batch_size") == 0) return set_u32(value, &config->max_batch_size);
  if (strcmp(key, "block_on_fault") == 0) return fake_parse_bool(value, &config->block_on_fault);
  if (strcmp(key, "present_only") == 0) return fake_parse_bool(value, &config->present_only);
  if (strcmp(key, "reorder") == 0) return fake_parse_bool(value, &config->reorder);
  if (strcmp(key, "write_limit") == 0) return fake_parse_number(value, &idxd->write_limit);
  if (strcmp(key, "batch_write") == 0) return fake_parse_bool(value, &idxd->batch_write);
  return -ENOENT;
}

/* ---- file operations ---- */

static int open_queue(struct fake_device* device, struct fake_file* file) {
  struct idxd* idxd = state_of(device);
  (void)file;
  if (!idxd->enabled) return -ENXIO;
  const bool shared = idxd->queue != NULL ? idxd->queue_shared : idxd->config.shared;
  if (!shared && device->files + device->foreign > 0) return -EBUSY;
  if (idxd->queue != NULL) return 0;
  const int result = software_dsa_create(&idxd->config, &idxd->queue);
  if (result < 0) return result;
  idxd->queue_shared = shared;
  software_dsa_refuse(idxd->queue, idxd->refusals);
  idxd->refusals = 0;
  return 0;
}

/* The queue's counts and those of the queues before it. */
static struct software_dsa_counters sum_counters(const struct idxd* idxd) {
  struct software_dsa_counters sum = idxd->before, now;
  if (idxd->queue == NULL) return sum;
  software_dsa_get_counters(idxd->queue, &now);
  sum.accepted += now.accepted;
  sum.completed += now.completed;
  sum.discarded += now.discarded;
  sum.faults += now.faults;
  sum.retries += now.retries;
  sum.dropped += now.dropped;
  sum.lost += now.lost;
  if (sum.error == 0) {
    sum.error = now.error;
    sum.error_address = now.error_address;
  }
  return sum;
}

/* Dedicated: the queue is disabled, which drains it. Shared: this process's work is drained. */
static void release(struct fake_file* file) {
  struct fake_device* device = file->device;
  struct idxd* idxd = state_of(device);
  software_dsa_drain(idxd->queue);
  if (device->files > 1) return;
  idxd->before = sum_counters(idxd);
  software_dsa_destroy(idxd->queue);
  idxd->queue = NULL;
}

/* On the storing thread, in a signal handler, where a CPU lacks the instruction. */
static bool submit_instruction(void* context, const void* descriptor, bool posted) {
  if (!posted) return software_dsa_submit(context, descriptor);
  software_dsa_post(context, descriptor);
  return true;
}

static int map(struct fake_file* file, size_t length, uint64_t offset, void** address) {
  struct idxd* idxd = state_of(file->device);
  (void)offset;
  if (file->owner != getpid()) return -EPERM;
  if (length == 0 || length > PAGE) return -EINVAL;
  void* page;
  int result = software_dsa_map_portal(idxd->queue, &page);
  if (result < 0) return result;
  instruction_emulation_install();
  result = instruction_emulation_add_portal(page, submit_instruction, idxd->queue);
  if (result < 0) {
    (void)software_dsa_unmap_portal(idxd->queue, page);
    return result;
  }
  *address = page;
  return 0;
}

static void unmap(struct fake_file* file, void* address, size_t length) {
  (void)length;
  instruction_emulation_remove_portal(address);
  (void)software_dsa_unmap_portal(state_of(file->device)->queue, address);
}

/* One descriptor of a write(2). Returns 0 or -errno. */
static int write_one(struct idxd* idxd, uint64_t address) {
  struct dsa_hw_desc descriptor;
  if (guarded_read(&descriptor, address, sizeof descriptor) < sizeof descriptor) return -EFAULT;
  if (descriptor.opcode == DSA_OPCODE_BATCH && !idxd->batch_write) return -EINVAL;
  /* Even where the flags do not say that there is an address. */
  if (descriptor.completion_addr % sizeof(struct dsa_completion_record) != 0) return -EINVAL;
  descriptor.pasid = 0;
  if (!idxd->queue_shared) {
    software_dsa_post(idxd->queue, &descriptor);
    return 0;
  }
  return software_dsa_submit(idxd->queue, &descriptor) ? 0 : -EAGAIN;
}

static int64_t write_descriptors(struct fake_file* file, const void* bytes, size_t length) {
  struct idxd* idxd = state_of(file->device);
  if (file->owner != getpid()) return -EPERM;
  if (!idxd->enabled) {
    (void)fprintf(stderr, "fake_devices: write to %s, which is disabled: the kernel would oops\n",
                  file->device->path);
    abort();
  }
  size_t count = length / sizeof(struct dsa_hw_desc);
  if (idxd->write_limit > 0 && count > idxd->write_limit) count = idxd->write_limit;
  for (size_t i = 0; i < count; i++) {
    const uint64_t done = i * sizeof(struct dsa_hw_desc);
    const int result = write_one(idxd, (uintptr_t)bytes + done);
    if (result < 0) return i == 0 ? result : (int64_t)done;
  }
  return (int64_t)(count * sizeof(struct dsa_hw_desc));
}

static int ioctl_unknown(struct fake_file* file, unsigned long request, void* argument) {
  (void)file;
  (void)request;
  (void)argument;
  return -ENOTTY;
}

static enum fake_poll poll_error_register(const struct fake_file* file) {
  return file->owner == getpid() ? FAKE_POLL_EVENT : FAKE_POLL_INVALID;
}

static void report(struct fake_device* device, FILE* out) {
  const struct idxd* idxd = state_of(device);
  const struct software_dsa_counters sum = sum_counters(idxd);
  const unsigned in_flight = idxd->queue == NULL ? 0 : software_dsa_in_flight(idxd->queue);
  (void)fprintf(out, " writes=%lu accepted=%lu completed=%lu discarded=%lu faults=%lu retries=%lu",
                device->writes, sum.accepted, sum.completed, sum.discarded, sum.faults,
                sum.retries);
  (void)fprintf(out, " dropped=%lu lost=%lu in_flight=%u error=%#x error_address=%#lx emulated=%lu",
                sum.dropped, sum.lost, in_flight, sum.error, sum.error_address,
                instruction_emulation_count());
}

/* The thread is the parent's, and so is what it does. */
static void forget(struct fake_device* device) {
  struct idxd* idxd = state_of(device);
  idxd->queue = NULL;
  idxd->before = (struct software_dsa_counters){0};
}

static void drain(struct fake_device* device) {
  if (state_of(device)->queue != NULL) software_dsa_drain(state_of(device)->queue);
}

const struct fake_driver fake_idxd_driver = {
    .type = "dsa",
    .create = create,
    .set = set,
    .open = open_queue,
    .release = release,
    .map = map,
    .unmap = unmap,
    .write = write_descriptors,
    .ioctl = ioctl_unknown,
    .poll = poll_error_register,
    .report = report,
    .forget = forget,
    .drain = drain,
};
