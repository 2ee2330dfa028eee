import type { SubmitInstruction } from '../../lib/kernel.js';
import type { AddressSpace } from '../mm/address-space.js';
import type { DeviceContext } from '../iommu/device-context.js';

/** Who makes a system call, as a driver sees `current`. */
export interface Caller {
  readonly pid: number;
  readonly uid: number;
  readonly capSysRawio: boolean;
  readonly mm: AddressSpace;
}

/**
 * `struct file_operations` of an open file, as a driver provides it. Every method throws `Errno` to refuse. A method that
 * the driver does not have is absent, and the system-call layer answers as Linux does (ENOTTY, ENODEV, EINVAL).
 */
export interface OpenFile {
  /** The PASID that open bound, if any. */
  readonly pasid: number | undefined;
  ioctl?(caller: Caller, request: number, argument: Uint8Array | undefined): number;
  /** @returns the region that stores through the mapping reach */
  mmap?(caller: Caller, length: number, offset: number): MappedRegion;
  write?(caller: Caller, bytes: Uint8Array): number;
  /** @returns the pending events; `POLL.NVAL` and the like unasked */
  poll?(caller: Caller, events: number): number;
  /** The last descriptor and the last mapping are gone. */
  release(): void;
}

/** A device region behind a mapping. */
export interface MappedRegion {
  /**
   * A 64-byte store to a portal; absent where the region is none.
   * @param descriptor 64 bytes, valid during the call
   * @returns false where ENQCMD is answered "retry". MOVDIR64B is posted: always true.
   */
  store?(caller: Caller, instruction: SubmitInstruction, descriptor: Uint8Array): boolean;
  /** The mapping is gone. */
  unmap?(): void;
}

/** `MappedRegion.store` of a region that has it. */
export type PortalStore = NonNullable<MappedRegion['store']>;

/** A device node below /dev. */
export interface CharDevice {
  /** Path of the node. */
  readonly path: string;
  /** The PCI device behind it: what a driver hands to intel_svm_bind_mm(). */
  readonly context: DeviceContext;
  /** Permission bits of the node; root owns it. */
  readonly mode: number;
  open(caller: Caller): OpenFile;
}
