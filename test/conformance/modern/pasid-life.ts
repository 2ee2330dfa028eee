import { expect } from 'vitest';
import { bindMm, isPasidValid, probe, unbindMm } from 'intel-svm';
import { POLL } from '../../../lib/kernel.js';
import { widths } from '../machines.js';
import type { Process } from '../backend.js';
import type { Subject } from '../suite.js';
import type { World } from '../world.js';

const upTo = (last: number): number[] => Array.from({ length: last }, (_, index) => index + 1);

/** Processes that bind a device get these numbers, one each, and then none. */
function exhaust(world: World, index: number, numbers: readonly number[]): void {
  for (const pasid of numbers) expect(world.bind(world.device(index, world.spawn()))).toBe(pasid);
  const device = world.device(index, world.spawn());
  world.refused('ENOSPC', () => bindMm(device));
}

/** How long a number lasts, and which one it is (v7.2). */
export const pasidLife: Subject = {
  title: 'life of a PASID',
  semantics: 'modern',
  needs: ['processes', 'counters', 'device-state', 'hardware-pasid'],
  register(test) {
    test('3.2: the PASID is allocated at the first bind, not before', {}, (world) => {
      expect(world.held()).toMatchObject({ pasids: 0 });
      const [device] = world.devices();
      world.bind(device);
      expect(world.held()).toMatchObject({ pasids: 1 });
    });

    test('3.2: … and kept at the last unbind', {}, (world) => {
      const [device] = world.devices();
      world.unbind(device, world.bind(device));
      expect(world.held()).toMatchObject({ pasids: 1, bindings: 0, openFiles: 0 });
    });

    test('3.2: close and reopen gives the same number', {}, (world) => {
      const [, shared] = world.devices();
      const [, theirs] = world.devices(world.spawn());
      const pasid = world.bind(shared);
      world.unbind(shared, pasid);
      expect(world.bind(theirs)).not.toBe(pasid);
      expect(world.bind(shared)).toBe(pasid);
    });

    test('3.2: one number per process for all devices, whichever was first', {}, (world) => {
      const [first, second] = world.devices();
      const pasid = world.bind(second);
      expect(world.bind(first)).toBe(pasid);
      world.unbind(second, pasid);
      expect(world.bind(second)).toBe(pasid);
      expect(world.held()).toMatchObject({ pasids: 1 });
    });

    test('3.2: a probe allocates the number too: it is a bind', {}, (world) => {
      const [device] = world.devices();
      probe(device);
      expect(world.held()).toMatchObject({ pasids: 1, bindings: 0 });
      expect(world.bind(device)).toBe(1);
    });

    test('3.2: the number is what the file tells', {}, (world) => {
      const [device] = world.devices();
      const fd = world.self.open(device.path);
      expect(world.self.pasid(fd)).toBe(1);
      world.self.close(fd);
      expect(world.bind(device)).toBe(1);
    });

    test('1.2: the first number is 1, then up by one, lowest free first', {}, (world) => {
      const processes = upTo(5).map(() => world.spawn());
      const bindAll = (chosen: readonly Process[]): number[] =>
        chosen.map((process) => world.bind(world.devices(process)[1]));
      expect(bindAll(processes)).toEqual([1, 2, 3, 4, 5]);
      processes[3]?.exit();
      processes[1]?.exit();
      expect(bindAll([world.spawn(), world.spawn(), world.spawn()])).toEqual([2, 4, 6]);
    });

    for (const bits of [1, 2, 3]) {
      const last = 2 ** bits - 1;
      test(
        `1.2: v7.2 ends at max - 1: a device of ${bits} bits gets 1 … ${last}`,
        { machine: widths(20, bits) },
        (world) => {
          exhaust(world, 1, upTo(last));
        },
      );
    }

    test(
      '1.2: the IOMMU’s width limits a wider device',
      { machine: { ...widths(20, 20), iommu: { pasidBits: 2 } } },
      (world) => {
        exhaust(world, 0, upTo(3));
      },
    );

    test(
      '3.1: no PASID free on a narrow device → ENOSPC, while a wide one still gives',
      { machine: widths(20, 1) },
      (world) => {
        exhaust(world, 1, [1]);
        const [wide, narrow] = world.devices();
        world.refused('ENOSPC', () => bindMm(narrow));
        expect(world.bind(wide)).toBe(2);
        world.refused('EOVERFLOW', () => bindMm(narrow));
      },
    );

    test('3.2: an unbind frees no number for others, an exit does', { machine: widths(20, 1) }, (world) => {
      const owner = { process: world.spawn(), pasid: 1 };
      expect(world.bind(world.device(1, owner.process))).toBe(owner.pasid);
      exhaust(world, 1, []);
      const [, narrow] = world.devices();
      world.unbind(world.devices(owner.process)[1], owner.pasid);
      world.refused('ENOSPC', () => bindMm(narrow));
      owner.process.exit();
      expect(world.bind(narrow)).toBe(1);
    });

    test('3.2: exit frees the number, and everything with it', {}, (world) => {
      const process = world.spawn();
      for (const device of world.devices(process)) world.bind(device);
      expect(world.held()).toMatchObject({ pasids: 1, bindings: 2, openFiles: 2 });
      process.exit();
      expect(world.held()).toMatchObject({ pasids: 0, bindings: 0, openFiles: 0 });
    });

    test('3.2: exec: new mm, no PASID; the old number is free', {}, (world) => {
      const process = world.spawn();
      const [, theirs] = world.devices(process);
      const pasid = world.bind(theirs);
      process.exec();
      expect(world.held()).toMatchObject({ pasids: 0, bindings: 0, openFiles: 0 });
      world.refused('EINVAL', () => isPasidValid(theirs, pasid));
      world.refused('EINVAL', () => unbindMm(theirs, pasid));
      const [, shared] = world.devices();
      expect(world.bind(shared)).toBe(pasid);
      expect(world.bind(theirs)).not.toBe(pasid);
    });

    test('3.2: fork: the child’s mm has no PASID; it gets its own', {}, (world) => {
      const [, shared] = world.devices();
      const pasid = world.bind(shared);
      const child = world.fork(world.self);
      const [, theirs] = world.devices(child);
      world.refused('EINVAL', () => isPasidValid(theirs, pasid));
      world.refused('EINVAL', () => unbindMm(theirs, pasid));
      expect(world.held()).toMatchObject({ pasids: 1 });
      expect(world.bind(theirs)).not.toBe(pasid);
      expect(world.held()).toMatchObject({ pasids: 2 });
    });

    test('1.1/6b: the child’s ops are not the parent’s', {}, (world) => {
      const [, shared] = world.devices();
      world.bind(shared, { ops: { faultCb: null } });
      const [, theirs] = world.devices(world.fork(world.self));
      expect(world.bind(theirs, { ops: { faultCb: null } })).toBe(2);
    });

    test(
      '3.2: a file that a child inherited holds the bond, the number and the queue after the parent’s exit',
      {},
      (world) => {
        const parent = world.spawn();
        const [dedicated] = world.devices(parent);
        const pasid = world.bind(dedicated);
        const child = world.fork(parent);
        parent.exit();
        expect(world.held()).toMatchObject({ pasids: 1, bindings: 1, openFiles: 1 });
        // Torn down by the mm notifier before the files were released.
        expect(world.machine.deviceState(dedicated).pasidTable).toEqual([]);
        const [mine, shared] = world.devices();
        world.refused('EBUSY', () => bindMm(mine));
        expect(world.bind(shared)).not.toBe(pasid);
        child.exit();
        expect(world.held()).toMatchObject({ pasids: 1, bindings: 1, openFiles: 1 });
        expect(world.bind(mine)).toBe(world.bind(shared));
      },
    );

    test('3.2: the inherited file is of no use to the child: mmap EPERM, write EPERM, poll POLLNVAL', {}, (world) => {
      const [device] = world.devices();
      const { self } = world;
      const fd = self.open(device.path);
      const child = world.fork(self);
      expect(world.refused('EPERM', () => child.mmap(fd, child.pageSize))).toMatchObject({
        syscall: 'mmap',
        path: device.path,
      });
      expect(world.refused('EPERM', () => child.write(fd, new Uint8Array(64)))).toMatchObject({ syscall: 'write' });
      expect(child.poll(fd, POLL.IN)).toBe(POLL.NVAL);
      expect(self.poll(fd, POLL.IN)).toBe(0);
      child.close(fd);
      self.close(fd);
    });

    test('3.2: the parent’s unbind leaves the child’s file: the bond goes with the child', {}, (world) => {
      const [dedicated] = world.devices();
      const pasid = world.bind(dedicated);
      const child = world.fork(world.self);
      world.unbind(dedicated, pasid);
      expect(world.held()).toMatchObject({ bindings: 1, openFiles: 1 });
      world.refused('EBUSY', () => bindMm(dedicated));
      child.exit();
      expect(world.held()).toMatchObject({ bindings: 0, openFiles: 0 });
      expect(world.bind(dedicated)).toBe(pasid);
    });

    test('3.2: exec closes the files, also those a parent opened', {}, (world) => {
      const [dedicated] = world.devices();
      const pasid = world.bind(dedicated);
      const child = world.fork(world.self);
      child.exec();
      expect(world.held()).toMatchObject({ openFiles: 1, bindings: 1 });
      world.unbind(dedicated, pasid);
      expect(world.held()).toMatchObject({ openFiles: 0, bindings: 0 });
    });

    test('3.2: the entry of a device is there from the first open to the last close', {}, (world) => {
      const [, shared] = world.devices();
      const first = world.self.open(shared.path);
      const second = world.self.open(shared.path);
      expect(world.machine.deviceState(shared).pasidTable).toEqual([1]);
      world.self.close(first);
      expect(world.machine.deviceState(shared).pasidTable).toEqual([1]);
      world.self.close(second);
      expect(world.machine.deviceState(shared).pasidTable).toEqual([]);
    });

    test('4.2: a mapping holds the bond after close, until munmap', {}, (world) => {
      const [device] = world.devices();
      const { self } = world;
      const fd = self.open(device.path);
      const mapping = self.mmap(fd, self.pageSize);
      self.close(fd);
      expect(world.machine.deviceState(device).pasidTable).toEqual([1]);
      expect(world.held()).toMatchObject({ bindings: 1, openFiles: 1, deviceMappings: 1 });
      self.munmap(mapping);
      expect(world.machine.deviceState(device).pasidTable).toEqual([]);
      expect(world.held()).toMatchObject({ bindings: 0, openFiles: 0, deviceMappings: 0 });
    });

    test('3.2: exit of one process leaves the others’ numbers and entries alone', {}, (world) => {
      const other = world.spawn();
      const [, shared] = world.devices();
      world.bind(world.devices(other)[1]);
      const pasid = world.bind(shared);
      other.exit();
      expect(isPasidValid(shared, pasid)).toBe(true);
      expect(world.machine.deviceState(shared).pasidTable).toEqual([pasid]);
    });
  },
};

