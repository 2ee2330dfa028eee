#define _GNU_SOURCE

#include "guarded_access.h"

#include "signal_chain.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <ucontext.h>

#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
/* The runtime has them, its header does not. */
void __tsan_read_range(void* address, size_t size);
void __tsan_write_range(void* address, size_t size);
#endif
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

/* Copies `length` bytes upwards. Returns how many of them it could not copy. */
size_t guarded_copy(void* to, const void* from, size_t length);

/* Returns 0, or 1 where the store faulted. */
size_t guarded_store(void* to, uint8_t value);

/* The two instructions that may fault, and where to go on then. */
extern const char guarded_copy_access[], guarded_copy_end[];
extern const char guarded_store_access[], guarded_store_fault[];

/*
 * SAFETY: REP MOVSB keeps RCX, RSI and RDI at the byte it is at, so that after a fault RCX is what
 * is left. The direction flag is clear on entry to any function (System V ABI). The store is one
 * byte: x86 makes it visible after every earlier store.
 */
__asm__(".pushsection .text\n"
        ".type guarded_copy, @function\n"
        "guarded_copy:\n"
        "  .cfi_startproc\n"
        "  mov %rdx, %rcx\n"
        "guarded_copy_access:\n"
        "  rep movsb\n"
        "guarded_copy_end:\n"
        "  mov %rcx, %rax\n"
        "  ret\n"
        "  .cfi_endproc\n"
        ".size guarded_copy, . - guarded_copy\n"
        ".type guarded_store, @function\n"
        "guarded_store:\n"
        "  .cfi_startproc\n"
        "  xor %eax, %eax\n"
        "guarded_store_access:\n"
        "  movb %sil, (%rdi)\n"
        "  ret\n"
        "guarded_store_fault:\n"
        "  mov $1, %eax\n"
        "  ret\n"
        "  .cfi_endproc\n"
        ".size guarded_store, . - guarded_store\n"
        ".popsection\n");

static struct sigaction before_segv, before_bus;

static void on_fault(int number, siginfo_t* info, void* context) {
  greg_t* registers = ((ucontext_t*)context)->uc_mcontext.gregs;
  const uintptr_t at = (uintptr_t)registers[REG_RIP];
  if (at == (uintptr_t)guarded_copy_access) {
    registers[REG_RIP] = (greg_t)(uintptr_t)guarded_copy_end;
  } else if (at == (uintptr_t)guarded_store_access) {
    registers[REG_RIP] = (greg_t)(uintptr_t)guarded_store_fault;
  } else {
    pass_signal_on(number == SIGBUS ? &before_bus : &before_segv, number, info, context);
  }
}

static void install(void) {
  struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
  (void)sigemptyset(&action.sa_mask);
  (void)sigaction(SIGSEGV, &action, &before_segv);
  (void)sigaction(SIGBUS, &action, &before_bus);
}

void guarded_access_install(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  (void)pthread_once(&once, install);
}

#if defined(__SANITIZE_ADDRESS__)
/* Dies with AddressSanitizer's report if the range is in memory that it knows to be nobody's. */
static void report_if_poisoned(uint64_t address, size_t length) {
  const volatile char* poisoned = __asan_region_is_poisoned((void*)(uintptr_t)address, length);
  char byte;
  /* What it knows nothing of, such as a kernel address, is poisoned too; that is the device's
   * fault. */
  if (poisoned != NULL && guarded_copy(&byte, (const void*)poisoned, 1) == 0) (void)*poisoned;
}
#else
static void report_if_poisoned(uint64_t address, size_t length) {
  (void)address;
  (void)length;
}
#endif

size_t guarded_read(void* out, uint64_t address, size_t length) {
  report_if_poisoned(address, length);
  /* SAFETY: `out` is the caller's; the address is accessed by guarded_copy_access alone. */
  const size_t done = length - guarded_copy(out, (const void*)(uintptr_t)address, length);
#if defined(__SANITIZE_THREAD__)
  if (done > 0) __tsan_read_range((void*)(uintptr_t)address, done);
#endif
  return done;
}

size_t guarded_write(uint64_t address, const void* bytes, size_t length) {
  report_if_poisoned(address, length);
  /* SAFETY: as guarded_read. */
  const size_t done = length - guarded_copy((void*)(uintptr_t)address, bytes, length);
#if defined(__SANITIZE_THREAD__)
  if (done > 0) __tsan_write_range((void*)(uintptr_t)address, done);
#endif
  return done;
}

bool guarded_store_byte(uint64_t address, uint8_t value) {
  report_if_poisoned(address, 1);
#if defined(__SANITIZE_THREAD__)
  /* Before the store: whoever sees it must see the release. Of a wild address it has no shadow. */
  char byte;
  if (guarded_copy(&byte, (const void*)(uintptr_t)address, 1) == 0) {
    __tsan_release((void*)(uintptr_t)address);
  }
#endif
  /* SAFETY: the address is accessed by guarded_store_access alone. */
  return guarded_store((void*)(uintptr_t)address, value) == 0;
}
