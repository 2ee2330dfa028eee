import { COMP_STATUS, isWriteFault, statusCode } from '../abi/completion-status.js';
import { DESC_FLAG } from '../abi/descriptor-flags.js';
import { PRQ_RESPONSE_INVALID, SVM_REQ_READ, SVM_REQ_WRITE } from '../abi/svm.js';
import { SvmError, invalidState } from '../errors.js';
import type { Kernel, MemoryView, Pin } from '../kernel.js';
import type { BindOptions } from '../svm/bind.js';
import { SvmBinding } from '../svm/binding.js';
import type { SvmDevice } from '../svm/device.js';
import { DeviceFile } from '../svm/device-file.js';
import { Ring, type Completion, type DescriptorFields } from './ring.js';
import { Submission, descriptorPasid, instructionFor, type SubmissionMode } from './submission.js';

/** Turns of the event loop that a full queue is tried again before the submission fails with EAGAIN. */
const SUBMIT_TRIES = 1_000;

export interface WorkQueueOptions extends BindOptions {
  /** Default: the portal where it can be mapped and the CPU has its instruction, else write(2). */
  readonly submission?: SubmissionMode;
}

/** An IDXD work queue in use: a binding of this process, a portal, and a ring of descriptors. */
export class WorkQueue implements AsyncDisposable {
  readonly device: SvmDevice;
  readonly mode: 'dedicated' | 'shared';
  /** Entries of the queue, and most descriptors in flight. */
  readonly size: number;
  /** Bytes that one descriptor may move. */
  readonly maxTransferSize: number;
  /** Whether the queue may block on page faults (`DESC_FLAG.BOF`). */
  readonly blockOnFault: boolean;
  readonly #kernel: Kernel;
  readonly #binding: SvmBinding;
  readonly #ops: BindOptions['ops'];
  readonly #file: DeviceFile;
  readonly #ring: Ring;
  readonly #submission: Submission;
  readonly #free: number[];
  readonly #waiting: ((slot: number) => void)[] = [];
  readonly #inFlight = new Set<Promise<Completion>>();
  #open = true;

  /**
   * Binds the device and opens its queue.
   * @throws SvmError as `bindMm` and `Kernel.open`; EINVAL for a device that is no IDXD work queue, and for a submission
   *   mode that the queue does not take; ENOSYS where the CPU lacks a forced instruction
   */
  constructor(device: SvmDevice, options: WorkQueueOptions = {}) {
    if (device.type === 'uacce') {
      throw new SvmError('EINVAL', { syscall: 'open', path: device.path, hint: 'This is no IDXD work queue.' });
    }
    const { kernel } = device;
    const attribute = (name: string): string => kernel.sysfs.read(`${device.sysfs}/${name}`);
    this.device = device;
    this.mode = attribute('mode') === 'dedicated' ? 'dedicated' : 'shared';
    this.size = Number(attribute('size'));
    this.maxTransferSize = Number(attribute('max_transfer_size'));
    this.blockOnFault = attribute('block_on_fault') === '1';
    this.#kernel = kernel;
    this.#ops = options.ops;

    const instruction = instructionFor(device, this.mode, options.submission);
    this.#binding = device.bind(options);
    try {
      this.#file = new DeviceFile(kernel, device.path);
      try {
        this.#ring = new Ring(kernel, this.size);
        try {
          this.#submission = new Submission(device, this.#file.fd, this.#ring, instruction, options.submission);
        } catch (error) {
          this.#ring.free();
          throw error;
        }
      } catch (error) {
        this.#file[Symbol.dispose]();
        throw error;
      }
    } catch (error) {
      this.#binding.unbind();
      throw error;
    }
    this.#free = Array.from({ length: this.size }, (_, slot) => this.size - 1 - slot);
  }

  /** The PASID that descriptors run under, as `bindMm` returned it. */
  get pasid(): number {
    return this.#binding.pasid;
  }

  get submissionMode(): SubmissionMode {
    return this.#submission.mode;
  }

  /** Descriptors that the device has not completed. */
  get inFlight(): number {
    return this.#inFlight.size;
  }

  /**
   * Submits one descriptor and waits for its completion record, whatever its status.
   *
   * @param fields the descriptor without PASID and completion address; `flags` gets CRAV and RCR
   * @param operands the memory that the descriptor points to, held until the completion
   * @returns a promise that rejects with SvmError EAGAIN when a shared queue stays full, ENXIO when it was disabled; with
   *   Error `ERR_INVALID_STATE` after `close`; as `Kernel.pin` for operands, and RangeError for values that fit no field
   */
  run(fields: DescriptorFields, operands: readonly MemoryView[] = []): Promise<Completion> {
    const completion = this.#run(fields, operands).finally(() => this.#inFlight.delete(completion));
    this.#inFlight.add(completion);
    return completion;
  }

  /** Waits for what is in flight, then gives everything back. Idempotent. */
  async close(): Promise<void> {
    this.#open = false;
    await Promise.allSettled(this.#inFlight);
    if (!this.#binding.bound) return;
    this.#submission[Symbol.dispose]();
    this.#file[Symbol.dispose]();
    this.#binding.unbind();
    this.#ring.free();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #run(fields: DescriptorFields, operands: readonly MemoryView[]): Promise<Completion> {
    if (!this.#open) throw invalidState(`the queue of '${this.device.path}' is closed`);
    const pins: Pin[] = [];
    try {
      for (const operand of operands) pins.push(this.#kernel.pin(operand));
      const slot = await this.#takeSlot();
      try {
        return await this.#runIn(slot, fields);
      } finally {
        this.#giveSlot(slot);
      }
    } finally {
      for (const pin of pins) pin.release();
    }
  }

  async #runIn(slot: number, fields: DescriptorFields): Promise<Completion> {
    this.#ring.encode(slot, {
      ...fields,
      pasid: descriptorPasid(this.#kernel, this.pasid),
      flags: (fields.flags ?? 0) | DESC_FLAG.CRAV | DESC_FLAG.RCR,
    });
    await this.#submit(slot);
    while (!this.#ring.isComplete(slot)) await this.#kernel.turn();
    const completion = this.#ring.completion(slot);
    this.#reportFault(completion);
    return completion;
  }

  async #submit(slot: number): Promise<void> {
    for (let tries = 0; tries < SUBMIT_TRIES; tries += 1) {
      if (this.#submission.submit(slot) === 1) return;
      await this.#kernel.turn();
    }
    throw new SvmError('EAGAIN', { syscall: 'submit', path: this.device.path });
  }

  /**
   * Kernels that bind in open have no fault callback: the completion record is the only report (kernel-side, prq.c). The
   * binding's `faultCb` is called from it, with the answer that a record with this status stands for.
   */
  #reportFault({ status, faultAddress }: Completion): void {
    const code = statusCode(status);
    const faulted = code === COMP_STATUS.PAGE_FAULT_NOBOF || code === COMP_STATUS.PAGE_FAULT_IR;
    if (!faulted || this.#kernel.svm !== undefined) return;
    const page = faultAddress - (faultAddress % BigInt(this.#kernel.pageSize));
    const rwxp = isWriteFault(status) ? SVM_REQ_WRITE : SVM_REQ_READ;
    this.#ops?.faultCb?.(this.device, this.pasid, page, null, rwxp, PRQ_RESPONSE_INVALID);
  }

  #takeSlot(): Promise<number> {
    const slot = this.#free.pop();
    return slot === undefined ? new Promise((resolve) => this.#waiting.push(resolve)) : Promise.resolve(slot);
  }

  #giveSlot(slot: number): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#free.push(slot);
    else next(slot);
  }
}
