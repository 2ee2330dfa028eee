import { COMP_STATUS } from '../../../lib/abi/completion-status.js';
import type { Clock } from '../../clock.js';
import type { DeviceError } from './execution.js';
import type { WorkQueue } from './work-queue.js';

/** IDXD_EVL_SIZE_MIN and IDXD_EVL_SIZE_MAX of idxd.h, entries. */
export const EVENT_LOG_SIZE = { min: 64, max: 0xffff } as const;

/** From an entry to the worker that handles it, nanoseconds. */
const WORKER_LATENCY = 5_000;

interface Entry {
  readonly queue: WorkQueue;
  readonly pasid: number;
  readonly error: number;
  /** Byte address of the completion record, for a record that could not be written. */
  readonly address: number;
  readonly record: Uint8Array;
}

/**
 * The event log of a DSA 2.0: errors go here instead of SWERR, and the kernel makes up for completion records that
 * faulted by copying them into the owner's memory (idxd_evl_fault_work). Other errors are only logged.
 */
export class EventLog {
  /** `event_log_size`: entries. */
  size: number = EVENT_LOG_SIZE.min;
  readonly #clock: Clock;
  readonly #recordSize: number;
  #entries: Entry[] = [];

  constructor(clock: Clock, recordSize: number) {
    this.#clock = clock;
    this.#recordSize = recordSize;
  }

  /** @returns false when the log is full */
  record(queue: WorkQueue, { task, error, address }: DeviceError): boolean {
    // A ring that may use all but one of its entries.
    if (this.#entries.length >= this.size - 1) return false;
    const { pasid, record } = task;
    const at = address.high * 2 ** 32 + address.low;
    this.#entries.push({ queue, pasid, error, address: at, record: record.slice(0, this.#recordSize) });
    if (this.#entries.length === 1) this.#clock.after(WORKER_LATENCY, () => this.#serve());
    return true;
  }

  /** idxd_cdev_evl_drain_pasid(): the file is being closed, nobody waits for its records any more. */
  ignore(queue: WorkQueue, pasid: number): void {
    this.#entries = this.#entries.filter((entry) => entry.queue !== queue || entry.pasid !== pasid);
  }

  #serve(): void {
    const entries = this.#entries;
    this.#entries = [];
    for (const { queue, pasid, error, address, record } of entries) {
      if (error === COMP_STATUS.CRA_XLAT) queue.contexts.get(pasid)?.copyRecord(address, record);
    }
  }
}
