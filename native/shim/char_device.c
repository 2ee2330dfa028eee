/* O_CLOEXEC, and MAP_SHARED's companions under -std=c11. */
#define _GNU_SOURCE

#include "char_device.h"

#include "portal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

int svm_device_open(const char* path) {
  int fd;
  do {
    fd = open(path, O_RDWR | O_CLOEXEC | O_NOCTTY);
  } while (fd < 0 && errno == EINTR);
  if (fd < 0) return -errno;

  struct stat status;
  int error = 0;
  if (fstat(fd, &status) != 0) {
    error = -errno;
  } else if (!S_ISCHR(status.st_mode)) {
    error = -ENODEV;
  }
  if (error == 0) return fd;
  (void)close(fd);
  return error;
}

int svm_device_close(int fd) {
  return close(fd) == 0 ? 0 : -errno;
}

int svm_device_ioctl(int fd, unsigned long request, void* argument) {
  int result;
  do {
    result = ioctl(fd, request, argument);
  } while (result < 0 && errno == EINTR);
  return result < 0 ? -errno : result;
}

int svm_device_map(int fd, size_t length, uint64_t offset, void** address) {
  const off_t position = (off_t)offset;
  if (position < 0 || (uint64_t)position != offset) return -EOVERFLOW;
  void* mapping = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, position);
  if (mapping == MAP_FAILED) return -errno;
  *address = mapping;
  return 0;
}

int svm_device_unmap(void* address, size_t length) {
  return munmap(address, length) == 0 ? 0 : -errno;
}

int64_t svm_device_write(int fd, const void* descriptors, size_t count) {
  /* Nobody has that much memory: the kernel answers EFAULT, where a product that wraps would pass.
   */
  const size_t most = (size_t)(PTRDIFF_MAX / SVM_DESCRIPTOR_SIZE);
  const size_t bytes = (count < most ? count : most) * SVM_DESCRIPTOR_SIZE;
  ssize_t written;
  do {
    written = write(fd, descriptors, bytes);
  } while (written < 0 && errno == EINTR);
  return written < 0 ? -errno : written / SVM_DESCRIPTOR_SIZE;
}

int svm_device_poll(int fd, short events, int timeout_ms) {
  /* poll(2) passes over a negative descriptor and would sleep for nothing. */
  if (fd < 0) return -EBADF;
  struct pollfd entry = {.fd = fd, .events = events};
  const int ready = poll(&entry, 1, timeout_ms);
  if (ready < 0) return errno == EINTR ? 0 : -errno;
  return entry.revents;
}
