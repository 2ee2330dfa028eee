import { expect } from 'vitest';
import { available, isPasidValid, probe } from 'intel-svm';
import type { Subject } from '../suite.js';

/** The probe, and intel_svm_available() which is one. */
export const probing: Subject = {
  title: 'probe and available',
  register(test) {
    test('1.1/9: a probe takes no reference', {}, (world) => {
      const [device] = world.devices();
      probe(device);
      world.expectHeld({ bindings: 0, openFiles: 0 });
    });

    test('1.1/9: intel_svm_available() is true exactly when the probe succeeds', {}, (world) => {
      for (const device of world.devices()) {
        expect(() => probe(device)).not.toThrow();
        expect(available(device)).toBe(true);
      }
    });

    test('1.1/9: a probe leaves PASID, ATS and PRI enabled, and no entry', { needs: ['device-state'] }, (world) => {
      const [device] = world.devices();
      probe(device);
      expect(world.machine.deviceState(device)).toEqual({
        pasidEnabled: true,
        atsEnabled: true,
        priEnabled: true,
        pasidTable: [],
      });
    });

    test('1.1/9: a probe of a bound device succeeds and changes no count', {}, (world) => {
      const [device] = world.devices();
      const pasid = world.bind(device, { ops: { faultCb: null } });
      const before = world.held();
      probe(device);
      expect(available(device)).toBe(true);
      expect(world.held()).toEqual(before);
      world.unbind(device, pasid);
      world.refused('EINVAL', () => isPasidValid(device, pasid));
    });

    test('1.1/9: available() many times holds nothing', {}, (world) => {
      const [device, second] = world.devices();
      for (let times = 0; times < 50; times += 1) expect(available(device) && available(second)).toBe(true);
      world.expectHeld({ bindings: 0, openFiles: 0 });
    });

    test(
      '1.1/1: available() is false on a device that no IOMMU covers, and says so quietly',
      {
        machine: {
          devices: [
            { type: 'dsa', bdf: '0000:6a:01.0', workQueues: [{ mode: 'dedicated', size: 16 }] },
            { type: 'dsa', bdf: '0000:6f:01.0', iommu: false, workQueues: [{ mode: 'dedicated', size: 16 }] },
          ],
        },
      },
      (world) => {
        const [covered, bare] = world.devices();
        expect(available(bare)).toBe(false);
        expect(available(covered)).toBe(true);
        world.expectHeld({ bindings: 0, openFiles: 0 });
      },
    );

    test(
      '1.1/2: available() is false on a device without a PASID capability',
      {
        machine: {
          devices: [
            { type: 'dsa', bdf: '0000:6a:01.0', workQueues: [{ mode: 'dedicated', size: 16 }] },
            { type: 'dsa', bdf: '0000:6f:01.0', pasidBits: 0, workQueues: [{ mode: 'dedicated', size: 16 }] },
          ],
        },
      },
      (world) => {
        const [able, unable] = world.devices();
        expect(available(unable)).toBe(false);
        expect(available(able)).toBe(true);
        world.expectHeld({ bindings: 0, openFiles: 0 });
      },
    );
  },
};
