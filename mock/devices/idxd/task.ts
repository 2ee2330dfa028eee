import { DSA_DESCRIPTOR_SIZE } from '../../../lib/abi/dsa.js';

const TWO_32 = 2 ** 32;
/** Fields of a descriptor that may be addresses, byte offsets. */
const ADDRESS_FIELDS = [8, 16, 24, 40, 48] as const;

/** What the work queue that a descriptor came through allows: its WQCFG. */
export interface QueueLimits {
  readonly id: number;
  /** Bytes. */
  readonly maxTransferSize: number;
  /** Descriptors. */
  readonly maxBatchSize: number;
  readonly blockOnFault: boolean;
  /** Whether op_config lets the operation through. */
  allows(opcode: number): boolean;
}

/** A 64-bit number in two halves, as structures hold it. */
export interface Halves {
  readonly low: number;
  readonly high: number;
}

/** Where a task stands. */
export type Phase = 'check' | 'run' | 'complete';

/** One descriptor on its way through the device, with all that an operation must remember while it waits for a page. */
export class Task {
  readonly queue: QueueLimits;
  /** The descriptor. */
  readonly bytes = new Uint8Array(DSA_DESCRIPTOR_SIZE);
  readonly view = new DataView(this.bytes.buffer);
  /** The completion record as it will be written; IAX uses all of it, DSA the first half. */
  readonly record = new Uint8Array(64);
  readonly recordView = new DataView(this.record.buffer);
  pasid = 0;
  /** The open file it was submitted through, where one is known. */
  owner: object | undefined;
  flags = 0;
  opcode = 0;
  /** Bytes: transfer size of the operations that have one. */
  size = 0;
  /** Part of a batch. */
  inBatch = false;
  phase: Phase = 'check';
  status = 0;
  /** Bytes processed. */
  done = 0;
  /** A number of the operation's own: the CRC so far. */
  value = 0;
  /** Whether the operation has set itself up. */
  started = false;
  /** Response code of the last page request, once it has come. */
  response: number | undefined;
  /** Page requests in a row for the same page. */
  requests = 0;
  requestedPage = -1;
  /** Changes whenever the task is taken for another descriptor: a late page response must not reach it. */
  serial = 0;
  /** Lets a waiting task go on: whoever drives it sets it. */
  wake: (() => void) | undefined;
  /** Next in its queue. */
  next: Task | undefined;

  constructor(queue: QueueLimits) {
    this.queue = queue;
  }

  /** Takes in a descriptor: 64 bytes, copied. */
  load(descriptor: Uint8Array, pasid: number, owner: object | undefined): void {
    this.bytes.set(descriptor);
    const word = this.view.getUint32(4, true);
    this.flags = word & 0xff_ffff;
    this.opcode = word >>> 24;
    this.pasid = pasid;
    this.owner = owner;
    this.record.fill(0);
    this.size = 0;
    this.phase = 'check';
    this.status = 0;
    this.done = 0;
    this.value = 0;
    this.started = false;
    this.response = undefined;
    this.requests = 0;
    this.requestedPage = -1;
    this.serial += 1;
    this.next = undefined;
  }

  /** Makes a page response that is still to come miss it. */
  forget(): void {
    this.serial += 1;
    this.wake = undefined;
  }

  /** A 32-bit field of the descriptor. */
  u32(offset: number): number {
    return this.view.getUint32(offset, true);
  }

  /** An address field of the descriptor. Above 2^53 it is rounded, which no mapped address is. */
  address(offset: number): number {
    return this.view.getUint32(offset + 4, true) * TWO_32 + this.view.getUint32(offset, true);
  }

  /**
   * A faulting address, exact. One above 2^53 was never mapped, so the fault was on the first byte of an operand and the
   * descriptor still holds all of its bits.
   */
  halves(address: number): Halves {
    if (!Number.isSafeInteger(address)) {
      for (const offset of ADDRESS_FIELDS) {
        if (this.address(offset) === address) return { low: this.u32(offset), high: this.u32(offset + 4) };
      }
    }
    return { low: address >>> 0, high: Math.floor(address / TWO_32) >>> 0 };
  }
}
