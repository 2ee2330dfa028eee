#define _GNU_SOURCE

#include "check.h"
#include "guarded_access.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096

static unsigned char* pages;
static volatile int faults;

/* Makes the last page accessible, so that the program can go on. */
static void on_fault(int number) {
  (void)number;
  faults++;
  if (mprotect(pages + 2 * PAGE, PAGE, PROT_READ | PROT_WRITE) != 0) _exit(3);
}

#if defined(__SANITIZE_ADDRESS__)
/* A device at work on memory that its owner has given up does not go unseen. */
static void check_freed_memory(void) {
  for (int call = 0; call < 3; call++) {
    const pid_t child = fork();
    if (child == 0) {
      (void)freopen("/dev/null", "w", stderr);
      unsigned char bytes[64] = {0};
      void* freed = malloc(sizeof bytes);
      const uint64_t at = (uintptr_t)freed;
      free(freed);
      if (call == 0) (void)guarded_read(bytes, at, sizeof bytes);
      if (call == 1) (void)guarded_write(at + 32, bytes, 1);
      if (call == 2) (void)guarded_store_byte(at, 1);
      _exit(0);
    }
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child && status != 0);
  }
}
#endif

int main(void) {
  /* A handler that stands before: it gets what is not ours. */
  const struct sigaction action = {.sa_handler = on_fault};
  CHECK(sigaction(SIGSEGV, &action, NULL) == 0);
  guarded_access_install();
  guarded_access_install();

  pages = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(pages != MAP_FAILED);
  CHECK(mprotect(pages + 2 * PAGE, PAGE, PROT_NONE) == 0);
  CHECK(mprotect(pages + PAGE, PAGE, PROT_READ) == 0);
  const uint64_t at = (uintptr_t)pages;
  static unsigned char bytes[3 * PAGE], copy[3 * PAGE];
  for (size_t i = 0; i < sizeof bytes; i++)
    bytes[i] = (unsigned char)(i * 7 + 1);

  /* Whole, up to a page that may not be written, and one that may not be read. */
  CHECK(guarded_write(at, bytes, PAGE) == PAGE);
  CHECK(memcmp(pages, bytes, PAGE) == 0);
  CHECK(guarded_write(at + 100, bytes, PAGE) == PAGE - 100);
  CHECK(memcmp(pages + 100, bytes, PAGE - 100) == 0);
  CHECK(guarded_write(at + PAGE, bytes, 1) == 0);
  CHECK(guarded_read(copy, at, sizeof copy) == 2 * PAGE);
  CHECK(memcmp(copy, pages, 2 * PAGE) == 0);
  CHECK(guarded_read(copy, at + 2 * PAGE - 3, 64) == 3);
  CHECK(guarded_read(copy, at, 0) == 0);

  CHECK(guarded_store_byte(at + 5, 99) && pages[5] == 99);
  CHECK(!guarded_store_byte(at + PAGE, 99));
  CHECK(!guarded_store_byte(at + 2 * PAGE, 99));

  /* Nowhere, of the kernel, not canonical, around the end. */
  static const uint64_t nowhere[] = {0, 0xffffffff81000000, 0x0123456789abcdef, UINT64_MAX - 63};
  for (size_t i = 0; i < sizeof nowhere / sizeof *nowhere; i++) {
    CHECK(guarded_read(copy, nowhere[i], 64) == 0);
    CHECK(guarded_write(nowhere[i], bytes, 64) == 0);
    CHECK(!guarded_store_byte(nowhere[i], 1));
  }

  /* SIGBUS: behind the end of a file. */
  const int file = memfd_create("empty", MFD_CLOEXEC);
  void* beyond = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  CHECK(beyond != MAP_FAILED);
  CHECK(guarded_read(copy, (uintptr_t)beyond, 64) == 0);
  CHECK(guarded_write((uintptr_t)beyond, bytes, 64) == 0);

#if defined(__SANITIZE_ADDRESS__)
  check_freed_memory();
#endif
  CHECK(faults == 0);
  *(volatile unsigned char*)(pages + 2 * PAGE) = 1;
  CHECK(faults == 1);
  CHECK(munmap(pages, 3 * PAGE) == 0 && munmap(beyond, PAGE) == 0 && close(file) == 0);
  return failures != 0;
}
