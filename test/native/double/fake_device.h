/* What the fake devices have in common: the file operations of a driver, and the state of a device.
 */
#ifndef SVM_DOUBLE_FAKE_DEVICE_H
#define SVM_DOUBLE_FAKE_DEVICE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

/* Calls that can be told to fail. */
enum fake_call { FAKE_OPEN, FAKE_MMAP, FAKE_WRITE, FAKE_IOCTL, FAKE_CALLS };

struct fake_device;

/* One open(2). Never freed, so that a descriptor may be looked up without a lock. */
struct fake_file {
  struct fake_device* device;
  pid_t owner; /* the process that opened it */
  bool open;   /* its descriptor is */
  unsigned mappings;
  void* state; /* the driver's */
  struct fake_file* next;
};

/*
 * File operations. Each runs with the device's lock held, except `poll`, and returns -errno where
 * it fails. What a driver need not care for is done before: errors that were asked for, counting,
 * the descriptor.
 */
struct fake_driver {
  const char* type;
  /* Makes the device's state. */
  int (*create)(struct fake_device* device);
  /* Returns -ENOENT for an unknown key, -EINVAL for a bad value. */
  int (*set)(struct fake_device* device, const char* key, const char* value);
  int (*open)(struct fake_device* device, struct fake_file* file);
  /* The descriptor is closed and no mapping left. */
  void (*release)(struct fake_file* file);
  int (*map)(struct fake_file* file, size_t length, uint64_t offset, void** address);
  void (*unmap)(struct fake_file* file, void* address, size_t length);
  int64_t (*write)(struct fake_file* file, const void* bytes, size_t length);
  int (*ioctl)(struct fake_file* file, unsigned long request, void* argument);
  /* Whether poll(2) may answer at all, and if so whether it is POLLNVAL. The eventfd does the rest.
   */
  enum fake_poll {
    FAKE_POLL_EVENT,
    FAKE_POLL_NOTHING,
    FAKE_POLL_INVALID
  } (*poll)(const struct fake_file* file);
  /* " key=value" of the driver's own. */
  void (*report)(struct fake_device* device, FILE* out);
  /* In a forked child: forgets what only the parent has. */
  void (*forget)(struct fake_device* device);
  /* The process ends: the device is done with its memory. */
  void (*drain)(struct fake_device* device);
};

struct fake_device {
  const struct fake_driver* driver;
  const char* path;
  dev_t number;
  pthread_mutex_t lock;
  /* While it is open: an eventfd of which every descriptor is a duplicate; readable says poll. */
  int event;
  atomic_bool readable;
  unsigned files;   /* open, or closed and still mapped */
  unsigned foreign; /* in a forked child: those of the parent */
  unsigned mappings;
  uint64_t opens, writes;
  struct {
    int error;      /* 0: none */
    uint64_t count; /* so many times more */
  } injected[FAKE_CALLS];
  struct fake_file* all_files;
  struct fake_device* next;
  void* state; /* the driver's */
};

extern const struct fake_driver fake_idxd_driver, fake_uacce_driver;

/* All devices, by their `next`; the one of a path, or NULL. */
struct fake_device* fake_device_first(void);
struct fake_device* fake_device_find(const char* path);

/* Makes poll(2) say POLLIN, or not. Any thread. */
void fake_device_set_readable(struct fake_device* device, bool readable);

/* Whether the call is to fail now: 0, or -errno. The device is locked. */
int fake_device_injected_error(struct fake_device* device, enum fake_call call);

/* Values of commands. Each returns 0, or -EINVAL with `out` unchanged. */
int fake_parse_number(const char* value, uint64_t* out);
int fake_parse_bool(const char* value, bool* out);
/* The index of the value in a list that ends with NULL. */
int fake_parse_choice(const char* value, const char* const* choices, unsigned* out);

#endif
