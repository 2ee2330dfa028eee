import type { Protection } from '../../lib/kernel.js';
import type { Memory } from './memory.js';

/**
 * Which pages count as present before anything faulted them in through this kernel.
 * - 'resident': all. malloc below its mmap threshold hands out memory that was touched before.
 * - 'by-content': those that hold a byte other than zero. JavaScript writes without telling anyone, and such a byte can
 *   only have come from the CPU, whose access faulted the page in.
 * - 'by-fault': none. Reclaimed pages keep their contents and still fault.
 */
export type Residency = 'resident' | 'by-content' | 'by-fault';

/** A range of addresses mapped alike: `struct vm_area_struct`. `start` and `end` are page-aligned, `end` is exclusive. */
export interface Vma {
  readonly start: number;
  readonly end: number;
  readonly protection: Protection;
  readonly executable: boolean;
  readonly memory: Memory;
  /** Where `start` lies in `memory`, bytes; may be negative (see `Page.offset`). */
  readonly offset: number;
  /** VM_GROWSDOWN: a fault just below extends it. */
  readonly growsDown: boolean;
  readonly residency: Residency;
  /** Pages shared with a forked relative until the next write: `handleFault` breaks the sharing. */
  readonly copyOnWrite: boolean;
}

/** VMAs of one address space, sorted by address, none overlapping. */
export class VmaSet {
  readonly #vmas: Vma[] = [];

  [Symbol.iterator](): Iterator<Vma> {
    return this.#vmas[Symbol.iterator]();
  }

  get size(): number {
    return this.#vmas.length;
  }

  /** The VMA that holds `address`: vma_lookup(). */
  lookup(address: number): Vma | undefined {
    const vma = this.#vmas[this.#firstEndingAfter(address)];
    return vma !== undefined && vma.start <= address ? vma : undefined;
  }

  /** The first VMA that ends above `address`, whether it holds it or not: find_vma(). */
  find(address: number): Vma | undefined {
    return this.#vmas[this.#firstEndingAfter(address)];
  }

  /** The VMA below the one `find(address)` gives. */
  previous(address: number): Vma | undefined {
    return this.#vmas[this.#firstEndingAfter(address) - 1];
  }

  /** Adds a VMA whose range is free. */
  insert(vma: Vma): void {
    const index = this.#firstEndingAfter(vma.start);
    if (index === this.#vmas.length) this.#vmas.push(vma);
    else this.#vmas.splice(index, 0, vma);
  }

  /**
   * Takes a range out, splitting VMAs at its ends.
   * @returns what was mapped in the range, cut to it
   */
  remove(start: number, end: number): Vma[] {
    const first = this.#firstEndingAfter(start);
    const removed: Vma[] = [];
    const kept: Vma[] = [];
    let last = first;
    for (let vma = this.#vmas[last]; vma !== undefined && vma.start < end; last += 1, vma = this.#vmas[last]) {
      if (vma.start < start) kept.push(cut(vma, vma.start, start));
      removed.push(cut(vma, Math.max(vma.start, start), Math.min(vma.end, end)));
      if (vma.end > end) kept.push(cut(vma, end, vma.end));
    }
    this.#vmas.splice(first, last - first, ...kept);
    return removed;
  }

  /** Index of the first VMA with `end > address`. */
  #firstEndingAfter(address: number): number {
    let low = 0;
    let high = this.#vmas.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      const vma = this.#vmas[middle];
      if (vma !== undefined && vma.end <= address) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

const cut = (vma: Vma, start: number, end: number): Vma =>
  start === vma.start && end === vma.end ? vma : { ...vma, start, end, offset: vma.offset + (start - vma.start) };
