/*
 * Character devices: open, close, ioctl, map, write, poll. A file descriptor is the caller's from
 * a successful open until close; the shim keeps no state of its own.
 *
 * Every function returns zero or a positive result, or -errno as the kernel gave it.
 */
#ifndef SVM_SHIM_CHAR_DEVICE_H
#define SVM_SHIM_CHAR_DEVICE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * open(2) with O_RDWR | O_CLOEXEC | O_NOCTTY: a writable shared mapping of a portal needs both
 * directions, and a program started by exec could not use the file anyway (its address space has no
 * PASID).
 * EINTR is retried. Anything that is not a character device is refused with -ENODEV and closed
 * again, so that a mistyped path never writes into a file.
 * Returns the descriptor, or -errno.
 */
int svm_device_open(const char* path);

/*
 * close(2). The driver drains the device when the last descriptor and mapping go, which may block.
 * Not retried on EINTR: Linux has closed the descriptor by then.
 */
int svm_device_close(int fd);

/* ioctl(2) with a pointer argument, or NULL. EINTR is retried. Returns the result, or -errno. */
int svm_device_ioctl(int fd, unsigned long request, void* argument);

/*
 * mmap(2), PROT_READ | PROT_WRITE, MAP_SHARED (a private mapping of a portal would lose its stores
 * in a copy). `offset` is a byte offset in whole pages. On success `*address` is the mapping.
 * Returns 0, or -errno with `*address` unchanged; -EOVERFLOW for an offset that off_t cannot hold.
 */
int svm_device_map(int fd, size_t length, uint64_t offset, void** address);

/* munmap(2) of what svm_device_map mapped. Returns 0, or -errno. */
int svm_device_unmap(void* address, size_t length);

/*
 * One write(2) of `count` descriptors of 64 bytes (idxd: since v6.9). EINTR before the first byte
 * is retried. What is not a whole descriptor in the kernel's answer is not counted: idxd takes none
 * in part.
 * Returns the number of whole descriptors taken, possibly fewer than `count`; -EAGAIN when a shared
 * queue refused the first; otherwise -errno.
 */
int64_t svm_device_write(int fd, const void* descriptors, size_t count);

/*
 * poll(2) of one descriptor.
 * `timeout_ms`: 0 returns at once, -1 waits without end.
 * Returns the events that are pending (0 after the timeout), among them POLLERR, POLLHUP and
 * POLLNVAL unasked; POLLNVAL is also the answer to a descriptor that is not open. -EBADF for a
 * negative one; otherwise -errno. EINTR ends the wait with 0.
 */
int svm_device_poll(int fd, short events, int timeout_ms);

#ifdef __cplusplus
}
#endif

#endif
