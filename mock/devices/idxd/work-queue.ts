import { maskBits } from '../../../lib/abi/bitmask.js';
import type { SubmitInstruction } from '../../../lib/kernel.js';
import type { Injections } from '../../injections.js';
import { SUBMISSION_ERROR } from './error-register.js';
import { DEFAULT_MAX_BATCH_SIZE, DEFAULT_MAX_TRANSFER_SIZE } from './hardware.js';
import { Task, type QueueLimits } from './task.js';

/** IDXD_ENQCMDS_RETRIES of idxd.h. */
const DEFAULT_ENQCMDS_RETRIES = 32;

/** Where a descriptor has its opcode, a byte. */
const OPCODE = 7;

export type QueueMode = 'dedicated' | 'shared';
export type QueueType = 'none' | 'kernel' | 'user';

/** Configuration of a work queue: its sysfs attributes. */
export interface QueueConfig {
  mode: QueueMode;
  /** Entries. */
  size: number;
  /** Entries that the limited portal of a shared queue may fill. */
  threshold: number;
  priority: number;
  /** -1: in no group. */
  group: number;
  type: QueueType;
  name: string;
  driverName: string;
  blockOnFault: boolean;
  /** Bytes. */
  maxTransferSize: number;
  /** Descriptors. */
  maxBatchSize: number;
  atsDisable: boolean;
  prsDisable: boolean;
  enqcmdsRetries: number;
  /** Bit n: opcode n is allowed. */
  opConfig: bigint;
}

/** `struct idxd_user_context`: an open file, as the driver finds it by PASID. */
export interface UserContext {
  /** Copies a completion record into the owner's memory, for the event log. */
  copyRecord(address: number, record: Uint8Array): void;
}

/** The portal's view of the device around it. */
export interface QueueHost {
  readonly injections: Injections;
  /** Whether the device takes submissions at all. */
  accepts(): boolean;
  /** A posted store was dropped. */
  dropped(queue: WorkQueue, error: number, opcode: number, pasid: number): void;
}

/** One work queue: configuration, state, and the descriptors in it. */
export class WorkQueue implements QueueLimits {
  readonly id: number;
  /** 'wq0.0'. */
  readonly name: string;
  /** Permission bits of its device node. */
  readonly nodeMode: number;
  readonly config: QueueConfig;
  state: 'disabled' | 'enabled' = 'disabled';
  /** The user driver is attached, and with it the device node. */
  bound = false;
  /** Whether the kernel has the portal mapped: what write(2) stores to. */
  portalMapped = false;
  /** PASID in WQCFG: that of the one client of a dedicated queue. */
  pasid: number | undefined;
  /** Open files. */
  clients = 0;
  /** Changes when the queue is disabled: clients from before do not count any more. */
  generation = 0;
  /** Open files by PASID; of two with the same PASID the first. */
  readonly contexts = new Map<number, UserContext>();
  /** Minor number of the character device. */
  minor: number | undefined;
  /** The group whose engines work for it. */
  served: { dispatch(): void } | undefined;
  /** Share in the arbitration of its group. */
  credit = 0;
  readonly #host: QueueHost;
  readonly #opCap: bigint;
  #allowed: ReadonlySet<number>;
  #head: Task | undefined;
  #tail: Task | undefined;
  /** Entries in use: from the submission to the completion. */
  #occupancy = 0;
  readonly #free: Task[] = [];

  constructor(id: number, name: string, options: { host: QueueHost; opCap: bigint; nodeMode: number }) {
    this.id = id;
    this.name = name;
    this.nodeMode = options.nodeMode;
    this.#host = options.host;
    this.#opCap = options.opCap;
    this.#allowed = maskBits(options.opCap);
    this.config = { size: 0, group: -1, driverName: '', prsDisable: false, ...initialConfig(options.opCap) };
  }

  get occupancy(): number {
    return this.#occupancy;
  }

  /** Whether a descriptor waits for an engine. */
  get waiting(): boolean {
    return this.#head !== undefined;
  }

  get maxTransferSize(): number {
    return this.config.maxTransferSize;
  }

  get maxBatchSize(): number {
    return this.config.maxBatchSize;
  }

  get blockOnFault(): boolean {
    return this.config.blockOnFault;
  }

