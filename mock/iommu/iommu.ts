import type { Clock } from '../clock.js';
import { pageNumber, type Page } from '../mm/page.js';
import type { Injections } from '../injections.js';
import type { DeviceContext } from './device-context.js';
import { PageRequestQueue, type PageRequest, type PageRequestRing } from './page-requests.js';
import { PasidAllocator } from './pasid-allocator.js';
import { TranslationCache, type Translation } from './translation-cache.js';

/**
 * What a device learns of an address.
 * - a page: go ahead;
 * - 'fault': not present or not allowed; a page request may help;
 * - 'blocked': no valid PASID entry: an unrecoverable DMA fault, recorded by the IOMMU.
 */
export type TranslationResult = Page | 'fault' | 'blocked';

/** An unrecoverable DMA fault: what the kernel logs as "DMAR: [DMA Read PASID 0x…] … fault addr …". */
export interface DmaFault {
  readonly bdf: string;
  readonly pasid: number;
  readonly address: number;
  readonly write: boolean;
}

/** One VT-d unit in scalable mode: PASID numbers, translation with its caches, page requests. */
export class Iommu {
  readonly pasids = new PasidAllocator();
  readonly iotlb = new TranslationCache();
  readonly pageRequests: PageRequestQueue;
  readonly dmaFaults: DmaFault[] = [];
  /** Translations used after their page was unmapped or lost the right: each is a missing invalidation. */
  staleTranslations = 0;
  readonly #injections: Injections;

  constructor(clock: Clock, ring: PageRequestRing, injections: Injections) {
    this.pageRequests = new PageRequestQueue(clock, ring);
    this.#injections = injections;
  }

  /** Translates for a device: device TLB, IOTLB, then a walk of the page table that the PASID entry names. */
  translate(device: DeviceContext, pasid: number, address: number, write: boolean): TranslationResult {
    const number = pageNumber(address);
    const own = device.tlb.lookup(pasid, number);
    if (own !== undefined && (own.writable || !write)) return this.#use(own, write);

    // Before its own TLB answers, a request passes the device's PASID entry: another device's IOTLB entries do not count.
    const entry = device.pasidTable.get(pasid);
    if (entry === undefined) {
      this.dmaFaults.push({ bdf: device.bdf, pasid, address, write });
      return 'blocked';
    }
    let translation = this.iotlb.lookup(pasid, number);
    if (translation === undefined || (write && !translation.writable)) {
      const page = entry.mm?.walk(number);
      if (page === undefined || (write && !page.writable)) return 'fault';
      translation = { page, writable: page.writable };
      this.iotlb.fill(pasid, number, translation);
    }
    if (device.atsEnabled) device.tlb.fill(pasid, number, translation);
    return this.#use(translation, write);
  }

  /** A device asks for a page. */
  request(request: PageRequest): void {
    if (this.#injections.strikes('page-request-overflow')) this.pageRequests.overflow();
    this.pageRequests.post(request);
  }

  /**
   * Invalidates pages `first` .. `last` of a PASID in the IOTLB and in a device's TLB.
   * @param collected the garbage collector's doing: it comes at any time, so no injected fault may wait for it
   */
  invalidate(device: DeviceContext, pasid: number, first: number, last: number, collected = false): void {
    if (!collected && this.#injections.strikes('missing-invalidation')) return;
    this.iotlb.invalidate(pasid, first, last);
    device.tlb.invalidate(pasid, first, last);
  }

  /** Clears a device's PASID entry and every cached translation of the PASID (intel_pasid_tear_down_entry). */
  tearDown(device: DeviceContext, pasid: number): void {
    device.pasidTable.delete(pasid);
    this.iotlb.invalidatePasid(pasid);
    device.tlb.invalidatePasid(pasid);
  }

  #use(translation: Translation, write: boolean): Page {
    const { page } = translation;
    if (!page.present || (write && !page.writable)) this.staleTranslations += 1;
    return page;
  }
}
