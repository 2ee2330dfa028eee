/**
 * The port: what a user-space driver asks of an operating system and a CPU, at the level of system calls and sysfs.
 * A `Kernel` is the kernel as *one process* sees it; everything above this file is written once and runs on every
 * implementation (`lib/linux`: the addon; `mock/`: a small fake Linux).
 *
 * Contract of every method, unless it says otherwise:
 * - A refused call throws `SvmError` with the errno that Linux returns, and has changed nothing.
 * - Lengths and offsets are bytes, addresses are virtual addresses of the calling process.
 * - A `Kernel` never validates for its caller what the kernel does not validate: bad types are the caller's to refuse.
 */

/** Any view or buffer whose memory a device may be pointed at. Detached and resizable ones are refused. */
export type MemoryView = ArrayBufferView | ArrayBufferLike;

/** Rights of a mapping, as PROT_READ and PROT_WRITE. */
export type Protection = 'none' | 'read' | 'read-write';

/** What the CPU can execute in user space (CPUID leaf 7; Intel SDM vol. 2, CPUID). */
export interface CpuFeatures {
  /** 64-byte posted store: submission to dedicated work queues. */
  readonly movdir64b: boolean;
  /** 64-byte store with a returned status: submission to shared work queues. */
  readonly enqcmd: boolean;
  /** UMONITOR, UMWAIT, TPAUSE. */
  readonly waitpkg: boolean;
  /** Five-level paging: addresses have 57 bits, not 48. */
  readonly la57: boolean;
}

/** A device node as one process names it. `SvmDevice` is one. */
export interface DeviceNode {
  /** Path of the character device, e.g. '/dev/dsa/wq0.0'. */
  readonly path: string;
}

/**
 * `struct svm_dev_ops` of intel-svm.h. The kernel compares it by identity: a second bind of the same device with another
 * object is refused with EBUSY.
 */
export interface SvmDevOps<D extends DeviceNode = DeviceNode> {
  /**
   * Called once per page request of the device, successes included, before the response is sent (intel-svm.c,
   * prq_event_thread). It runs where the request is served: it must not block, and what it throws is reported as an
   * uncaught exception after the request was answered.
   *
   * @param dev the device as it was given to the bind
   * @param pasid PASID of the request
   * @param address byte address of the page
   * @param priv the request's 16 bytes of private data; `null` where the request carries none. Valid during the call.
   * @param rwxp `SVM_REQ_READ | SVM_REQ_WRITE | SVM_REQ_EXEC | SVM_REQ_PRIV`
   * @param response what the device will be told: 0 success, 1 invalid request
   */
  faultCb?:
    | ((dev: D, pasid: number, address: bigint, priv: Uint8Array | null, rwxp: number, response: number) => void)
    | null;
}

/**
 * The four functions of intel-svm.h, on a kernel that has them (v4.4 to v5.7). Later kernels bind when the device node
 * is opened; their `Kernel.svm` is `undefined` and `lib/svm` builds the same functions from open(2) and close(2).
 */
export interface SvmCalls {
  /**
   * `intel_svm_bind_mm(dev, &pasid, flags, ops)` for the calling process. Unknown flag bits are ignored, as the kernel
   * does.
   * @returns the PASID
   */
  bindMm<D extends DeviceNode>(dev: D, flags: number, ops: SvmDevOps<D> | null): number;
  /** `intel_svm_bind_mm(dev, NULL, flags, NULL)`: the checks alone. Leaves PASID, ATS and PRI enabled on the device. */
  probe(dev: DeviceNode, flags: number): void;
  /** `intel_svm_unbind_mm(dev, pasid)`. The kernel does not check that the caller owns the PASID. */
  unbindMm(dev: DeviceNode, pasid: number): void;
  /**
   * `intel_svm_is_pasid_valid(dev, pasid)`: true while the owner's address space lives, false when its last user is gone
   * and nobody has unbound yet. Throws EINVAL when the number is allocated nowhere or `dev` has no IOMMU.
   */
  isPasidValid(dev: DeviceNode, pasid: number): boolean;
}

