/** alloc, free, protect, addressOf, pin, unpin, touch and peek. */

import { closeSync, openSync, readSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import {
  OUT_OF_RANGE,
  WRONG_TYPE,
  WRONG_VALUE,
  callWith,
  collectGarbage,
  detached,
  isMapped,
  mappingsOf,
  system,
  thrown,
  useAddon,
} from './tools.js';

useAddon();

// ES2024, of which TypeScript's ES2023 library does not know.
const resizable = (): ArrayBuffer => Reflect.construct(ArrayBuffer, [64, { maxByteLength: 128 }]);
const growable = (): SharedArrayBuffer => Reflect.construct(SharedArrayBuffer, [64, { maxByteLength: 128 }]);

/** Views and buffers that a device may be pointed at. */
const OPERANDS: readonly (readonly [string, () => ArrayBufferView | ArrayBuffer])[] = [
  ['ArrayBuffer', () => new ArrayBuffer(64)],
  ['Uint8Array', () => new Uint8Array(64)],
  ['a small Uint8Array, which V8 first keeps on its heap', () => new Uint8Array(4)],
  ['Buffer', () => Buffer.alloc(64)],
  ['a pooled Buffer', () => Buffer.from('some text')],
  ['Int8Array', () => new Int8Array(8)],
  ['Uint8ClampedArray', () => new Uint8ClampedArray(8)],
  ['Int16Array', () => new Int16Array(8)],
  ['Uint16Array', () => new Uint16Array(8)],
  ['Int32Array', () => new Int32Array(8)],
  ['Uint32Array', () => new Uint32Array(8)],
  ['Float32Array', () => new Float32Array(8)],
  ['Float64Array', () => new Float64Array(8)],
  ['BigInt64Array', () => new BigInt64Array(8)],
  ['BigUint64Array', () => new BigUint64Array(8)],
  ['DataView', () => new DataView(new ArrayBuffer(64), 8, 16)],
  ['shared Uint8Array', () => new Uint8Array(new SharedArrayBuffer(64))],
  ['shared DataView', () => new DataView(new SharedArrayBuffer(64), 8)],
];

/** What is memory, but may go or move. */
const UNFIT: readonly (readonly [string, () => ArrayBufferView | ArrayBuffer])[] = [
  ['detached Uint8Array', () => detached(new Uint8Array(64))],
  ['detached ArrayBuffer', () => detached(new Uint8Array(64)).buffer],
  ['detached DataView', () => detached(new DataView(new ArrayBuffer(64)))],
  ['resizable ArrayBuffer', resizable],
  ['view of a resizable ArrayBuffer', () => new Uint8Array(resizable(), 8, 8)],
  [
    'view out of its buffer',
    () => {
      const buffer = resizable();
      const view = new Uint8Array(buffer, 32, 8);
      Reflect.apply(Reflect.get(buffer, 'resize'), buffer, [16]);
      return view;
    },
  ],
  ['view of a growable SharedArrayBuffer', () => new Uint8Array(growable())],
];

/** What is no memory. A SharedArrayBuffer itself has no Node-API. */
const NONE = [undefined, null, 1, 1n, 'x', {}, [1], () => {}, { buffer: new ArrayBuffer(8) }, new SharedArrayBuffer(8)];

const isFilled = (bytes: Uint8Array, byte: number): boolean => bytes.every((it) => it === byte);

/** Transfers a buffer, where this Node does that with foreign memory. */
function transferAway(buffer: ArrayBuffer): void {
  try {
    structuredClone(buffer, { transfer: [buffer] });
  } catch (error) {
    if (!(error instanceof DOMException)) throw error;
  }
}

/** Pages in memory of 64 from an address on (/proc/self/pagemap: bit 63, "present"). */
function residentPages(address: bigint): number {
  const entries = new BigUint64Array(64);
  const file = openSync('/proc/self/pagemap', 'r');
  readSync(file, entries, 0, entries.byteLength, (address / 4096n) * 8n);
  closeSync(file);
  return entries.filter((entry) => entry >> 63n === 1n).length;
}

/** Fills a view through its buffer. */
function fill(view: ArrayBufferView | ArrayBuffer): Uint8Array {
  const bytes = ArrayBuffer.isView(view)
    ? new Uint8Array(view.buffer, view.byteOffset, view.byteLength)
    : new Uint8Array(view);
  return bytes.map((_, index) => (bytes[index] = index * 7 + 1));
}

describe('alloc and free', () => {
  test.for([1, 64, 4096, 4097, 1 << 20])('%i bytes, zeroed, at the start of a page', (length, { addon }) => {
    const buffer = addon.alloc(length, true, false);
    const address = addon.addressOf(buffer);
    expect(buffer.byteLength).toBe(length);
    expect(address % BigInt(addon.pageSize)).toBe(0n);
    expect(isFilled(new Uint8Array(buffer), 0)).toBe(true);
    expect(isFilled(addon.peek(address, length), 0)).toBe(true);
    addon.free(buffer);
    expect(buffer.byteLength).toBe(0);
    expect(isMapped(address)).toBe(false);
  });

  test('huge pages begin at a multiple of 2 MiB', ({ addon }) => {
    const buffer = addon.alloc(100, true, true);
    expect(addon.addressOf(buffer) % (2n << 20n)).toBe(0n);
    addon.free(buffer);
  });

  test('lengths that cannot be', ({ addon }) => {
    expect(thrown(() => addon.alloc(0, true, false))).toEqual(system('EINVAL', -22, 'mmap'));
    for (const length of [2 ** 32 + 1, 2 ** 47, 2 ** 53 - 1]) {
      expect(thrown(() => addon.alloc(length, true, false))).toEqual(system('ENOMEM', -12, 'mmap'));
    }
    for (const length of [-1, 1.5, NaN, 2 ** 53]) {
      expect(thrown(() => addon.alloc(length, true, false))).toEqual(OUT_OF_RANGE);
    }
    expect(thrown(() => callWith(addon, 'alloc', ['1', true, false]))).toEqual(WRONG_TYPE);
    expect(thrown(() => callWith(addon, 'alloc', [1, 1, false]))).toEqual(WRONG_TYPE);
    expect(thrown(() => callWith(addon, 'alloc', [1, true]))).toEqual(WRONG_TYPE);
  });

  test('4 GiB can be had, if nobody touches them', ({ addon }) => {
    const buffer = addon.alloc(2 ** 32, false, false);
    expect(buffer.byteLength).toBe(2 ** 32);
    addon.free(buffer);
  });

  test('free takes a whole buffer of alloc, once', ({ addon }) => {
    const buffer = addon.alloc(4096, true, false);
    expect(thrown(() => addon.free(new ArrayBuffer(4096)))).toEqual(system('EINVAL', -22, 'munmap'));
    expect(thrown(() => callWith(addon, 'free', [new Uint8Array(buffer)]))).toEqual(WRONG_TYPE);
    expect(thrown(() => callWith(addon, 'free', [{}]))).toEqual(WRONG_TYPE);
    addon.free(buffer);
    expect(thrown(() => addon.free(buffer))).toEqual(system('EINVAL', -22, 'munmap'));
    expect(thrown(() => addon.protect(buffer, 2))).toEqual(system('EINVAL', -22, 'mprotect'));
    expect(thrown(() => addon.addressOf(buffer))).toEqual(WRONG_VALUE);
  });

  test('a buffer that nobody keeps is unmapped', async ({ addon }) => {
    const address = (() => addon.addressOf(addon.alloc(1 << 20, true, false)))();
    expect(isMapped(address)).toBe(true);
    await collectGarbage();
    expect(isMapped(address)).toBe(false);
  });

  test('hundreds of buffers come and go', async ({ addon }) => {
    const before = mappingsOf('').length;
    for (let round = 0; round < 4; round += 1) {
      const kept = Array.from({ length: 100 }, () => addon.alloc(4096, false, false));
      for (const buffer of kept.slice(0, 50)) addon.free(buffer);
      await collectGarbage();
    }
    await collectGarbage();
    // The engine maps and unmaps its own.
    expect(mappingsOf('').length).toBeLessThan(before + 50);
  });
});

describe('protect', () => {
  test('rights as the kernel sees them', ({ addon }) => {
    const buffer = addon.alloc(4096, true, false);
    const address = addon.addressOf(buffer);
    addon.protect(buffer, 1);
    expect(addon.peek(address, 1)).toEqual(new Uint8Array(1));
    expect(thrown(() => addon.touch(address, 1, true))).toEqual(system('EFAULT', -14, 'touch'));
    addon.protect(buffer, 0);
    expect(thrown(() => addon.peek(address, 1))).toEqual(system('EFAULT', -14, 'peek'));
    expect(thrown(() => addon.touch(address, 1, false))).toEqual(system('EFAULT', -14, 'touch'));
    addon.protect(buffer, 2);
    addon.touch(address, 4096, true);
  });

  test('what is no protection, and no buffer', ({ addon }) => {
    const buffer = addon.alloc(4096, true, false);
    for (const bad of [-1, 3, 0.5]) {
      expect(thrown(() => callWith(addon, 'protect', [buffer, bad]))).toEqual(OUT_OF_RANGE);
    }
    expect(thrown(() => callWith(addon, 'protect', [buffer, 'none']))).toEqual(WRONG_TYPE);
    expect(thrown(() => addon.protect(new ArrayBuffer(8), 2))).toEqual(system('EINVAL', -22, 'mprotect'));
  });
});

describe.for(['addressOf', 'pin'] as const)('%s', (name) => {
  test.for(UNFIT)('refuses a %s', ([, make], { addon }) => {
    expect(thrown(() => addon[name](make()))).toEqual(WRONG_VALUE);
  });

  test('refuses what is no memory', ({ addon }) => {
    for (const value of NONE) expect(thrown(() => callWith(addon, name, [value]))).toEqual(WRONG_TYPE);
  });

  test('is not deceived by properties of the caller', ({ addon }) => {
    const buffer = resizable();
    Object.defineProperty(buffer, 'resizable', { value: false });
    expect(thrown(() => addon[name](buffer))).toEqual(WRONG_VALUE);
    const view = new Uint8Array(8);
    for (const property of ['buffer', 'byteOffset', 'byteLength', 'length']) {
      Object.defineProperty(view, property, {
        get: () => {
          throw new Error('asked');
        },
      });
    }
    addon[name](view);
  });
});

describe('addressOf', () => {
  test.for(OPERANDS)('%s', ([, make], { addon }) => {
    const view = make();
    const bytes = fill(view);
    expect(addon.peek(addon.addressOf(view), view.byteLength)).toEqual(bytes);
    // It does not move.
    expect(addon.addressOf(view)).toBe(addon.addressOf(view));
  });
});

describe('pin and unpin', () => {
  test('each pin counts', ({ addon }) => {
    const buffer = addon.alloc(4096, true, false);
    const pins = [addon.pin(buffer), addon.pin(new Uint8Array(buffer, 64, 64))];
    expect(new Set(pins).size).toBe(2);
    for (const pin of pins) {
      expect(thrown(() => addon.free(buffer))).toEqual(system('EBUSY', -16, 'munmap'));
      addon.unpin(pin);
      expect(thrown(() => addon.unpin(pin))).toEqual(system('EINVAL', -22, 'unpin'));
    }
    addon.free(buffer);
  });

  test('memory of alloc stays mapped while it is pinned', async ({ addon }) => {
    const { pin, address } = (() => {
      const buffer = addon.alloc(4096, true, false);
      new Uint8Array(buffer).fill(0x5a);
      return { pin: addon.pin(buffer), address: addon.addressOf(buffer) };
    })();
    await collectGarbage();
    expect(isFilled(addon.peek(address, 4096), 0x5a)).toBe(true);
    addon.unpin(pin);
    await collectGarbage();
    expect(isMapped(address)).toBe(false);
  });

  test('an ordinary buffer is not collected while it is pinned', async ({ addon }) => {
    const { pin, buffer } = (() => {
      const view = new Uint8Array(4096);
      return { pin: addon.pin(view.subarray(64)), buffer: new WeakRef(view.buffer) };
    })();
    await collectGarbage();
    expect(buffer.deref()).toBeDefined();
    addon.unpin(pin);
    await collectGarbage();
    expect(buffer.deref()).toBeUndefined();
  });

  test('a pin holds the pages of a buffer that was transferred away', ({ addon }) => {
    const buffer = addon.alloc(4096, true, false);
    const address = addon.addressOf(buffer);
    const pin = addon.pin(buffer);
    // Node copies, or refuses, or moves: the pages stay.
    transferAway(buffer);
    expect(addon.peek(address, 4096)).toEqual(new Uint8Array(4096));
    addon.unpin(pin);
  });

  test('empty views can be pinned', ({ addon }) => {
    addon.unpin(addon.pin(new Uint8Array(0)));
    const buffer = addon.alloc(4096, true, false);
    addon.unpin(addon.pin(new Uint8Array(buffer, 4096)));
    addon.free(buffer);
    expect(buffer.byteLength).toBe(0);
  });

  test('numbers that are no pins', ({ addon }) => {
    for (const bad of [-1, 0.5, NaN, 2 ** 53]) expect(thrown(() => addon.unpin(bad))).toEqual(OUT_OF_RANGE);
    expect(thrown(() => addon.unpin(0))).toEqual(system('EINVAL', -22, 'unpin'));
    expect(thrown(() => callWith(addon, 'unpin', [1n]))).toEqual(WRONG_TYPE);
  });
});

describe('touch and peek', () => {
  test('addresses where nothing is', ({ addon }) => {
    for (const address of [0n, 1n, 2n ** 63n, 2n ** 64n - 1n]) {
      expect(thrown(() => addon.touch(address, 1, false))).toEqual(system('EFAULT', -14, 'touch'));
      expect(thrown(() => addon.touch(address, 0, true))).toEqual(system('EFAULT', -14, 'touch'));
      expect(thrown(() => addon.touch(address, 2 ** 53 - 1, true))).toEqual(system('EFAULT', -14, 'touch'));
      expect(thrown(() => addon.peek(address, 1))).toEqual(system('EFAULT', -14, 'peek'));
    }
    expect(addon.peek(0n, 0)).toEqual(new Uint8Array(0));
  });

  test('a range that ends where nothing is', ({ addon }) => {
    const buffer = addon.alloc(3 * 4096, true, false);
    const middle = addon.addressOf(buffer) + 4096n;
    addon.touch(middle, 4096, true);
    addon.free(buffer);
    expect(thrown(() => addon.peek(middle - 64n, 128))).toEqual(system('EFAULT', -14, 'peek'));
  });

  test('pages come in by populate and by touch', ({ addon }) => {
    const eager = addon.alloc(64 * 4096, true, false);
    const lazy = addon.alloc(64 * 4096, false, false);
    expect([residentPages(addon.addressOf(eager)), residentPages(addon.addressOf(lazy))]).toEqual([64, 0]);
    addon.touch(addon.addressOf(lazy) + 4096n, 2 * 4096, true);
    expect(residentPages(addon.addressOf(lazy))).toBe(2);
    addon.touch(addon.addressOf(lazy), 64 * 4096, true);
    expect(residentPages(addon.addressOf(lazy))).toBe(64);
    expect(isFilled(new Uint8Array(lazy), 0)).toBe(true);
  });

  test('what is no address and no length', ({ addon }) => {
    for (const address of [-1n, 2n ** 64n, -(2n ** 64n)]) {
      expect(thrown(() => addon.touch(address, 1, true))).toEqual(OUT_OF_RANGE);
      expect(thrown(() => addon.peek(address, 1))).toEqual(OUT_OF_RANGE);
    }
    expect(thrown(() => addon.peek(0n, (1 << 20) + 1))).toEqual(OUT_OF_RANGE);
    expect(thrown(() => addon.touch(0n, -1, true))).toEqual(OUT_OF_RANGE);
    expect(thrown(() => callWith(addon, 'peek', [0, 1]))).toEqual(WRONG_TYPE);
    expect(thrown(() => callWith(addon, 'touch', [0n, 1]))).toEqual(WRONG_TYPE);
  });
});

test('pause takes nothing and gives nothing', ({ addon }) => {
  expect(addon.pause()).toBeUndefined();
  expect(addon.pageSize).toBe(4096);
});
