/*
 * Memory shared with a device: page-aligned allocation, rights, faulting in, and careful looks at
 * addresses that may not be mapped. Every function returns 0 or -errno.
 */
#ifndef SVM_SHIM_MEMORY_H
#define SVM_SHIM_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* sysconf(_SC_PAGESIZE), bytes. */
size_t svm_page_size(void);

/*
 * Anonymous private memory, zeroed, readable and writable. `*length` is rounded up to whole pages
 * (whole 2 MiB pages with `huge_pages`, which is MADV_HUGEPAGE on an aligned range: the kernel may
 * still use small ones). The memory is the caller's until svm_memory_free with the same length.
 */
int svm_memory_alloc(size_t* length, bool huge_pages, void** address);
int svm_memory_free(void* address, size_t length);

enum svm_protection { SVM_PROT_NONE, SVM_PROT_READ, SVM_PROT_READ_WRITE };

/* mprotect(2) of whole pages. */
int svm_memory_protect(void* address, size_t length, enum svm_protection protection);

/*
 * Accesses every page of a range as the CPU would, without a signal if it may not: with `write`
 * MADV_POPULATE_WRITE (v5.14; breaks copy-on-write), else MADV_POPULATE_READ. Where the kernel has
 * neither, each page is accessed through process_vm_readv/writev of this process, which answers
 * with an error where a plain access would raise SIGSEGV; the byte written is the byte that is
 * there, by an atomic that keeps what another thread stores at the same time.
 * The range may start anywhere; `length` 0 counts as 1.
 * Returns 0; -EFAULT where a page is not mapped with that right; -ENOMEM.
 */
int svm_memory_touch(uint64_t address, size_t length, bool write);

/*
 * Copies bytes of this process from an address that may not be mapped. Never raises a signal.
 * Returns 0, or -EFAULT with `out` unspecified.
 */
int svm_memory_peek(uint64_t address, void* out, size_t length);

#ifdef __cplusplus
}
#endif

#endif
