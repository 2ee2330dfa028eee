import type { Memory } from './memory.js';

export const PAGE_SHIFT = 12;
export const PAGE_SIZE = 1 << PAGE_SHIFT;

/** Page number of an address. Addresses are Numbers in here: 57 bits of address are 45 of page number, and exact. */
export const pageNumber = (address: number): number => Math.floor(address / PAGE_SIZE);

/** Offset of an address in its page, bytes. */
export const pageOffset = (address: number): number => address % PAGE_SIZE;

/** `byteLength` rounded up to whole pages. */
export const pageAlign = (byteLength: number): number => Math.ceil(byteLength / PAGE_SIZE) * PAGE_SIZE;

/** Consecutive bytes inside one page: `bytes[at .. at + length - 1]`. */
export interface Piece {
  readonly bytes: Uint8Array;
  readonly at: number;
  readonly length: number;
}

/**
 * A page table entry and the page it points to. Translation caches keep references to it: an entry used while
 * `present` is false, or written through while `writable` is false, is a stale translation.
 */
export class Page {
  readonly memory: Memory;
  /** Where the page starts in `memory`, bytes; negative where a heap block's header precedes the buffer in its page. */
  readonly offset: number;
  present = true;
  writable: boolean;
  /** What shares the page with the buffer but is not the buffer: a heap block's header, and the rest of the last page. */
  #slack: Uint8Array | undefined;

  constructor(memory: Memory, offset: number, writable: boolean) {
    this.memory = memory;
    this.offset = offset;
    this.writable = writable;
  }

  /**
   * The bytes from `offset` in the page on, as many as lie together.
   * @returns `undefined` when the memory is gone (collected or transferred)
   */
  piece(offset: number, length: number): Piece | undefined {
    const bytes = this.memory.bytes();
    if (bytes === undefined) return undefined;
    const at = this.offset + offset;
    const wanted = Math.min(length, PAGE_SIZE - offset);
    if (at >= 0 && at < bytes.length) return { bytes, at, length: Math.min(wanted, bytes.length - at) };
    this.#slack ??= new Uint8Array(PAGE_SIZE);
    return { bytes: this.#slack, at: offset, length: at < 0 ? Math.min(wanted, -at) : wanted };
  }
}
