/* For the shim's tests: what the kernel says about a page of this process in /proc/self/pagemap. */
#ifndef SVM_TEST_PAGEMAP_H
#define SVM_TEST_PAGEMAP_H

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <unistd.h>

/* Documentation/admin-guide/mm/pagemap.rst */
#define PAGEMAP_EXCLUSIVE 56
#define PAGEMAP_PRESENT 63

/* The entry of a page, or 0 where it cannot be read. */
static inline uint64_t pagemap_entry(uint64_t address) {
  const uint64_t page = address / (uint64_t)sysconf(_SC_PAGESIZE);
  uint64_t entry = 0;
  const int file = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  if (file < 0) return 0;
  const off_t offset = (off_t)(page * sizeof entry);
  const bool whole = pread(file, &entry, sizeof entry, offset) == (ssize_t)sizeof entry;
  (void)close(file);
  return whole ? entry : 0;
}

static inline bool is_present(uint64_t address) {
  return (pagemap_entry(address) >> PAGEMAP_PRESENT & 1) != 0;
}

/* Mapped once, by this process, so that a write breaks no copy-on-write. */
static inline bool is_exclusive(uint64_t address) {
  return (pagemap_entry(address) >> PAGEMAP_EXCLUSIVE & 1) != 0;
}

/* A container may hide the file. */
static inline bool pagemap_readable(void) {
  const volatile unsigned char here = 1;
  return is_present((uintptr_t)&here);
}

#endif
