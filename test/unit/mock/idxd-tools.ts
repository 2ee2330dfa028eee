import { DSA_COMPLETION, DSA_DESCRIPTOR, DSA_OPCODE } from '../../../lib/abi/dsa.js';
import { DESC_FLAG } from '../../../lib/abi/descriptor-flags.js';
import { parseSwerr, type Swerr } from '../../../lib/abi/swerr.js';
import { SvmError } from '../../../lib/errors.js';
import type { DeviceMapping, DmaBuffer, SubmitInstruction } from '../../../lib/kernel.js';
import {
  createMockKernel,
  type MockDeviceOptions,
  type MockKernel,
  type MockKernelOptions,
  type MockProcess,
  type WorkQueueOptions,
} from 'intel-svm/mock';

export const BDF = '0000:6a:01.0';
export const DSA = '/sys/bus/dsa/devices/dsa0';
export const WQ = '/sys/bus/dsa/devices/wq0.0';
export const PAGE = 4096;

export type DsaOptions = Partial<Extract<MockDeviceOptions, { type: 'dsa' | 'iax' }>>;

/** A machine of one device; without `workQueues` one dedicated queue of 16 entries. */
export function machine(device: DsaOptions = {}, options: MockKernelOptions = {}): MockKernel {
  const workQueues: WorkQueueOptions[] = [{ mode: 'dedicated', size: 16 }];
  return createMockKernel({
    semantics: 'modern',
    ...options,
    devices: [{ type: 'dsa', bdf: BDF, workQueues, ...device }],
  });
}

/** The errno's name with which a call fails; `undefined` when it succeeds. */
export function errno(call: () => unknown): string | undefined {
  try {
    call();
    return undefined;
  } catch (error) {
    if (error instanceof SvmError) return error.code;
    throw error;
  }
}

/** What bind and unbind of a driver answer. */
export function bind(process: MockProcess, driver: 'idxd' | 'user', name: string, verb: 'bind' | 'unbind' = 'bind') {
  return errno(() => process.sysfs.write(`/sys/bus/dsa/drivers/${driver}/${verb}`, name));
}

/** Takes a configured device down, so that its attributes can be written. */
export function unbound(device: DsaOptions = {}, options: MockKernelOptions = {}): MockKernel {
  return machine({ enabled: false, ...device }, options);
}

export const swerr = (process: MockProcess, device = DSA): Swerr => parseSwerr(process.sysfs.read(`${device}/errors`));

/** Fields of a descriptor that a test sets; the rest is zero. */
export interface Fields {
  readonly opcode?: number;
  readonly flags?: number;
  readonly pasid?: number;
  readonly source?: bigint;
  readonly destination?: bigint;
  readonly size?: number;
  /** Default: the slot's own record. */
  readonly record?: bigint;
  /** Bytes to put over the finished descriptor, by offset. */
  readonly bytes?: Readonly<Record<number, number>>;
}

export interface CompletionRecord {
  readonly status: number;
  readonly result: number;
  readonly bytesCompleted: number;
  readonly faultAddress: bigint;
  readonly invalidFlags: number;
  readonly crc: number;
}

const SLOTS = 64;
const RECORDS = SLOTS * 64;
export const RECORDED = DESC_FLAG.CRAV | DESC_FLAG.RCR;

/** An open work queue with its portal, and memory for descriptors and records. */
export class Client {
  readonly process: MockProcess;
  readonly kernel: MockKernel;
  readonly fd: number;
  readonly portal: DeviceMapping;
  readonly ring: DmaBuffer;
  readonly instruction: SubmitInstruction;
  readonly #view: DataView;
  #slot = 0;

  constructor(kernel: MockKernel, options: { path?: string; process?: MockProcess; shared?: boolean } = {}) {
    this.kernel = kernel;
    this.process = options.process ?? kernel.self;
    this.instruction = options.shared === true ? 'enqcmd' : 'movdir64b';
    this.fd = this.process.open(options.path ?? '/dev/dsa/wq0.0');
    this.portal = this.process.mmap(this.fd, PAGE);
    this.ring = this.process.alloc(RECORDS + SLOTS * 64);
    this.#view = new DataView(this.ring.bytes.buffer);
  }

  /** Writes a descriptor into the next slot and clears its record. @returns the slot */
  encode(fields: Fields): number {
    const slot = this.#slot;
    this.#slot = (slot + 1) % SLOTS;
    const at = slot * 64;
    this.ring.bytes.fill(0, at, at + 64);
    this.ring.bytes.fill(0, RECORDS + at, RECORDS + at + 64);
    const flagsOpcode = (fields.flags ?? RECORDED) | ((fields.opcode ?? DSA_OPCODE.NOOP) << 24);
    this.#view.setUint32(at, fields.pasid ?? 0, true);
    this.#view.setUint32(at + 4, flagsOpcode >>> 0, true);
    DSA_DESCRIPTOR.setU64(this.#view, at, 'completionAddr', fields.record ?? this.recordAddress(slot));
    DSA_DESCRIPTOR.setU64(this.#view, at, 'srcAddr', fields.source ?? 0n);
    DSA_DESCRIPTOR.setU64(this.#view, at, 'dstAddr', fields.destination ?? 0n);
    DSA_DESCRIPTOR.set(this.#view, at, 'xferSize', fields.size ?? 0);
    for (const [offset, byte] of Object.entries(fields.bytes ?? {})) this.ring.bytes[at + Number(offset)] = byte;
    return slot;
  }

  descriptor(slot: number): Uint8Array {
    return this.ring.bytes.subarray(slot * 64, slot * 64 + 64);
  }

  /** @returns whether the queue took it */
  store(slot: number, instruction = this.instruction): boolean {
    return this.process.submitter(this.portal, instruction, this.ring)(slot) === 1;
  }

  submit(fields: Fields): number {
    const slot = this.encode(fields);
    if (!this.store(slot)) throw new Error('the queue is full');
    return slot;
  }

  recordAddress(slot: number): bigint {
    return this.ring.address + BigInt(RECORDS + slot * 64);
  }

  status(slot: number): number {
    return this.ring.bytes[RECORDS + slot * 64] ?? 0;
  }

  record(slot: number): CompletionRecord {
    const at = RECORDS + slot * 64;
    return {
      status: this.status(slot),
      result: DSA_COMPLETION.get(this.#view, at, 'result'),
      bytesCompleted: DSA_COMPLETION.get(this.#view, at, 'bytesCompleted'),
      faultAddress: DSA_COMPLETION.getU64(this.#view, at, 'faultAddr'),
      invalidFlags: DSA_COMPLETION.get(this.#view, at, 'invalidFlags'),
      crc: this.#view.getUint32(at + 16, true),
    };
  }

  /** Submits, and lets the machine run until nothing more happens. */
  run(fields: Fields): CompletionRecord {
    const slot = this.submit(fields);
    this.kernel.clock.runUntilIdle();
    return this.record(slot);
  }

  close(): void {
    this.process.munmap(this.portal);
    this.process.close(this.fd);
    this.process.free(this.ring);
  }
}
