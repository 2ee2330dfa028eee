/** mmap, munmap and createSubmitter, on /dev/zero: a shared mapping of it is ordinary memory, to be looked at by its address. */

import { describe, expect, test } from 'vitest';
import type { Addon, AddonRegion } from '../../../lib/linux/loader.js';
import {
  INVALID_STATE,
  OUT_OF_RANGE,
  WRONG_TYPE,
  WRONG_VALUE,
  callWith,
  collectGarbage,
  detached,
  mappingsOf,
  system,
  thrown,
  useAddon,
} from './tools.js';

useAddon();

const MOVDIR64B = 0;
const ENQCMD = 1;

/** A region of /dev/zero, and where it lies. */
function mapZero(addon: Addon, length = 4096): { readonly region: AddonRegion; readonly address: bigint } {
  const before = new Set(mappingsOf('/dev/zero').map(({ start }) => start));
  const region = addon.mmap(addon.open('/dev/zero'), length, 0);
  const added = mappingsOf('/dev/zero').find(({ start }) => !before.has(start));
  if (added === undefined) throw new Error('nothing was mapped');
  return { region, address: added.start };
}

describe('mmap and munmap', () => {
  test('a region outlives its descriptor, and is unmapped once', ({ addon }) => {
    const fd = addon.open('/dev/zero');
    const region = addon.mmap(fd, 8192, 0);
    addon.close(fd);
    expect(mappingsOf('/dev/zero')).toHaveLength(1);
    addon.munmap(region);
    expect(mappingsOf('/dev/zero')).toHaveLength(0);
    expect(thrown(() => addon.munmap(region))).toEqual(system('EINVAL', -22, 'munmap'));
  });

  test('what the kernel refuses', ({ addon }) => {
    const fd = addon.open('/dev/zero');
    expect(thrown(() => addon.mmap(fd, 0, 0))).toEqual(system('EINVAL', -22, 'mmap'));
    expect(thrown(() => addon.mmap(fd, 4096, 1))).toEqual(system('EINVAL', -22, 'mmap'));
    expect(thrown(() => addon.mmap(fd, 2 ** 53 - 1, 0))).toEqual(system('ENOMEM', -12, 'mmap'));
    expect(thrown(() => addon.mmap(addon.open('/dev/null'), 4096, 0))).toEqual(system('ENODEV', -19, 'mmap'));
  });

  test('numbers that are no lengths and offsets', ({ addon }) => {
    const fd = addon.open('/dev/zero');
    for (const bad of [-1, 0.5, NaN, 2 ** 53]) {
      expect(thrown(() => addon.mmap(fd, bad, 0))).toEqual(OUT_OF_RANGE);
      expect(thrown(() => addon.mmap(fd, 4096, bad))).toEqual(OUT_OF_RANGE);
    }
    expect(thrown(() => callWith(addon, 'mmap', [fd, 4096]))).toEqual(WRONG_TYPE);
  });

  test('munmap takes regions alone', ({ addon }) => {
    const { region } = mapZero(addon);
    const others = [undefined, null, 0, {}, [], Object.create(region), new Proxy(region, {}), structuredClone(region)];
    for (const other of others) {
      expect(thrown(() => callWith(addon, 'munmap', [other]))).toEqual(WRONG_TYPE);
    }
    addon.munmap(region);
  });

  test('a region that nobody keeps is unmapped', async ({ addon }) => {
    (() => mapZero(addon))();
    expect(mappingsOf('/dev/zero')).toHaveLength(1);
    await collectGarbage();
    expect(mappingsOf('/dev/zero')).toHaveLength(0);
  });

  test('stop unmaps', ({ addon }) => {
    const { region } = mapZero(addon);
    addon.stop();
    expect(mappingsOf('/dev/zero')).toHaveLength(0);
    expect(thrown(() => addon.munmap(region))).toEqual(system('EINVAL', -22, 'munmap'));
  });
});

