/** The bytes behind a mapping, wherever they live. */
export interface Memory {
  /** The bytes now, or `undefined` when their owner freed, transferred or lost them. */
  bytes(): Uint8Array | undefined;
}

/** Memory that the mapping itself keeps alive: anonymous mappings, and a child's copy of its parent's. */
export class OwnedMemory implements Memory {
  readonly #bytes: Uint8Array<ArrayBuffer>;

  constructor(bytes: Uint8Array<ArrayBuffer>) {
    this.#bytes = bytes;
  }

  bytes(): Uint8Array<ArrayBuffer> | undefined {
    // A transferred buffer has no bytes left; `free` detaches on purpose.
    return this.#bytes.byteLength === 0 ? undefined : this.#bytes;
  }
}

/** Memory of a JavaScript buffer. Held weakly: mapping a buffer must not keep it from being collected. */
export class BufferMemory implements Memory {
  readonly #buffer: WeakRef<ArrayBufferLike>;

  constructor(buffer: ArrayBufferLike) {
    this.#buffer = new WeakRef(buffer);
  }

  bytes(): Uint8Array | undefined {
    const buffer = this.#buffer.deref();
    return buffer === undefined || buffer.byteLength === 0 ? undefined : new Uint8Array(buffer);
  }
}
