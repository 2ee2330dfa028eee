import { COMP_STATUS, isWriteFault, statusCode } from '../abi/completion-status.js';
import { DESC_FLAG } from '../abi/descriptor-flags.js';
import { PRQ_RESPONSE_INVALID, SVM_REQ_READ, SVM_REQ_WRITE } from '../abi/svm.js';
import { SvmError, invalidArgType, invalidArgValue, invalidState } from '../errors.js';
import type { Kernel, MemoryView, Pin } from '../kernel.js';
import type { BindOptions } from '../svm/bind.js';
import { SvmBinding } from '../svm/binding.js';
import { isCurrent } from '../svm/address-space.js';
import { SvmDevice } from '../svm/device.js';
import { DeviceFile } from '../svm/device-file.js';
import { Ring, type Completion, type DescriptorFields } from './ring.js';
import { SUBMISSION_MODES, Submission, descriptorPasid, instructionFor, type SubmissionMode } from './submission.js';

/** Turns of the event loop that a full queue is tried again before the submission fails with EAGAIN. */
const SUBMIT_TRIES = 1_000;
/** Turns of the event loop between two looks at whether the queue is still enabled. */
const TURNS_PER_LOOK = 256;
/** Turns of the event loop that `close` leaves to what is in flight before it stops the device. */
const CLOSE_PATIENCE = 1_000;

export interface WorkQueueOptions extends BindOptions {
  /** Default: the portal where it can be mapped and the CPU has its instruction, else write(2). */
  readonly submission?: SubmissionMode;
}

export interface RunOptions {
  /** Gives the wait up. The device may still work: its memory is held until the queue is closed. */
  readonly signal?: AbortSignal;
}

/** A submission that waits for a slot. */
interface Waiting {
  readonly resolve: (slot: number) => void;
  readonly reject: (error: Error) => void;
}