describe('a submitter', () => {
  test('stores descriptors in order, each to the next line of the portal', ({ addon, skip }) => {
    skip(!addon.executes(MOVDIR64B), 'this CPU has no MOVDIR64B');
    const { region, address } = mapZero(addon);
    const memory = addon.alloc(100 * 64, true, false);
    const ring = new Uint8Array(memory);
    for (let slot = 0; slot < 100; slot += 1) ring.fill(slot + 1, slot * 64, (slot + 1) * 64);
    const submit = addon.createSubmitter(region, MOVDIR64B, memory);
    const line = (index: number): Uint8Array => addon.peek(address + BigInt(index * 64), 64);
    const slot = (index: number): Uint8Array => ring.slice(index * 64, (index + 1) * 64);

    expect(submit(5)).toBe(1);
    expect(submit(7, 2)).toBe(2);
    expect([line(0), line(1), line(2), line(3)]).toEqual([slot(5), slot(7), slot(8), new Uint8Array(64)]);
    // Around the end of the page.
    expect(submit(0, 62)).toBe(62);
    expect([line(63), line(0)]).toEqual([slot(60), slot(61)]);
    // Another submitter of the region goes on where this one is.
    expect(addon.createSubmitter(region, MOVDIR64B, new Uint8Array(memory, 640, 64))(0, undefined)).toBe(1);
    expect(line(1)).toEqual(slot(10));
  });

  test('slots that the ring does not have', ({ addon, skip }) => {
    skip(!addon.executes(MOVDIR64B), 'this CPU has no MOVDIR64B');
    const { region, address } = mapZero(addon);
    // 4 descriptors and a half.
    const ring = new Uint8Array(addon.alloc(4096, true, false), 64, 4 * 64 + 32);
    const submit = addon.createSubmitter(region, MOVDIR64B, ring.fill(1));
    for (const slot of [-1, 4, 0.5, NaN, Infinity, 2 ** 32, -(2 ** 32)]) {
      expect(thrown(() => submit(slot))).toEqual(OUT_OF_RANGE);
    }
    for (const count of [0, -1, 3, 1.5, NaN, 2 ** 32]) expect(thrown(() => submit(2, count))).toEqual(OUT_OF_RANGE);
    for (const slot of [undefined, null, '0', 0n, {}, []]) {
      expect(thrown(() => Reflect.apply(submit, undefined, [slot]))).toEqual(WRONG_TYPE);
    }
    expect(thrown(() => Reflect.apply(submit, undefined, []))).toEqual(WRONG_TYPE);
    expect(thrown(() => Reflect.apply(submit, undefined, [0, '1']))).toEqual(WRONG_TYPE);
    expect(addon.peek(address, 4096)).toEqual(new Uint8Array(4096));
    expect(submit(2, 2)).toBe(2);
  });

  test('refuses once its region is unmapped; until then its ring is held', ({ addon, skip }) => {
    skip(!addon.executes(MOVDIR64B), 'this CPU has no MOVDIR64B');
    const { region } = mapZero(addon);
    const memory = addon.alloc(4096, true, false);
    const submit = addon.createSubmitter(region, MOVDIR64B, memory);
    expect(thrown(() => addon.free(memory))).toEqual(system('EBUSY', -16, 'munmap'));
    expect(thrown(() => addon.protect(memory, 0))).toEqual(system('EBUSY', -16, 'mprotect'));
    addon.protect(memory, 1);
    expect(submit(0)).toBe(1);
    addon.munmap(region);
    expect(thrown(() => submit(0))).toEqual(INVALID_STATE);
    expect(thrown(() => addon.createSubmitter(region, MOVDIR64B, memory))).toEqual(INVALID_STATE);
    addon.free(memory);
    expect(thrown(() => submit(0))).toEqual(INVALID_STATE);
  });

  test('keeps its region and its ring mapped as long as it lives', async ({ addon, skip }) => {
    skip(!addon.executes(MOVDIR64B), 'this CPU has no MOVDIR64B');
    let submit: ((slot: number) => number) | undefined = (() => {
      const { region } = mapZero(addon);
      return addon.createSubmitter(region, MOVDIR64B, addon.alloc(4096, true, false));
    })();
    await collectGarbage();
    expect(mappingsOf('/dev/zero')).toHaveLength(1);
    expect(submit(63)).toBe(1);
    submit = undefined;
    await collectGarbage();
    expect(mappingsOf('/dev/zero')).toHaveLength(0);
  });

  test('what cannot be a portal', ({ addon }) => {
    const ring = addon.alloc(4096, true, false);
    const fd = addon.open('/dev/zero');
    const short = addon.mmap(fd, 100, 0);
    expect(thrown(() => addon.createSubmitter(short, MOVDIR64B, ring))).toEqual(system('EINVAL', -22, 'submit'));
    // A store beyond the end of what is mapped is SIGBUS.
    const beyond = addon.mmap(fd, 4096, 4096);
    expect(thrown(() => addon.createSubmitter(beyond, MOVDIR64B, ring))).toEqual(system('EFAULT', -14, 'submit'));
    expect(thrown(() => callWith(addon, 'createSubmitter', [{}, MOVDIR64B, ring]))).toEqual(WRONG_TYPE);
  });

  test('what cannot be a ring', ({ addon }) => {
    const { region } = mapZero(addon);
    const memory = addon.alloc(4096, true, false);
    const submitter = (ring: unknown): unknown => callWith(addon, 'createSubmitter', [region, MOVDIR64B, ring]);
    expect(thrown(() => submitter(new Uint8Array(64)))).toEqual(WRONG_VALUE);
    expect(thrown(() => submitter(new Uint8Array(memory, 0, 63)))).toEqual(WRONG_VALUE);
    expect(thrown(() => submitter(new Uint8Array(memory, 4096)))).toEqual(WRONG_VALUE);
    expect(thrown(() => submitter(detached(new Uint8Array(64))))).toEqual(WRONG_VALUE);
    expect(thrown(() => submitter({}))).toEqual(WRONG_TYPE);
    addon.protect(memory, 0);
    expect(thrown(() => submitter(memory))).toEqual(system('EFAULT', -14, 'submit'));
  });

  test('an instruction that the CPU lacks is ENOSYS', ({ addon, skip }) => {
    skip(addon.executes(ENQCMD), 'this CPU has ENQCMD');
    const { region } = mapZero(addon);
    const ring = addon.alloc(4096, true, false);
    expect(thrown(() => addon.createSubmitter(region, ENQCMD, ring))).toEqual(system('ENOSYS', -38, 'submit'));
  });
});

test('executes agrees with CPUID, or knows more', ({ addon, skip }) => {
  skip(process.arch !== 'x64', 'the instructions are of x86');
  const { movdir64b, enqcmd } = addon.cpuFeatures();
  expect([addon.executes(MOVDIR64B) || !movdir64b, addon.executes(ENQCMD) || !enqcmd]).toEqual([true, true]);
  for (const bad of [-1, 2, 0.5]) expect(thrown(() => callWith(addon, 'executes', [bad]))).toEqual(OUT_OF_RANGE);
  expect(thrown(() => callWith(addon, 'executes', ['enqcmd']))).toEqual(WRONG_TYPE);
});
