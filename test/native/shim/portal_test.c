/*
 * The store on ordinary memory, where the CPU has it. ENQCMD wants a device; it is tested on the
 * emulated one (../double).
 */
#define _GNU_SOURCE

#include "check.h"
#include "portal.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>

#if defined(__x86_64__)

static unsigned char page[SVM_PORTAL_SIZE] __attribute__((aligned(SVM_PORTAL_SIZE)));
static unsigned char descriptors[100][SVM_DESCRIPTOR_SIZE];

static sigjmp_buf before_instruction;

static void on_illegal(int number) {
  (void)number;
  siglongjmp(before_instruction, 1);
}

/* Asked by doing: a hypervisor may hide in CPUID what the CPU executes. */
static bool executes_movdir64b(void) {
  struct sigaction old, action = {.sa_handler = on_illegal};
  volatile bool executes = false;
  CHECK(sigaction(SIGILL, &action, &old) == 0);
  if (sigsetjmp(before_instruction, 1) == 0) {
    struct svm_portal portal = {.base = page};
    (void)svm_portal_movdir64b(&portal, descriptors, 1);
    executes = true;
  }
  CHECK(sigaction(SIGILL, &old, NULL) == 0);
  return executes;
}

static void movdir64b_test(void) {
  unsigned char* bytes = &descriptors[0][0];
  for (size_t i = 0; i < sizeof descriptors; i++)
    bytes[i] = (unsigned char)(i * 31 + i / 64 + 1);

  struct svm_portal portal = {.base = page};
  memset(page, 0, sizeof page);
  CHECK(svm_portal_movdir64b(&portal, descriptors, 0) == 0);
  CHECK(portal.offset == 0 && page[0] == 0);

  /* One after the other through the page, and nowhere else. */
  CHECK(svm_portal_movdir64b(&portal, descriptors, 3) == 0);
  CHECK(portal.offset == 192);
  CHECK(memcmp(page, descriptors, 192) == 0);
  CHECK(page[192] == 0 && page[sizeof page - 1] == 0);

  /* Around its end. */
  CHECK(svm_portal_movdir64b(&portal, descriptors, 100) == 0);
  CHECK(portal.offset == (192 + 6400) % SVM_PORTAL_SIZE);
  CHECK(memcmp(page + 192, descriptors[64], 36 * 64) == 0);
  CHECK(memcmp(page, descriptors[61], 192) == 0);

  /* Any alignment of the source. */
  for (size_t shift = 1; shift < 64; shift++) {
    portal.offset = SVM_PORTAL_SIZE - 64;
    CHECK(svm_portal_movdir64b(&portal, bytes + shift, 1) == 0);
    CHECK(portal.offset == 0);
    CHECK(memcmp(page + SVM_PORTAL_SIZE - 64, bytes + shift, 64) == 0);
  }
}

static void enqcmd_test(void) {
  struct svm_portal portal = {.base = page};
  memset(descriptors, 0, sizeof descriptors);
  CHECK(svm_portal_enqcmd(&portal, descriptors, 0) == 0);
  /* Any of the 32 bits would be #GP. */
  for (unsigned int bit = 0; bit < 32; bit++) {
    descriptors[0][bit / 8] = (unsigned char)(1U << bit % 8);
    CHECK(svm_portal_enqcmd(&portal, descriptors, 1) == -EINVAL);
    descriptors[0][bit / 8] = 0;
  }
  CHECK(portal.offset == 0);
}

int main(void) {
  if (executes_movdir64b()) {
    movdir64b_test();
  } else {
    (void)puts("this CPU does not execute MOVDIR64B");
  }
  enqcmd_test();
  return failures != 0;
}

#else

int main(void) {
  static unsigned char descriptor[SVM_DESCRIPTOR_SIZE];
  unsigned char memory[64] = {0};
  struct svm_portal portal = {.base = memory};
  CHECK(svm_portal_movdir64b(&portal, descriptor, 1) == -ENOSYS);
  CHECK(svm_portal_enqcmd(&portal, descriptor, 1) == -ENOSYS);
  CHECK(portal.offset == 0 && memory[0] == 0);
  return failures != 0;
}

#endif
