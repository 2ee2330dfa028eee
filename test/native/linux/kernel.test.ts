import { describe, expect, test as base } from 'vitest';
import { SvmError, connect, devices } from 'intel-svm';
import { ERRNO } from '../../../lib/abi/errno.js';
import { POLL } from '../../../lib/kernel.js';
import { LinuxKernel } from '../../../lib/linux/kernel.js';
import { loadAddon } from '../../../lib/linux/loader.js';
import { FixtureRoots } from './fixture.js';

interface Machine {
  fixture: FixtureRoots;
  kernel: LinuxKernel;
}

/** Tests with a machine of their own; without the addon they are skipped, and say why. */
const test = base.extend<Machine>({
  fixture: async ({ onTestFinished }, use) => {
    const fixture = new FixtureRoots();
    onTestFinished(() => fixture[Symbol.dispose]());
    await use(fixture);
  },
  kernel: [
    async ({ fixture, skip }, use) => {
      const load = loadAddon();
      if (load.addon === undefined) return skip(load.reason);
      return use(new LinuxKernel(load.addon, fixture.roots));
    },
    { auto: true },
  ],
});

const refusal = (code: keyof typeof ERRNO, syscall: string, path?: string): unknown =>
  expect.objectContaining({ name: 'SvmError', code, errno: -ERRNO[code], syscall, path });

describe('connect', () => {
  test('finds nothing on a machine without accelerators, and says where it looked', async ({ fixture: { roots } }) => {
    await expect(connect({ backend: 'linux', roots })).rejects.toThrow(refusal('ENODEV', 'connect'));
    await expect(connect({ backend: 'linux', roots })).rejects.toMatchObject({
      hint: expect.stringMatching(
        /\/sys\/bus\/dsa\/devices and \/sys\/class\/uacce are missing or empty.*backend: 'mock'/,
      ),
    });
  });

  test('never falls back to the mock unless it may, and then says why', async ({ fixture: { roots } }) => {
    const connection = await connect({ backend: 'auto', roots });
    expect(connection).toMatchObject({ backend: 'mock', reason: expect.stringContaining('no accelerator') });
  });

  test('takes the machine where it has an accelerator', async ({ fixture }) => {
    fixture.workQueue('wq0.0');
    const { roots } = fixture;
    await expect(connect({ backend: 'auto', roots })).resolves.toMatchObject({ backend: 'linux' });
    await expect(connect({ backend: 'linux', roots })).resolves.toMatchObject({ backend: 'linux' });
  });

  test('finds the queues that have a node', async ({ fixture }) => {
    fixture.workQueue('wq0.1');
    fixture.workQueue('wq0.0');
    fixture.workQueue('wq0.2', { state: 'disabled' });
    fixture.workQueue('wq0.3', { type: 'kernel' });
    const found = await devices({ backend: 'linux', roots: fixture.roots });
    expect(found.map(({ path, bdf, numaNode, accelerator }) => ({ path, bdf, numaNode, accelerator }))).toEqual(
      ['wq0.0', 'wq0.1'].map((name) => ({
        path: `/dev/dsa/${name}`,
        bdf: '0000:6a:01.0',
        numaNode: 1,
        accelerator: 'dsa0',
      })),
    );
  });
});

describe('files', () => {
  test('open refuses what is no device, by the name that the caller gave', ({ fixture, kernel }) => {
    fixture.file('/dev/dsa/wq0.0', 'text');
    expect(() => kernel.open('/dev/dsa/wq0.1')).toThrow(refusal('ENOENT', 'open', '/dev/dsa/wq0.1'));
    expect(() => kernel.open('/dev/dsa/wq0.0')).toThrow(refusal('ENODEV', 'open', '/dev/dsa/wq0.0'));
    expect(() => kernel.open('/dev/dsa')).toThrow(SvmError);
    expect(() => kernel.open('/etc/passwd')).toThrow(refusal('ENOENT', 'open', '/etc/passwd'));
    expect(() => kernel.open('/dev/dsa/wq0.0/x')).toThrow(refusal('ENOTDIR', 'open', '/dev/dsa/wq0.0/x'));
  });

  test('a file is read, written, polled and mapped until it is closed', ({ fixture, kernel }) => {
    fixture.node('/dev/dsa/wq0.0', '/dev/zero');
    const fd = kernel.open('/dev/dsa/wq0.0');
    expect(kernel.write(fd, new Uint8Array(192))).toBe(192);
    expect(kernel.write(fd, new Uint8Array(100))).toBe(64);
    expect(kernel.write(fd, new Uint8Array(63))).toBe(0);
    expect(kernel.poll(fd, POLL.IN | POLL.OUT) & POLL.IN).toBe(POLL.IN);
    expect(() => kernel.ioctl(fd, 0x5700)).toThrow(refusal('ENOTTY', 'ioctl', '/dev/dsa/wq0.0'));
    const mapping = kernel.mmap(fd, kernel.pageSize);
    kernel.munmap(mapping);
    expect(() => kernel.munmap(mapping)).toThrow(refusal('EINVAL', 'munmap'));
    expect(kernel.pasid(fd)).toBeUndefined();
    kernel.close(fd);
    for (const call of [
      () => kernel.close(fd),
      () => kernel.write(fd, new Uint8Array(64)),
      () => kernel.poll(fd, POLL.IN),
      () => kernel.mmap(fd, kernel.pageSize),
      () => kernel.pasid(fd),
    ]) {
      expect(call).toThrow(expect.objectContaining({ code: 'EBADF', path: undefined }));
    }
  });

  test('descriptors of others are not touched', ({ kernel }) => {
    expect(() => kernel.close(1)).toThrow(refusal('EBADF', 'close'));
    expect(() => kernel.write(2, new Uint8Array(64))).toThrow(refusal('EBADF', 'write'));
  });
});

