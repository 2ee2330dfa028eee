#define _GNU_SOURCE

#include "check.h"
#include "instruction_emulation.h"
#include "portal.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static unsigned char pages[64][4096] __attribute__((aligned(4096)));

/* ---- decoding ---- */

static void check_decoding(void) {
  static const struct {
    uint8_t code[15];
    struct instruction expected;
  } cases[] = {
      /* movdir64b (%rdx),%rax: the shim's own; then enqcmd with the same operands. */
      {{0x66, 0x0f, 0x38, 0xf8, 0x02}, {INSTRUCTION_MOVDIR64B, 5, 0, 2, NO_REGISTER, 0, 0, false}},
      {{0xf2, 0x0f, 0x38, 0xf8, 0x02}, {INSTRUCTION_ENQCMD, 5, 0, 2, NO_REGISTER, 0, 0, false}},
      /* movdir64b (%r9),%r10 */
      {{0x66, 0x45, 0x0f, 0x38, 0xf8, 0x11},
       {INSTRUCTION_MOVDIR64B, 6, 10, 9, NO_REGISTER, 0, 0, false}},
      /* enqcmd -8(%rbp),%rdi */
      {{0xf2, 0x0f, 0x38, 0xf8, 0x7d, 0xf8},
       {INSTRUCTION_ENQCMD, 6, 7, 5, NO_REGISTER, 0, -8, false}},
      /* movdir64b 0x12345678(%rsp),%rcx */
      {{0x66, 0x0f, 0x38, 0xf8, 0x8c, 0x24, 0x78, 0x56, 0x34, 0x12},
       {INSTRUCTION_MOVDIR64B, 10, 1, 4, NO_REGISTER, 0, 0x12345678, false}},
      /* enqcmd 4(%r13,%r12,8),%r15 */
      {{0xf2, 0x47, 0x0f, 0x38, 0xf8, 0x7c, 0xe5, 0x04},
       {INSTRUCTION_ENQCMD, 8, 15, 13, 12, 3, 4, false}},
      /* movdir64b -1(%rip),%rbx */
      {{0x66, 0x0f, 0x38, 0xf8, 0x1d, 0xff, 0xff, 0xff, 0xff},
       {INSTRUCTION_MOVDIR64B, 9, 3, INSTRUCTION_POINTER, NO_REGISTER, 0, -1, false}},
      /* enqcmd 0x1000(,%rcx,4),%rax */
      {{0xf2, 0x0f, 0x38, 0xf8, 0x04, 0x8d, 0x00, 0x10, 0x00, 0x00},
       {INSTRUCTION_ENQCMD, 10, 0, NO_REGISTER, 1, 2, 0x1000, false}},
      /* enqcmd 0x1000,%rax */
      {{0xf2, 0x0f, 0x38, 0xf8, 0x04, 0x25, 0x00, 0x10, 0x00, 0x00},
       {INSTRUCTION_ENQCMD, 10, 0, NO_REGISTER, NO_REGISTER, 0, 0x1000, false}},
      /* movdir64b (%edx),%eax; a REX before another prefix is none; 66 F2 is ENQCMD */
      {{0x67, 0x66, 0x0f, 0x38, 0xf8, 0x02},
       {INSTRUCTION_MOVDIR64B, 6, 0, 2, NO_REGISTER, 0, 0, true}},
      {{0x45, 0x66, 0x0f, 0x38, 0xf8, 0x02},
       {INSTRUCTION_MOVDIR64B, 6, 0, 2, NO_REGISTER, 0, 0, false}},
      {{0x66, 0xf2, 0x0f, 0x38, 0xf8, 0x02},
       {INSTRUCTION_ENQCMD, 6, 0, 2, NO_REGISTER, 0, 0, false}},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    const struct instruction* expected = &cases[i].expected;
    const struct instruction got = instruction_decode(cases[i].code, sizeof cases[i].code);
    CHECK(got.kind == expected->kind && got.length == expected->length);
    CHECK(got.destination == expected->destination && got.base == expected->base);
    CHECK(got.index == expected->index && got.displacement == expected->displacement);
    CHECK(got.index == NO_REGISTER || got.scale == expected->scale);
    CHECK(got.address_32 == expected->address_32);
    /* Not all there. */
    CHECK(instruction_decode(cases[i].code, expected->length).kind == expected->kind);
    for (size_t length = 0; length < expected->length; length++) {
      CHECK(instruction_decode(cases[i].code, length).kind == INSTRUCTION_OTHER);
    }
  }

  static const uint8_t others[][15] = {
      {0xf3, 0x0f, 0x38, 0xf8, 0x02},       /* enqcmds */
      {0x66, 0xf3, 0x0f, 0x38, 0xf8, 0x02}, /* the same */
      {0x0f, 0x38, 0xf8, 0x02},             /* no prefix */
      {0x66, 0x0f, 0x38, 0xf8, 0xc2},       /* a register as the source */
      {0x64, 0x66, 0x0f, 0x38, 0xf8, 0x02}, /* %fs */
      {0x66, 0x0f, 0x38, 0xf9, 0x02},       /* another opcode */
      {0xf0, 0x66, 0x0f, 0x38, 0xf8, 0x02}, /* lock */
      {0x0f, 0x0b},                         /* ud2 */
  };
  for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
    CHECK(instruction_decode(others[i], sizeof others[i]).kind == INSTRUCTION_OTHER);
  }
}

