/*
 * The calls of the C library that a driver answers, in front of the C library's own. What is not
 * about a fake device goes to the kernel by a plain system call: dlsym(RTLD_NEXT) would allocate,
 * and so call mmap, before it could find mmap.
 */
#define _GNU_SOURCE

#include "fake_devices.h"

#include "fake_device.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PUBLIC __attribute__((visibility("default")))

#define MOST_DESCRIPTORS 4096
#define MOST_MAPPINGS 256
#define MOST_COMMANDS 65536

/* By file descriptor; NULL where it is none of ours. */
static _Atomic(struct fake_file*) files[MOST_DESCRIPTORS];
/* INTEL_SVM_FAKE_CTL, or NULL. */
static const char* control_path;
/* Stands in `files` for a control file that is being written. */
static struct fake_file control_file;

static struct mapping {
  _Atomic uintptr_t address; /* 0 where the entry is free, 1 while it is being filled */
  size_t length;
  struct fake_file* file;
} mappings[MOST_MAPPINGS];

/* As the C library says it: -1 and errno. */
static int64_t result_of(int64_t result) {
  if (result >= 0) return result;
  errno = (int)-result;
  return -1;
}

/* A system call as the kernel has it (AMD64 ABI, A.2.1). Returns its result, or -errno. */
static long call_kernel(long number, const long* arguments) {
  /* Loaded first: a sanitizer calls functions to check a load, and those use the registers. */
  const long a = arguments[0], b = arguments[1], c = arguments[2];
  const long d = arguments[3], e = arguments[4], f = arguments[5];
  register long fourth __asm__("r10") = d;
  register long fifth __asm__("r8") = e;
  register long sixth __asm__("r9") = f;
  long result;
  /* SAFETY: SYSCALL changes RAX, RCX and R11 besides what the call itself is asked to. */
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(a), "S"(b), "d"(c), "r"(fourth), "r"(fifth), "r"(sixth)
                   : "rcx", "r11", "memory");
  return result;
}

/* The C library's syscall(3); arguments that are pointers have to be cast. */
#define kernel(number, ...) result_of(call_kernel(number, (const long[6]){__VA_ARGS__}))

static struct fake_file* file_of(int fd) {
  return fd < 0 || fd >= MOST_DESCRIPTORS ? NULL : atomic_load(&files[fd]);
}

/* Of a device, not the control file. */
static struct fake_file* device_file_of(int fd) {
  struct fake_file* file = file_of(fd);
  return file == &control_file ? NULL : file;
}

static void lock(struct fake_device* device) {
  (void)pthread_mutex_lock(&device->lock);
}

static void unlock(struct fake_device* device) {
  (void)pthread_mutex_unlock(&device->lock);
}

/* ---- the control file ---- */

/* Under it is a memfd, so that any call may fill or read it. */
static int open_control(int flags) {
  const int fd = memfd_create("fake_devices", (flags & O_CLOEXEC) != 0 ? MFD_CLOEXEC : 0);
  if (fd < 0) return -errno;
  if (fd >= MOST_DESCRIPTORS) {
    (void)kernel(SYS_close, fd);
    return -EMFILE;
  }
  if ((flags & O_ACCMODE) != O_RDONLY) {
    atomic_store(&files[fd], &control_file);
    return fd;
  }
  char* report = calloc(1, MOST_COMMANDS);
  bool whole = report != NULL;
  if (whole) {
    const size_t length = fake_devices_report(report, MOST_COMMANDS);
    whole = pwrite(fd, report, length, 0) == (ssize_t)length;
  }
  free(report);
  if (whole) return fd;
  (void)kernel(SYS_close, fd);
  return -EIO;
}

static int close_control(int fd) {
  char* commands = calloc(1, MOST_COMMANDS + 1);
  int result = commands == NULL ? -ENOMEM : 0;
  if (result == 0 && pread(fd, commands, MOST_COMMANDS, 0) < 0) result = -errno;
  atomic_store(&files[fd], NULL);
  (void)kernel(SYS_close, fd);
  if (result == 0) result = fake_devices_control(commands);
  free(commands);
  return result;
}

/* ---- open and close ---- */

