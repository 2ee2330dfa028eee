import type { Machine } from './machine.js';

/** What the machine holds and has seen. Everything above the line must be zero when a program has cleaned up. */
export interface Counters {
  /** PASID numbers allocated. Under 'modern' one per address space that ever bound, until it dies. */
  readonly pasids: number;
  /** Binds not unbound: reference counts over all PASIDs and devices. */
  readonly bindings: number;
  /** Open file descriptions on device nodes. */
  readonly openFiles: number;
  /** Mappings of device regions. */
  readonly deviceMappings: number;
  /** Buffers held in place for a device. */
  readonly pinnedBuffers: number;
  /** Allocations of `Kernel.alloc` not freed. */
  readonly allocations: number;
  // ---
  /** Page requests handed to the kernel. */
  readonly pageRequests: number;
  /** Page requests lost to an overflow. */
  readonly lostPageRequests: number;
  /** Translations in the IOTLB. */
  readonly iotlbEntries: number;
  /** Uses of a translation whose page was gone: missing invalidations. */
  readonly staleTranslations: number;
  /** Unrecoverable DMA faults. */
  readonly dmaFaults: number;
}

/** What all processes of a machine hold together: for `Counters`. */
export interface Holdings {
  openFiles: number;
  deviceMappings: number;
  pinnedBuffers: number;
  allocations: number;
}

/** Nothing held. */
export const noHoldings = (): Holdings => ({ openFiles: 0, deviceMappings: 0, pinnedBuffers: 0, allocations: 0 });

/** Counts a machine's state together with what its processes hold. */
export function count({ iommu, svm, sva }: Machine, holdings: Holdings): Counters {
  return {
    ...holdings,
    pasids: iommu.pasids.size,
    bindings: svm?.users ?? sva?.users ?? 0,
    pageRequests: iommu.pageRequests.served,
    lostPageRequests: iommu.pageRequests.lost,
    iotlbEntries: iommu.iotlb.size,
    staleTranslations: iommu.staleTranslations,
    dmaFaults: iommu.dmaFaults.length,
  };
}
