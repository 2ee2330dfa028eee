import type { Engine } from './engine.js';
import type { Task } from './task.js';
import type { WorkQueue } from './work-queue.js';

/** Configuration of a group: its sysfs attributes. */
export interface GroupConfig {
  useReadBufferLimit: boolean;
  readBuffersAllowed: number;
  readBuffersReserved: number;
  /** -1: not set; enabling the device makes it 0 (class A) or 1 (class B). */
  trafficClassA: number;
  trafficClassB: number;
  descProgressLimit: number;
  batchProgressLimit: number;
}

/** A group: engines that serve work queues together. Membership counts once the driver has written it to the device. */
export class Group {
  readonly id: number;
  readonly name: string;
  readonly config: GroupConfig;
  #queues: readonly WorkQueue[] = [];
  #engines: readonly Engine[] = [];

  constructor(id: number, name: string, config: GroupConfig) {
    this.id = id;
    this.name = name;
    this.config = config;
  }

  /** The driver writes GRPCFG. */
  write(queues: readonly WorkQueue[], engines: readonly Engine[]): void {
    this.#queues = queues;
    this.#engines = engines;
    for (const member of [...queues, ...engines]) member.served = this;
  }

  /** Gives work to the engines that are free. */
  dispatch(): void {
    for (const engine of this.#engines) {
      if (engine.task !== undefined) continue;
      const task = this.#next();
      if (task === undefined) return;
      engine.start(task);
    }
  }

  /** Weighted round robin: a queue's share of the dispatches is its share of the priorities that wait. */
  #next(): Task | undefined {
    let chosen: WorkQueue | undefined;
    let weights = 0;
    for (const queue of this.#queues) {
      if (!queue.waiting) continue;
      const weight = Math.max(queue.config.priority, 1);
      queue.credit += weight;
      weights += weight;
      if (chosen === undefined || queue.credit > chosen.credit) chosen = queue;
    }
    if (chosen === undefined) return undefined;
    chosen.credit -= weights;
    return chosen.take();
  }
}
