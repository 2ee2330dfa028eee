import * as v from 'valibot';
import { boolean, integer, list, number, oneOf, string } from '../schema.js';

/** What every device of the machine has. */
export interface PciDeviceOptions {
  /** PCI address 'dddd:bb:dd.f'. */
  readonly bdf: string;
  /** Default -1: no node. */
  readonly numaNode?: number;
  /** Width of the PCI PASID capability, bits, 1 .. 20; 0: the device has no such capability. Default 20. */
  readonly pasidBits?: number;
  /** A DMAR unit covers the device. Default true. */
  readonly iommu?: boolean;
  /** Address Translation Service. Default true. */
  readonly ats?: boolean;
  /** Page Request Interface. Default true. */
  readonly pri?: boolean;
}

/** A work queue as it is configured when the machine starts. */
export interface WorkQueueOptions {
  readonly mode: 'dedicated' | 'shared';
  /** Entries. The sizes of a device's queues must not exceed its total. */
  readonly size: number;
  /** Entries of a shared queue that the limited portal may fill, 1 .. size. Default: size. */
  readonly threshold?: number;
  /** 0 .. 15. Default 10. */
  readonly priority?: number;
  readonly blockOnFault?: boolean;
  /** Bytes, rounded up to a power of two. Default 2 MiB. */
  readonly maxTransferSize?: number;
  /** Descriptors, rounded up to a power of two. Default 32. DSA only. */
  readonly maxBatchSize?: number;
  /** Default 'user'. */
  readonly type?: 'none' | 'kernel' | 'user';
  /** Default 'app<n>'. */
  readonly name?: string;
  /** Default 'user'. */
  readonly driverName?: string;
  /** -1: in no group. Default 0. */
  readonly group?: number;
  /** False leaves the queue configured but not enabled: it has no device node. Default true. */
  readonly enabled?: boolean;
  /** Permission bits of the device node, which root owns. Default 0o600. */
  readonly nodeMode?: number;
}

/** A DSA or IAX device under the idxd driver. */
export interface IdxdDeviceOptions extends PciDeviceOptions {
  readonly type: 'dsa' | 'iax';
  /** 0x100 (Sapphire Rapids), 0x200 (Granite Rapids), 0x300. Default 0x100. */
  readonly version?: number;
  /** Default [] . */
  readonly workQueues?: readonly WorkQueueOptions[];
  /** False: the driver is loaded but the device is not bound to it. Default true. */
  readonly enabled?: boolean;
  /** Hardware limits; defaults are those of a Sapphire Rapids DSA. */
  readonly maxWorkQueues?: number;
  readonly maxWorkQueuesSize?: number;
  readonly maxGroups?: number;
  readonly maxEngines?: number;
  /** Bytes. */
  readonly maxTransferSize?: number;
  readonly maxBatchSize?: number;
  /** Operations (opcodes) that the hardware can do. Default: all that the model executes. */
  readonly operations?: readonly number[];
  readonly configurable?: boolean;
  /** The hardware can block on faults. Default true. */
  readonly blockOnFault?: boolean;
  /** The hardware has shared work queues. Default true. */
  readonly sharedWorkQueues?: boolean;
  /** The PCI PASID capability has privileged mode, which dedicated work queues of the kernel need. Default true. */
  readonly privilegedPasid?: boolean;
  /** Event log: the entry size is 32 << evlSupport bytes; 0: none. Default 0. */
  readonly evlSupport?: number;
  /** mmap without CAP_SYS_RAWIO. No PCI id in the driver has it. Default false. */
  readonly userSubmissionSafe?: boolean;
  /** Time to execute a descriptor, nanoseconds: a fixed part and a part per KiB. Defaults 300 and 30. */
  readonly latency?: number;
  readonly latencyPerKiB?: number;
}

/** A device of the UACCE framework. */
export interface UacceDeviceOptions extends PciDeviceOptions {
  readonly type: 'uacce';
  /** Driver name: the node is /dev/<name>-<id>. Default 'hisi_zip'. */
  readonly name?: string;
  /** Default 'hisi_qm_v3'. */
  readonly api?: string;
  readonly algorithms?: readonly string[];
  /** Queues that can be open at once. Default 256. */
  readonly instances?: number;
  /** UACCE_DEV_SVA: open binds the address space. Default true. */
  readonly sva?: boolean;
  /** Bytes of the two regions; 0: absent. Defaults 0x2000 and 0x11000. */
  readonly mmioSize?: number;
  readonly dusSize?: number;
}

export type MockDeviceOptions = IdxdDeviceOptions | UacceDeviceOptions;

/** Entries of a schema that covers an interface key by key. */
type Entries<T> = Record<keyof T, v.GenericSchema>;

const PCI_DEVICE = {
  bdf: v.pipe(string, v.regex(/^[\da-f]{4}:[\da-f]{2}:[01][\da-f]\.[0-7]$/, "a PCI address such as '0000:6a:01.0'")),
  numaNode: v.optional(integer(-1)),
  pasidBits: v.optional(integer(0, 20)),
  iommu: v.optional(boolean),
  ats: v.optional(boolean),
  pri: v.optional(boolean),
} satisfies Entries<PciDeviceOptions>;

// Numbers without limits here are checked in idxd/hardware.ts, against what the device can do.
const WORK_QUEUE = v.strictObject({
  mode: oneOf('dedicated', 'shared'),
  size: number,
  threshold: v.optional(number),
  priority: v.optional(number),
  blockOnFault: v.optional(boolean),
  maxTransferSize: v.optional(number),
  maxBatchSize: v.optional(number),
  type: v.optional(oneOf('none', 'kernel', 'user')),
  name: v.optional(string),
  driverName: v.optional(string),
  group: v.optional(number),
  enabled: v.optional(boolean),
  nodeMode: v.optional(number),
} satisfies Entries<WorkQueueOptions>);

const IDXD_DEVICE = v.strictObject({
  ...PCI_DEVICE,
  type: oneOf('dsa', 'iax'),
  version: v.optional(number),
  workQueues: v.optional(list(WORK_QUEUE)),
  enabled: v.optional(boolean),
  maxWorkQueues: v.optional(number),
  maxWorkQueuesSize: v.optional(number),
  maxGroups: v.optional(number),
  maxEngines: v.optional(number),
  maxTransferSize: v.optional(number),
  maxBatchSize: v.optional(number),
  operations: v.optional(list(number)),
  configurable: v.optional(boolean),
  blockOnFault: v.optional(boolean),
  sharedWorkQueues: v.optional(boolean),
  privilegedPasid: v.optional(boolean),
  evlSupport: v.optional(number),
  userSubmissionSafe: v.optional(boolean),
  latency: v.optional(number),
  latencyPerKiB: v.optional(number),
} satisfies Entries<IdxdDeviceOptions>);

const UACCE_DEVICE = v.strictObject({
  ...PCI_DEVICE,
  type: v.literal('uacce'),
  name: v.optional(v.pipe(string, v.regex(/^[^/\0]+$/, "a name without '/'"))),
  api: v.optional(string),
  algorithms: v.optional(list(string)),
  instances: v.optional(integer(0)),
  sva: v.optional(boolean),
  mmioSize: v.optional(integer(0)),
  dusSize: v.optional(integer(0)),
} satisfies Entries<UacceDeviceOptions>);

/** What `MockKernelOptions.devices` may hold. */
export const DEVICES = list(v.variant('type', [IDXD_DEVICE, UACCE_DEVICE], "'dsa', 'iax' or 'uacce'"));
