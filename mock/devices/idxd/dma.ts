import type { DeviceContext } from '../../iommu/device-context.js';
import type { Iommu } from '../../iommu/iommu.js';
import { pageOffset, type Piece } from '../../mm/page.js';

/** A device's way to memory: every access goes through the IOMMU. After a failed one the fields say what went wrong. */
export class Dma {
  /** Byte address of the last access that failed. */
  faultAddress = 0;
  /** Whether it was a write. */
  faultWrite = false;
  /** Whether the IOMMU blocked it for good: no page request can help. */
  blocked = false;
  readonly #iommu: Iommu;
  readonly #context: DeviceContext;

  constructor(iommu: Iommu, context: DeviceContext) {
    this.#iommu = iommu;
    this.#context = context;
  }

  /**
   * The bytes at an address, as many as lie together, at most `length`; never past the end of the page.
   * @returns `undefined` after a fault
   */
  access(pasid: number, address: number, length: number, write: boolean): Piece | undefined {
    const page = this.#iommu.translate(this.#context, pasid, address, write);
    // Memory whose owner gave it up is as good as unmapped.
    const piece = typeof page === 'string' ? undefined : page.piece(pageOffset(address), length);
    if (piece === undefined) {
      this.faultAddress = address;
      this.faultWrite = write;
      this.blocked = page === 'blocked';
    }
    return piece;
  }

  /**
   * The last bytes of a range inside one page, as many as lie together.
   * @param end address just past the range
   * @returns a piece that ends at `end`, or `undefined` after a fault
   */
  accessBackward(pasid: number, end: number, length: number, write: boolean): Piece | undefined {
    let wanted = Math.min(length, pageOffset(end - 1) + 1);
    for (;;) {
      const piece = this.access(pasid, end - wanted, wanted, write);
      if (piece === undefined || piece.length === wanted) return piece;
      wanted -= piece.length;
    }
  }
}
