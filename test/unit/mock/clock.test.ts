import { setImmediate as immediate, setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { Clock } from '../../../mock/clock.js';

describe('Clock', () => {
  it('runs events in the order of their times, however they were scheduled', () => {
    const clock = new Clock('manual');
    const seen: number[] = [];
    for (const delay of [50, 10, 40, 20, 30]) clock.after(delay, () => void seen.push(clock.now));
    expect(clock.runUntilIdle()).toBe(5);
    expect(seen).toEqual([10, 20, 30, 40, 50]);
    expect(clock.pending).toBe(0);
  });

  it('runs events of one time in the order they were scheduled', () => {
    const clock = new Clock('manual');
    const seen: number[] = [];
    for (let index = 0; index < 100; index += 1) clock.after(7, () => void seen.push(index));
    clock.runUntilIdle();
    expect(seen).toEqual(Array.from({ length: 100 }, (_, index) => index));
  });

  it('sorts thousands of events', () => {
    const clock = new Clock('manual');
    const times = Array.from({ length: 5000 }, (_, index) => (index * 7919) % 4999);
    const seen: number[] = [];
    for (const time of times) clock.after(time, () => void seen.push(clock.now));
    clock.runUntilIdle();
    expect(seen).toEqual(times.toSorted((a, b) => a - b));
  });

  it('advance() runs what falls in the time that passes, and no more', () => {
    const clock = new Clock('manual');
    const seen: string[] = [];
    clock.after(10, () => void seen.push('at 10'));
    clock.after(11, () => void seen.push('at 11'));
    clock.advance(10);
    expect(seen).toEqual(['at 10']);
    expect(clock).toMatchObject({ now: 10, pending: 1 });
    clock.advance(100);
    expect(seen).toEqual(['at 10', 'at 11']);
    expect(clock.now).toBe(110);
  });

  it('an event may schedule others, also for now', () => {
    const clock = new Clock('manual');
    const seen: number[] = [];
    clock.after(5, () => {
      seen.push(clock.now);
      clock.after(0, () => void seen.push(clock.now));
      clock.after(3, () => void seen.push(clock.now));
    });
    clock.advance(8);
    expect(seen).toEqual([5, 5, 8]);
  });

  it('a cancelled event does not happen and does not count', () => {
    const clock = new Clock('manual');
    const seen: string[] = [];
    const cancel = clock.after(1, () => void seen.push('cancelled'));
    clock.after(2, () => void seen.push('kept'));
    cancel();
    expect(clock.pending).toBe(1);
    expect(clock.runUntilIdle()).toBe(1);
    cancel();
    expect(seen).toEqual(['kept']);
    expect(clock.now).toBe(2);
  });

  it('runUntilIdle() has a limit, so that a device that keeps itself busy does not hang it', () => {
    const clock = new Clock('manual');
    const again = (): void => void clock.after(1, again);
    again();
    expect(clock.runUntilIdle(25)).toBe(25);
    expect(clock).toMatchObject({ now: 25, pending: 1 });
  });

  it('runUntil() lets events happen until what is waited for is there, or nothing is left', () => {
    const clock = new Clock('manual');
    let done = 0;
    for (const delay of [1, 2, 3]) clock.after(delay, () => void (done += 1));
    clock.runUntil(() => done === 2);
    expect(clock).toMatchObject({ now: 2, pending: 1 });
    clock.runUntil(() => false);
    expect(clock).toMatchObject({ now: 3, pending: 0 });
  });

  it('"manual": neither step() nor the event loop moves time', async () => {
    const clock = new Clock('manual');
    const seen: string[] = [];
    clock.after(0, () => void seen.push('happened'));
    clock.step();
    await sleep(5);
    expect(seen).toEqual([]);
    clock.advance(0);
    expect(seen).toEqual(['happened']);
  });

  it('"virtual": step() jumps to the next event', () => {
    const clock = new Clock('virtual');
    const seen: number[] = [];
    clock.after(1_000_000_000, () => void seen.push(clock.now));
    clock.after(2_000_000_000, () => void seen.push(clock.now));
    clock.step();
    expect(seen).toEqual([1_000_000_000]);
    clock.step();
    clock.step();
    expect(seen).toEqual([1_000_000_000, 2_000_000_000]);
    expect(clock.now).toBe(2_000_000_000);
  });

  it('"virtual": the event loop drives it while the program does something else', async () => {
    const clock = new Clock('virtual');
    const seen: number[] = [];
    for (const hour of [1, 2, 3]) clock.after(hour * 3600e9, () => void seen.push(clock.now));
    for (let turn = 0; turn < 10; turn += 1) await immediate();
    expect(seen).toEqual([3600e9, 7200e9, 10800e9]);
    expect(clock.pending).toBe(0);
  });

  it('"real": events happen at their distance in real time', async () => {
    const clock = new Clock('real');
    const seen: string[] = [];
    const before = clock.now;
    clock.after(100e6, () => void seen.push('after 100 ms'));
    clock.after(3600e9, () => void seen.push('after an hour'));
    clock.step();
    expect(seen).toEqual([]);
    while (seen.length === 0) await sleep(5);
    expect(seen).toEqual(['after 100 ms']);
    expect(clock.now - before).toBeGreaterThanOrEqual(100e6);
    expect(clock.pending).toBe(1);
  });

  it('"real": a cancelled event lets the process go', async () => {
    const clock = new Clock('real');
    const seen: string[] = [];
    const cancel = clock.after(2e6, () => void seen.push('cancelled'));
    cancel();
    await sleep(10);
    expect(seen).toEqual([]);
    expect(clock.pending).toBe(0);
  });

  it('"real": an event that comes before those that wait is not kept waiting', async () => {
    const clock = new Clock('real');
    const seen: string[] = [];
    const cancel = clock.after(3600e9, () => void seen.push('after an hour'));
    clock.after(1e6, () => void seen.push('after 1 ms'));
    const start = clock.now;
    while (seen.length === 0 && clock.now - start < 5e9) await sleep(1);
    cancel();
    expect(seen).toEqual(['after 1 ms']);
  });

  it.each([NaN, -1, -Infinity])('advance(%d) is out of range', (duration) => {
    const clock = new Clock('manual');
    expect(() => clock.advance(duration)).toThrow(expect.objectContaining({ code: 'ERR_OUT_OF_RANGE' }));
    expect(clock.now).toBe(0);
  });
});
