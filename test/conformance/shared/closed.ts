import { expect } from 'vitest';
import { isPasidValid } from 'intel-svm';
import { POLL } from '../../../lib/kernel.js';
import type { Subject } from '../suite.js';

/** Use after close, free, release and exit: each a clear error. */
export const closed: Subject = {
  title: 'use after the end',
  register(test) {
    test('close twice → EBADF', {}, (world) => {
      const [device] = world.devices();
      const fd = world.self.open(device.path);
      world.self.close(fd);
      expect(world.refused('EBADF', () => world.self.close(fd))).toMatchObject({ syscall: 'close' });
    });

    test('write, mmap, ioctl and poll on a closed descriptor → EBADF, each by its name', {}, (world) => {
      const [device] = world.devices();
      const { self } = world;
      const fd = self.open(device.path);
      self.close(fd);
      expect(world.refused('EBADF', () => self.write(fd, new Uint8Array(64)))).toMatchObject({ syscall: 'write' });
      expect(world.refused('EBADF', () => self.mmap(fd, self.pageSize))).toMatchObject({ syscall: 'mmap' });
      expect(world.refused('EBADF', () => self.ioctl(fd, 0))).toMatchObject({ syscall: 'ioctl' });
      expect(world.refused('EBADF', () => self.poll(fd, POLL.IN))).toMatchObject({ syscall: 'poll' });
    });

    test('a descriptor that never was → EBADF', {}, (world) => {
      for (const fd of [-1, 2 ** 30]) world.refused('EBADF', () => world.self.close(fd));
    });

    test('open and close hold and release exactly one file', {}, (world) => {
      const [device] = world.devices();
      const fd = world.self.open(device.path);
      world.expectHeld({ openFiles: 1 });
      world.self.close(fd);
      world.expectHeld({ openFiles: 0, bindings: 0 });
    });

    test('a mapping keeps the file after close; munmap ends both', { needs: ['portal'] }, (world) => {
      const [device] = world.devices();
      const { self } = world;
      const fd = self.open(device.path);
      const mapping = self.mmap(fd, self.pageSize);
      self.close(fd);
      world.expectHeld({ openFiles: 1, deviceMappings: 1 });
      self.munmap(mapping);
      world.expectHeld({ openFiles: 0, deviceMappings: 0 });
      world.refused('EINVAL', () => self.munmap(mapping));
    });

    test('free twice, and protect after free → EINVAL', {}, (world) => {
      const { self } = world;
      const buffer = self.alloc(100);
      expect(buffer).toMatchObject({ byteLength: 100 });
      expect(buffer.address % BigInt(self.pageSize)).toBe(0n);
      world.expectHeld({ allocations: 1 });
      self.free(buffer);
      world.refused('EINVAL', () => self.free(buffer));
      world.refused('EINVAL', () => self.protect(buffer, 'read'));
      world.expectHeld({ allocations: 0 });
    });

    test('freed memory is detached, and its addresses fault', {}, (world) => {
      const { self } = world;
      const buffer = self.alloc(self.pageSize);
      const { bytes, address } = buffer;
      self.touch(address, self.pageSize, 'write');
      self.free(buffer);
      expect(bytes.byteLength).toBe(0);
      expect(world.refused('EFAULT', () => self.touch(address, 1, 'read'))).toMatchObject({ syscall: 'touch' });
    });

    test('touch honours the rights: read-only memory cannot be written', {}, (world) => {
      const { self } = world;
      const buffer = self.alloc(self.pageSize);
      self.protect(buffer, 'read');
      self.touch(buffer.address, self.pageSize, 'read');
      world.refused('EFAULT', () => self.touch(buffer.address, 1, 'write'));
      self.protect(buffer, 'none');
      world.refused('EFAULT', () => self.touch(buffer.address, 1, 'read'));
      self.protect(buffer, 'read-write');
      self.touch(buffer.address, self.pageSize, 'write');
      self.free(buffer);
    });

    test('a pin is released once, however often it is asked', {}, (world) => {
      const bytes = new Uint8Array(100);
      const first = world.self.pin(bytes);
      const second = world.self.pin(bytes.subarray(10));
      expect(second.address).toBe(first.address + 10n);
      world.expectHeld({ pinnedBuffers: 2 });
      first.release();
      first.release();
      world.expectHeld({ pinnedBuffers: 1 });
      second.release();
      world.expectHeld({ pinnedBuffers: 0 });
    });

    test('an address is 47 bits wide and stays the same while the buffer lives', {}, (world) => {
      const bytes = new Uint8Array(5000);
      const address = world.self.addressOf(bytes);
      expect(address).toBeGreaterThan(0xffffn);
      expect(address).toBeLessThan(2n ** 47n);
      expect(world.self.addressOf(bytes)).toBe(address);
      expect(world.self.addressOf(bytes.subarray(4096))).toBe(address + 4096n);
      expect(world.self.addressOf(new DataView(bytes.buffer, 8))).toBe(address + 8n);
    });

    test('every call of a process that has exited → ESRCH', { needs: ['processes'] }, (world) => {
      const process = world.spawn();
      const [device, second] = world.devices(process);
      process.exit();
      for (const call of [
        () => world.bind(device),
        () => world.bind(second),
        () => device.bind(),
        () => world.unbind(device, 1),
        () => isPasidValid(device, 1),
        () => process.open(device.path),
        () => process.alloc(1),
        () => process.fork(),
        () => process.exec(),
        () => process.exit(),
        () => process.devices(),
        () => process.pin(new Uint8Array(1)),
      ]) {
        world.refused('ESRCH', call);
      }
    });

    test('exit gives back files, mappings, memory and pins', { needs: ['processes'] }, (world) => {
      const process = world.spawn();
      const [device] = world.devices(process);
      process.mmap(process.open(device.path), process.pageSize);
      process.alloc(1);
      process.pin(new Uint8Array(1));
      world.expectHeld({ openFiles: 1, deviceMappings: 1, allocations: 1, pinnedBuffers: 1 });
      process.exit();
      world.expectHeld({ openFiles: 0, deviceMappings: 0, allocations: 0, pinnedBuffers: 0 });
    });

    test(
      'exec gives back files, mappings, memory and pins, and the process goes on',
      { needs: ['processes'] },
      (world) => {
        const process = world.spawn();
        const [device] = world.devices(process);
        const { pid, mm } = process;
        process.mmap(process.open(device.path), process.pageSize);
        process.alloc(1);
        process.pin(new Uint8Array(1));
        process.exec();
        world.expectHeld({ openFiles: 0, deviceMappings: 0, allocations: 0, pinnedBuffers: 0 });
        expect(process).toMatchObject({ pid, alive: true });
        expect(process.mm).not.toBe(mm);
      },
    );
  },
};
