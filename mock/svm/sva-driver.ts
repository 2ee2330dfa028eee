import type { DeviceContext } from '../iommu/device-context.js';
import type { AddressSpace } from '../mm/address-space.js';

/** A bond of an address space and a device: `struct iommu_sva`. */
export interface SvaHandle {
  readonly device: DeviceContext;
  readonly mm: AddressSpace;
  readonly pasid: number;
}

/** What a device driver asks of the kernel's SVA layer: iommu_sva_bind_device() and iommu_sva_unbind_device(). */
export interface SvaDriver {
  /**
   * Binds an address space to a device; a second bind of the same pair shares the bond. Throws the errnos of
   * iommu_sva_bind_device.
   */
  bind(device: DeviceContext, mm: AddressSpace): SvaHandle;
  /** Drops one reference of a bond. */
  unbind(handle: SvaHandle): void;
}