/** A DSA work queue in use: a binding of this process, a portal, and a ring of descriptors. */
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
  readonly #mm: object;
  readonly #binding: SvmBinding;
  readonly #ops: BindOptions['ops'];
  readonly #file: DeviceFile;
  readonly #ring: Ring;
  readonly #submission: Submission;
  readonly #free: number[];
  readonly #waiting: Waiting[] = [];
  readonly #inFlight = new Set<Promise<Completion>>();
  #open = true;
  /** The file is closed, or the process gone: what has not completed will not. */
  #stopped = false;
  #closing: Promise<void> | undefined;

  /**
   * Binds the device and opens its queue.
   * @throws TypeError `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`
   * @throws SvmError as `bindMm` and `Kernel.open`; EBUSY for a dedicated queue that another WorkQueue of this process
   *   drives; EINVAL for a device that is no DSA work queue, and for a submission mode that the queue does not take; ENOSYS
   *   where the CPU lacks a forced instruction
   */
  constructor(device: SvmDevice, options: WorkQueueOptions = {}) {
    requireDsa(device);
    requireOptions(options);
    const { kernel } = device;
    const attribute = (name: string): string => kernel.sysfs.read(`${device.sysfs}/${name}`);
    this.device = device;
    this.mode = attribute('mode') === 'dedicated' ? 'dedicated' : 'shared';
    this.size = Number(attribute('size'));
    this.maxTransferSize = Number(attribute('max_transfer_size'));
    this.blockOnFault = attribute('block_on_fault') === '1';
    this.#kernel = kernel;
    this.#mm = kernel.mm;
    this.#ops = options.ops;
    this.#free = Array.from({ length: this.size }, (_, slot) => this.size - 1 - slot);

    const instruction = instructionFor(device, this.mode, options.submission);
    this.#binding = device.bind(options);
    try {
      this.#file = new DeviceFile(kernel, device.path);
      try {
        if (this.mode === 'dedicated') this.#file.claim();
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
   * @returns a promise that rejects with SvmError EAGAIN when a shared queue stays full, ENXIO when the queue was disabled,
   *   ECANCELED when it was closed and the device did not complete the descriptor, ESRCH after exec and exit; with the signal's reason; with Error
   *   `ERR_INVALID_STATE` after `close`; as `Kernel.pin` for operands, and RangeError for values that fit no field
   */
  run(
    fields: DescriptorFields,
    operands: readonly MemoryView[] = [],
    { signal }: RunOptions = {},
  ): Promise<Completion> {
    const completion = this.#run(fields, operands, signal).finally(() => this.#inFlight.delete(completion));
    this.#inFlight.add(completion);
    return completion;
  }

  /**
   * Waits a while for what is in flight, then stops the device and gives everything back. Whatever was not completed by
   * then is rejected. Idempotent.
   * @returns a promise that rejects with the first error of a step; the other steps were done all the same
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    this.#open = false;
    for (const { reject } of this.#waiting.splice(0)) reject(this.#closedError());
    for (let turns = 0; turns < CLOSE_PATIENCE && this.#inFlight.size > 0; turns += 1) await this.#kernel.turn();
    const steps = [
      () => this.#submission[Symbol.dispose](),
      () => this.#binding[Symbol.dispose](),
      () => this.#file[Symbol.dispose](),
    ];
    const failures = this.#isCurrent ? failuresOf(steps) : [];
    this.#stopped = true;
    await Promise.allSettled(this.#inFlight);
    // Another holder keeps the file open, and the device may still write completion records.
    if (this.#isCurrent) failures.push(...failuresOf([() => this.#file.whenClosed(() => this.#ring.free())]));
    if (failures.length > 0) throw failures[0];
  }

  get #isCurrent(): boolean {
    return isCurrent(this.#kernel, this.#mm);
  }

  /** The ring lies in the address space that opened the queue. @throws SvmError ESRCH */
  #requireProcess(): void {
    if (this.#isCurrent) return;
    const hint = 'The process that opened the queue has exited or executed another program.';
    throw new SvmError('ESRCH', { syscall: 'submit', path: this.device.path, hint });
  }

  #closedError(): Error {
    return invalidState(`the queue of '${this.device.path}' is closed`);
  }

  async #run(
    fields: DescriptorFields,
    operands: readonly MemoryView[],
    signal: AbortSignal | undefined,
  ): Promise<Completion> {
    if (!this.#open) throw this.#closedError();
    signal?.throwIfAborted();
    const pins: Pin[] = [];
    const release = (): void => {
      for (const pin of pins) pin.release();
    };
    try {
      for (const operand of operands) pins.push(this.#kernel.pin(operand));
      const slot = await this.#takeSlot();
      try {
        this.#requireProcess();
        this.#ring.encode(slot, {
          ...fields,
          pasid: descriptorPasid(this.#kernel, this.pasid),
          flags: (fields.flags ?? 0) | DESC_FLAG.CRAV | DESC_FLAG.RCR,
        });
        await this.#submit(slot, signal);
      } catch (error) {
        this.#giveSlot(slot);
        throw error;
      }
      try {
        await this.#wait(slot, signal);
      } catch (error) {
        // The device may still write: slot and memory stay its own until the file is closed.
        const held = pins.splice(0);
        this.#file.whenClosed(() => held.forEach((pin) => pin.release()));
        throw error;
      }
      const completion = this.#ring.completion(slot);
      this.#giveSlot(slot);
      this.#reportFault(completion);
      return completion;
    } finally {
      release();
    }
  }

  async #submit(slot: number, signal: AbortSignal | undefined): Promise<void> {
    for (let tries = 0; tries < SUBMIT_TRIES; tries += 1) {
      if (tries > 0 && !this.#open) throw this.#closedError();
      signal?.throwIfAborted();
      if (tries % TURNS_PER_LOOK === 0) this.#submission.requireEnabled();
      if (this.#submission.submit(slot) === 1) return;
      await this.#kernel.turn();
    }
    throw new SvmError('EAGAIN', { syscall: 'submit', path: this.device.path });
  }

  async #wait(slot: number, signal: AbortSignal | undefined): Promise<void> {
    for (let turns = 1; ; turns += 1) {
      this.#requireProcess();
      if (this.#ring.isComplete(slot)) return;
      if (this.#stopped) {
        const hint = 'The queue was closed before the device completed the descriptor; it may have been dropped.';
        throw new SvmError('ECANCELED', { syscall: 'submit', path: this.device.path, hint });
      }
      signal?.throwIfAborted();
      // Disabling a queue drains it: what is not complete then was lost.
      if (turns % TURNS_PER_LOOK === 0) this.#submission.requireEnabled();
      await this.#kernel.turn();
    }
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
    try {
      this.#ops?.faultCb?.(this.device, this.pasid, page, null, rwxp, PRQ_RESPONSE_INVALID);
    } catch (error) {
      // As everywhere: the completion is not the callback's to lose.
      queueMicrotask(() => {
        throw error;
      });
    }
  }

  #takeSlot(): Promise<number> {
    const slot = this.#free.pop();
    if (slot !== undefined) return Promise.resolve(slot);
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  #giveSlot(slot: number): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#free.push(slot);
    else next.resolve(slot);
  }
}

/** Runs every step, whatever the others do. @returns what they threw */
function failuresOf(steps: readonly (() => void)[]): unknown[] {
  const failures: unknown[] = [];
  for (const step of steps) {
    try {
      step();
    } catch (error) {
      failures.push(error);
    }
  }
  return failures;
}

function requireDsa(device: unknown): void {
  if (!(device instanceof SvmDevice)) throw invalidArgType('device', 'an SvmDevice', device);
  if (device.type === 'dsa') return;
  throw new SvmError('EINVAL', { syscall: 'open', path: device.path, hint: 'WorkQueue drives DSA work queues.' });
}

function requireOptions(options: unknown): void {
  if (typeof options !== 'object' || options === null) throw invalidArgType('options', 'an object', options);
  const { submission }: { submission?: unknown } = options;
  if (submission === undefined || SUBMISSION_MODES.some((mode) => mode === submission)) return;
  throw invalidArgValue('options.submission', `must be one of ${SUBMISSION_MODES.join(', ')}`);
}