/* The descriptor of a file that the driver has opened. */
static int take_descriptor(struct fake_device* device, struct fake_file* file) {
  if (device->event < 0) {
    const bool readable = atomic_load(&device->readable);
    device->event = eventfd(readable ? 1 : 0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (device->event < 0) return -errno;
  }
  const int fd = fcntl(device->event, F_DUPFD_CLOEXEC, 0);
  if (fd < 0) return -errno;
  if (fd >= MOST_DESCRIPTORS) {
    (void)kernel(SYS_close, fd);
    return -EMFILE;
  }
  atomic_store(&files[fd], file);
  return fd;
}

/* When the descriptor is closed and no mapping left. The device is locked. */
static void release_if_unused(struct fake_file* file) {
  struct fake_device* device = file->device;
  if (file->open || file->mappings > 0) return;
  device->driver->release(file);
  device->files--;
  if (device->files > 0) return;
  (void)kernel(SYS_close, device->event);
  device->event = -1;
}

static int open_device(struct fake_device* device) {
  struct fake_file* file = calloc(1, sizeof *file);
  if (file == NULL) return -ENOMEM;
  *file = (struct fake_file){.device = device, .owner = getpid(), .open = true};

  lock(device);
  int result = fake_device_injected_error(device, FAKE_OPEN);
  if (result == 0) result = device->driver->open(device, file);
  if (result < 0) {
    unlock(device);
    free(file);
    return result;
  }
  file->next = device->all_files;
  device->all_files = file;
  device->files++;
  result = take_descriptor(device, file);
  if (result >= 0) {
    device->opens++;
  } else {
    file->open = false;
    release_if_unused(file);
  }
  unlock(device);
  return result;
}

/* Returns -ENOENT where the path is none of ours. */
static int open_fake(const char* path, int flags) {
  if (path == NULL || *path != '/') return -ENOENT;
  if (control_path != NULL && strcmp(path, control_path) == 0) return open_control(flags);
  struct fake_device* device = fake_device_find(path);
  return device == NULL ? -ENOENT : open_device(device);
}

static int open_path(int directory, const char* path, int flags, mode_t mode) {
  const int fake = open_fake(path, flags);
  if (fake != -ENOENT) return (int)result_of(fake);
  return (int)kernel(SYS_openat, directory, (long)path, flags, mode);
}

static mode_t mode_argument(int flags, va_list arguments) {
  const bool creates = (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE;
  return creates ? va_arg(arguments, mode_t) : 0;
}

PUBLIC int open(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = mode_argument(flags, arguments);
  va_end(arguments);
  return open_path(AT_FDCWD, path, flags, mode);
}

PUBLIC int openat(int directory, const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = mode_argument(flags, arguments);
  va_end(arguments);
  return open_path(directory, path, flags, mode);
}

static int close_file(int fd) {
  struct fake_file* file = file_of(fd);
  if (file == NULL) return (int)kernel(SYS_close, fd);
  if (file == &control_file) return (int)result_of(close_control(fd));
  atomic_store(&files[fd], NULL);
  (void)kernel(SYS_close, fd);
  /* A forked child gives up its copy; the file is still the parent's. */
  if (file->owner != getpid()) return 0;
  struct fake_device* device = file->device;
  lock(device);
  file->open = false;
  release_if_unused(file);
  unlock(device);
  return 0;
}

PUBLIC int close(int fd) {
  return close_file(fd);
}

/*
 * libuv closes files so, that it may not be cancelled. As many arguments are read as a call may
 * have: what was not passed is whatever stands there, and the kernel does not look at it.
 */
__attribute__((no_sanitize("address"))) PUBLIC long syscall(long number, ...) {
  long arguments[6];
  va_list list;
  va_start(list, number);
  for (size_t i = 0; i < 6; i++)
    arguments[i] = va_arg(list, long);
  va_end(list);
  if (number == SYS_close) return close_file((int)arguments[0]);
  return result_of(call_kernel(number, arguments));
}

/* ---- mmap and munmap ---- */

static struct mapping* find_mapping(uintptr_t address) {
  for (size_t i = 0; i < MOST_MAPPINGS; i++) {
    if (atomic_load_explicit(&mappings[i].address, memory_order_acquire) == address) {
      return &mappings[i];
    }
  }
  return NULL;
}

static struct mapping* claim_mapping(void) {
  for (size_t i = 0; i < MOST_MAPPINGS; i++) {
    uintptr_t nothing = 0;
    if (atomic_compare_exchange_strong(&mappings[i].address, &nothing, 1)) return &mappings[i];
  }
  return NULL;
}

static int map_device(struct fake_file* file, size_t length, uint64_t offset, void** address) {
  struct fake_device* device = file->device;
  struct mapping* mapping = claim_mapping();
  if (mapping == NULL) return -ENOMEM;
  lock(device);
  int result = fake_device_injected_error(device, FAKE_MMAP);
  if (result == 0) result = device->driver->map(file, length, offset, address);
  if (result == 0) {
    file->mappings++;
    device->mappings++;
    mapping->length = length;
    mapping->file = file;
  }
  atomic_store(&mapping->address, result == 0 ? (uintptr_t)*address : 0);
  unlock(device);
  return result;
}

PUBLIC void* mmap(void* hint, size_t length, int rights, int flags, int fd, off_t offset) {
  struct fake_file* file = (flags & MAP_ANONYMOUS) != 0 ? NULL : device_file_of(fd);
  if (file == NULL) {
    /* SAFETY: the caller's own call. */
    return (void*)kernel(SYS_mmap, (long)hint, (long)length, rights, flags, fd, offset);
  }
  void* address;
  int result = (flags & MAP_FIXED) != 0 ? -EINVAL : 0;
  if (result == 0) result = map_device(file, length, (uint64_t)offset, &address);
  return result_of(result) < 0 ? MAP_FAILED : address;
}

PUBLIC int munmap(void* address, size_t length) {
  struct mapping* mapping = (uintptr_t)address > 1 ? find_mapping((uintptr_t)address) : NULL;
  if (mapping == NULL || mapping->file->owner != getpid()) {
    return (int)kernel(SYS_munmap, (long)address, (long)length);
  }
  struct fake_file* file = mapping->file;
  struct fake_device* device = file->device;
  lock(device);
  const size_t mapped = mapping->length;
  /* Before the memory is free for another mapping. */
  atomic_store(&mapping->address, 0);
  device->driver->unmap(file, address, mapped);
  file->mappings--;
  device->mappings--;
  release_if_unused(file);
  unlock(device);
  return 0;
}

/* ---- write, ioctl, poll, fstat ---- */

PUBLIC ssize_t write(int fd, const void* bytes, size_t length) {
  struct fake_file* file = device_file_of(fd);
  if (file == NULL) return kernel(SYS_write, fd, (long)bytes, (long)length);
  struct fake_device* device = file->device;
  lock(device);
  device->writes++;
  int64_t result = fake_device_injected_error(device, FAKE_WRITE);
  if (result == 0) result = device->driver->write(file, bytes, length);
  unlock(device);
  return result_of(result);
}

PUBLIC int ioctl(int fd, unsigned long request, ...) {
  va_list arguments;
  va_start(arguments, request);
  void* argument = va_arg(arguments, void*);
  va_end(arguments);
  struct fake_file* file = device_file_of(fd);
  if (file == NULL) return (int)kernel(SYS_ioctl, fd, (long)request, (long)argument);
  lock(file->device);
  int result = fake_device_injected_error(file->device, FAKE_IOCTL);
  if (result == 0) result = file->device->driver->ioctl(file, request, argument);
  unlock(file->device);
  return (int)result_of(result);
}

/* What to ask the eventfd for, in the place of what is asked of the device. */
static struct pollfd ask_event(struct pollfd entry, const struct fake_file* file) {
  const bool wants = (entry.events & (POLLIN | POLLRDNORM)) != 0;
  const bool answers = file->device->driver->poll(file) == FAKE_POLL_EVENT;
  entry.events = wants && answers ? POLLIN : 0;
  return entry;
}

static short answer_event(struct pollfd entry, short asked, const struct fake_file* file) {
  if (file->device->driver->poll(file) == FAKE_POLL_INVALID) return POLLNVAL;
  const bool ready = (entry.revents & POLLIN) != 0;
  return ready ? (short)(asked & (POLLIN | POLLRDNORM)) : 0;
}

static bool any_device(const struct pollfd* entries, nfds_t count) {
  for (nfds_t i = 0; i < count; i++) {
    if (device_file_of(entries[i].fd) != NULL) return true;
  }
  return false;
}

static int poll_files(struct pollfd* entries, nfds_t count, int timeout) {
  if (!any_device(entries, count))
    return (int)kernel(SYS_poll, (long)entries, (long)count, timeout);
  struct pollfd* real = calloc(count, sizeof *real);
  if (real == NULL) return (int)result_of(-ENOMEM);
  for (nfds_t i = 0; i < count; i++) {
    const struct fake_file* file = device_file_of(entries[i].fd);
    real[i] = file == NULL ? entries[i] : ask_event(entries[i], file);
    if (file != NULL && file->device->driver->poll(file) == FAKE_POLL_INVALID) timeout = 0;
  }
  int ready = (int)kernel(SYS_poll, (long)real, (long)count, timeout);
  if (ready >= 0) {
    ready = 0;
    for (nfds_t i = 0; i < count; i++) {
      const struct fake_file* file = device_file_of(entries[i].fd);
      entries[i].revents =
          file == NULL ? real[i].revents : answer_event(real[i], entries[i].events, file);
      if (entries[i].revents != 0) ready++;
    }
  }
  free(real);
  return ready;
}

PUBLIC int poll(struct pollfd* entries, nfds_t count, int timeout) {
  return poll_files(entries, count, timeout);
}

static int stat_file(int fd, struct stat* out) {
  const struct fake_file* file = device_file_of(fd);
  if (file == NULL) return (int)kernel(SYS_fstat, fd, (long)out);
  *out = (struct stat){
      .st_mode = S_IFCHR | 0600,
      .st_nlink = 1,
      .st_rdev = file->device->number,
      .st_blksize = 4096,
  };
  return 0;
}

PUBLIC int fstat(int fd, struct stat* out) {
  return stat_file(fd, out);
}

/*
 * ---- the same under the C library's other names ----
 * None calls another by its public name: a sanitizer in front of it would call this one again.
 */

/* Declared here: headers have them only under conditions. */
int __open_2(const char* path, int flags);
int __open64_2(const char* path, int flags);
int __openat_2(int directory, const char* path, int flags);
int __openat64_2(int directory, const char* path, int flags);
int __poll_chk(struct pollfd* entries, nfds_t count, int timeout, size_t size);
int __fxstat(int version, int fd, struct stat* out);
int __fxstat64(int version, int fd, struct stat64* out);

/* Large files: the same on x86-64. */
PUBLIC int open64(const char* path, int flags, ...) __attribute__((alias("open")));
PUBLIC int openat64(int directory, const char* path, int flags, ...)
    __attribute__((alias("openat")));
PUBLIC void* mmap64(void* hint, size_t length, int rights, int flags, int fd, off64_t offset)
    __attribute__((alias("mmap")));
_Static_assert(sizeof(struct stat) == sizeof(struct stat64), "stat64 is stat");

PUBLIC int fstat64(int fd, struct stat64* out) {
  return stat_file(fd, (struct stat*)out);
}

/* glibc before 2.33. */
PUBLIC int __fxstat(int version, int fd, struct stat* out) {
  (void)version;
  return stat_file(fd, out);
}

PUBLIC int __fxstat64(int version, int fd, struct stat64* out) {
  (void)version;
  return stat_file(fd, (struct stat*)out);
}

/* _FORTIFY_SOURCE. */
PUBLIC int __open_2(const char* path, int flags) {
  return open_path(AT_FDCWD, path, flags, 0);
}

PUBLIC int __open64_2(const char* path, int flags) {
  return open_path(AT_FDCWD, path, flags, 0);
}

PUBLIC int __openat_2(int directory, const char* path, int flags) {
  return open_path(directory, path, flags, 0);
}

PUBLIC int __openat64_2(int directory, const char* path, int flags) {
  return open_path(directory, path, flags, 0);
}

PUBLIC int __poll_chk(struct pollfd* entries, nfds_t count, int timeout, size_t size) {
  if (size / sizeof *entries < count) abort();
  return poll_files(entries, count, timeout);
}

/* ---- the process ---- */

/* Files stay the parent's: its devices' threads are not here, and its queues are busy. */
static void in_forked_child(void) {
  for (struct fake_device* device = fake_device_first(); device != NULL; device = device->next) {
    (void)pthread_mutex_init(&device->lock, NULL);
    device->foreign += device->files;
    device->files = 0;
    device->mappings = 0;
    device->event = -1;
    device->driver->forget(device);
  }
}

__attribute__((constructor)) static void start(void) {
  (void)pthread_atfork(NULL, NULL, in_forked_child);
  control_path = getenv("INTEL_SVM_FAKE_CTL");
  const char* commands = getenv("INTEL_SVM_FAKE_DEV");
  if (commands != NULL && fake_devices_control(commands) != 0) _exit(97);
}

/* The kernel's last close, which drains the device. The threads end with the process. */
__attribute__((destructor)) static void stop(void) {
  for (struct fake_device* device = fake_device_first(); device != NULL; device = device->next) {
    if (pthread_mutex_trylock(&device->lock) != 0) continue;
    device->driver->drain(device);
    unlock(device);
  }
}
