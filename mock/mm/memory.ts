/** The bytes behind a mapping, wherever they live. */
export interface Memory {
  /** The bytes now, or `undefined` when their owner freed, transferred or lost them. */
  bytes(): Uint8Array | undefined;
  /** The same bytes once more, for a child process. */
  copy(): Memory;
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

  copy(): OwnedMemory {
    return new OwnedMemory(this.#bytes.slice());
  }
}

/** Zeroed memory that is made when somebody looks at it: most processes use little of what their stack may grow to. */
export class LazyMemory implements Memory {
  readonly #byteLength: number;
  #bytes: Uint8Array<ArrayBuffer> | undefined;

  constructor(byteLength: number) {
    this.#byteLength = byteLength;
  }

  bytes(): Uint8Array<ArrayBuffer> {
    return (this.#bytes ??= new Uint8Array(this.#byteLength));
  }

  copy(): Memory {
    return this.#bytes === undefined ? new LazyMemory(this.#byteLength) : new OwnedMemory(this.#bytes.slice());
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

  copy(): OwnedMemory {
    return new OwnedMemory(Uint8Array.from(this.bytes() ?? []));
  }
}
