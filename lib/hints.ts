import type { ErrnoName } from './abi/errno.js';

type Hints = Readonly<Partial<Record<ErrnoName, string>>>;

/** What to do about an errno, by the call that returned it. One sentence each; the CLI and the documentation quote them. */
const HINTS: Readonly<Record<string, Hints>> = {
  bind_mm: {
    EINVAL:
      'The device has no PASID capability or no active IOMMU, or supervisor mode is not supported: boot with intel_iommu=on,sm_on and check the BIOS setting for VT-d.',
    EBUSY: 'This process bound the device before with another `ops` object: unbind first, or pass the same object.',
    ENOSPC:
      "No PASID is free that fits the device, or this process's PASID is too large for it: unbind unused PASIDs, or bind this device first.",
    ENOMEM: 'The kernel is out of memory for the binding: free memory and try again.',
    ENOSYS: 'The kernel was built without CONFIG_INTEL_IOMMU_SVM: use one that has it.',
    ENOTSUPP:
      "The IOMMU cannot walk the CPU's page tables (1 GiB pages or five levels missing): boot with no5lvl, or use another machine.",
    EOPNOTSUPP:
      'Private and supervisor PASIDs ended with Linux 6.1 and 6.12: bind without flags; a process has one PASID for all its devices.',
  },
  unbind_mm: {
    EINVAL: 'This PASID is not bound on this device: it was unbound already, or it belongs to another device.',
  },
  is_pasid_valid: {
    EINVAL: 'This PASID is allocated nowhere, or the device has no IOMMU.',
  },
  open: {
    ENOENT: 'There is no such device node: the work queue is not enabled, or the driver is not loaded.',
    EACCES: 'The device node is not yours to open: have its owner, group or mode changed, e.g. by a udev rule.',
    EBUSY:
      'A dedicated work queue takes one opener at a time, and a process with tagged pointers (LAM) cannot be bound: close the other user, or use a shared queue.',
    EOPNOTSUPP:
      'This kernel refuses SVA on x86 (stable kernels 6.1.164+, 6.12.69+ and 6.18.5 do): use 6.18.9, 6.19 or newer.',
    EOVERFLOW:
      "This process's PASID is too large for this device: open the device with the narrowest PASID width first.",
    ENOSPC:
      'No PASID is free, or the device has no PASID capability: check that VT-d scalable mode is on (intel_iommu=on,sm_on).',
    ENODEV:
      'The IOMMU cannot do SVA for this device: boot with intel_iommu=on,sm_on and check the BIOS setting for VT-d.',
    EINVAL: 'PASID or ATS could not be switched on for this device: check intel_iommu=on,sm_on and the kernel log.',
    ENXIO: 'The device refused the command that enables the queue: read cmd_status of the device.',
    ENOMEM: 'The kernel is out of memory: free memory and try again.',
    EMFILE: 'Too many open files in this process: close some, or raise the limit (ulimit -n).',
  },
  mmap: {
    EPERM:
      'The portal is not for this process: mapping needs CAP_SYS_RAWIO on this device, and the address space that opened the file. Submit with write(2) instead.',
    EINVAL: 'The length or offset does not fit the region: a portal is one page.',
    ENOMEM: 'The kernel is out of memory: free memory and try again.',
    ENXIO: 'The device is gone, or the queue was put: open it again.',
    EEXIST: 'This region is mapped already: use the first mapping.',
    ENODEV: 'The driver of this device maps nothing.',
  },
  write: {
    EAGAIN: 'The shared work queue is full: wait for completions and try again.',
    EPERM:
      'The file was opened by another process (fork keeps the file, but not the PASID): open the device in this process.',
    EINVAL:
      'The kernel refused the descriptor or the value: completion records must be aligned (DSA 32, IAX 64 bytes), and BATCH may need a mapped portal.',
    EACCES: 'Changing this setting needs root.',
    EFAULT: 'The descriptors are not readable at the given address.',
  },
  ioctl: {
    ENOTTY: 'This driver has no such ioctl; IDXD devices have none at all.',
    ENXIO: 'The device is gone, or the queue was put: open it again.',
  },
  submit: {
    ENOSYS:
      'This CPU lacks the submission instruction: MOVDIR64B is needed for dedicated queues, ENQCMD for shared ones.',
    EFAULT: 'The portal is not mapped, or the slot lies outside the ring.',
  },
  touch: {
    EFAULT: 'The range is not mapped with this right: the buffer was freed, or it is read-only.',
  },
};

/** @returns what to do about an errno of a call, or `undefined` where nothing useful is known */
export function hintFor(syscall: string, code: ErrnoName): string | undefined {
  return HINTS[syscall]?.[code];
}
