import type { Dma } from '../dma.js';
import type { Task } from '../task.js';

/**
 * How far an operation came.
 * - 'done': its status stands in the task;
 * - 'fault': an access failed, the DMA unit says which. `run` is called again if the page can be had, and goes on where it
 *   stopped; otherwise the record reports what the task has;
 * - 'wait': it waits for something else, and will be run again when the task is woken.
 */
export type Outcome = 'done' | 'fault' | 'wait';

/** Carries other descriptors out, for an operation that is made of them. They are tasks of their own, woken as it is. */
export interface Executor {
  /** Checks a descriptor. @returns the bytes that it will process */
  begin(task: Task): number;
  /** Takes it as far as it goes. @returns whether it is finished; otherwise it waits */
  step(task: Task): boolean;
}

/** One operation of the device. Everything it must remember between two runs is in the task. */
export interface Operation {
  /** Flags beside the common ones that it takes (`DESC_FLAG`, and its own from bit 16 on). */
  readonly flags: number;
  /** Whether the block-on-fault flag means something to it. */
  readonly mayBlock: boolean;
  /** Whether byte 32 holds a transfer size. */
  readonly transfers: boolean;
  /** First byte of the descriptor's tail that must be zero. */
  readonly reservedFrom: number;
  /** Checks of its own, after the common ones. @returns a completion status, or 0 */
  validate?(task: Task): number;
  /** Works on memory. On 'done' it may set `status`, which is SUCCESS before; result fields go into the record. */
  run(task: Task, dma: Dma, executor: Executor): Outcome;
}
