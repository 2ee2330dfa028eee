import { outOfRange } from '../lib/errors.js';

/**
 * How time passes.
 * - 'virtual' (default): time jumps to the next event whenever the program waits (`Kernel.pause`, `Kernel.turn`, or the
 *   event loop comes round). Order and timestamps depend on the program alone.
 * - 'manual': time stands still until `advance()` or `runUntilIdle()`; for tests that look between two events. Calls in
 *   which the kernel waits for the device (the close or the disabling of a work queue, which drain it) move it as well.
 * - 'real': events happen at their distance in real time.
 */
export type ClockMode = 'virtual' | 'manual' | 'real';

interface Event {
  readonly at: number;
  readonly sequence: number;
  readonly run: () => void;
  cancelled: boolean;
}

const before = (a: Event, b: Event): boolean => a.at < b.at || (a.at === b.at && a.sequence < b.sequence);

/** The machine's clock and its queue of things to come. Times are nanoseconds since the machine started. */
export class Clock {
  readonly mode: ClockMode;
  #now = 0;
  #sequence = 0;
  /** Binary heap, earliest first; equal times in the order they were scheduled. */
  readonly #heap: Event[] = [];
  /** What lets the event loop drive the clock: when it goes off, and how to call it off. */
  #pump: { readonly at: number; readonly stop: () => void } | undefined;
  readonly #startedAt = process.hrtime.bigint();

  constructor(mode: ClockMode) {
    this.mode = mode;
  }

  /** Nanoseconds. */
  get now(): number {
    return this.mode === 'real' ? this.#elapsed() : this.#now;
  }

  /** Number of events that have not happened yet. */
  get pending(): number {
    let live = 0;
    for (const event of this.#heap) if (!event.cancelled) live += 1;
    return live;
  }

  /**
   * Calls `run` once, `delay` nanoseconds from now.
   * @returns a function that cancels it
   */
  after(delay: number, run: () => void): () => void {
    const event: Event = { at: this.now + delay, sequence: this.#sequence, run, cancelled: false };
    this.#sequence += 1;
    this.#push(event);
    this.#arm();
    return () => {
      event.cancelled = true;
    };
  }

  /**
   * Lets `duration` nanoseconds pass, with every event that falls in them. No effect in 'real' mode beyond what is due.
   * @throws RangeError `ERR_OUT_OF_RANGE` for a duration that is no number or negative
   */
  advance(duration: number): void {
    if (!(duration >= 0)) throw outOfRange('duration', 'zero or more nanoseconds', duration);
    const until = this.mode === 'real' ? this.#elapsed() : this.#now + duration;
    while (this.#runNext(until));
    if (this.mode !== 'real') this.#now = until;
  }

  /**
   * Runs events until none is left.
   * @param limit most events to run: a device that keeps itself busy must not hang the test
   * @returns the number that ran
   */
  runUntilIdle(limit = 1_000_000): number {
    let ran = 0;
    while (ran < limit && this.#runNext(Infinity)) ran += 1;
    return ran;
  }

  /** Something in the kernel blocks: events happen, due or not, until `done` or until nothing is left to happen. */
  runUntil(done: () => boolean): void {
    while (!done() && this.#runNext(Infinity));
  }

  /** The program waits: in 'virtual' mode the next event happens now, in 'real' mode those that are due. */
  step(): void {
    if (this.mode === 'virtual') this.#runNext(Infinity);
    else if (this.mode === 'real') this.advance(0);
  }

  #elapsed(): number {
    return Number(process.hrtime.bigint() - this.#startedAt);
  }

  #runNext(until: number): boolean {
    for (;;) {
      const next = this.#heap[0];
      if (next === undefined || (!next.cancelled && next.at > until)) return false;
      this.#pop();
      if (next.cancelled) continue;
      this.#now = Math.max(this.#now, next.at);
      next.run();
      return true;
    }
  }

  /** Devices work while the program does something else: the event loop drives them too. */
  #arm(): void {
    const next = this.#heap[0];
    if (this.mode === 'manual' || next === undefined) return;
    if (this.#pump !== undefined) {
      if (this.#pump.at <= next.at) return;
      this.#pump.stop();
    }
    const tick = (): void => {
      this.#pump = undefined;
      try {
        this.step();
      } finally {
        this.#arm();
      }
    };
    const delay = this.mode === 'real' ? (next.at - this.now) / 1e6 : 0;
    if (delay >= 1) {
      const timer = setTimeout(tick, delay);
      this.#pump = { at: next.at, stop: () => clearTimeout(timer) };
    } else {
      const turn = setImmediate(tick);
      this.#pump = { at: -Infinity, stop: () => clearImmediate(turn) };
    }
  }

  #push(event: Event): void {
    const heap = this.#heap;
    let index = heap.length;
    heap.push(event);
    while (index > 0) {
      const parent = (index - 1) >> 1;
      const above = heap[parent];
      if (above === undefined || !before(event, above)) break;
      heap[index] = above;
      index = parent;
    }
    heap[index] = event;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return;
    let index = 0;
    for (;;) {
      let child = 2 * index + 1;
      let below = heap[child];
      const right = heap[child + 1];
      if (below !== undefined && right !== undefined && before(right, below)) {
        child += 1;
        below = right;
      }
      if (below === undefined || !before(below, last)) break;
      heap[index] = below;
      index = child;
    }
    heap[index] = last;
  }
}
