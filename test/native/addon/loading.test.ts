/** The addon in environments that are not as it expects them: globals that a program has changed, and a second copy of it. */

import { copyFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { loadAddon, type Addon } from '../../../lib/linux/loader.js';
import { run, temporaryDirectory } from '../tools.js';
import { WRONG_TYPE, system, thrown, useAddon } from './tools.js';

useAddon();

/** Where the addon of this checkout is; its tests are skipped where there is none. */
const { path } = { path: '', ...loadAddon() };

/** Changes that a program makes before it loads the addon. */
const CHANGES = [
  'delete globalThis.WeakSet',
  'globalThis.WeakSet = 5',
  'globalThis.Object = undefined',
  'delete globalThis.ArrayBuffer',
  'Object.defineProperty(globalThis, "SharedArrayBuffer", { get() { throw new Error("asked"); } })',
  'delete WeakSet.prototype.has',
  'WeakSet.prototype.has = () => { throw 1; }',
  'WeakSet.prototype.add = () => { throw 1; }',
  'Object.getOwnPropertyDescriptor = () => 5',
  'Object.getOwnPropertyDescriptor = () => { throw 1; }',
  'Object.defineProperty(Error.prototype, "errno", { set() { throw 1; } })',
];

describe('a program that changes its globals', () => {
  test.for(CHANGES)('%s', (change, { addon }) => {
    expect(addon.napiVersion).toBe(8);
    const program = `
      const { log } = console;
      const bytes = new Uint8Array(8);
      ${change};
      const addon = require(process.argv[1]);
      addon.unpin(addon.pin(bytes));
      try { addon.open('/dev/no-such-device'); } catch (error) { log(error.code, error.errno, error.syscall); }`;
    expect(run(process.execPath, ['-e', program, path])).toEqual({ status: 0, stdout: 'ENOENT -2 open\n', stderr: '' });
  });
});

test('two copies do not take each other for their own', ({ addon }) => {
  const copy = join(temporaryDirectory(), 'copy.node');
  copyFileSync(path, copy);
  const other: Addon = createRequire(import.meta.url)(copy);
  expect(other).not.toBe(addon);

  const fd = addon.open('/dev/zero');
  const region = addon.mmap(fd, 4096, 0);
  const memory = addon.alloc(4096, true, false);
  const pin = addon.pin(memory);
  expect(thrown(() => other.munmap(region))).toEqual(WRONG_TYPE);
  expect(thrown(() => other.close(fd))).toEqual(system('EBADF', -9, 'close'));
  expect(thrown(() => other.free(memory))).toEqual(system('EINVAL', -22, 'munmap'));
  expect(thrown(() => other.unpin(pin))).toEqual(system('EINVAL', -22, 'unpin'));
  // Foreign memory is an operand like any other.
  other.unpin(other.pin(memory));
  addon.unpin(pin);
  addon.munmap(region);
});
