#define _GNU_SOURCE

#include "check.h"
#include "memory.h"
#include "pagemap.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define HUGE_PAGE ((size_t)2 << 20)

static size_t page;

static bool is_zero(const unsigned char* bytes, size_t length) {
  for (size_t i = 0; i < length; i++) {
    if (bytes[i] != 0) return false;
  }
  return true;
}

static void alloc_test(void) {
  size_t length = 1;
  void* address = NULL;
  CHECK(svm_memory_alloc(&length, false, &address) == 0);
  CHECK(length == page && (uintptr_t)address % page == 0);
  CHECK(is_zero(address, length));
  memset(address, 1, length);
  CHECK(svm_memory_free(address, length) == 0);

  length = 3 * page;
  CHECK(svm_memory_alloc(&length, false, &address) == 0);
  CHECK(length == 3 * page);
  CHECK(svm_memory_free((unsigned char*)address + 1, page) == -EINVAL);
  CHECK(svm_memory_free(address, 0) == -EINVAL);
  CHECK(svm_memory_free(address, length) == 0);

  int mark;
  address = &mark;
  length = 0;
  CHECK(svm_memory_alloc(&length, false, &address) == -EINVAL);
  CHECK(svm_memory_alloc(&length, true, &address) == -EINVAL);
  static const size_t too_long[] = {SIZE_MAX, SIZE_MAX - 4095, SIZE_MAX / 2, (size_t)1 << 62};
  for (size_t i = 0; i < sizeof too_long / sizeof *too_long; i++) {
    length = too_long[i];
    CHECK(svm_memory_alloc(&length, false, &address) == -ENOMEM);
    CHECK(svm_memory_alloc(&length, true, &address) == -ENOMEM);
    CHECK(length == too_long[i]);
  }
  CHECK(address == &mark);
}

static void huge_pages_test(void) {
  /* Several, so that an address which happens to be aligned proves nothing. */
  enum { COUNT = 4 };
  void* addresses[COUNT];
  size_t length = HUGE_PAGE;
  for (size_t i = 0; i < COUNT; i++) {
    length = HUGE_PAGE + 1;
    CHECK(svm_memory_alloc(&length, true, &addresses[i]) == 0);
    CHECK(length == 2 * HUGE_PAGE);
    CHECK((uintptr_t)addresses[i] % HUGE_PAGE == 0);
    CHECK(svm_memory_touch((uintptr_t)addresses[i], length, true) == 0);
    CHECK(is_zero(addresses[i], length));
  }
  for (size_t i = 0; i < COUNT; i++) {
    CHECK(svm_memory_free(addresses[i], length) == 0);
    unsigned char byte;
    CHECK(svm_memory_peek((uintptr_t)addresses[i], &byte, 1) == -EFAULT);
    CHECK(svm_memory_peek((uintptr_t)addresses[i] + length - 1, &byte, 1) == -EFAULT);
  }
}

static void protect_test(void) {
  size_t length = 2 * page;
  void* address;
  CHECK(svm_memory_alloc(&length, false, &address) == 0);
  const uint64_t at = (uintptr_t)address;
  unsigned char byte = 0;

  CHECK(svm_memory_protect(address, page, SVM_PROT_NONE) == 0);
  CHECK(svm_memory_peek(at, &byte, 1) == -EFAULT);
  CHECK(svm_memory_peek(at + page, &byte, 1) == 0);
  CHECK(svm_memory_touch(at, 1, false) == -EFAULT);
  CHECK(svm_memory_touch(at, 1, true) == -EFAULT);

  CHECK(svm_memory_protect(address, page, SVM_PROT_READ) == 0);
  CHECK(svm_memory_peek(at, &byte, 1) == 0);
  CHECK(svm_memory_touch(at, 1, false) == 0);
  CHECK(svm_memory_touch(at, 1, true) == -EFAULT);

  CHECK(svm_memory_protect(address, page, SVM_PROT_READ_WRITE) == 0);
  CHECK(svm_memory_touch(at, 1, true) == 0);
  *(unsigned char*)address = 1;

  CHECK(svm_memory_protect(address, page, (enum svm_protection)3) == -EINVAL);
  CHECK(svm_memory_protect((unsigned char*)address + 1, page, SVM_PROT_READ) == -EINVAL);
  CHECK(svm_memory_free(address, length) == 0);
  CHECK(svm_memory_protect(address, page, SVM_PROT_READ) == -ENOMEM);

  /* More than the file behind the mapping allows. */
  const int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
  address = mmap(NULL, page, PROT_READ, MAP_SHARED, zero, 0);
  CHECK(address != MAP_FAILED);
  CHECK(svm_memory_protect(address, page, SVM_PROT_READ_WRITE) == -EACCES);
  CHECK(munmap(address, page) == 0);
  CHECK(close(zero) == 0);
}

static void peek_test(void) {
  size_t length = 3 * page;
  void* address;
  CHECK(svm_memory_alloc(&length, false, &address) == 0);
  unsigned char* bytes = address;
  const uint64_t at = (uintptr_t)address;
  static unsigned char copy[1 << 16];
  for (size_t i = 0; i < length; i++)
    bytes[i] = (unsigned char)(i * 7);

  CHECK(svm_memory_peek(at + 3, copy, 2 * page) == 0);
  CHECK(memcmp(copy, bytes + 3, 2 * page) == 0);
  CHECK(svm_memory_peek(at, copy, 0) == 0);
  CHECK(svm_memory_peek(0, copy, 0) == 0);

  CHECK(munmap(bytes + page, page) == 0);
  CHECK(svm_memory_peek(at, copy, page) == 0);
  CHECK(svm_memory_peek(at, copy, page + 1) == -EFAULT);
  CHECK(svm_memory_peek(at + page, copy, 1) == -EFAULT);
  CHECK(svm_memory_peek(at + page, copy, 2 * page) == -EFAULT);

  CHECK(svm_memory_peek(0, copy, 1) == -EFAULT);
  CHECK(svm_memory_peek(UINT64_MAX, copy, 1) == -EFAULT);
  CHECK(svm_memory_peek(UINT64_MAX, copy, 2) == -EFAULT);
  CHECK(svm_memory_peek(UINT64_MAX - page, copy, page) == -EFAULT);
  CHECK(svm_memory_peek(at, copy, SIZE_MAX) == -EFAULT);
  CHECK(munmap(bytes, page) == 0 && munmap(bytes + 2 * page, page) == 0);
}

