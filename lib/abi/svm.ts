/** Constants of `include/linux/intel-svm.h` (v5.1), of the PASID space and of page-request responses. */

/** Rights that a page request asked for: the `rwxp` argument of the fault callback. */
export const SVM_REQ_PRIV = 1 << 0;
export const SVM_REQ_EXEC = 1 << 1;
export const SVM_REQ_WRITE = 1 << 2;
export const SVM_REQ_READ = 1 << 3;

/** Bind with a PASID of one's own instead of the one that all binds of the process share. */
export const SVM_FLAG_PRIVATE_PASID = 1 << 0;
/** Bind the kernel's address space (init_mm) instead of the process's. The device then reads and writes all of it. */
export const SVM_FLAG_SUPERVISOR_MODE = 1 << 1;

/** Width of a PASID on PCI Express (PCIe, PASID TLP prefix). */
export const PASID_BITS = 20;
export const PASID_MAX = 2 ** PASID_BITS - 1;

/** Response codes of a page request group (PCIe ATS; `QI_RESP_*` of the VT-d driver). */
export const PRQ_RESPONSE_SUCCESS = 0x0;
/** A page of the group is not accessible to the process. */
export const PRQ_RESPONSE_INVALID = 0x1;
/** The request could not be handled at all; the device stops asking for this PASID. */
export const PRQ_RESPONSE_FAILURE = 0xf;
