/* madvise, process_vm_readv, syscall. */
#define _GNU_SOURCE

#include "memory.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* include/uapi/asm-generic/mman-common.h, since v5.14; C libraries older than that lack them. */
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif

#define HUGE_PAGE_SIZE ((size_t)2 << 20)

size_t svm_page_size(void) {
  return (size_t)sysconf(_SC_PAGESIZE);
}

/*
 * A range whose address and length are multiples of `alignment`, which is one of whole pages: cut
 * out of a larger one, as mmap(2) aligns to pages alone.
 */
static int map_aligned(size_t length, size_t alignment, void** address) {
  const size_t slack = alignment - svm_page_size();
  if (length > SIZE_MAX - slack) return -ENOMEM;
  unsigned char* mapping =
      mmap(NULL, length + slack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping == MAP_FAILED) return -errno;

  const size_t before = (alignment - (uintptr_t)mapping % alignment) % alignment;
  const size_t after = slack - before;
  /* SAFETY: both ends lie inside the mapping, which nobody else knows yet. */
  if (before > 0) (void)munmap(mapping, before);
  if (after > 0) (void)munmap(mapping + before + length, after);
  *address = mapping + before;
  return 0;
}

int svm_memory_alloc(size_t* length, bool huge_pages, void** address) {
  const size_t unit = huge_pages ? HUGE_PAGE_SIZE : svm_page_size();
  if (*length == 0) return -EINVAL;
  if (*length > SIZE_MAX - (unit - 1)) return -ENOMEM;
  const size_t rounded = (*length + unit - 1) / unit * unit;

  const int result = map_aligned(rounded, unit, address);
  if (result < 0) return result;
  /* Advice: a kernel without transparent huge pages answers EINVAL, and small ones will do. */
  if (huge_pages) (void)madvise(*address, rounded, MADV_HUGEPAGE);
  *length = rounded;
  return 0;
}

int svm_memory_free(void* address, size_t length) {
  return munmap(address, length) == 0 ? 0 : -errno;
}

int svm_memory_protect(void* address, size_t length, enum svm_protection protection) {
  int rights;
  switch (protection) {
  case SVM_PROT_NONE:
    rights = PROT_NONE;
    break;
  case SVM_PROT_READ:
    rights = PROT_READ;
    break;
  case SVM_PROT_READ_WRITE:
    rights = PROT_READ | PROT_WRITE;
    break;
  default:
    return -EINVAL;
  }
  return mprotect(address, length, rights) == 0 ? 0 : -errno;
}

int svm_memory_peek(uint64_t address, void* out, size_t length) {
  if (address > UINTPTR_MAX || length > UINTPTR_MAX - address) return -EFAULT;
  size_t done = 0;
  while (done < length) {
    const size_t rest = length - done;
    /* SAFETY: `out` holds `length` bytes. The remote address is for the kernel alone to use. */
    const struct iovec local = {.iov_base = (unsigned char*)out + done, .iov_len = rest};
    const struct iovec remote = {
        .iov_base = (void*)(uintptr_t)(address + done),
        .iov_len = rest,
    };
    const ssize_t copied = process_vm_readv(getpid(), &local, 1, &remote, 1, 0);
    if (copied <= 0) return copied < 0 ? -errno : -EFAULT;
    done += (size_t)copied;
  }
  return 0;
}

/*
 * svm_memory_touch of one page, through calls that answer EFAULT where the same access made here
 * would be a signal.
 */
static int touch_page(uint64_t page, bool write) {
  unsigned char byte;
  /* Before a write too: it refuses device memory, on which the next call would act. */
  const int result = svm_memory_peek(page, &byte, sizeof byte);
  if (result < 0 || !write) return result;

  /*
   * FUTEX_WAKE_OP lets the kernel OR zero into the page's first word in one atomic step. (Writing
   * back the byte that was read would lose what another thread stored in between.) It also wakes
   * a waiter of `unwaited`, which has none, and one of the page if the word is 0x555, who has to
   * expect that.
   */
  uint32_t unwaited = 0;
  const int or_zero = FUTEX_OP(FUTEX_OP_OR, 0, FUTEX_OP_CMP_EQ, 0x555);
  /* SAFETY: `page` is for the kernel alone to use; what it does there changes no bit. */
  const long woken =
      syscall(SYS_futex, &unwaited, FUTEX_WAKE_OP_PRIVATE, 1, (void*)1, (uintptr_t)page, or_zero);
  return woken < 0 ? -errno : 0;
}

int svm_memory_touch(uint64_t address, size_t length, bool write) {
  const uint64_t page_size = svm_page_size();
  const uint64_t beyond = length == 0 ? 0 : length - 1;
  if (address > UINTPTR_MAX - page_size || beyond > UINTPTR_MAX - page_size - address) {
    return -EFAULT;
  }
  const uint64_t first = address / page_size * page_size;
  const uint64_t end = (address + beyond) / page_size * page_size + page_size;

  /* SAFETY: the advice changes no byte, and the kernel checks the range. */
  void* const range = (void*)(uintptr_t)first;
  const int advice = write ? MADV_POPULATE_WRITE : MADV_POPULATE_READ;
  if (madvise(range, end - first, advice) == 0) return 0;

  switch (errno) {
  case EINVAL: {
    /* Not known, or known and not for this mapping: no such right, or not ordinary memory. */
    int result = 0;
    for (uint64_t page = first; page < end && result == 0; page += page_size) {
      result = touch_page(page, write);
    }
    return result;
  }
  case ENOMEM:
    /* A hole, or no memory. MS_ASYNC does nothing (since v2.6.19), and fails for a hole. */
    return msync(range, end - first, MS_ASYNC) == 0 ? -ENOMEM : -EFAULT;
  default:
    return -errno;
  }
}