/** Memory that a device and JavaScript share: page-aligned, at a fixed address, owned by whoever allocated it. */
export interface DmaBuffer {
  /** The memory. Never transfer it: addresses given to a device would dangle. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly address: bigint;
  readonly byteLength: number;
}

/** Options of `Kernel.alloc`. */
export interface AllocOptions {
  /** Fault the pages in now (MADV_POPULATE_WRITE). Default true; false leaves them to the first touch. */
  readonly populate?: boolean;
  /** Ask for huge pages. Default false. The kernel may refuse silently, as MADV_HUGEPAGE does. */
  readonly hugePages?: boolean;
}

/** A view held in place. The memory behind it is neither freed nor moved until `release()`. */
export interface Pin {
  readonly address: bigint;
  readonly byteLength: number;
  /** Idempotent. */
  release(): void;
}

/** A mapped device region. It is reached through the port's methods alone: no typed array keeps the width of a store. */
export interface DeviceMapping {
  readonly fd: number;
  readonly length: number;
  /** Offset in the file, bytes: the region for UACCE (region number times page size), ignored by IDXD. */
  readonly offset: number;
}

/** How a descriptor reaches a portal: MOVDIR64B for dedicated work queues, ENQCMD for shared ones. */
export type SubmitInstruction = 'movdir64b' | 'enqcmd';

/**
 * Copies descriptors of a ring to a portal, in order, one instruction each.
 *
 * @param slot index of the first descriptor, in units of 64 bytes
 * @param count descriptors; default 1
 * @returns the number accepted: `count` with MOVDIR64B, which is posted; fewer where ENQCMD was answered "retry". Throws
 *   `ERR_OUT_OF_RANGE` for slots outside the ring, `ERR_INVALID_STATE` when the portal is unmapped.
 */
export type Submit = (slot: number, count?: number) => number;

/** poll(2) events (uapi/asm-generic/poll.h). */
export const POLL = { IN: 0x1, PRI: 0x2, OUT: 0x4, ERR: 0x8, HUP: 0x10, NVAL: 0x20, RDNORM: 0x40 } as const;

/** The attribute files below /sys. Paths are absolute: '/sys/bus/dsa/devices'. */
export interface Sysfs {
  /** Text of an attribute, without its final newline. Throws ENOENT, EACCES, or what the attribute's show function returns. */
  read(path: string): string;
  /** Names in a directory, sorted. Throws ENOENT, ENOTDIR. */
  list(path: string): string[];
  /** Writes an attribute in one write(2). Throws ENOENT, EACCES, or what the attribute's store function returns. */
  write(path: string, text: string): void;
  /** Absolute path with every symbolic link resolved. Throws ENOENT. */
  realpath(path: string): string;
}

/** An operating system as one process sees it. */
export interface Kernel {
  /** Which implementation this is. For reports; nothing above the port may branch on it. */
  readonly backend: 'linux' | 'mock';
  readonly pid: number;
  /**
   * Identity of the calling process's address space, which is what a PASID names; a new object after exec. Throws ESRCH
   * when the process is gone.
   */
  readonly mm: object;
  /** Bytes. */
  readonly pageSize: number;
  readonly cpu: CpuFeatures;
  readonly sysfs: Sysfs;
  /** The functions of intel-svm.h, or `undefined` where drivers bind in open(2). */
  readonly svm: SvmCalls | undefined;

  /**
   * open(2) with O_RDWR | O_CLOEXEC.
   * @returns a file descriptor, owned by the caller until `close`. Throws ENOENT, EACCES, EMFILE, and the driver's errno.
   */
  open(path: string): number;
  /**
   * close(2). The driver's release runs when the last mapping of the file is gone too; it drains the device and may
   * block. Throws EBADF.
   */
  close(fd: number): void;
  /**
   * ioctl(2).
   * @param argument the bytes the request points to, updated in place by requests that return data
   * @returns the non-negative result. Throws EBADF, ENOTTY, EFAULT, and the driver's errno.
   */
  ioctl(fd: number, request: number, argument?: Uint8Array): number;
  /** mmap(2), MAP_SHARED, readable and writable. Throws EBADF, EPERM, EINVAL, ENODEV, and the driver's errno. */
  mmap(fd: number, length: number, offset?: number): DeviceMapping;
  /** munmap(2) of a whole mapping. Throws EINVAL if it is not mapped. */
  munmap(mapping: DeviceMapping): void;
  /**
   * write(2).
   * @returns the number of bytes taken, which may be fewer than given. Throws EAGAIN when a shared queue is full.
   */
  write(fd: number, bytes: Uint8Array): number;
  /** poll(2) with a timeout of zero. @returns the pending ones of `events`, and `POLL.NVAL`, `ERR`, `HUP` unasked. */
  poll(fd: number, events: number): number;
  /**
   * The way from a ring to a portal.
   * @param ring memory of `alloc` that begins with descriptors of 64 bytes, filled by the caller; held as long as the
   *   portal is mapped
   * @returns a function that takes slot numbers and nothing else. Throws EINVAL for a mapping that is no portal, ENOSYS
   *   where the CPU lacks the instruction.
   */
  submitter(portal: DeviceMapping, instruction: SubmitInstruction, ring: DmaBuffer): Submit;

  /**
   * Anonymous memory, zeroed, readable and writable, page-aligned.
   * @param byteLength rounded up to whole pages in memory, kept as given in `byteLength`. Throws ENOMEM.
   */
  alloc(byteLength: number, options?: AllocOptions): DmaBuffer;
  /** Unmaps what `alloc` returned; its `bytes` are detached. Throws EINVAL when it is not allocated. */
  free(buffer: DmaBuffer): void;
  /** mprotect(2) of a whole `DmaBuffer`. JavaScript must not break the rights it set. */
  protect(buffer: DmaBuffer, protection: Protection): void;
  /**
   * Address of the first byte of a view. It stays valid while the memory is neither collected nor detached: use `pin` for
   * what a device is given. Throws `ERR_INVALID_ARG_VALUE` for detached or resizable memory.
   */
  addressOf(view: MemoryView): bigint;
  /** Holds a view for the device. Throws as `addressOf`. */
  pin(view: MemoryView): Pin;
  /**
   * Accesses every page of a range as the CPU would, faulting it in.
   * @param access 'write' also breaks copy-on-write. Throws EFAULT where the range is not mapped with that right.
   */
  touch(address: bigint, byteLength: number, access: 'read' | 'write'): void;

  /** The PASID that open(2) bound for this file, where this kernel tells it; `undefined` where it does not. */
  pasid(fd: number): number | undefined;
  /** One step of a spin-wait (PAUSE). The device makes progress. */
  pause(): void;
  /** One turn of the event loop. The device makes progress. */
  turn(): Promise<void>;
}
