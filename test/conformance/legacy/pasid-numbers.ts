import { expect } from 'vitest';
import { SVM_FLAG_PRIVATE_PASID, SVM_FLAG_SUPERVISOR_MODE } from 'intel-svm';
import { widths } from '../machines.js';
import type { Subject } from '../suite.js';
import type { World } from '../world.js';

const PRIVATE = { flags: SVM_FLAG_PRIVATE_PASID };

/** Private binds of a device get these numbers, and then none. */
function exhaust(world: World, index: number, numbers: readonly number[]): void {
  const device = world.device(index);
  for (const pasid of numbers) expect(world.bind(device, PRIVATE)).toBe(pasid);
  world.refused('ENOSPC', () => world.bind(device, PRIVATE), { enabled: device });
}

const upTo = (last: number): number[] => Array.from({ length: last }, (_, index) => index + 1);

/** Which numbers are handed out (v5.1). */
export const pasidNumbers: Subject = {
  title: 'PASID numbers',
  semantics: 'legacy',
  needs: ['processes', 'counters', 'device-state', 'hardware-pasid'],
  register(test) {
    test('1.2: the first number is 1, since 0 means "request without PASID"', {}, (world) => {
      const [device] = world.devices();
      expect(world.bind(device)).toBe(1);
    });

    test('1.2: numbers go up by one, lowest free first', {}, (world) => {
      const [device] = world.devices();
      expect(upTo(10).map(() => world.bind(device, PRIVATE))).toEqual(upTo(10));
    });

    test('1.2: the name space is system-wide: devices and processes draw from one', {}, (world) => {
      const [first, second] = world.devices();
      const [third, fourth] = world.devices(world.spawn());
      expect(world.bind(first, PRIVATE)).toBe(1);
      expect(world.bind(second, PRIVATE)).toBe(2);
      expect(world.bind(third, PRIVATE)).toBe(3);
      expect(world.bind(fourth)).toBe(4);
      expect(world.bind(first, { flags: SVM_FLAG_SUPERVISOR_MODE })).toBe(5);
    });

    test('1.2: a freed number is handed out again at once', {}, (world) => {
      const [device] = world.devices();
      for (let times = 0; times < 5; times += 1) {
        const pasid = world.bind(device);
        expect(pasid).toBe(1);
        world.unbind(device, pasid);
      }
    });

    test('1.2: the lowest of several freed numbers goes first, whatever the order of the unbinds', {}, (world) => {
      const [device] = world.devices();
      for (const pasid of upTo(6)) expect(world.bind(device, PRIVATE)).toBe(pasid);
      for (const pasid of [4, 2, 5]) world.unbind(device, pasid);
      expect([1, 2, 3, 4].map(() => world.bind(device, PRIVATE))).toEqual([2, 4, 5, 7]);
    });

    test('1.2: another process gets the number that this one freed', {}, (world) => {
      const [device] = world.devices();
      const [theirs] = world.devices(world.spawn());
      const pasid = world.bind(device);
      world.unbind(device, pasid);
      expect(world.bind(theirs)).toBe(pasid);
    });

    for (const bits of [2, 3, 4, 5]) {
      const last = 2 ** bits - 2;
      test(
        `1.2: v5.1 ends at max - 2: a device of ${bits} bits gets 1 … ${last}`,
        { machine: widths(20, bits) },
        (world) => {
          exhaust(world, 1, upTo(last));
        },
      );
    }

    test('1.2: a device of one bit gets no number at all in v5.1', { machine: widths(20, 1) }, (world) => {
      exhaust(world, 1, []);
    });

    test(
      '1.2: 5.4.y ends at max - 1: a device of 4 bits gets 1 … 15',
      { machine: { ...widths(20, 4), svm: { allocationEnd: -1 } } },
      (world) => {
        exhaust(world, 1, upTo(15));
      },
    );

    test(
      '1.2: the IOMMU’s width limits a wider device',
      { machine: { ...widths(20, 20), iommu: { pasidBits: 4 } } },
      (world) => {
        exhaust(world, 0, upTo(14));
      },
    );

    test(
      '1.2: a narrower device limits the IOMMU',
      { machine: { ...widths(3, 20), iommu: { pasidBits: 4 } } },
      (world) => {
        exhaust(world, 0, upTo(6));
        const [, wide] = world.devices();
        expect(world.bind(wide, PRIVATE)).toBe(7);
      },
    );

    test(
      '1.1/10: numbers held through a wide device are missing on a narrow one',
      { machine: widths(20, 2) },
      (world) => {
        const [wide, narrow] = world.devices();
        expect(world.bind(wide, PRIVATE)).toBe(1);
        expect(world.bind(wide, PRIVATE)).toBe(2);
        world.refused('ENOSPC', () => world.bind(narrow, PRIVATE), { enabled: narrow });
        expect(world.bind(wide, PRIVATE)).toBe(3);
        world.unbind(wide, 2);
        expect(world.bind(narrow, PRIVATE)).toBe(2);
      },
    );

    test('1.1/10: exhausted for private binds, still open for those that join', { machine: widths(20, 2) }, (world) => {
      const [wide, narrow] = world.devices();
      expect(world.bind(wide)).toBe(1);
      exhaust(world, 1, [2]);
      expect(world.bind(narrow)).toBe(1);
    });

    test('1.1/10: when one process frees its number, the next one gets it', { machine: widths(20, 2) }, (world) => {
      exhaust(world, 1, [1, 2]);
      const [, narrow] = world.devices();
      const [, theirs] = world.devices(world.spawn());
      world.refused('ENOSPC', () => world.bind(theirs), { enabled: theirs });
      world.unbind(narrow, 2);
      expect(world.bind(theirs)).toBe(2);
    });

    test('1.1/11: a bind that fails after the allocation leaves its number free', { needs: ['injection'] }, (world) => {
      const [device] = world.devices();
      expect(world.bind(device, PRIVATE)).toBe(1);
      using failure = world.machine.inject('notifier-failure', 3);
      for (let times = 0; times < 3; times += 1) {
        world.refused('ENOMEM', () => world.bind(device, PRIVATE), { enabled: device });
      }
      expect(failure.hits).toBe(3);
      expect(world.bind(device, PRIVATE)).toBe(2);
    });
  },
};
