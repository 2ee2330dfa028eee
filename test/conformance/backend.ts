import type { Kernel, MemoryView, Protection } from '../../lib/kernel.js';
import type { SvmDevice } from 'intel-svm';
import type { Counters, Injection, InjectionKind, MockKernelOptions, Semantics } from 'intel-svm/mock';

/** What a case may need and a backend may lack. */
export type Feature =
  /** More than one process, under the case's control: `spawn`, `fork`, `exec`, `exit`, a kernel thread. */
  | 'processes'
  /** A machine built to the case's options: several accelerators, IOMMUs without a capability, kernel versions. */
  | 'machine-options'
  /** Faults on demand: `inject`. */
  | 'injection'
  /** What is held, in numbers: `counters`. */
  | 'counters'
  /** A look at the devices' PASID tables and switches: `deviceState`. */
  | 'device-state'
  /** The kernel tells the number that the IOMMU allocated. */
  | 'hardware-pasid'
  /** Page requests and device accesses without an accelerator engine: `iommu`. */
  | 'iommu-access'
  /** Linear address masking: `enableLam`, `forceTaggedSva`. */
  | 'lam'
  /** Taking pages out of memory: `evict`. */
  | 'reclaim'
  /** A DSA that executes what is submitted, behind the first two nodes. */
  | 'accelerator'
  /** Its version is 0x100: BATCH by write(2) is refused. */
  | 'version-0x100'
  /** This process may map portals (CAP_SYS_RAWIO), or may not. */
  | 'portal'
  | 'no-portal'
  /** The CPU executes ENQCMD. */
  | 'enqcmd'
  /** The first queue blocks on faults, or does not. */
  | 'block-on-fault'
  | 'no-block-on-fault'
  /** The event intel_iommu:prq_report can be traced. */
  | 'tracefs'
  /** The kernel has SVA switched off. */
  | 'sva-refused';

/** Options of a machine; which kernel runs on it is the backend's. */
export type MachineOptions = Omit<MockKernelOptions, 'semantics'>;

/** A process of the machine. Members below a feature's name are only called where the backend declares the feature. */
export interface Process extends Kernel {
  devices(): SvmDevice[];
  // 'processes'
  readonly alive: boolean;
  exit(): void;
  exec(): void;
  fork(): Process;
  // 'lam'
  enableLam(): void;
  forceTaggedSva(): void;
  // 'reclaim'
  evict(view: MemoryView): void;
}

/** A page request as a device posts it. What is not named: no PASID, no right asked, group 0, last of its group, no private data. */
export interface RequestFields {
  readonly pasid?: number;
  readonly address: bigint;
  readonly read?: boolean;
  readonly write?: boolean;
  readonly execute?: boolean;
  readonly privileged?: boolean;
  readonly group?: number;
  readonly lastInGroup?: boolean;
  readonly privateData?: Uint8Array;
}

/** The IOMMU, and what of an address space only a device can see. */
export interface IommuAccess {
  /** @returns the responses that the device has got so far; more come while `Machine.settle` runs */
  post(device: SvmDevice, request: RequestFields): readonly number[];
  /** One access of a device: 'fault' may be helped by a page request, 'blocked' is an unrecoverable DMA fault. */
  access(device: SvmDevice, pasid: number, address: bigint, write: boolean): 'done' | 'fault' | 'blocked';
  /** Maps anonymous memory with rights that `Kernel.alloc` does not give. */
  map(process: Process, byteLength: number, rights: { protection: Protection; executable: boolean }): bigint;
  /** Lowest address of a process's stack now. */
  stackOf(process: Process): bigint;
}

/** What the IOMMU and the PCI core hold for a device. */
export interface DeviceState {
  readonly pasidEnabled: boolean;
  readonly atsEnabled: boolean;
  readonly priEnabled: boolean;
  /** PASIDs with a valid entry in the device's PASID table, ascending. */
  readonly pasidTable: readonly number[];
}

/** One machine, for one case. */
export interface Machine {
  readonly self: Process;
  // 'processes'
  spawn(): Process;
  kernelThread(): Process;
  // 'counters'
  counters(): Counters;
  // 'device-state'
  deviceState(device: SvmDevice): DeviceState;
  // 'injection'
  inject(kind: InjectionKind, times?: number): Injection;
  // 'iommu-access'
  readonly iommu: IommuAccess;
  /** Lets everything happen that is under way. */
  settle(): void;
}

/** A backend of the suite. */
export interface Backend {
  readonly name: string;
  /** Which kernel runs on its machines. Subjects that describe the other one are not this backend's. */
  readonly semantics: Semantics;
  readonly features: ReadonlySet<Feature>;
  /**
   * A machine in its first state. Without options it has at least two nodes that can be bound apart from each other: the
   * first a dedicated work queue, the second a shared one.
   */
  machine(requirements: { readonly options: MachineOptions | undefined; readonly needs: readonly Feature[] }): Machine;
}
