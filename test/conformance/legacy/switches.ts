import { expect } from 'vitest';
import { SVM_FLAG_PRIVATE_PASID, available } from 'intel-svm';
import { dsa, widths } from '../machines.js';
import type { Subject } from '../suite.js';

const PRIVATE = { flags: SVM_FLAG_PRIVATE_PASID };
const WIDE = widths(20, 20);

/** Kernels before and after v5.1, one switch at a time. */
export const switches: Subject = {
  title: 'switches between kernel versions',
  semantics: 'legacy',
  needs: ['counters', 'device-state'],
  register(test) {
    test(
      '8: PASID too large for the device: EOVERFLOW where the switch says so',
      {
        machine: { ...widths(20, 1), svm: { pasidTooLarge: 'EOVERFLOW' } },
      },
      (world) => {
        const [wide, narrow] = world.devices();
        world.bind(wide, PRIVATE);
        expect(world.bind(wide)).toBe(2);
        world.refused('EOVERFLOW', () => world.bind(narrow));
      },
    );

    test(
      '8: PASID unsupported by the device: ENOSPC where the switch says so',
      {
        machine: { ...widths(20, 0), svm: { pasidUnsupported: 'ENOSPC' } },
      },
      (world) => {
        const [, unable] = world.devices();
        world.refused('ENOSPC', () => world.bind(unable));
      },
    );

    for (const [missing, iommu, cpu] of [
      ['1 GiB pages', { oneGiB: false }, {}],
      ['five levels like the CPU', { fiveLevel: false }, { la57: true }],
    ] as const) {
      test(
        `1.7: v5.6: an IOMMU without ${missing} → ENOTSUPP (524)`,
        {
          machine: { ...WIDE, iommu, cpu, svm: { notSvmCapableIsEnotsupp: true } },
        },
        (world) => {
          const [device] = world.devices();
          expect(world.refused('ENOTSUPP', () => world.bind(device)).errno).toBe(-524);
          expect(available(device)).toBe(false);
        },
      );

      test(
        `1.7: v5.1 does not look at it: an IOMMU without ${missing} binds`,
        { machine: { ...WIDE, iommu, cpu } },
        (world) => {
          const [device] = world.devices();
          expect(world.bind(device)).toBe(1);
          expect(available(device)).toBe(true);
        },
      );
    }

    test(
      '1.7: v5.6: ENOTSUPP comes before the PCI check',
      {
        machine: { ...widths(20, 0), iommu: { oneGiB: false }, svm: { notSvmCapableIsEnotsupp: true } },
      },
      (world) => {
        const [, unable] = world.devices();
        world.refused('ENOTSUPP', () => world.bind(unable));
      },
    );

    test(
      '1.7: v5.6: … and after the search for an IOMMU',
      {
        machine: {
          devices: [dsa(0), dsa(1, { iommu: false })],
          iommu: { oneGiB: false },
          svm: { notSvmCapableIsEnotsupp: true },
        },
      },
      (world) => {
        const [, bare] = world.devices();
        world.refused('EINVAL', () => world.bind(bare));
      },
    );

    test(
      '1.7: v5.6 does not look at page-walk coherency: an IOMMU without SMPWC binds',
      { machine: { ...WIDE, iommu: { smpwc: false }, svm: { notSvmCapableIsEnotsupp: true } } },
      (world) => {
        const [device] = world.devices();
        expect(world.bind(device)).toBe(1);
      },
    );

    test(
      '1.1/12: v5.2: a five-level CPU over a four-level IOMMU → EINVAL when the entry is written; the PASID is freed',
      {
        machine: { ...WIDE, cpu: { la57: true }, iommu: { fiveLevel: false }, svm: { checksFiveLevel: true } },
      },
      (world) => {
        const [device] = world.devices();
        world.refused('EINVAL', () => world.bind(device), { enabled: device });
        expect(world.machine.deviceState(device)).toMatchObject({ pasidEnabled: true, pasidTable: [] });
      },
    );

    test(
      '1.1/12: v5.2: five levels on both sides bind',
      {
        machine: { ...WIDE, cpu: { la57: true }, svm: { checksFiveLevel: true } },
      },
      (world) => {
        const [device] = world.devices();
        expect(world.bind(device)).toBe(1);
      },
    );

    test(
      '1.1: v4.19 to v5.4-rc: a second device that joins gets no entry of its own',
      {
        machine: { ...WIDE, quirks: { secondDeviceWithoutEntry: true } },
      },
      (world) => {
        const [first, second] = world.devices();
        const pasid = world.bind(first);
        expect(world.bind(second)).toBe(pasid);
        expect(world.machine.deviceState(first).pasidTable).toEqual([pasid]);
        expect(world.machine.deviceState(second).pasidTable).toEqual([]);
      },
    );

    test(
      '1.1: … and a private PASID of the second device has one, since nothing is joined',
      {
        machine: { ...WIDE, quirks: { secondDeviceWithoutEntry: true } },
      },
      (world) => {
        const [first, second] = world.devices();
        world.bind(first);
        const own = world.bind(second, PRIVATE);
        expect(world.machine.deviceState(second).pasidTable).toEqual([own]);
      },
    );
  },
};
