/*
 * MOVDIR64B and ENQCMD for CPUs that lack them, by a handler of SIGILL. For tests alone.
 *
 * Decoded are both instructions with any general register, any memory operand except one relative
 * to FS or GS, and any order of prefixes; ENQCMDS, which is the kernel's, stays an illegal
 * instruction. Stores to a portal that was added go to its device, and its answer to ZF; the other
 * arithmetic flags are cleared (Intel SDM vol. 2, ENQCMD). MOVDIR64B to other memory stores there;
 * ENQCMD to other memory answers "retry", as no device accepts it. What the CPU answers with #GP
 * raises SIGSEGV: a destination that is not 64-byte aligned, an ENQCMD of which the low 32 bits are
 * not zero.
 *
 * A CPU that has ENQCMD, in a process that has no PASID, raises #GP for each (IA32_PASID is not
 * valid). That arrives as SIGSEGV and is emulated in the same way.
 */
#ifndef SVM_DOUBLE_INSTRUCTION_EMULATION_H
#define SVM_DOUBLE_INSTRUCTION_EMULATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A register of the instruction by its number in the encoding, or one of these. */
#define NO_REGISTER (-1)
#define INSTRUCTION_POINTER (-2)

struct instruction {
  enum { INSTRUCTION_OTHER, INSTRUCTION_MOVDIR64B, INSTRUCTION_ENQCMD } kind;
  size_t length;
  int destination;    /* register that holds the address stored to */
  int base, index;    /* of the memory operand */
  unsigned int scale; /* the index is shifted left by it */
  int32_t displacement;
  bool address_32; /* address-size prefix: addresses are cut to 32 bits */
};

/* Reads the instruction that starts at `code`, of which `length` bytes (at most 15) are there. */
struct instruction instruction_decode(const uint8_t* code, size_t length);

/*
 * The device behind a portal takes 64 bytes from MOVDIR64B (`posted`: nobody hears the answer) or
 * from ENQCMD; returns false for "retry". Called on the storing thread, in a signal handler.
 */
typedef bool instruction_submit(void* context, const void* descriptor, bool posted);

/* Installs the handlers, once for the process. */
void instruction_emulation_install(void);

/* Adds a page. Returns 0, or -ENOMEM (at most 64 at a time). */
int instruction_emulation_add_portal(void* page, instruction_submit* submit, void* context);

/* Removes it, if it was added. No thread may be storing to it. */
void instruction_emulation_remove_portal(const void* page);

/* Instructions emulated since the process started. */
uint64_t instruction_emulation_count(void);

#endif