/* Never more than there is, whatever the bytes. */
static void check_decoding_of_noise(void) {
  static const uint8_t likely[] = {0x66, 0x67, 0xf2, 0xf3, 0x40, 0x4f,
                                   0x0f, 0x38, 0xf8, 0x04, 0x25};
  srand(1);
  for (int round = 0; round < 200000; round++) {
    const size_t length = (size_t)rand() % 16;
    /* On the heap, where AddressSanitizer sees a read too far. */
    uint8_t* code = malloc(length);
    for (size_t i = 0; i < length; i++) {
      const int any = rand();
      code[i] = any % 4 == 0 ? (uint8_t)(any >> 8) : likely[(size_t)(any >> 8) % sizeof likely];
    }
    CHECK(instruction_decode(code, length).length <= length);
    free(code);
  }
}

/* ---- execution ---- */

static unsigned char received[64];
static unsigned int submissions;
static bool accepts;

static bool submit(void* context, const void* descriptor, bool posted) {
  CHECK(context == &submissions);
  CHECK(!posted);
  submissions++;
  memcpy(received, descriptor, sizeof received);
  return accepts;
}

static void check_enqcmd_of_the_shim(void) {
  static unsigned char descriptors[5][64];
  for (size_t i = 0; i < sizeof descriptors; i++) {
    descriptors[i / 64][i % 64] = i % 64 < 4 ? 0 : (unsigned char)(i * 3);
  }
  struct svm_portal portal = {.base = pages[0]};

  accepts = true;
  CHECK(svm_portal_enqcmd(&portal, descriptors, 5) == 5);
  CHECK(submissions == 5 && portal.offset == 320);
  CHECK(memcmp(received, descriptors[4], 64) == 0);

  accepts = false;
  CHECK(svm_portal_enqcmd(&portal, descriptors, 5) == 0);
  CHECK(submissions == 6);

  /* One that would be #GP ends the row and is not issued. */
  accepts = true;
  descriptors[2][1] = 1;
  CHECK(svm_portal_enqcmd(&portal, descriptors, 5) == 2);
  CHECK(submissions == 8);
  CHECK(memcmp(received, descriptors[1], 64) == 0);
}

static bool flags_are(uint64_t flags, bool retry) {
  const uint64_t arithmetic = 0x8d5;
  return (flags & arithmetic) == (retry ? 0x40U : 0U);
}