/** Linear address masking and SVA exclude each other. */
export const lam: Subject = {
  title: 'LAM',
  semantics: 'modern',
  needs: ['processes', 'counters', 'lam'],
  register(test) {
    test('3.1: a process that uses LAM → EBUSY from open', {}, (world) => {
      const process = world.spawn();
      const [device] = world.devices(process);
      process.enableLam();
      const error = world.refused('EBUSY', () => bindMm(device));
      expect(error).toMatchObject({ syscall: 'open', path: device.path, hint: expect.stringContaining('LAM') });
      world.refused('EBUSY', () => probe(device));
    });

    test('3.1: … unless it has opted in with ARCH_FORCE_TAGGED_SVA', {}, (world) => {
      const process = world.spawn();
      const [device] = world.devices(process);
      process.enableLam();
      process.forceTaggedSva();
      expect(world.bind(device)).toBe(1);
    });

    test('3.1: LAM enabling fails with EINVAL once the process has a PASID', {}, (world) => {
      const process = world.spawn();
      const [device] = world.devices(process);
      world.bind(device);
      expect(world.refused('EINVAL', () => process.enableLam())).toMatchObject({ syscall: 'arch_prctl' });
      expect(world.bind(device)).toBe(1);
    });

    test('3.1: … and still after the unbind, since the PASID stays', {}, (world) => {
      const process = world.spawn();
      const [device] = world.devices(process);
      world.unbind(device, world.bind(device));
      world.refused('EINVAL', () => process.enableLam());
    });

    test('3.1: … but not for one that opted in', {}, (world) => {
      const process = world.spawn();
      const [device] = world.devices(process);
      process.forceTaggedSva();
      world.bind(device);
      expect(() => process.enableLam()).not.toThrow();
      expect(world.bind(device)).toBe(1);
    });

    test('3.1: LAM is the address space’s: after exec it is gone', {}, (world) => {
      const process = world.spawn();
      const [device] = world.devices(process);
      process.enableLam();
      process.exec();
      expect(world.bind(device)).toBe(1);
    });

    test('3.1: another process’s LAM does not matter', {}, (world) => {
      world.spawn().enableLam();
      const [device] = world.devices();
      expect(world.bind(device)).toBe(1);
    });
  },
};
