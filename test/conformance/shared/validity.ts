import { expect } from 'vitest';
import { hardwarePasid, isPasidValid } from 'intel-svm';
import type { Subject } from '../suite.js';

const UNALLOCATED = [0, 1, -1, 0xf_ffff, 2 ** 31 - 1];

/** is_pasid_valid as every kernel, or the library in its place, answers it. */
export const validity: Subject = {
  title: 'is_pasid_valid',
  register(test) {
    for (const pasid of UNALLOCATED) {
      test(`1.4: ${pasid}, a number that is allocated nowhere → EINVAL`, {}, (world) => {
        const [device] = world.devices();
        const error = world.refused('EINVAL', () => isPasidValid(device, pasid));
        expect(error).toMatchObject({ syscall: 'is_pasid_valid', path: device.path });
      });
    }

    test('1.4: the PASID of a living address space is valid', {}, (world) => {
      const [device] = world.devices();
      expect(isPasidValid(device, world.bind(device))).toBe(true);
    });

    test('1.4: the device need not be on the PASID: asked through the other one it is valid too', {}, (world) => {
      const [first, second] = world.devices();
      expect(isPasidValid(second, world.bind(first))).toBe(true);
    });

    test('1.4: asking takes no reference', {}, (world) => {
      const [device] = world.devices();
      const pasid = world.bind(device);
      for (let times = 0; times < 3; times += 1) isPasidValid(device, pasid);
      world.unbind(device, pasid);
      world.expectHeld({ bindings: 0 });
    });

    test('1.4: after the last unbind → EINVAL', {}, (world) => {
      const [device] = world.devices();
      const pasid = world.bind(device);
      world.unbind(device, pasid);
      world.refused('EINVAL', () => isPasidValid(device, pasid));
    });

    test('1.4: while one device is left the number stays valid, through either device', {}, (world) => {
      const [first, second] = world.devices();
      const pasid = world.bind(first);
      world.bind(second);
      world.unbind(first, pasid);
      expect(isPasidValid(first, pasid)).toBe(true);
      expect(isPasidValid(second, pasid)).toBe(true);
    });

    test('1.4: hardwarePasid of a number that is not bound → EINVAL', {}, (world) => {
      const [device] = world.devices();
      const pasid = world.bind(device);
      world.unbind(device, pasid);
      world.refused('EINVAL', () => hardwarePasid(device, pasid));
    });
  },
};
