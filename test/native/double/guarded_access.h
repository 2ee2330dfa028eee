/*
 * Copies between this program and an address of its own process that may not be mapped, or not with
 * that right: what a device with SVA does, at the speed of a plain copy.
 *
 * How: two small functions in assembly whose accessing instruction has a known address. A handler
 * of SIGSEGV and SIGBUS looks whether the fault was there, and if so continues behind it with the
 * count of what was left, as the kernel's own exception tables do. Any other fault goes to the
 * handler that stood before. (process_vm_readv would need no handler, but is a system call per
 * operand, about a microsecond: too slow for a device that is to be asked millions of times a
 * second.)
 *
 * Under ThreadSanitizer the copies count as accesses of the calling thread. Under AddressSanitizer
 * one of memory that was freed is reported as if made in C, so that a device which is still at work
 * on a buffer that its owner gave up does not go unseen.
 */
#ifndef SVM_DOUBLE_GUARDED_ACCESS_H
#define SVM_DOUBLE_GUARDED_ACCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Installs the handlers, once for the process. Call before any of the others. */
void guarded_access_install(void);

/* Return the number of bytes copied: `length`, or those before the first that is not accessible. */
size_t guarded_read(void* out, uint64_t address, size_t length);
size_t guarded_write(uint64_t address, const void* bytes, size_t length);

/* Stores one byte after everything stored before (release). Returns false where it may not. */
bool guarded_store_byte(uint64_t address, uint8_t value);

#endif
