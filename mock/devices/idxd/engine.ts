import type { Clock } from '../../clock.js';
import type { ExecutionUnit } from './execution.js';
import type { IdxdHardware } from './hardware.js';
import type { Task } from './task.js';

/** From a page response to the engine that goes on, nanoseconds. */
const RESUME_LATENCY = 200;

/** One engine: it works on one descriptor at a time, and what it finishes it finishes in order. */
export class Engine {
  readonly id: number;
  /** `group_id`: group that it is configured into; -1: none. */
  group = -1;
  /** The group that it works for. */
  served: { dispatch(): void } | undefined;
  #task: Task | undefined;
  #cancel: (() => void) | undefined;
  readonly #clock: Clock;
  readonly #unit: ExecutionUnit;
  readonly #hardware: IdxdHardware;
  readonly #finished: (task: Task) => void;
  readonly #step = (): void => this.#advance();
  readonly #resume = (): void => {
    this.#cancel = this.#clock.after(RESUME_LATENCY, this.#step);
  };

  /** @param finished the task is done with, and may be used for another descriptor */
  constructor(
    id: number,
    parts: { readonly clock: Clock; readonly unit: ExecutionUnit; readonly hardware: IdxdHardware },
    finished: (task: Task) => void,
  ) {
    this.id = id;
    this.#clock = parts.clock;
    this.#unit = parts.unit;
    this.#hardware = parts.hardware;
    this.#finished = finished;
  }

  /** What it works on. */
  get task(): Task | undefined {
    return this.#task;
  }

  start(task: Task): void {
    this.#task = task;
    task.wake = this.#resume;
    const bytes = this.#unit.begin(task);
    const { latency, latencyPerKiB } = this.#hardware;
    this.#cancel = this.#clock.after(latency + (latencyPerKiB * bytes) / 1024, this.#step);
  }

  /** Drops what it works on, wherever it stands. Nothing is written. */
  abort(): void {
    const task = this.#task;
    this.#cancel?.();
    if (task === undefined) return;
    task.forget();
    this.#release(task);
  }

  #advance(): void {
    const task = this.#task;
    if (task === undefined || !this.#unit.step(task)) return;
    this.#release(task);
  }

  #release(task: Task): void {
    this.#task = undefined;
    this.#finished(task);
    this.served?.dispatch();
  }
}
