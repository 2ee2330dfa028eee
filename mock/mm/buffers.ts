import type { Operand } from '../../lib/operand.js';
import type { AddressSpace } from './address-space.js';
import { BufferMemory } from './memory.js';

/** glibc's M_MMAP_THRESHOLD, bytes: a larger block is fresh pages from the kernel, a smaller one was touched before. */
const MMAP_THRESHOLD = 128 * 1024;

/** The header that malloc keeps before a block, bytes: why a plain buffer is 16-byte aligned and no more. */
const CHUNK_HEADER = 16;

/** Where JavaScript's buffers lie in an address space: each gets an address when it is first asked for. */
export class BufferMap {
  readonly #mm: AddressSpace;
  readonly #addresses = new WeakMap<ArrayBufferLike, number>();
  readonly #collected: FinalizationRegistry<{ start: number; byteLength: number }>;

  readonly #inherited: { readonly from: BufferMap; readonly below: number } | undefined;

  /** @param parent whose address space `mm` was forked from: its buffers lie in the child where they lay at the fork */
  constructor(mm: AddressSpace, parent?: BufferMap) {
    this.#mm = mm;
    this.#inherited = parent === undefined ? undefined : { from: parent, below: mm.nextAddress };
    this.#collected = new FinalizationRegistry(({ start, byteLength }) => {
      if (mm.users > 0) mm.unmap(start, byteLength, true);
    });
  }

  /** Address of an operand's first byte, if its buffer has one. */
  find({ buffer, byteOffset }: Operand): number | undefined {
    const own = this.#addresses.get(buffer);
    if (own !== undefined) return own + byteOffset;
    const inherited = this.#inherited?.from.find({ buffer, byteOffset, byteLength: 0 });
    return inherited !== undefined && inherited < (this.#inherited?.below ?? 0) ? inherited : undefined;
  }

  /** Address of an operand's first byte; its buffer is mapped if it was not. */
  addressOf(operand: Operand): number {
    return this.find(operand) ?? this.#map(operand.buffer) + operand.byteOffset;
  }

  /** Tells where a buffer already lies. */
  place(buffer: ArrayBufferLike, address: number): void {
    this.#addresses.set(buffer, address);
  }

  #map(buffer: ArrayBufferLike): number {
    const byteLength = buffer.byteLength + CHUNK_HEADER;
    const start = this.#mm.map(new BufferMemory(buffer), byteLength, {
      offset: -CHUNK_HEADER,
      residency: byteLength >= MMAP_THRESHOLD ? 'by-content' : 'resident',
    });
    this.#collected.register(buffer, { start, byteLength });
    this.place(buffer, start + CHUNK_HEADER);
    return start + CHUNK_HEADER;
  }
}
