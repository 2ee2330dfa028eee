/** The waiter thread. JavaScript writes the completion bytes here, where a device does elsewhere. */

import { once } from 'node:events';
import { readFileSync, readdirSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { loadAddon, type Addon, type AddonWaiter } from '../../../lib/linux/loader.js';
import { run } from '../tools.js';
import {
  INVALID_STATE,
  OUT_OF_RANGE,
  WRONG_TYPE,
  WRONG_VALUE,
  callWith,
  collectGarbage,
  detached,
  isMapped,
  system,
  thrown,
  useAddon,
} from './tools.js';

useAddon();

const STRIDE = 64;

function nothing(): void {}

/** A waiter on 64 slots, what its callback was given, and a wait for a number of completions. */
class Harness {
  readonly memory: ArrayBuffer;
  readonly waiter: AddonWaiter;
  /** One list for each wake. */
  readonly wakes: number[][] = [];
  readonly #bytes: Uint8Array;
  readonly #events = new EventTarget();

  constructor(addon: Addon) {
    this.memory = addon.alloc(64 * STRIDE, true, false);
    this.#bytes = new Uint8Array(this.memory);
    this.waiter = addon.createWaiter(this.memory, STRIDE, (count) => {
      this.wakes.push([...this.waiter.completed.subarray(0, count)]);
      this.#events.dispatchEvent(new Event('wake'));
    });
  }

  /** Writes the byte of a slot, as a device does; 0 gives the slot back. */
  write(slot: number, status: number): void {
    Atomics.store(this.#bytes, slot * STRIDE, status);
  }

  async completed(count: number): Promise<number[]> {
    while (this.wakes.flat().length < count) await once(this.#events, 'wake');
    return this.wakes.flat();
  }
}

interface Thread {
  readonly id: string;
  readonly switches: number;
}

/** The waiter threads of this process, and how often each went to sleep. */
function waiterThreads(): Thread[] {
  return readdirSync('/proc/self/task').flatMap((id) => {
    const status = readFileSync(`/proc/self/task/${id}/status`, 'utf8');
    const switches = Number(/^voluntary_ctxt_switches:\s*(\d+)$/m.exec(status)?.[1]);
    return /^Name:\s*svm-waiter$/m.test(status) ? [{ id, switches }] : [];
  });
}

/** Runs a program with the addon as `addon`, in a process of its own. */
function runProgram(body: string): ReturnType<typeof run> {
  const { path } = { path: '', ...loadAddon() };
  return run(process.execPath, ['-e', `const addon = require(process.argv[1]); ${body}`, path]);
}

describe('watch', () => {
  test('a slot that completes later', async ({ addon }) => {
    const harness = new Harness(addon);
    harness.waiter.watch(3);
    await delay(10);
    expect(harness.wakes).toEqual([]);
    harness.write(3, 1);
    expect(await harness.completed(1)).toEqual([3]);
    await delay(10);
    expect(harness.wakes).toEqual([[3]]);
  });

  test('a slot that is complete already', async ({ addon }) => {
    const harness = new Harness(addon);
    harness.write(5, 0x80);
    harness.waiter.watch(5);
    expect(await harness.completed(1)).toEqual([5]);
  });

  test('what completes while the event loop is busy is one wake', async ({ addon }) => {
    const harness = new Harness(addon);
    harness.waiter.watch(0, 64);
    for (let slot = 63; slot >= 0; slot -= 1) harness.write(slot, 1);
    const start = performance.now();
    while (performance.now() - start < 50) addon.pause();
    expect((await harness.completed(64)).toSorted((a, b) => a - b)).toEqual([...Array(64).keys()]);
    expect(harness.wakes).toHaveLength(1);
  });

  test('slots that nobody watches are not looked at', async ({ addon }) => {
    const harness = new Harness(addon);
    harness.write(1, 1);
    harness.waiter.watch(2);
    await delay(10);
    harness.write(2, 1);
    expect(await harness.completed(1)).toEqual([2]);
  });

  test('a slot can be watched again in the callback and afterwards', async ({ addon }) => {
    const memory = addon.alloc(64, true, false);
    const bytes = new Uint8Array(memory);
    const rounds = await new Promise<number>((resolve) => {
      let round = 0;
      const waiter = addon.createWaiter(memory, 64, (count) => {
        round += count;
        if (round === 1_000) return resolve(round);
        Atomics.store(bytes, 0, 0);
        waiter.watch(0);
        return Atomics.store(bytes, 0, 1);
      });
      waiter.watch(0);
      Atomics.store(bytes, 0, 1);
    });
    expect(rounds).toBe(1_000);
  });

  test('many waiters share one thread and one wake', async ({ addon }) => {
    const harnesses = Array.from({ length: 20 }, () => new Harness(addon));
    for (const harness of harnesses) harness.waiter.watch(0, 64);
    expect(waiterThreads()).toHaveLength(1);
    for (const harness of harnesses) for (let slot = 0; slot < 64; slot += 1) harness.write(slot, 1);
    for (const harness of harnesses) expect(await harness.completed(64)).toHaveLength(64);
    addon.stop();
    expect(waiterThreads()).toHaveLength(0);
  });

  test('slots that are none, or watched', ({ addon }) => {
    const { waiter } = new Harness(addon);
    for (const slot of [-1, 64, 0.5, NaN, 2 ** 32]) expect(thrown(() => waiter.watch(slot))).toEqual(OUT_OF_RANGE);
    for (const count of [0, -1, 4, 1.5]) expect(thrown(() => waiter.watch(61, count))).toEqual(OUT_OF_RANGE);
    for (const slot of [undefined, '0', 0n, {}]) {
      expect(thrown(() => Reflect.apply(waiter.watch.bind(waiter), undefined, [slot]))).toEqual(WRONG_TYPE);
    }
    waiter.watch(61, 3);
    expect(thrown(() => waiter.watch(62))).toEqual(INVALID_STATE);
    // Refused as a whole.
    expect(thrown(() => waiter.watch(60, 2))).toEqual(INVALID_STATE);
    waiter.watch(60);
  });
});

describe('close', () => {
  test('no wake afterwards, and the memory is free', async ({ addon }) => {
    const harness = new Harness(addon);
    harness.waiter.watch(0, 64);
    expect(thrown(() => addon.free(harness.memory))).toEqual(system('EBUSY', -16, 'munmap'));
    expect(thrown(() => addon.protect(harness.memory, 0))).toEqual(system('EBUSY', -16, 'mprotect'));
    harness.write(0, 1);
    harness.waiter.close();
    harness.waiter.close();
    addon.free(harness.memory);
    await delay(20);
    expect(harness.wakes).toEqual([]);
    expect(thrown(() => harness.waiter.watch(1))).toEqual(INVALID_STATE);
  });

  test('in the callback: of itself, and of another that completed at the same time', async ({ addon }) => {
    const memory = addon.alloc(4096, true, false);
    new Uint8Array(memory).fill(1);
    const called: number[] = [];
    const waiters = [0, 1].map((index) =>
      addon.createWaiter(memory, 64, () => {
        called.push(index);
        for (const waiter of waiters) waiter.close();
      }),
    );
    for (const waiter of waiters) waiter.watch(0);
    const start = performance.now();
    while (performance.now() - start < 20) addon.pause();
    await delay(20);
    expect(called).toHaveLength(1);
    addon.free(memory);
    expect(memory.byteLength).toBe(0);
  });

  test('a thousand times while the thread is looking', ({ addon }) => {
    for (let round = 0; round < 1_000; round += 1) {
      const memory = addon.alloc(4096, false, false);
      const waiter = addon.createWaiter(memory, 64, nothing);
      waiter.watch(0, 64);
      waiter.close();
      addon.free(memory);
    }
    expect(waiterThreads()).toHaveLength(1);
  });

  test('what is open holds its memory, and lets it go with stop', async ({ addon }) => {
    const address = (() => {
      const harness = new Harness(addon);
      harness.waiter.watch(0);
      return addon.addressOf(harness.memory);
    })();
    await collectGarbage();
    expect(isMapped(address)).toBe(true);
    addon.stop();
    await collectGarbage();
    expect(isMapped(address)).toBe(false);
  });

  test('by stop: watch starts anew with another waiter', async ({ addon }) => {
    const { waiter } = new Harness(addon);
    waiter.watch(0);
    addon.stop();
    expect(thrown(() => waiter.watch(1))).toEqual(INVALID_STATE);
    const harness = new Harness(addon);
    harness.waiter.watch(7);
    harness.write(7, 1);
    expect(await harness.completed(1)).toEqual([7]);
  });
});

describe('createWaiter', () => {
  test('as many slots as begin in the records', ({ addon }) => {
    const memory = addon.alloc(4096, true, false);
    const slots = (records: ArrayBufferView | ArrayBuffer, stride: number): number =>
      addon.createWaiter(records, stride, nothing).completed.length;
    expect(slots(memory, 32)).toBe(128);
    expect(slots(new Uint8Array(memory, 64, 65), 64)).toBe(2);
    expect(slots(new Uint8Array(memory, 64, 64), 64)).toBe(1);
    expect(slots(memory, 2 ** 53 - 1)).toBe(1);
    expect(slots(memory, 1)).toBe(4096);
  });

  test('what cannot be records, stride or callback', ({ addon }) => {
    const memory = addon.alloc(4096, true, false);
    const create = (...args: unknown[]): unknown => callWith(addon, 'createWaiter', args);
    expect(thrown(() => create(new Uint8Array(64), 64, nothing))).toEqual(WRONG_VALUE);
    expect(thrown(() => create(new Uint8Array(memory, 4096), 64, nothing))).toEqual(WRONG_VALUE);
    expect(thrown(() => create(detached(new Uint8Array(64)), 64, nothing))).toEqual(WRONG_VALUE);
    expect(thrown(() => create({}, 64, nothing))).toEqual(WRONG_TYPE);
    for (const stride of [0, -1, 0.5, NaN]) expect(thrown(() => create(memory, stride, nothing))).toEqual(OUT_OF_RANGE);
    for (const callback of [undefined, null, {}, 'f']) {
      expect(thrown(() => create(memory, 64, callback))).toEqual(WRONG_TYPE);
    }
    expect(thrown(() => create(addon.alloc(2 << 20, false, false), 1, nothing))).toEqual(WRONG_VALUE);
    addon.protect(memory, 0);
    expect(thrown(() => create(memory, 64, nothing))).toEqual(system('EFAULT', -14, 'wait'));
  });

  test('a list that the caller gave away gets nothing', async ({ addon }) => {
    const memory = addon.alloc(4096, true, false);
    const counts: number[] = [];
    const waiter = addon.createWaiter(memory, 64, (count) => counts.push(count));
    detached(waiter.completed);
    waiter.watch(0, 8);
    new Uint8Array(memory).fill(1);
    await delay(50);
    expect(counts.every((count) => count === 0)).toBe(true);
    expect(counts.length).toBeGreaterThan(0);
  });
});

describe('the thread', () => {
  test('sleeps while nothing is watched', async ({ addon }) => {
    const harness = new Harness(addon);
    harness.waiter.watch(0);
    harness.write(0, 1);
    await harness.completed(1);
    await delay(20);
    const before = waiterThreads();
    await delay(200);
    expect(before).toHaveLength(1);
    expect(waiterThreads()).toEqual(before);
  });

  test('looks about once in a millisecond after a long wait', async ({ addon }) => {
    const { waiter } = new Harness(addon);
    waiter.watch(0);
    await delay(50);
    const [before] = waiterThreads();
    await delay(300);
    const [after] = waiterThreads();
    expect((after?.switches ?? NaN) - (before?.switches ?? NaN)).toBeLessThan(400);
  });

  test('does not keep the process alive, except while something is watched', ({ addon }) => {
    expect(addon.waitMethod).toMatch(/^(pause|tpause|umwait)$/);
    const idle = `addon.createWaiter(addon.alloc(64, true, false), 64, () => {}); process.on('exit', () => console.log('end'));`;
    expect(runProgram(idle)).toEqual({ status: 0, stdout: 'end\n', stderr: '' });
    const watching = `
      const memory = addon.alloc(128, true, false);
      const waiter = addon.createWaiter(memory, 64, (count) => console.log('woken', count));
      waiter.watch(1);
      setTimeout(() => new Uint8Array(memory).fill(1), 100).unref();
      process.on('exit', () => console.log('end'));`;
    expect(runProgram(watching)).toEqual({ status: 0, stdout: 'woken 1\nend\n', stderr: '' });
    // Closing ends the wait too.
    expect(runProgram(`${watching} waiter.close();`)).toEqual({ status: 0, stdout: 'end\n', stderr: '' });
  });

  test('what a callback throws is an uncaught exception, and the others are called', ({ addon }) => {
    expect(addon.napiVersion).toBe(8);
    const program = `
      const memory = addon.alloc(64, true, false);
      new Uint8Array(memory).fill(1);
      process.on('uncaughtException', (error) => console.log('uncaught', error.message));
      for (const name of ['a', 'b', 'c']) {
        addon.createWaiter(memory, 64, () => { throw new Error(name); }).watch(0);
      }
      setTimeout(() => {}, 100);`;
    expect(runProgram(program)).toEqual({
      status: 0,
      stdout: 'uncaught a\nuncaught b\nuncaught c\n',
      stderr: '',
    });
    const fatal = `
      const memory = addon.alloc(64, true, false);
      addon.createWaiter(memory, 64, () => { throw new Error('fatal'); }).watch(0);
      new Uint8Array(memory).fill(1);`;
    const { status, stderr } = runProgram(fatal);
    expect(stderr).toContain('Error: fatal');
    expect(status).toBe(1);
  });
});
