import { expect } from 'vitest';
import {
  SVM_FLAG_PRIVATE_PASID,
  SVM_FLAG_SUPERVISOR_MODE,
  available,
  bindMm,
  isPasidValid,
  probe,
  unbindMm,
} from 'intel-svm';
import { dsa, widths } from '../machines.js';
import type { MachineOptions } from '../backend.js';
import type { Subject } from '../suite.js';

const OFF: MachineOptions = { ...widths(20, 20), config: { intelIommuSvm: false } };
const OFF_AND_BARE: MachineOptions = { ...OFF, devices: [dsa(0, { iommu: false }), dsa(1, { pasidBits: 0 })] };

/** intel-svm.h without CONFIG_INTEL_IOMMU_SVM. */
export const stubs: Subject = {
  title: 'stubs without CONFIG_INTEL_IOMMU_SVM',
  semantics: 'legacy',
  needs: ['counters', 'device-state'],
  register(test) {
    test('1.6: bind → ENOSYS', { machine: OFF }, (world) => {
      for (const device of world.devices()) {
        expect(world.refused('ENOSYS', () => bindMm(device))).toMatchObject({
          syscall: 'bind_mm',
          path: device.path,
          hint: expect.stringContaining('CONFIG_INTEL_IOMMU_SVM'),
        });
      }
    });

    test('1.6: … with every flag', { machine: OFF }, (world) => {
      const [device] = world.devices();
      for (const flags of [SVM_FLAG_PRIVATE_PASID, SVM_FLAG_SUPERVISOR_MODE, 3]) {
        world.refused('ENOSYS', () => bindMm(device, { flags }));
      }
    });

    test(
      '1.6: the stub looks at nothing: ENOSYS on devices that could not be bound anyway',
      { machine: OFF_AND_BARE },
      (world) => {
        for (const device of world.devices()) world.refused('ENOSYS', () => bindMm(device));
      },
    );

    test('1.6: probe → ENOSYS, and enables nothing', { machine: OFF }, (world) => {
      const [device] = world.devices();
      world.refused('ENOSYS', () => probe(device));
      expect(world.machine.deviceState(device)).toMatchObject({
        pasidEnabled: false,
        atsEnabled: false,
        priEnabled: false,
      });
    });

    test('1.6: intel_svm_available() → 0', { machine: OFF }, (world) => {
      for (const device of world.devices()) expect(available(device)).toBe(false);
    });

    test('1.6: unbind is BUG(): a crash, no errno', { machine: OFF }, (world) => {
      const [device] = world.devices();
      for (const pasid of [0, 1, -1]) world.crashes(() => unbindMm(device, pasid));
    });

    test('1.6: is_pasid_valid → EINVAL for every number', { machine: OFF }, (world) => {
      const [device] = world.devices();
      for (const pasid of [0, 1, -1]) world.refused('EINVAL', () => isPasidValid(device, pasid));
    });
  },
};
