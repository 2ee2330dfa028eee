/* An errno in words: its symbol, and the C library's sentence about it. */
#ifndef SVM_SHIM_ERRNO_NAME_H
#define SVM_SHIM_ERRNO_NAME_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * The symbol of a positive errno, such as "EBUSY". Where two symbols share a number it is the one
 * that the kernel's sources use: EAGAIN, EDEADLK, EOPNOTSUPP. 524 is ENOTSUPP, which is the
 * kernel's own (include/linux/errno.h) and which drivers let escape.
 * Returns NULL for a number that Linux does not define.
 */
const char* svm_errno_name(int error);

/*
 * Writes the C library's message for a positive errno, NUL-terminated and cut to `size` bytes.
 * Safe on any thread. `size` is at least 1.
 */
void svm_errno_message(int error, char* out, size_t size);

#ifdef __cplusplus
}
#endif

#endif
