import type { Page } from '../mm/page.js';

/** A cached translation: the page, and the right it was cached with. */
export interface Translation {
  readonly page: Page;
  readonly writable: boolean;
}

/** An IOTLB or a device TLB: translations by PASID and page number. Nothing leaves it but by invalidation. */
export class TranslationCache {
  readonly #byPasid = new Map<number, Map<number, Translation>>();

  /** Cached translations. */
  get size(): number {
    let entries = 0;
    for (const pages of this.#byPasid.values()) entries += pages.size;
    return entries;
  }

  lookup(pasid: number, page: number): Translation | undefined {
    return this.#byPasid.get(pasid)?.get(page);
  }

  fill(pasid: number, page: number, translation: Translation): void {
    let pages = this.#byPasid.get(pasid);
    if (pages === undefined) this.#byPasid.set(pasid, (pages = new Map()));
    pages.set(page, translation);
  }

  /** Page-selective invalidation of `first` .. `last`, page numbers. */
  invalidate(pasid: number, first: number, last: number): void {
    const pages = this.#byPasid.get(pasid);
    if (pages === undefined) return;
    if (last - first >= pages.size) {
      for (const page of pages.keys()) if (page >= first && page <= last) pages.delete(page);
    } else {
      for (let page = first; page <= last; page += 1) pages.delete(page);
    }
  }

  /** PASID-selective invalidation. */
  invalidatePasid(pasid: number): void {
    this.#byPasid.delete(pasid);
  }
}
