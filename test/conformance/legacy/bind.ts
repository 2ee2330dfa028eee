import { expect } from 'vitest';
import { SVM_FLAG_PRIVATE_PASID, isPasidValid, probe } from 'intel-svm';
import { dsa, widths } from '../machines.js';
import type { Subject } from '../suite.js';

const PRIVATE = { flags: SVM_FLAG_PRIVATE_PASID };

/** The errors of intel_svm_bind_mm one by one. Their order is in check-order.ts. */
export const bindErrors: Subject = {
  title: 'errors of intel_svm_bind_mm',
  semantics: 'legacy',
  needs: ['processes', 'counters', 'device-state'],
  register(test) {
    test(
      '1.1/1: a device that no DMAR unit covers → EINVAL',
      { machine: { devices: [dsa(0), dsa(1, { iommu: false })] } },
      (world) => {
        const [covered, bare] = world.devices();
        expect(world.refused('EINVAL', () => world.bind(bare))).toMatchObject({
          syscall: 'bind_mm',
          path: bare.path,
          hint: expect.stringContaining('intel_iommu=on'),
        });
        expect(world.bind(covered)).toBe(1);
      },
    );

    test(
      '1.1/1: a device without IOMMU cannot join a PASID either',
      { machine: { devices: [dsa(0), dsa(1, { iommu: false })] } },
      (world) => {
        const [covered, bare] = world.devices();
        world.bind(covered);
        world.refused('EINVAL', () => world.bind(bare));
      },
    );

    test(
      '1.1/1: DMA remapping disabled at boot → EINVAL on every device',
      { machine: { ...widths(20, 20), iommu: { enabled: false } } },
      (world) => {
        for (const device of world.devices()) world.refused('EINVAL', () => world.bind(device));
      },
    );

    test(
      '1.1/1: DMA remapping switched off later → EINVAL, and as before when it is back',
      { needs: ['injection'] },
      (world) => {
        const [device] = world.devices();
        const pasid = world.bind(device);
        const off = world.machine.inject('iommu-off');
        world.refused('EINVAL', () => world.bind(device));
        off.stop();
        expect(world.bind(device)).toBe(pasid);
      },
    );

    test('1.1/2: a PCI device without a PASID capability → EINVAL', { machine: widths(20, 0) }, (world) => {
      const [able, unable] = world.devices();
      expect(world.refused('EINVAL', () => world.bind(unable))).toMatchObject({
        syscall: 'bind_mm',
        path: unable.path,
      });
      world.bind(able);
      world.refused('EINVAL', () => world.bind(unable));
      world.refused('EINVAL', () => world.bind(unable, PRIVATE));
    });

    test(
      '1.1/6a: the shared PASID is not below the width of the device → ENOSPC',
      { machine: widths(20, 2) },
      (world) => {
        const [wide, narrow] = world.devices();
        for (let pasid = 1; pasid <= 3; pasid += 1) expect(world.bind(wide, PRIVATE)).toBe(pasid);
        expect(world.bind(wide)).toBe(4);
        expect(world.refused('ENOSPC', () => world.bind(narrow))).toMatchObject({
          syscall: 'bind_mm',
          path: narrow.path,
          hint: expect.stringContaining('bind this device first'),
        });
      },
    );

    test('1.1/6a: one below is enough: PASID 3 fits a device of two bits', { machine: widths(20, 2) }, (world) => {
      const [wide, narrow] = world.devices();
      world.bind(wide, PRIVATE);
      world.bind(wide, PRIVATE);
      const pasid = world.bind(wide);
      expect(pasid).toBe(3);
      // The allocator never gives the last two of a width (1.2), but joining is only limited by the width.
      expect(world.bind(narrow)).toBe(3);
    });

    test('1.1/6a: the other way round it works: the narrow device first', { machine: widths(20, 2) }, (world) => {
      const [wide, narrow] = world.devices();
      expect(world.bind(narrow)).toBe(1);
      expect(world.bind(wide)).toBe(1);
    });

    test(
      '1.1/6a: a private bind does not care for a shared PASID that is too large',
      { machine: widths(20, 3) },
      (world) => {
        const [wide, narrow] = world.devices();
        const blockers = Array.from({ length: 8 }, () => world.bind(wide, PRIVATE));
        world.bind(wide);
        const freed = blockers[0] ?? 0;
        world.unbind(wide, freed);
        world.refused('ENOSPC', () => world.bind(narrow));
        expect(world.bind(narrow, PRIVATE)).toBe(freed);
      },
    );

    test('1.1/7: no memory for the device record → ENOMEM', { needs: ['injection'] }, (world) => {
      const [device] = world.devices();
      using failure = world.machine.inject('allocation-failure', 1);
      expect(world.refused('ENOMEM', () => world.bind(device))).toMatchObject({
        syscall: 'bind_mm',
        path: device.path,
      });
      expect(failure.hits).toBe(1);
      world.bind(device);
    });

    test('1.1/7: joining from a second device needs memory too', { needs: ['injection'] }, (world) => {
      const [first, second] = world.devices();
      world.bind(first);
      using failure = world.machine.inject('allocation-failure', 1);
      world.refused('ENOMEM', () => world.bind(second));
      expect(failure.hits).toBe(1);
    });

    test('1.1/6c comes before 7: another reference needs no memory', { needs: ['injection'] }, (world) => {
      const [device] = world.devices();
      const pasid = world.bind(device);
      using failure = world.machine.inject('allocation-failure');
      expect(world.bind(device)).toBe(pasid);
      expect(failure.hits).toBe(0);
    });

    for (const missing of ['pasid', 'smts'] as const) {
      test(
        `1.1/8: an IOMMU without ${missing} cannot enable PASID on the device → EINVAL`,
        {
          machine: { ...widths(20, 20), iommu: { [missing]: false } },
        },
        (world) => {
          const [device] = world.devices();
          world.refused('EINVAL', () => world.bind(device));
          world.refused('EINVAL', () => probe(device));
        },
      );
    }

    test('1.1/10: no number free → ENOSPC; PASID stays enabled on the device', { needs: ['injection'] }, (world) => {
      const [device] = world.devices();
      using exhaustion = world.machine.inject('pasid-exhaustion', 1);
      expect(world.refused('ENOSPC', () => world.bind(device), { enabled: device })).toMatchObject({
        syscall: 'bind_mm',
      });
      expect(exhaustion.hits).toBe(1);
      expect(world.machine.deviceState(device).pasidEnabled).toBe(true);
    });

    test('1.1/10: joining allocates no number, so it succeeds when none is free', { needs: ['injection'] }, (world) => {
      const [first, second] = world.devices();
      const pasid = world.bind(first);
      using exhaustion = world.machine.inject('pasid-exhaustion');
      expect(world.bind(first)).toBe(pasid);
      expect(world.bind(second)).toBe(pasid);
      expect(exhaustion.hits).toBe(0);
    });

    test(
      '1.1/11: the mmu notifier cannot be registered → its errno, and the PASID is freed',
      { needs: ['injection'] },
      (world) => {
        const [device] = world.devices();
        using failure = world.machine.inject('notifier-failure', 1);
        world.refused('ENOMEM', () => world.bind(device), { enabled: device });
        expect(failure.hits).toBe(1);
        expect(world.bind(device)).toBe(1);
      },
    );

    test(
      '1.1/12: an IOMMU without first-level translation → EINVAL, and the PASID is freed',
      {
        machine: { ...widths(20, 20), iommu: { flts: false } },
      },
      (world) => {
        const [device] = world.devices();
        world.refused('EINVAL', () => world.bind(device), { enabled: device });
        world.refused('EINVAL', () => world.bind(device, PRIVATE), { enabled: device });
        expect(world.machine.deviceState(device).pasidTable).toEqual([]);
      },
    );

    test(
      '1.1/13: nothing is returned on an error: a refused bind does not disturb the PASID held',
      { needs: ['injection'] },
      (world) => {
        const [first, second] = world.devices();
        const pasid = world.bind(first);
        using failure = world.machine.inject('allocation-failure', 1);
        world.refused('ENOMEM', () => world.bind(second));
        expect(failure.hits).toBe(1);
        expect(isPasidValid(first, pasid)).toBe(true);
        expect(world.bind(second)).toBe(pasid);
      },
    );

    test(
      '1.1: two nodes of one accelerator are one device of the kernel: one count, one ops',
      {
        machine: {
          devices: [
            {
              type: 'dsa',
              bdf: '0000:6a:01.0',
              workQueues: [
                { mode: 'shared', size: 8 },
                { mode: 'shared', size: 8 },
              ],
            },
          ],
        },
      },
      (world) => {
        const [first, second] = world.devices();
        const ops = { faultCb: null };
        const pasid = world.bind(first, { ops });
        world.refused('EBUSY', () => world.bind(second));
        expect(world.bind(second, { ops })).toBe(pasid);
        world.unbind(second, pasid);
        expect(isPasidValid(first, pasid)).toBe(true);
      },
    );

    test('1.1: the kernel ignores unknown flag bits (it is the library that refuses them)', {}, (world) => {
      const [device] = world.devices();
      const { svm } = device.kernel;
      expect(svm?.bindMm(device, 0xf0, null)).toBe(1);
      expect(world.bind(device)).toBe(1);
      svm?.unbindMm(device, 1);
      expect(world.held()).toMatchObject({ bindings: 1 });
    });
  },
};
