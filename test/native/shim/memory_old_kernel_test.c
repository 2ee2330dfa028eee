/* svm_memory_touch on a kernel before v5.14, which does not know MADV_POPULATE_READ and _WRITE. */
#define _GNU_SOURCE

#include "check.h"
#include "memory.h"
#include "pagemap.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static unsigned int refused;

/* Stands in for the C library's, in this program alone. */
int madvise(void* address, size_t length, int advice) {
  if (advice == 22 || advice == 23) {
    refused++;
    errno = EINVAL;
    return -1;
  }
  return (int)syscall(SYS_madvise, address, length, advice);
}

static void check_faults_in(uint64_t at, size_t page) {
  if (!pagemap_readable()) return;
  CHECK(!is_present(at + page));
  CHECK(svm_memory_touch(at, 2 * page, false) == 0);
  CHECK(is_present(at) && is_present(at + page));
  CHECK(svm_memory_touch(at + page - 1, 2, true) == 0);
  CHECK(is_exclusive(at) && is_exclusive(at + page));
  CHECK(!is_present(at + 2 * page));
  CHECK(svm_memory_touch(at + 3 * page, 1, true) == 0);
  CHECK(is_exclusive(at + 3 * page) && !is_present(at + 2 * page));
}

enum { ROUNDS = 20000 };

static void* count(void* argument) {
  atomic_uint* counter = argument;
  for (int i = 0; i < ROUNDS; i++)
    atomic_fetch_add(counter, 1);
  return NULL;
}

/* The touch writes to the word that the other thread counts in, and loses none of its counts. */
static void check_nothing_is_lost(void* page) {
  atomic_uint* counter = page;
  pthread_t counting;
  CHECK(pthread_create(&counting, NULL, count, counter) == 0);
  for (int i = 0; i < ROUNDS / 10; i++)
    CHECK(svm_memory_touch((uintptr_t)page, 1, true) == 0);
  CHECK(pthread_join(counting, NULL) == 0);
  CHECK(atomic_load(counter) == ROUNDS);
}

int main(void) {
  const size_t page = svm_page_size();
  size_t length = 4 * page;
  void* address;
  CHECK(svm_memory_alloc(&length, false, &address) == 0);
  const uint64_t at = (uintptr_t)address;

  check_faults_in(at, page);
  check_nothing_is_lost(address);

  CHECK(svm_memory_protect((unsigned char*)address + page, page, SVM_PROT_READ) == 0);
  CHECK(svm_memory_touch(at, length, false) == 0);
  CHECK(svm_memory_touch(at, length, true) == -EFAULT);
  CHECK(svm_memory_protect((unsigned char*)address + page, page, SVM_PROT_NONE) == 0);
  CHECK(svm_memory_touch(at, length, false) == -EFAULT);
  CHECK(munmap((unsigned char*)address + page, page) == 0);
  CHECK(svm_memory_touch(at, length, false) == -EFAULT);
  CHECK(svm_memory_touch(at, length, true) == -EFAULT);
  CHECK(svm_memory_touch(at + 2 * page, 2 * page, true) == 0);
  CHECK(svm_memory_touch(0, 1, true) == -EFAULT);
  CHECK(svm_memory_touch((uint64_t)1 << 63, 1, false) == -EFAULT);

  CHECK(refused > 0);
  CHECK(munmap(address, page) == 0 && munmap((unsigned char*)address + 2 * page, 2 * page) == 0);
  return failures != 0;
}
