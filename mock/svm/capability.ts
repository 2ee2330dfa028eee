import type { MachineSettings } from '../options.js';

/**
 * Whether the IOMMU's first-level paging can walk the CPU's page tables, as v5.6 looked at it (intel_svm_check): scalable
 * mode, PASID, and 1 GiB pages and five levels like the CPU. Every CPU with an SVM-capable VT-d has 1 GiB pages.
 */
export function walksCpuTables({ iommu, cpu }: MachineSettings): boolean {
  return iommu.smts && iommu.pasid && iommu.oneGiB && (!cpu.la57 || iommu.fiveLevel);
}

/** The same since v5.8: the walks must be coherent with the CPU's caches as well. */
export function svmCapable(settings: MachineSettings): boolean {
  return walksCpuTables(settings) && settings.iommu.smpwc;
}

/** Whether an address is canonical: bits above the top of the address width all equal its highest bit. */
export function isCanonical(address: number, { cpu }: MachineSettings): boolean {
  const half = 2 ** (cpu.la57 ? 56 : 47);
  return address < half || address >= 2 ** 64 - half;
}
