import { expect } from 'vitest';
import { hardwarePasid, isPasidValid, type SvmDevOps } from 'intel-svm';
import type { Subject } from '../suite.js';

const newOps = (): SvmDevOps => ({ faultCb: () => undefined });

/** Binds and their reference counts, as the header promises them on every kernel. */
export const bind: Subject = {
  title: 'bind and its reference counts',
  register(test) {
    test('1.1/13: a bind returns a PASID that is an integer above 0, never 0', {}, (world) => {
      const [device] = world.devices();
      const pasid = world.bind(device);
      expect(Number.isSafeInteger(pasid)).toBe(true);
      expect(pasid).toBeGreaterThan(0);
      world.expectHeld({ pasids: 1, bindings: 1 });
    });

    test('1.2: where the kernel tells it, the PASID has 20 bits', { needs: ['hardware-pasid'] }, (world) => {
      const [device] = world.devices();
      const pasid = world.bind(device);
      expect(pasid).toBeLessThan(2 ** 20);
      expect(hardwarePasid(device, pasid)).toBe(pasid);
    });

    test('1.1/6c: the same address space and ops get the same PASID, counted twice', {}, (world) => {
      const [device] = world.devices();
      const ops = newOps();
      const pasid = world.bind(device, { ops });
      expect(world.bind(device, { ops })).toBe(pasid);
      world.expectHeld({ pasids: 1 });
      world.expectUsers(device, pasid, 2);
    });

    test('1.1/6c: ops may be NULL, and NULL twice is the same ops', {}, (world) => {
      const [device] = world.devices();
      const pasid = world.bind(device, { ops: null });
      expect(world.bind(device)).toBe(pasid);
      world.expectUsers(device, pasid, 2);
    });

    test('1.1/6b: the same address space, other ops → EBUSY', {}, (world) => {
      const [device] = world.devices();
      const ops = newOps();
      const pasid = world.bind(device, { ops });
      const error = world.refused('EBUSY', () => world.bind(device, { ops: newOps() }));
      expect(error).toMatchObject({ syscall: 'bind_mm', path: device.path });
      // The refused bind took no reference: one unbind is enough.
      world.unbind(device, pasid);
      world.expectHeld({ bindings: 0 });
    });

    test('1.1/6b: NULL first, then ops → EBUSY', {}, (world) => {
      const [device] = world.devices();
      world.bind(device, { ops: null });
      world.refused('EBUSY', () => world.bind(device, { ops: newOps() }));
    });

    test('1.1/6b: ops first, then NULL → EBUSY', {}, (world) => {
      const [device] = world.devices();
      world.bind(device, { ops: newOps() });
      world.refused('EBUSY', () => world.bind(device, { ops: null }));
    });

    test('1.1/6b: ops are compared by identity: an equal copy → EBUSY', {}, (world) => {
      const [device] = world.devices();
      const ops = newOps();
      world.bind(device, { ops });
      world.refused('EBUSY', () => world.bind(device, { ops: { ...ops } }));
      world.expectHeld({ bindings: 1 });
    });

    test('1.1/6c: ops whose callback was replaced meanwhile are still the same ops', {}, (world) => {
      const [device] = world.devices();
      const ops = newOps();
      const pasid = world.bind(device, { ops });
      ops.faultCb = null;
      expect(world.bind(device, { ops })).toBe(pasid);
    });

    test('1.1/6b: EBUSY leaves the first ops in force', {}, (world) => {
      const [device] = world.devices();
      const ops = newOps();
      const pasid = world.bind(device, { ops });
      world.refused('EBUSY', () => world.bind(device, { ops: newOps() }));
      expect(world.bind(device, { ops })).toBe(pasid);
      world.expectUsers(device, pasid, 2);
    });

    test('1.3: after the last unbind the device takes other ops', {}, (world) => {
      const [device] = world.devices();
      world.unbind(device, world.bind(device, { ops: newOps() }));
      const pasid = world.bind(device, { ops: newOps() });
      expect(isPasidValid(device, pasid)).toBe(true);
      world.expectHeld({ bindings: 1 });
    });

    test('1.1: a second device of the address space joins its PASID', {}, (world) => {
      const [first, second] = world.devices();
      const pasid = world.bind(first);
      expect(world.bind(second)).toBe(pasid);
      world.expectHeld({ pasids: 1, bindings: 2 });
    });

    test('1.1: the second device joins with users 1, whatever the first one counts', {}, (world) => {
      const [first, second] = world.devices();
      const pasid = world.bind(first);
      world.bind(first);
      world.bind(first);
      world.bind(second);
      world.expectUsers(second, pasid, 1);
      world.expectUsers(first, pasid, 3);
    });

    test('1.1/6b: ops belong to the device: the second device may have others', {}, (world) => {
      const [first, second] = world.devices();
      const pasid = world.bind(first, { ops: newOps() });
      expect(world.bind(second, { ops: newOps() })).toBe(pasid);
    });

    test('1.1: each device gets an entry of its own in its PASID table', { needs: ['device-state'] }, (world) => {
      const [first, second] = world.devices();
      const pasid = world.bind(first);
      expect(world.machine.deviceState(first).pasidTable).toEqual([pasid]);
      expect(world.machine.deviceState(second).pasidTable).toEqual([]);
      world.bind(second);
      expect(world.machine.deviceState(second).pasidTable).toEqual([pasid]);
    });

    test('1.1/8: a bind switches PASID, ATS and PRI on', { needs: ['device-state'] }, (world) => {
      const [first, second] = world.devices();
      world.bind(first);
      expect(world.machine.deviceState(first)).toMatchObject({
        pasidEnabled: true,
        atsEnabled: true,
        priEnabled: true,
      });
      expect(world.machine.deviceState(second)).toMatchObject({
        pasidEnabled: false,
        atsEnabled: false,
        priEnabled: false,
      });
    });

    test('1.1/6c: a thousand binds need a thousand unbinds', {}, (world) => {
      const [device] = world.devices();
      const pasids = Array.from({ length: 1000 }, () => world.bind(device));
      expect(new Set(pasids).size).toBe(1);
      for (const pasid of pasids.slice(1)) world.unbind(device, pasid);
      expect(isPasidValid(device, pasids[0] ?? 0)).toBe(true);
      world.expectHeld({ pasids: 1, bindings: 1 });
    });

    test('1.5: another process gets another PASID on the same device', { needs: ['processes'] }, (world) => {
      const [, shared] = world.devices();
      const [, theirs] = world.devices(world.spawn());
      expect(world.bind(theirs)).not.toBe(world.bind(shared));
      world.expectHeld({ pasids: 2, bindings: 2 });
    });

    test(
      '1.1/6b: ops of another process do not count: its address space is another',
      { needs: ['processes'] },
      (world) => {
        const [, shared] = world.devices();
        const [, theirs] = world.devices(world.spawn());
        world.bind(shared, { ops: newOps() });
        world.bind(theirs, { ops: newOps() });
        world.expectHeld({ pasids: 2, bindings: 2 });
      },
    );

    test('1.1: devices() twice gives the same devices, so a second listing binds the same', {}, (world) => {
      const [device] = world.devices();
      const [again] = world.devices();
      expect(again).toBe(device);
      expect(world.bind(again)).toBe(world.bind(device));
    });
  },
};
