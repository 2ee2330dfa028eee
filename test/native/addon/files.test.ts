/** open, close, ioctl, write and poll, on the character devices that every Linux has. */

import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { temporaryDirectory } from '../tools.js';
import {
  OUT_OF_RANGE,
  WRONG_TYPE,
  WRONG_VALUE,
  callWith,
  detached,
  openFiles,
  system,
  thrown,
  useAddon,
} from './tools.js';

useAddon();

/** TCGETS, which asks a terminal for its settings: not encoded with a size (uapi/asm-generic/ioctls.h). */
const TCGETS = 0x5401;
/** UACCE_CMD_QM_SET_QP_INFO: 16 bytes (misc/uacce/hisi_qm.h). */
const SET_QP_INFO = 0xc010480b;
const FLAG_CLOEXEC = 0o2000000;

describe('open', () => {
  test('a character device, to read and write, closed by exec', ({ addon }) => {
    const fd = addon.open('/dev/null');
    const flags = /^flags:\s*(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))?.[1] ?? '';
    expect(Number.parseInt(flags, 8) & (FLAG_CLOEXEC | 3)).toBe(FLAG_CLOEXEC | 2);
  });

  test('anything else is ENODEV, and not left open', ({ addon }) => {
    const file = join(temporaryDirectory(), 'file');
    writeFileSync(file, 'kept');
    const before = openFiles();
    expect(thrown(() => addon.open(file))).toEqual(system('ENODEV', -19, 'open'));
    expect(openFiles()).toBe(before);
    expect(readFileSync(file, 'utf8')).toBe('kept');
  });

  test.for([
    ['/dev/no-such-device', system('ENOENT', -2, 'open')],
    ['', system('ENOENT', -2, 'open')],
    ['/dev/null/x', system('ENOTDIR', -20, 'open')],
    ['/dev', system('EISDIR', -21, 'open')],
    ['x'.repeat(5_000), system('ENAMETOOLONG', -36, 'open')],
    ['/dev/null\0', WRONG_VALUE],
    ['\0', WRONG_VALUE],
  ] as const)('%j', ([path, error], { addon }) => {
    expect(thrown(() => addon.open(path))).toEqual(error);
  });

  test.for([undefined, null, 3, {}, ['/dev/null'], new String('/dev/null'), Symbol('path')])(
    'a path that is no string: %s',
    (path, { addon }) => {
      expect(thrown(() => callWith(addon, 'open', [path]))).toEqual(WRONG_TYPE);
    },
  );
});

describe('close', () => {
  test('once', ({ addon }) => {
    const before = openFiles();
    const fd = addon.open('/dev/null');
    addon.close(fd);
    expect(openFiles()).toBe(before);
    expect(thrown(() => addon.close(fd))).toEqual(system('EBADF', -9, 'close'));
  });

  test('a descriptor of somebody else is EBADF in every call, and stays open', ({ addon }) => {
    const fd = openSync('/dev/null', 'r+');
    const calls = [
      ['close', () => addon.close(fd)],
      ['ioctl', () => addon.ioctl(fd, TCGETS)],
      ['write', () => addon.write(fd, new Uint8Array(64))],
      ['poll', () => addon.poll(fd, 1)],
      ['mmap', () => addon.mmap(fd, 4096, 0)],
    ] as const;
    for (const [syscall, call] of calls) expect(thrown(call)).toEqual(system('EBADF', -9, syscall));
    closeSync(fd);
  });

  test.for([-1, 0.5, NaN, 2 ** 31, Infinity])('%d is no descriptor', (fd, { addon }) => {
    expect(thrown(() => addon.close(fd))).toEqual(OUT_OF_RANGE);
  });

  test.for([undefined, null, '0', 0n, {}])('%s is no number', (fd, { addon }) => {
    expect(thrown(() => callWith(addon, 'close', [fd]))).toEqual(WRONG_TYPE);
  });
});

