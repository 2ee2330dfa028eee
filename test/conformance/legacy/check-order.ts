import { SVM_FLAG_PRIVATE_PASID, SVM_FLAG_SUPERVISOR_MODE, probe } from 'intel-svm';
import { expect } from 'vitest';
import { testOrder, type Check } from '../check-order.js';
import { widths } from '../machines.js';
import type { Subject } from '../suite.js';

/** A process that has bound something needs a machine where binding works. */
const BOUND_BEFORE = ['1.6', '8', '12', '1.7'];

/** The checks of intel_svm_bind_mm in their order; each bind is a user-mode one unless its condition says otherwise. */
const CHECKS: readonly Check[] = [
  { row: '1.6', what: 'CONFIG_INTEL_IOMMU_SVM off', code: 'ENOSYS', machine: { config: { intelIommuSvm: false } } },
  { row: '1', what: 'no DMAR unit', code: 'EINVAL', target: { iommu: false } },
  { row: '1b', what: 'DMA remapping disabled', code: 'EINVAL', inject: 'iommu-off', excludes: ['1'] },
  {
    row: '1.7',
    what: 'v5.6: IOMMU not SVM-capable',
    code: 'ENOTSUPP',
    machine: { iommu: { oneGiB: false }, svm: { notSvmCapableIsEnotsupp: true } },
  },
  { row: '2', what: 'no PASID capability', code: 'EINVAL', target: { pasidBits: 0 } },
  {
    row: '4',
    what: 'supervisor mode without SRS',
    code: 'EINVAL',
    machine: { iommu: { srs: false } },
    flags: SVM_FLAG_SUPERVISOR_MODE,
    // A supervisor bind needs no mm, finds no user PASID and registers no notifier.
    excludes: ['5', '6a', '6b', '11'],
  },
  { row: '5', what: 'kernel thread in user mode', code: 'BUG', kernelThread: true, excludes: ['6a', '6b', '11'] },
  {
    row: '6a',
    what: 'PASID of the address space too large',
    code: 'ENOSPC',
    target: { pasidBits: 1 },
    before: ({ world, wide }) => {
      expect(world.bind(wide, { flags: SVM_FLAG_PRIVATE_PASID })).toBe(1);
      expect(world.bind(wide)).toBe(2);
    },
    // Found is found: no number is allocated, and a device that is on the PASID already cannot be too narrow for it.
    excludes: [...BOUND_BEFORE, '6b', '10', '11'],
  },
  {
    row: '6b',
    what: 'other ops',
    code: 'EBUSY',
    before: ({ world, target }) => {
      world.bind(target, { ops: { faultCb: null } });
    },
    excludes: [...BOUND_BEFORE, '1', '2', '10', '11'],
    // The bind before it did that.
    after: { enabled: true },
  },
  { row: '7', what: 'no memory', code: 'ENOMEM', inject: 'allocation-failure' },
  { row: '8', what: 'PASID cannot be enabled', code: 'EINVAL', machine: { iommu: { pasid: false } } },
  { row: '10', what: 'no number free', code: 'ENOSPC', inject: 'pasid-exhaustion', after: { enabled: true } },
  { row: '11', what: 'notifier not registered', code: 'ENOMEM', inject: 'notifier-failure', after: { enabled: true } },
  {
    row: '12',
    what: 'no first-level translation',
    code: 'EINVAL',
    machine: { iommu: { flts: false } },
    after: { enabled: true },
  },
];

/** When several errors apply, the table's order says which one is seen. */
export const checkOrder: Subject = {
  title: 'order of the checks of intel_svm_bind_mm',
  semantics: 'legacy',
  register(test) {
    testOrder(test, '1.1', CHECKS, ({ world, target }, flags) => void world.bind(target, { flags }));

    const needs = ['counters', 'device-state', 'injection', 'processes'] as const;
    const afterTheReturn = ['pasid-exhaustion', 'notifier-failure'] as const;
    for (const kind of afterTheReturn) {
      test(`1.1/9: a probe returns before rows 10 to 12: ${kind} does not strike`, { needs }, (world) => {
        const [device] = world.devices();
        using injection = world.machine.inject(kind);
        probe(device);
        expect(injection.hits).toBe(0);
      });
    }

    test(
      '1.1/9: a probe returns before row 12: without first-level translation it succeeds',
      {
        needs,
        machine: { ...widths(20, 20), iommu: { flts: false } },
      },
      (world) => {
        const [device] = world.devices();
        probe(device);
        expect(world.machine.deviceState(device).pasidEnabled).toBe(true);
        world.expectHeld({ pasids: 0, bindings: 0 });
      },
    );

    test('1.1/9: a probe skips row 6: no EBUSY on a device with other ops', { needs }, (world) => {
      const [device] = world.devices();
      world.bind(device, { ops: { faultCb: null } });
      probe(device);
      world.expectHeld({ bindings: 1 });
    });

    test(
      '1.1/9: a probe skips row 6: no ENOSPC where the shared PASID is too large',
      { needs, machine: widths(20, 1) },
      (world) => {
        const [wide, narrow] = world.devices();
        world.bind(wide, { flags: SVM_FLAG_PRIVATE_PASID });
        expect(world.bind(wide)).toBe(2);
        probe(narrow);
        world.refused('ENOSPC', () => world.bind(narrow));
      },
    );

    test(
      '1.1/9: a probe allocates nothing: it succeeds on a device too narrow for any number',
      { needs, machine: widths(20, 1) },
      (world) => {
        const [, narrow] = world.devices();
        probe(narrow);
        world.expectHeld({ pasids: 0 });
      },
    );

    for (const [title, code, machine, kind] of [
      ['1: no DMAR unit', 'EINVAL', { iommu: { enabled: false } }, undefined],
      ['2: no PASID capability', 'EINVAL', widths(0, 0), undefined],
      ['7: no memory', 'ENOMEM', {}, 'allocation-failure'],
      ['8: PASID cannot be enabled', 'EINVAL', { iommu: { pasid: false } }, undefined],
    ] as const) {
      test(
        `1.1/9: a probe runs check ${title} → ${code}`,
        { needs, machine: { ...widths(20, 20), ...machine } },
        (world) => {
          const [device] = world.devices();
          using injection = kind === undefined ? undefined : world.machine.inject(kind, 1);
          world.refused(code, () => probe(device));
          expect(injection?.hits ?? 1).toBe(1);
        },
      );
    }
  },
};