describe('sysfs', () => {
  test('reads and lists below its root', ({ fixture, kernel }) => {
    fixture.workQueue('wq0.0');
    expect(kernel.sysfs.read('/sys/bus/dsa/devices/wq0.0/state')).toBe('enabled');
    expect(kernel.sysfs.list('/sys/bus/dsa/devices')).toEqual(['dsa0', 'wq0.0']);
    expect(kernel.sysfs.realpath('/sys/bus/dsa/devices/wq0.0')).toBe('/sys/devices/pci0000:6a/0000:6a:01.0/dsa0/wq0.0');
  });

  test('writes what exists, and makes no new file', ({ fixture, kernel }) => {
    fixture.file('/sys/x/mode', 'shared\n');
    kernel.sysfs.write('/sys/x/mode', 'dedicated');
    expect(kernel.sysfs.read('/sys/x/mode')).toMatch(/^dedicated/);
    expect(() => kernel.sysfs.write('/sys/x/none', '1')).toThrow(refusal('ENOENT', 'write', '/sys/x/none'));
  });

  test('names the file that the caller named', ({ fixture, kernel }) => {
    fixture.file('/sys/file', '');
    expect(() => kernel.sysfs.read('/sys/none')).toThrow(refusal('ENOENT', 'read', '/sys/none'));
    expect(() => kernel.sysfs.list('/sys/file')).toThrow(refusal('ENOTDIR', 'scandir', '/sys/file'));
    expect(() => kernel.sysfs.realpath('/sys/none')).toThrow(refusal('ENOENT', 'realpath', '/sys/none'));
    for (const path of ['/etc/hostname', '/sys/../../etc/hostname']) {
      expect(() => kernel.sysfs.read(path)).toThrow(refusal('ENOENT', 'read', path));
    }
  });
});

describe('memory', () => {
  test('alloc gives zeroed pages at an address, free takes them away', ({ kernel }) => {
    const buffer = kernel.alloc(5_000);
    expect(buffer).toMatchObject({ byteLength: 5_000 });
    expect(buffer.address % BigInt(kernel.pageSize)).toBe(0n);
    expect(buffer.bytes).toHaveLength(5_000);
    expect(buffer.bytes.every((byte) => byte === 0)).toBe(true);
    expect(kernel.addressOf(buffer.bytes.subarray(100))).toBe(buffer.address + 100n);
    const { address } = buffer;
    kernel.free(buffer);
    expect(buffer.bytes).toHaveLength(0);
    expect(() => kernel.free(buffer)).toThrow(refusal('EINVAL', 'munmap'));
    expect(() => kernel.touch(address, 1, 'read')).toThrow(refusal('EFAULT', 'touch'));
  });

  test('alloc refuses what no memory can be', ({ kernel }) => {
    for (const length of [0, -1, 0.5, Number.NaN])
      expect(() => kernel.alloc(length)).toThrow(refusal('EINVAL', 'mmap'));
    for (const length of [2 ** 52, 2 ** 46]) expect(() => kernel.alloc(length)).toThrow(refusal('ENOMEM', 'mmap'));
  });

  test('touch follows the rights of a mapping', ({ kernel }) => {
    const buffer = kernel.alloc(3 * kernel.pageSize, { populate: false });
    kernel.touch(buffer.address, buffer.byteLength, 'write');
    kernel.protect(buffer, 'read');
    kernel.touch(buffer.address, buffer.byteLength, 'read');
    expect(() => kernel.touch(buffer.address, 1, 'write')).toThrow(refusal('EFAULT', 'touch'));
    kernel.protect(buffer, 'none');
    expect(() => kernel.touch(buffer.address, 1, 'read')).toThrow(refusal('EFAULT', 'touch'));
    kernel.protect(buffer, 'read-write');
    buffer.bytes[0] = 1;
    kernel.free(buffer);
  });

  test('pinned memory is not freed', ({ kernel }) => {
    const buffer = kernel.alloc(64);
    const pin = kernel.pin(buffer.bytes.subarray(8));
    expect(pin).toMatchObject({ address: buffer.address + 8n, byteLength: 56 });
    expect(() => kernel.free(buffer)).toThrow(refusal('EBUSY', 'munmap'));
    pin.release();
    pin.release();
    kernel.free(buffer);
  });

  test('views of every kind have an address; what may move has none', ({ kernel }) => {
    const shared = new SharedArrayBuffer(32);
    for (const view of [Buffer.alloc(8), new DataView(new ArrayBuffer(8)), new ArrayBuffer(8), shared]) {
      expect(kernel.addressOf(view)).toBeGreaterThan(0n);
    }
    const moved = new Uint8Array(8);
    structuredClone(moved.buffer, { transfer: [moved.buffer] });
    expect(() => kernel.pin(moved)).toThrow(expect.objectContaining({ code: 'ERR_INVALID_ARG_VALUE' }));
  });

  test('the CPU, a pause and a turn of the event loop', async ({ kernel }) => {
    expect(kernel.cpu).toEqual({
      movdir64b: expect.any(Boolean),
      enqcmd: expect.any(Boolean),
      waitpkg: expect.any(Boolean),
      la57: expect.any(Boolean),
    });
    kernel.pause();
    await expect(kernel.turn()).resolves.toBeUndefined();
    expect(kernel).toMatchObject({ backend: 'linux', pid: process.pid, svm: undefined });
  });
});
