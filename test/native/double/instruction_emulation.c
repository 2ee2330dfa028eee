#define _GNU_SOURCE

#include "instruction_emulation.h"

#include "guarded_access.h"
#include "signal_chain.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <ucontext.h>

#define PAGE ((uintptr_t)4096)
#define MOST_PORTALS 64
#define SIZE 64

/* Arithmetic flags in EFLAGS: CF, PF, AF, ZF, SF, OF. */
#define ARITHMETIC_FLAGS 0x8d5
#define ZF 0x40

/* x86 exception numbers, as the kernel gives them in the context. */
#define TRAP_UD 6
#define TRAP_GP 13

/* ---- decoding ---- */

static bool is_segment_override(uint8_t byte) {
  /* ES, CS, SS and DS have no effect in 64-bit mode. FS and GS have, and are not decoded. */
  return byte == 0x26 || byte == 0x2e || byte == 0x36 || byte == 0x3e;
}

struct prefixes {
  size_t length;
  bool operand_size, address_size, repne, rep;
  uint8_t rex; /* 0 without one */
};

static struct prefixes decode_prefixes(const uint8_t* code, size_t length) {
  struct prefixes prefixes = {0};
  for (; prefixes.length < length; prefixes.length++) {
    const uint8_t byte = code[prefixes.length];
    /* REX counts only directly before the opcode. */
    if ((byte & 0xf0) == 0x40) {
      prefixes.rex = byte;
      continue;
    }
    if (byte == 0x66) {
      prefixes.operand_size = true;
    } else if (byte == 0x67) {
      prefixes.address_size = true;
    } else if (byte == 0xf2) {
      prefixes.repne = true;
      prefixes.rep = false;
    } else if (byte == 0xf3) {
      prefixes.rep = true;
      prefixes.repne = false;
    } else if (!is_segment_override(byte)) {
      break;
    }
    prefixes.rex = 0;
  }
  return prefixes;
}

/*
 * ModRM, SIB and displacement (SDM vol. 2, tables 2-2 and 2-3). Returns their length, or 0 if they
 * are no memory operand or not all there.
 */
static size_t decode_operand(const uint8_t* code, size_t length, uint8_t rex,
                             struct instruction* out) {
  if (length == 0) return 0;
  const unsigned int mod = code[0] >> 6, rm = code[0] & 7;
  const int rex_r = (rex & 4) != 0 ? 8 : 0, rex_x = (rex & 2) != 0 ? 8 : 0;
  const int rex_b = (rex & 1) != 0 ? 8 : 0;
  if (mod == 3) return 0;

  size_t used = 1;
  size_t displacement_size = mod == 1 ? 1 : mod == 2 ? 4 : 0;
  out->destination = (code[0] >> 3 & 7) + rex_r;
  out->base = (int)rm + rex_b;
  out->index = NO_REGISTER;
  if (rm == 4) {
    if (length == used) return 0;
    const uint8_t sib = code[used++];
    const int index = (sib >> 3 & 7) + rex_x;
    out->scale = sib >> 6;
    out->index = index == 4 ? NO_REGISTER : index;
    out->base = (sib & 7) + rex_b;
    if (mod == 0 && (sib & 7) == 5) {
      out->base = NO_REGISTER;
      displacement_size = 4;
    }
  } else if (mod == 0 && rm == 5) {
    out->base = INSTRUCTION_POINTER;
    displacement_size = 4;
  }

  if (length - used < displacement_size) return 0;
  if (displacement_size == 1) out->displacement = (int8_t)code[used];
  if (displacement_size == 4) memcpy(&out->displacement, &code[used], 4);
  return used + displacement_size;
}

struct instruction instruction_decode(const uint8_t* code, size_t length) {
  static const uint8_t opcode[] = {0x0f, 0x38, 0xf8};
  const struct instruction other = {.kind = INSTRUCTION_OTHER};
  const struct prefixes prefixes = decode_prefixes(code, length);
  const size_t operand = prefixes.length + sizeof opcode;
  if (length < operand || memcmp(code + prefixes.length, opcode, sizeof opcode) != 0) return other;

  struct instruction decoded = {.address_32 = prefixes.address_size};
  if (prefixes.repne) {
    decoded.kind = INSTRUCTION_ENQCMD;
  } else if (prefixes.operand_size && !prefixes.rep) {
    decoded.kind = INSTRUCTION_MOVDIR64B;
  } else {
    return other;
  }
  const size_t used = decode_operand(code + operand, length - operand, prefixes.rex, &decoded);
  if (used == 0) return other;
  decoded.length = operand + used;
  return decoded;
}

/* ---- portals ---- */

/* Read in a signal handler, so without a lock: `page` is set last and cleared first. */
static struct portal {
  _Atomic uintptr_t page; /* 0 where the entry is free, 1 while it is being filled */
  instruction_submit* submit;
  void* context;
} portals[MOST_PORTALS];

