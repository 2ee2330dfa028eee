import type { PciDeviceOptions } from '../devices/options.js';
import type { AddressSpace } from '../mm/address-space.js';
import { TranslationCache } from './translation-cache.js';

/** A valid entry of a device's PASID table: whose page table the PASID means. */
export interface PasidEntry {
  /** `undefined`: the supervisor PASID, which means the kernel's own page table. */
  readonly mm: AddressSpace | undefined;
}

/** What the IOMMU and the PCI core know of one device: its capabilities, switches, PASID table and device TLB. */
export class DeviceContext {
  /** PCI address, e.g. '0000:6a:01.0'. */
  readonly bdf: string;
  /** Whether a DMAR unit covers the device; without one it has the "dummy" translation. */
  readonly translated: boolean;
  /** Width of the PCI PASID capability, bits; `undefined` without the capability. */
  readonly pasidBits: number | undefined;
  readonly hasAts: boolean;
  readonly hasPri: boolean;
  pasidEnabled = false;
  atsEnabled = false;
  priEnabled = false;
  readonly pasidTable = new Map<number, PasidEntry>();
  readonly tlb = new TranslationCache();

  constructor(options: PciDeviceOptions) {
    this.bdf = options.bdf;
    this.translated = options.iommu ?? true;
    this.pasidBits = options.pasidBits === 0 ? undefined : (options.pasidBits ?? 20);
    this.hasAts = options.ats ?? true;
    this.hasPri = options.pri ?? true;
  }

  /** pci_max_pasids(), or 0 without the capability. */
  get maxPasids(): number {
    return this.pasidBits === undefined ? 0 : 2 ** this.pasidBits;
  }

  /** Switches PASID on, and ATS and PRI where the device has them (intel_iommu_enable_pasid). */
  enablePasid(): void {
    this.pasidEnabled = true;
    this.atsEnabled = this.hasAts;
    this.priEnabled = this.hasPri && this.hasAts;
  }
}
