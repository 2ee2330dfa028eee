import type { MachineSettings } from '../options.js';
import type { SysfsTree } from './tree.js';

const bit = (on: boolean, position: number): bigint => (on ? 1n << BigInt(position) : 0n);

/** /sys/class/iommu/dmar0/intel-iommu/{version,cap,ecap}: hexadecimal registers of the unit (VT-d spec, CAP_REG, ECAP_REG). */
export function publishIommu(tree: SysfsTree, { iommu }: MachineSettings): void {
  tree.directory('/sys/class/iommu');
  if (!iommu.enabled) return;
  const cap = bit(iommu.fiveLevel, 60) | bit(iommu.oneGiB, 56) | bit(iommu.cachingMode, 7);
  const ecap =
    bit(iommu.smpwc, 48) |
    bit(iommu.flts, 47) |
    bit(true, 46) |
    bit(iommu.smts, 43) |
    bit(iommu.pasid, 40) |
    (BigInt(iommu.pasidBits - 1) << 35n) |
    bit(iommu.srs, 31) |
    bit(true, 29);
  tree.attributes('/sys/class/iommu/dmar0/intel-iommu', {
    version: { mode: 0o444, show: () => '6:0' },
    cap: { mode: 0o444, show: () => cap.toString(16) },
    ecap: { mode: 0o444, show: () => ecap.toString(16) },
  });
}
