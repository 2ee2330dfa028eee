import type { MachineOptions } from './backend.js';

type Device = NonNullable<MachineOptions['devices']>[number];

/** Shared queues take any number of processes; what differs from case to case is what the PCI device can do. */
const QUEUES = { workQueues: [{ mode: 'shared' as const, size: 8 }] };

/** What a PCI device can do for SVM. */
export interface PciOptions {
  readonly pasidBits?: number;
  readonly iommu?: boolean;
  readonly ats?: boolean;
  readonly pri?: boolean;
}

/** A DSA with one shared work queue. */
export function dsa(index: number, options: PciOptions = {}): Device {
  return { type: 'dsa', bdf: `0000:${(0x60 + index).toString(16)}:01.0`, ...QUEUES, ...options };
}

/** A UACCE device: its driver does nothing in open but bind. */
export function uacce(index: number, options: PciOptions = {}): Device {
  return { type: 'uacce', bdf: `0000:${(0x70 + index).toString(16)}:00.0`, ...options };
}

/** A machine whose devices have PASID capabilities of these widths, in bits; 0: none. */
export function widths(...pasidBits: readonly number[]): MachineOptions {
  return { devices: pasidBits.map((bits, index) => dsa(index, { pasidBits: bits })) };
}
