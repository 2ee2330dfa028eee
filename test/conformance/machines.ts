import type { MachineOptions } from './backend.js';

type Device = NonNullable<MachineOptions['devices']>[number];

/** Shared queues take any number of processes; what differs from case to case is what the PCI device can do. */
const QUEUES = { workQueues: [{ mode: 'shared' as const, size: 8 }] };

/** A DSA with one shared work queue. */
export function dsa(index: number, options: { pasidBits?: number; iommu?: boolean; ats?: boolean; pri?: boolean } = {}): Device {
  return { type: 'dsa', bdf: `0000:${(0x60 + index).toString(16)}:01.0`, ...QUEUES, ...options };
}

/** A machine whose devices have PASID capabilities of these widths, in bits; 0: none. */
export function widths(...pasidBits: readonly number[]): MachineOptions {
  return { devices: pasidBits.map((bits, index) => dsa(index, { pasidBits: bits })) };
}