static _Atomic uint64_t emulated;

int instruction_emulation_add_portal(void* page, instruction_submit* submit, void* context) {
  for (size_t i = 0; i < MOST_PORTALS; i++) {
    uintptr_t nothing = 0;
    if (!atomic_compare_exchange_strong(&portals[i].page, &nothing, 1)) continue;
    portals[i].submit = submit;
    portals[i].context = context;
    atomic_store(&portals[i].page, (uintptr_t)page);
    return 0;
  }
  return -ENOMEM;
}

static struct portal* find_portal(uintptr_t address) {
  for (size_t i = 0; i < MOST_PORTALS; i++) {
    if (atomic_load(&portals[i].page) == (address & ~(PAGE - 1))) return &portals[i];
  }
  return NULL;
}

void instruction_emulation_remove_portal(const void* page) {
  struct portal* portal = find_portal((uintptr_t)page);
  if (portal != NULL) atomic_store(&portal->page, 0);
}

uint64_t instruction_emulation_count(void) {
  return atomic_load(&emulated);
}

/* ---- execution ---- */

static uint64_t read_register(const greg_t* registers, int number) {
  static const int places[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
                                 REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
                                 REG_R12, REG_R13, REG_R14, REG_R15};
  return (uint64_t)registers[places[number]];
}

static uintptr_t source_address(const struct instruction* instruction, const greg_t* registers) {
  uint64_t address = (uint64_t)(int64_t)instruction->displacement;
  if (instruction->base == INSTRUCTION_POINTER) {
    address += (uint64_t)registers[REG_RIP] + instruction->length;
  } else if (instruction->base != NO_REGISTER) {
    address += read_register(registers, instruction->base);
  }
  if (instruction->index != NO_REGISTER) {
    address += read_register(registers, instruction->index) << instruction->scale;
  }
  return instruction->address_32 ? (uint32_t)address : address;
}

static bool names_pasid(const uint64_t* words) {
  return (uint32_t)words[0] != 0;
}

/* Returns the answer of whoever is at the destination: whether it accepted. */
static bool store(const struct instruction* instruction, uintptr_t destination,
                  const uint64_t* words) {
  const struct portal* portal = find_portal(destination);
  const bool posted = instruction->kind == INSTRUCTION_MOVDIR64B;
  if (portal != NULL) return portal->submit(portal->context, words, posted);
  if (!posted) return false;
  /* SAFETY: the program's own store, to where it wanted it. */
  memcpy((void*)destination, words, SIZE);
  return true;
}

/* Executes the instruction at RIP if it is one of ours. Returns false if it is not. */
static bool execute(greg_t* registers) {
  uint8_t code[15];
  /* What lies behind the instruction may not be mapped. */
  const size_t length = guarded_read(code, (uint64_t)registers[REG_RIP], sizeof code);
  const struct instruction instruction = instruction_decode(code, length);
  if (instruction.kind == INSTRUCTION_OTHER) return false;

  uintptr_t destination = read_register(registers, instruction.destination);
  if (instruction.address_32) destination = (uint32_t)destination;
  uint64_t words[SIZE / sizeof(uint64_t)];
  /* SAFETY: the program's own load; it may fault, as the instruction would. */
  memcpy(words, (const void*)source_address(&instruction, registers), SIZE);
  const bool enqcmd = instruction.kind == INSTRUCTION_ENQCMD;
  if (destination % SIZE != 0 || (enqcmd && names_pasid(words))) {
    (void)raise(SIGSEGV);
    return true;
  }

  const bool accepted = store(&instruction, destination, words);
  if (enqcmd) {
    registers[REG_EFL] &= ~(greg_t)ARITHMETIC_FLAGS;
    if (!accepted) registers[REG_EFL] |= ZF;
  }
  registers[REG_RIP] += (greg_t)instruction.length;
  atomic_fetch_add(&emulated, 1);
  return true;
}

static struct sigaction before_ill, before_segv;

static void on_signal(int number, siginfo_t* info, void* context) {
  greg_t* registers = ((ucontext_t*)context)->uc_mcontext.gregs;
  const greg_t trap = registers[REG_TRAPNO];
  if (info->si_code > 0 && (trap == TRAP_UD || trap == TRAP_GP) && execute(registers)) return;

  pass_signal_on(number == SIGILL ? &before_ill : &before_segv, number, info, context);
}

static void install(void) {
  guarded_access_install();
  /* SA_NODEFER: the source operand may fault, and so may the look at the code. */
  struct sigaction action = {.sa_sigaction = on_signal,
                             .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
  (void)sigemptyset(&action.sa_mask);
  (void)sigaction(SIGILL, &action, &before_ill);
  (void)sigaction(SIGSEGV, &action, &before_segv);
}

void instruction_emulation_install(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  (void)pthread_once(&once, install);
}
