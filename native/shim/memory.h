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
 * Returns -EINVAL for a length of 0, -ENOMEM; then nothing is changed.
 */
int svm_memory_alloc(size_t* length, bool huge_pages, void** address);

/* munmap(2). -EINVAL for an address that is not page-aligned or a length of 0. */
int svm_memory_free(void* address, size_t length);

enum svm_protection { SVM_PROT_NONE, SVM_PROT_READ, SVM_PROT_READ_WRITE };

/*
 * mprotect(2) of whole pages. -EINVAL for an address that is not page-aligned or no member of
 * svm_protection, -ENOMEM where a page is not mapped, -EACCES for more than its file allows.
 */
int svm_memory_protect(void* address, size_t length, enum svm_protection protection);

/*
 * Accesses every page of a range as the CPU would, without a signal if it may not: with `write`
 * MADV_POPULATE_WRITE (v5.14; breaks copy-on-write), else MADV_POPULATE_READ. Where the kernel has
 * neither, each page is accessed by a system call that answers with an error where a plain access
 * would raise SIGSEGV: process_vm_readv of this process to read, FUTEX_WAKE_OP to write, which ORs
 * zero into the page in one atomic step and so keeps what another thread stores at the same time.
 * The range may start anywhere; `length` 0 counts as 1. The pages before the first that is refused
 * may have been faulted in.
 * Returns 0; -EFAULT where a page is not mapped with that right (the kernel says ENOMEM or EINVAL),
 * or the range wraps around; -ENOMEM without memory; otherwise the kernel's -errno, such as
 * -EHWPOISON, or -EPERM where a seccomp filter refuses the call.
 */
int svm_memory_touch(uint64_t address, size_t length, bool write);

/*
 * Copies bytes of this process from an address that may not be mapped. Never raises a signal.
 * Returns 0, or -EFAULT with `out` unspecified; -EPERM or -ENOSYS where a seccomp filter refuses
 * process_vm_readv.
 */
int svm_memory_peek(uint64_t address, void* out, size_t length);

#ifdef __cplusplus
}
#endif

#endif