/* Other registers and operands than the shim's; the flags as they are before and behind. */
static void check_operands(void) {
  static uint64_t source[10] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
  uint64_t flags;
  accepts = false;

  /* From source + 8 * 1, whose lower half must be zero. */
  source[1] = (uint64_t)1 << 32;
  __asm__ volatile("mov %1, %%r12\n\t"
                   "mov $1, %%ecx\n\t"
                   "mov %2, %%r15\n\t"
                   "stc\n\t"
                   "enqcmd (%%r12, %%rcx, 8), %%r15\n\t"
                   "pushf\n\t"
                   "pop %0"
                   : "=r"(flags)
                   : "r"(source), "r"(pages[0] + 128)
                   : "r12", "rcx", "r15", "memory", "cc");
  CHECK(memcmp(received, &source[1], 64) == 0);
  CHECK(flags_are(flags, true));

  accepts = true;
  __asm__ volatile("mov %1, %%rbp\n\t"
                   "or $1, %%eax\n\t" /* clears ZF */
                   "stc\n\t"
                   "enqcmd -16(%%rbp), %%rdi\n\t"
                   "pushf\n\t"
                   "pop %0"
                   : "=r"(flags)
                   : "r"(source + 2), "D"(pages[0])
                   : "rbp", "rax", "memory", "cc");
  CHECK(memcmp(received, source, 64) == 0);
  CHECK(flags_are(flags, false));
}

/* Memory that is no portal: nobody accepts. */
static void check_enqcmd_elsewhere(void) {
  static unsigned char other[4096] __attribute__((aligned(4096)));
  static const unsigned char descriptor[64];
  struct svm_portal portal = {.base = other};
  const unsigned int before = submissions;
  CHECK(svm_portal_enqcmd(&portal, descriptor, 1) == 0);
  CHECK(submissions == before);
}

static void die_of_misaligned_destination(void) {
  static const unsigned char descriptor[64];
  __asm__ volatile("enqcmd (%0), %1" : : "r"(descriptor), "r"(pages[0] + 8) : "memory", "cc");
}

static void die_of_pasid(void) {
  static const unsigned char descriptor[64] = {1};
  __asm__ volatile("enqcmd (%0), %1" : : "r"(descriptor), "r"(pages[0]) : "memory", "cc");
}

static void die_of_source(void) {
  __asm__ volatile("enqcmd (%0), %1" : : "r"((uintptr_t)8), "r"(pages[0]) : "memory", "cc");
}

static void die_of_other_instruction(void) {
  __asm__ volatile("ud2");
}

/* By which signal a child dies, without the sanitizer's report. */
static int signal_of(void (*die)(void)) {
  const pid_t child = fork();
  if (child == 0) {
    (void)freopen("/dev/null", "w", stderr);
    die();
    _exit(0);
  }
  int status = 0;
  CHECK(waitpid(child, &status, 0) == child);
  return WIFSIGNALED(status) ? WTERMSIG(status) : -WEXITSTATUS(status);
}

int main(void) {
  /* So that a sanitizer has no handler of its own before ours. */
  (void)signal(SIGSEGV, SIG_DFL);
  (void)signal(SIGILL, SIG_DFL);
  check_decoding();
  check_decoding_of_noise();

  instruction_emulation_install();
  CHECK(instruction_emulation_add_portal(pages[0], submit, &submissions) == 0);
  const uint64_t before = instruction_emulation_count();
  check_enqcmd_of_the_shim();
  check_operands();
  check_enqcmd_elsewhere();
  CHECK(instruction_emulation_count() - before == 11);

  CHECK(signal_of(die_of_misaligned_destination) == SIGSEGV);
  CHECK(signal_of(die_of_pasid) == SIGSEGV);
  CHECK(signal_of(die_of_source) == SIGSEGV);
  CHECK(signal_of(die_of_other_instruction) == SIGILL);

  for (int i = 1; i < 64; i++) {
    CHECK(instruction_emulation_add_portal(pages[i], submit, NULL) == 0);
  }
  CHECK(instruction_emulation_add_portal(pages[0], submit, NULL) == -ENOMEM);
  instruction_emulation_remove_portal(pages[7]);
  CHECK(instruction_emulation_add_portal(pages[7], submit, NULL) == 0);
  return failures != 0;
}
