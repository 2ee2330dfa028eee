import { expect } from 'vitest';
import { isPasidValid } from 'intel-svm';
import type { Subject } from '../suite.js';

/** Numbers that no kernel has allocated on a machine where nothing is bound. */
const UNALLOCATED = [0, 1, -1, 0xf_ffff, 2 ** 20 - 2, 2 ** 31 - 1, -(2 ** 31)];

/** unbind as the header promises it on every kernel. */
export const unbind: Subject = {
  title: 'unbind',
  register(test) {
    for (const pasid of UNALLOCATED) {
      test(`1.3: unbind of ${pasid}, a number that is not allocated → EINVAL`, {}, (world) => {
        const [device] = world.devices();
        const error = world.refused('EINVAL', () => world.unbind(device, pasid));
        expect(error).toMatchObject({ syscall: 'unbind_mm', path: device.path });
      });
    }

    test('1.3: a PASID that is allocated, but not on this device → EINVAL', {}, (world) => {
      const [first, second] = world.devices();
      const pasid = world.bind(first);
      world.refused('EINVAL', () => world.unbind(second, pasid));
      expect(isPasidValid(first, pasid)).toBe(true);
    });

    test('1.3: unbind twice → EINVAL the second time', {}, (world) => {
      const [device] = world.devices();
      const pasid = world.bind(device);
      world.unbind(device, pasid);
      world.refused('EINVAL', () => world.unbind(device, pasid));
    });

    test('1.3: a number near a bound one → EINVAL, and the bound one stays', {}, (world) => {
      const [device] = world.devices();
      const pasid = world.bind(device);
      world.refused('EINVAL', () => world.unbind(device, pasid + 1));
      world.refused('EINVAL', () => world.unbind(device, pasid - 1));
      expect(isPasidValid(device, pasid)).toBe(true);
    });

    test('1.3: one of two references goes, the binding stays', {}, (world) => {
      const [device] = world.devices();
      const pasid = world.bind(device);
      world.bind(device);
      world.unbind(device, pasid);
      expect(isPasidValid(device, pasid)).toBe(true);
      world.expectHeld({ pasids: 1, bindings: 1 });
    });

    test('1.3: at users 0 the entry of the device is cleared, not before', { needs: ['device-state'] }, (world) => {
      const [device] = world.devices();
      const pasid = world.bind(device);
      world.bind(device);
      world.unbind(device, pasid);
      expect(world.machine.deviceState(device).pasidTable).toEqual([pasid]);
      world.unbind(device, pasid);
      expect(world.machine.deviceState(device).pasidTable).toEqual([]);
    });

    test('1.3: a device leaves the PASID, the other one stays on it', {}, (world) => {
      const [first, second] = world.devices();
      const pasid = world.bind(first);
      world.bind(second);
      world.unbind(first, pasid);
      world.refused('EINVAL', () => world.unbind(first, pasid));
      expect(isPasidValid(second, pasid)).toBe(true);
      world.expectHeld({ pasids: 1, bindings: 1 });
    });

    test('1.3: a device that left only loses its own entry', { needs: ['device-state'] }, (world) => {
      const [first, second] = world.devices();
      const pasid = world.bind(first);
      world.bind(second);
      world.unbind(first, pasid);
      expect(world.machine.deviceState(first).pasidTable).toEqual([]);
      expect(world.machine.deviceState(second).pasidTable).toEqual([pasid]);
    });

    test('1.3: a device that left may join again, with the PASID that the other kept', {}, (world) => {
      const [first, second] = world.devices();
      const pasid = world.bind(first);
      world.bind(second);
      world.unbind(first, pasid);
      expect(world.bind(first)).toBe(pasid);
    });

    test(
      '1.3: the entry goes when the last unbind comes in any order of devices',
      { needs: ['device-state'] },
      (world) => {
        const [first, second] = world.devices();
        const pasid = world.bind(first);
        world.bind(second);
        world.bind(first);
        world.unbind(second, pasid);
        world.unbind(first, pasid);
        world.unbind(first, pasid);
        expect(world.machine.deviceState(first).pasidTable).toEqual([]);
        expect(world.machine.deviceState(second).pasidTable).toEqual([]);
        world.expectHeld({ bindings: 0 });
      },
    );
  },
};