  allows(opcode: number): boolean {
    return this.#allowed.has(opcode);
  }

  /** op_config. */
  setOpConfig(mask: bigint): void {
    this.config.opConfig = mask;
    this.#allowed = maskBits(mask);
  }

  /** Takes a whole configuration, as after a function-level reset. */
  restore(config: QueueConfig): void {
    Object.assign(this.config, config);
    this.setOpConfig(config.opConfig);
  }

  /** idxd_wq_disable_cleanup(): all but size, group and driver_name goes back to what it was at boot. */
  reset(): void {
    this.state = 'disabled';
    this.restore({ ...this.config, ...initialConfig(this.#opCap) });
    this.pasid = undefined;
    this.clients = 0;
    this.generation += 1;
  }

  /**
   * A 64-byte store to the limited portal.
   * @param descriptor copied
   * @param owner the open file, for the kernels that know no PASID
   * @returns false where ENQCMD answers "retry"; a posted store that is dropped shows in the software error register only
   */
  submit(instruction: SubmitInstruction, descriptor: Uint8Array, pasid: number, owner: object): boolean {
    const refusal = this.#refusal(instruction);
    if (refusal === 0) {
      this.#accept(descriptor, pasid, owner);
      return true;
    }
    if (instruction === 'enqcmd') return false;
    this.#host.dropped(this, refusal, descriptor[OPCODE] ?? 0, pasid);
    return true;
  }

  /** The next descriptor for an engine. */
  take(): Task | undefined {
    const task = this.#head;
    if (task === undefined) return undefined;
    this.#head = task.next;
    if (this.#head === undefined) this.#tail = undefined;
    return task;
  }

  /** A descriptor is done with, or dropped: its entry is free. */
  release(task: Task): void {
    task.owner = undefined;
    this.#occupancy -= 1;
    this.#free.push(task);
  }

  /** Whether any descriptor that waits is one of these. */
  holds(matches: (task: Task) => boolean): boolean {
    for (let task = this.#head; task !== undefined; task = task.next) if (matches(task)) return true;
    return false;
  }

  /** Drops the descriptors that wait and are of these. */
  abort(matches: (task: Task) => boolean): void {
    let kept = this.#head;
    this.#head = undefined;
    this.#tail = undefined;
    while (kept !== undefined) {
      const task = kept;
      kept = task.next;
      if (matches(task)) this.release(task);
      else this.#append(task);
    }
  }

  /** @returns 0, or why the portal does not take a descriptor now */
  #refusal(instruction: SubmitInstruction): number {
    if (this.state !== 'enabled' || !this.#host.accepts()) return SUBMISSION_ERROR.QUEUE_DISABLED;
    const { mode, size, threshold } = this.config;
    if ((instruction === 'movdir64b') !== (mode === 'dedicated')) return SUBMISSION_ERROR.WRONG_MODE;
    const entries = mode === 'dedicated' ? size : Math.min(size, threshold);
    const full = this.#occupancy >= entries || this.#host.injections.strikes('queue-full');
    return full ? SUBMISSION_ERROR.QUEUE_FULL : 0;
  }

  #accept(descriptor: Uint8Array, pasid: number, owner: object): void {
    const task = this.#free.pop() ?? new Task(this);
    task.load(descriptor, pasid, owner);
    this.#occupancy += 1;
    this.#append(task);
    this.served?.dispatch();
  }

  #append(task: Task): void {
    task.next = undefined;
    if (this.#tail === undefined) this.#head = task;
    else this.#tail.next = task;
    this.#tail = task;
  }
}

/** What disabling a queue resets. */
function initialConfig(opCap: bigint): Omit<QueueConfig, 'size' | 'group' | 'driverName' | 'prsDisable'> {
  return {
    mode: 'shared',
    threshold: 0,
    priority: 0,
    type: 'none',
    name: '',
    blockOnFault: false,
    maxTransferSize: DEFAULT_MAX_TRANSFER_SIZE,
    maxBatchSize: DEFAULT_MAX_BATCH_SIZE,
    atsDisable: false,
    enqcmdsRetries: DEFAULT_ENQCMDS_RETRIES,
    opConfig: opCap,
  };
}