describe('ioctl', () => {
  test('a request that the device does not know', ({ addon }) => {
    const fd = addon.open('/dev/null');
    const argument = new Uint8Array(64).fill(7);
    expect(thrown(() => addon.ioctl(fd, TCGETS))).toEqual(system('ENOTTY', -25, 'ioctl'));
    expect(thrown(() => addon.ioctl(fd, TCGETS, argument))).toEqual(system('ENOTTY', -25, 'ioctl'));
    expect(argument.every((byte) => byte === 7)).toBe(true);
  });

  test('what the kernel writes comes back, and no more than the argument holds', ({ addon }) => {
    const fd = addon.open('/dev/ptmx');
    const settings = new Uint8Array(128).fill(0xee);
    expect(addon.ioctl(fd, TCGETS, settings)).toBe(0);
    expect(settings[127]).toBe(0xee);
    // The kernel writes struct termios, 36 bytes, whatever the argument's length.
    const short = new Uint8Array(new ArrayBuffer(64), 0, 8).fill(0xee);
    expect(addon.ioctl(fd, TCGETS, short)).toBe(0);
    expect(short).toEqual(settings.subarray(0, 8));
    expect(new Uint8Array(short.buffer, 8).every((byte) => byte === 0)).toBe(true);
  });

  test('an argument shorter than the request says is EFAULT, as is one without rights', ({ addon }) => {
    const fd = addon.open('/dev/null');
    const memory = addon.alloc(4096, true, false);
    expect(thrown(() => addon.ioctl(fd, SET_QP_INFO, new Uint8Array(15)))).toEqual(system('EFAULT', -14, 'ioctl'));
    expect(thrown(() => addon.ioctl(fd, SET_QP_INFO, new Uint8Array(16)))).toEqual(system('ENOTTY', -25, 'ioctl'));
    for (const protection of [0, 1] as const) {
      addon.protect(memory, protection);
      expect(thrown(() => addon.ioctl(fd, TCGETS, memory))).toEqual(system('EFAULT', -14, 'ioctl'));
    }
  });

  test('arguments that no request can have', ({ addon }) => {
    const fd = addon.open('/dev/null');
    expect(thrown(() => addon.ioctl(fd, TCGETS, new Uint8Array(16_384)))).toEqual(OUT_OF_RANGE);
    expect(thrown(() => addon.ioctl(fd, TCGETS, detached(new Uint8Array(64))))).toEqual(WRONG_VALUE);
    expect(thrown(() => callWith(addon, 'ioctl', [fd, TCGETS, 5]))).toEqual(WRONG_TYPE);
    expect(thrown(() => addon.ioctl(fd, 2 ** 32))).toEqual(OUT_OF_RANGE);
    expect(thrown(() => addon.ioctl(fd, -1))).toEqual(OUT_OF_RANGE);
  });
});

describe('write', () => {
  test.for([0, 64, 128, 6_400])('%i bytes are whole descriptors', (length, { addon }) => {
    expect(addon.write(addon.open('/dev/null'), new Uint8Array(length))).toBe(length);
  });

  test.for([1, 63, 65])('%i bytes are not', (length, { addon }) => {
    const fd = addon.open('/dev/null');
    expect(thrown(() => addon.write(fd, new Uint8Array(length)))).toEqual(system('EINVAL', -22, 'write'));
  });

  test('the kernel refuses', ({ addon }) => {
    const fd = addon.open('/dev/full');
    expect(thrown(() => addon.write(fd, new Uint8Array(64)))).toEqual(system('ENOSPC', -28, 'write'));
  });

  test('memory without rights is EFAULT, no crash', ({ addon }) => {
    const memory = addon.alloc(4096, true, false);
    const fd = addon.open('/dev/ptmx');
    addon.protect(memory, 0);
    expect(thrown(() => addon.write(fd, memory))).toEqual(system('EFAULT', -14, 'write'));
  });

  test('no bytes at all', ({ addon }) => {
    const fd = addon.open('/dev/null');
    expect(thrown(() => callWith(addon, 'write', [fd, 'x'.repeat(64)]))).toEqual(WRONG_TYPE);
    expect(thrown(() => addon.write(fd, detached(new Uint8Array(64))))).toEqual(WRONG_VALUE);
  });
});

describe('poll', () => {
  test('the events that are pending now', ({ addon }) => {
    const fd = addon.open('/dev/null');
    expect(addon.poll(fd, 0x5)).toBe(0x5);
    expect(addon.poll(fd, 0)).toBe(0);
    expect(addon.poll(addon.open('/dev/ptmx'), 0x1)).toBe(0);
  });

  test('events that are none', ({ addon }) => {
    const fd = addon.open('/dev/null');
    expect(thrown(() => addon.poll(fd, 0x8000))).toEqual(OUT_OF_RANGE);
    expect(thrown(() => callWith(addon, 'poll', [fd]))).toEqual(WRONG_TYPE);
  });
});

test('stop closes what is open', ({ addon }) => {
  const before = openFiles();
  const fds = [addon.open('/dev/null'), addon.open('/dev/zero')];
  addon.stop();
  expect(openFiles()).toBe(before);
  for (const fd of fds) expect(thrown(() => addon.close(fd))).toEqual(system('EBADF', -9, 'close'));
  addon.stop();
});