static void check_touch_faults_in(void) {
  size_t length = 4 * page;
  void* address;
  CHECK(svm_memory_alloc(&length, false, &address) == 0);
  const uint64_t at = (uintptr_t)address;
  if (!pagemap_readable()) return;

  CHECK(!is_present(at) && !is_present(at + page));
  CHECK(svm_memory_touch(at + page - 1, 0, false) == 0);
  CHECK(is_present(at) && !is_present(at + page));
  /* The last byte of one page and the first of the next. */
  CHECK(svm_memory_touch(at + page - 1, 2, true) == 0);
  CHECK(is_exclusive(at) && is_exclusive(at + page) && !is_present(at + 2 * page));
  CHECK(svm_memory_touch(at, length, true) == 0);
  CHECK(is_exclusive(at + 3 * page));
  CHECK(svm_memory_free(address, length) == 0);
}

/* Memory shared with a child by fork is copied when the parent writes, or touches to write. */
static void check_touch_breaks_copy_on_write(void) {
  size_t length = page;
  void* address;
  CHECK(svm_memory_alloc(&length, false, &address) == 0);
  unsigned char* bytes = address;
  bytes[5] = 5;
  int ends[2];
  CHECK(pipe(ends) == 0);
  const pid_t child = fork();
  if (child == 0) {
    char byte;
    (void)close(ends[1]);
    _exit(read(ends[0], &byte, 1) == 0 && bytes[5] == 5 ? 0 : 1);
  }
  const bool readable = pagemap_readable();
  CHECK(!readable || !is_exclusive((uintptr_t)address));
  CHECK(svm_memory_touch((uintptr_t)address, 1, true) == 0);
  CHECK(!readable || is_exclusive((uintptr_t)address));
  CHECK(bytes[5] == 5);
  bytes[5] = 6;
  CHECK(close(ends[0]) == 0 && close(ends[1]) == 0);
  int status = -1;
  CHECK(waitpid(child, &status, 0) == child && status == 0);
  CHECK(svm_memory_free(address, length) == 0);
}

static void check_touch_refused(void) {
  size_t length = 3 * page;
  void* address;
  CHECK(svm_memory_alloc(&length, false, &address) == 0);
  const uint64_t at = (uintptr_t)address;
  CHECK(svm_memory_protect((unsigned char*)address + page, page, SVM_PROT_READ) == 0);
  CHECK(svm_memory_touch(at, length, false) == 0);
  CHECK(svm_memory_touch(at, length, true) == -EFAULT);
  CHECK(svm_memory_touch(at + 2 * page, page, true) == 0);
  CHECK(munmap((unsigned char*)address + page, page) == 0);
  CHECK(svm_memory_touch(at, length, false) == -EFAULT);
  CHECK(svm_memory_touch(at, length, true) == -EFAULT);
  CHECK(svm_memory_touch(at + page, 1, false) == -EFAULT);
  CHECK(svm_memory_touch(at, page, true) == 0);

  static const uint64_t nowhere[] = {0,
                                     1,
                                     UINT64_MAX,
                                     UINT64_MAX - 4096,
                                     (uint64_t)1 << 63,
                                     0xffffffff81000000,
                                     0x0123456789abcdef};
  for (size_t i = 0; i < sizeof nowhere / sizeof *nowhere; i++) {
    CHECK(svm_memory_touch(nowhere[i], 1, false) == -EFAULT);
    CHECK(svm_memory_touch(nowhere[i], 1, true) == -EFAULT);
  }
  CHECK(svm_memory_touch(at, SIZE_MAX, false) == -EFAULT);
  CHECK(svm_memory_touch(at, SIZE_MAX - at, true) == -EFAULT);
  CHECK(svm_memory_touch(0, SIZE_MAX, true) == -EFAULT);
  CHECK(munmap(address, page) == 0 && munmap((unsigned char*)address + 2 * page, page) == 0);

  /* A page behind the end of its file raises SIGBUS when it is accessed. */
  const int file = memfd_create("empty", MFD_CLOEXEC);
  address = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  CHECK(address != MAP_FAILED);
  CHECK(svm_memory_touch((uintptr_t)address, 1, false) == -EFAULT);
  CHECK(svm_memory_touch((uintptr_t)address, 1, true) == -EFAULT);
  CHECK(ftruncate(file, (off_t)page) == 0);
  CHECK(svm_memory_touch((uintptr_t)address, 1, true) == 0);
  CHECK(munmap(address, page) == 0 && close(file) == 0);
}

int main(void) {
  page = svm_page_size();
  CHECK(page == (size_t)sysconf(_SC_PAGESIZE));
  alloc_test();
  huge_pages_test();
  protect_test();
  peek_test();
  check_touch_faults_in();
  check_touch_breaks_copy_on_write();
  check_touch_refused();
  return failures != 0;
}
