import { expect } from 'vitest';
import { WorkQueue } from 'intel-svm';
import { POLL } from '../../../lib/kernel.js';
import type { Subject } from '../suite.js';
import { RawQueue, SUCCESS } from './raw-queue.js';

/** open, mmap, ioctl, poll and close of a work queue's node: idxd's cdev.c. */
export const idxdFiles: Subject = {
  title: 'IDXD device files',
  semantics: 'modern',
  needs: ['accelerator'],
  register(test) {
    test('4.1: a dedicated queue has one opener: the second gets EBUSY', {}, (world) => {
      const [dedicated] = world.devices();
      using first = new RawQueue(dedicated);
      world.refused('EBUSY', () => first.kernel.open(dedicated.path));
      expect(first.attribute('clients')).toBe('1');
    });

    test('4.1: a shared queue may be opened again by the same process', {}, (world) => {
      const [, shared] = world.devices();
      using first = new RawQueue(shared);
      using second = new RawQueue(shared);
      expect(first.attribute('clients')).toBe('2');
      expect(second.fd).not.toBe(first.fd);
    });

    test('4.1: an open and its close are counted as a client', {}, (world) => {
      for (const device of world.devices()) {
        const clients = (): string => device.kernel.sysfs.read(`${device.sysfs}/clients`);
        expect(clients()).toBe('0');
        const fd = device.kernel.open(device.path);
        expect(clients()).toBe('1');
        device.kernel.close(fd);
        expect(clients()).toBe('0');
      }
    });

    test('4.1: a node that is not there is ENOENT, with a hint', {}, (world) => {
      const { kernel } = world.devices()[0];
      const error = world.refused('ENOENT', () => kernel.open('/dev/dsa/wq63.7'));
      expect(error).toMatchObject({ syscall: 'open', path: '/dev/dsa/wq63.7' });
      expect(error.hint).toMatch(/queue is not enabled/);
    });

    test('4.2: a portal is one page: two are EINVAL', { needs: ['portal'] }, (world) => {
      const { kernel, path } = world.devices()[0];
      const fd = kernel.open(path);
      world.refused('EINVAL', () => kernel.mmap(fd, 2 * kernel.pageSize));
      kernel.close(fd);
    });

    test('4.2: the offset of a portal mapping is ignored', { needs: ['portal'] }, (world) => {
      const { kernel, path } = world.devices()[0];
      const fd = kernel.open(path);
      for (const page of [0, 1, 7]) kernel.munmap(kernel.mmap(fd, kernel.pageSize, page * kernel.pageSize));
      kernel.close(fd);
    });

    test('4.2: one file may be mapped several times', { needs: ['portal'] }, (world) => {
      const { kernel, path } = world.devices()[0];
      const fd = kernel.open(path);
      const mappings = [1, 2, 3].map(() => kernel.mmap(fd, kernel.pageSize));
      for (const mapping of mappings) kernel.munmap(mapping);
      for (const mapping of mappings) world.refused('EINVAL', () => kernel.munmap(mapping));
      kernel.close(fd);
    });

    test(
      '4.2: a mapping holds the file: the queue is released with the last of both',
      { needs: ['portal'] },
      (world) => {
        const { kernel, path, sysfs } = world.devices()[0];
        const fd = kernel.open(path);
        const mapping = kernel.mmap(fd, kernel.pageSize);
        kernel.close(fd);
        expect(kernel.sysfs.read(`${sysfs}/clients`)).toBe('1');
        world.refused('EBUSY', () => kernel.open(path));
        kernel.munmap(mapping);
        expect(kernel.sysfs.read(`${sysfs}/clients`)).toBe('0');
        kernel.close(kernel.open(path));
      },
    );

    test('4.2: without CAP_SYS_RAWIO mmap is EPERM, with a hint at write(2)', { needs: ['no-portal'] }, (world) => {
      for (const { kernel, path } of world.devices()) {
        const fd = kernel.open(path);
        const error = world.refused('EPERM', () => kernel.mmap(fd, kernel.pageSize));
        expect(error.hint).toMatch(/CAP_SYS_RAWIO.*write\(2\)/);
        kernel.close(fd);
      }
    });

    test('4: an IDXD file has no ioctl: ENOTTY', {}, (world) => {
      const { kernel, path } = world.devices()[0];
      const fd = kernel.open(path);
      world.refused('ENOTTY', () => kernel.ioctl(fd, 0x5700));
      kernel.close(fd);
    });

    test('4.4: poll says nothing about completions', {}, async (world) => {
      using queue = new RawQueue(world.devices()[0]);
      const before = queue.kernel.poll(queue.fd, POLL.IN | POLL.RDNORM);
      await expect(queue.runByWrite({ opcode: 0 })).resolves.toMatchObject(SUCCESS);
      expect(queue.kernel.poll(queue.fd, POLL.IN | POLL.RDNORM)).toBe(before);
    });

    test('4.5: every call on a closed descriptor is EBADF', {}, (world) => {
      const { kernel, path } = world.devices()[0];
      const fd = kernel.open(path);
      kernel.close(fd);
      world.refused('EBADF', () => kernel.close(fd));
      world.refused('EBADF', () => kernel.mmap(fd, kernel.pageSize));
      world.refused('EBADF', () => kernel.write(fd, new Uint8Array(64)));
      world.refused('EBADF', () => kernel.poll(fd, POLL.IN));
      world.refused('EBADF', () => kernel.ioctl(fd, 0x5700));
    });

    test('4.5: a queue can be used, closed and used again', {}, async (world) => {
      const [dedicated] = world.devices();
      for (let round = 0; round < 3; round += 1) {
        using queue = new RawQueue(dedicated);
        await expect(queue.runByWrite({ opcode: 0 })).resolves.toMatchObject(SUCCESS);
      }
    });

    test('3.2: the PASID of a process is the same after a close and a new open', {}, (world) => {
      const [first, second] = world.devices();
      const pasid = world.bind(first);
      world.unbind(first, pasid);
      expect(world.bind(second)).toBe(pasid);
      expect(world.bind(first)).toBe(pasid);
    });

    test('4.2: a work queue takes the portal where it may, else write(2), and says which', {}, async (world) => {
      const [dedicated] = world.devices();
      await using queue = new WorkQueue(dedicated);
      expect(queue.submissionMode).toBe(world.has('portal') ? 'movdir64b' : 'write');
      expect(queue).toMatchObject({ mode: 'dedicated', size: 16 });
      await expect(queue.run({ opcode: 0 })).resolves.toMatchObject(SUCCESS);
    });

    test('4.2: a forced portal is refused as the kernel refuses it', { needs: ['no-portal'] }, (world) => {
      const [dedicated] = world.devices();
      const leaves = { enabled: dedicated, pasids: 1 };
      world.refused('EPERM', () => new WorkQueue(dedicated, { submission: 'movdir64b' }), leaves);
    });

    test('5.1: an instruction that the queue does not take is refused before anything is opened', {}, (world) => {
      const [dedicated, shared] = world.devices();
      world.refused('EINVAL', () => new WorkQueue(dedicated, { submission: 'enqcmd' }));
      world.refused('EINVAL', () => new WorkQueue(shared, { submission: 'movdir64b' }));
    });
  },
};
