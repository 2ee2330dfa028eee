import { DSA_COMPLETION, DSA_DESCRIPTOR, DSA_DESCRIPTOR_SIZE } from '../abi/dsa.js';
import { isComplete } from '../abi/completion-status.js';
import { invalidArgValue } from '../errors.js';
import type { FieldName } from '../abi/layout.js';
import type { DmaBuffer, Kernel } from '../kernel.js';

type NumberFieldName = FieldName<(typeof DSA_DESCRIPTOR)['fields'], 'number'>;
type U64FieldName = FieldName<(typeof DSA_DESCRIPTOR)['fields'], 'u64'>;

/** Fields of a descriptor by the names of `DSA_DESCRIPTOR`; what is not named is zero. Addresses and sizes as the device takes them. */
export type DescriptorFields = { readonly [K in NumberFieldName]?: number } & { readonly [K in U64FieldName]?: bigint };

/** A completion record, copied out. */
export interface Completion {
  /** The status byte: code in the lower seven bits, 0x80 for a fault on a write. See `completionStatus`. */
  readonly status: number;
  readonly result: number;
  readonly bytesCompleted: number;
  /** Virtual address of a page fault; 0 without one. */
  readonly faultAddress: bigint;
  /** CRCGEN, COPY_CRC. */
  readonly crc: number;
}

/** Bytes between completion records: the larger of the two kinds, so that each is aligned for either. */
const RECORD_STRIDE = 64;

const kindOf = (name: string): string | undefined =>
  (DSA_DESCRIPTOR.fields as Readonly<Record<string, { readonly kind: string }>>)[name]?.kind;
const isU64 = (name: string): name is U64FieldName => kindOf(name) === 'u64';
const isNumber = (name: string): name is NumberFieldName => kindOf(name) === 'number';

/**
 * Descriptors and their completion records in memory that the device reads and writes. A slot belongs to the device from
 * submission until its status byte is non-zero.
 */
export class Ring {
  readonly slots: number;
  /** The descriptors from byte 0 on, the completion records behind them. */
  readonly memory: DmaBuffer;
  readonly #kernel: Kernel;
  readonly #view: DataView;
  readonly #records: number;

  /** The memory is faulted in and stays writable: a fault on a completion record loses it (DSA without event log). */
  constructor(kernel: Kernel, slots: number) {
    this.slots = slots;
    this.#kernel = kernel;
    this.#records = slots * DSA_DESCRIPTOR_SIZE;
    this.memory = kernel.alloc(slots * (DSA_DESCRIPTOR_SIZE + RECORD_STRIDE));
    const { bytes } = this.memory;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** The bytes of one descriptor. */
  descriptor(slot: number): Uint8Array {
    return this.memory.bytes.subarray(slot * DSA_DESCRIPTOR_SIZE, (slot + 1) * DSA_DESCRIPTOR_SIZE);
  }

  /** Encodes a descriptor in place and clears its completion record. */
  encode(slot: number, fields: DescriptorFields): void {
    const base = slot * DSA_DESCRIPTOR_SIZE;
    const record = this.#recordAt(slot);
    this.descriptor(slot).fill(0);
    this.memory.bytes.fill(0, record, record + RECORD_STRIDE);
    for (const [name, value] of Object.entries(fields)) {
      if (isU64(name)) DSA_DESCRIPTOR.setU64(this.#view, base, name, BigInt(value));
      else if (isNumber(name)) DSA_DESCRIPTOR.set(this.#view, base, name, Number(value));
      else throw invalidArgValue('fields', `has no field '${name}'`);
    }
    DSA_DESCRIPTOR.setU64(this.#view, base, 'completionAddr', this.memory.address + BigInt(record));
  }

  /** Whether the device has given the slot back. */
  isComplete(slot: number): boolean {
    return isComplete(Atomics.load(this.memory.bytes, this.#recordAt(slot)));
  }

  completion(slot: number): Completion {
    const base = this.#recordAt(slot);
    return {
      status: DSA_COMPLETION.get(this.#view, base, 'status'),
      result: DSA_COMPLETION.get(this.#view, base, 'result'),
      bytesCompleted: DSA_COMPLETION.get(this.#view, base, 'bytesCompleted'),
      faultAddress: DSA_COMPLETION.getU64(this.#view, base, 'faultAddr'),
      crc: Number(BigInt.asUintN(32, DSA_COMPLETION.getU64(this.#view, base, 'crcVal'))),
    };
  }

  /** Frees the memory. The device must be done with every slot. */
  free(): void {
    this.#kernel.free(this.memory);
  }

  #recordAt(slot: number): number {
    return this.#records + slot * RECORD_STRIDE;
  }
}
