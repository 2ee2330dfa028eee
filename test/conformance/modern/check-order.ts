import { expect } from 'vitest';
import { testOrder, type Check } from '../check-order.js';
import type { Subject } from '../suite.js';

/** iommu_sva_bind_device() of v7.2 in its order, as open(2) of a UACCE queue returns it. */
const CHECKS: readonly Check[] = [
  // Section 6: the driver allocates its queue before it binds.
  { row: '0', what: 'no memory', code: 'ENOMEM', inject: 'allocation-failure' },
  { row: '1', what: 'CONFIG_IOMMU_SVA off', code: 'ENODEV', machine: { config: { iommuSva: false } } },
  { row: '1b', what: 'no IOMMU group', code: 'ENODEV', target: { iommu: false } },
  {
    row: '2',
    what: 'LAM in use',
    code: 'EBUSY',
    before: ({ caller }) => caller.enableLam(),
    // An address space that has a PASID cannot switch LAM on.
    excludes: ['3'],
  },
  {
    row: '3',
    what: 'PASID of the address space too large',
    code: 'EOVERFLOW',
    target: { pasidBits: 1 },
    before: ({ world, wide }) => {
      const [theirs] = world.devices(world.spawn());
      expect(world.bind(theirs)).toBe(1);
      expect(world.bind(wide)).toBe(2);
    },
    // Who has a number needs no other.
    excludes: ['1', '5', '5b', '7', '9b', '8', '9'],
  },
  { row: '5', what: 'no PASID free', code: 'ENOSPC', inject: 'pasid-exhaustion' },
  { row: '5b', what: 'no PASID capability', code: 'ENOSPC', target: { pasidBits: 0 } },
  { row: '7', what: 'remapping off', code: 'EINVAL', inject: 'iommu-off', after: { pasids: 1 } },
  {
    row: '8',
    what: 'IOMMU without page-walk coherency',
    code: 'ENODEV',
    machine: { iommu: { smpwc: false } },
    after: { pasids: 1 },
  },
  {
    row: '9',
    what: 'five-level CPU, four-level IOMMU',
    code: 'ENODEV',
    machine: { cpu: { la57: true }, iommu: { fiveLevel: false } },
    after: { pasids: 1 },
  },
  // intel_iommu_sva_supported() looks at the unit before it looks at the device.
  { row: '9b', what: 'ATS cannot be enabled', code: 'EINVAL', target: { ats: false }, after: { pasids: 1 } },
];

/** When several errors apply, the table's order says which one open(2) returns. */
export const checkOrder: Subject = {
  title: 'order of the checks of iommu_sva_bind_device',
  semantics: 'modern',
  register(test) {
    testOrder(test, '3.1', CHECKS, ({ world, target }) => void world.bind(target));

    test(
      '4.1: a dedicated queue in use answers before the bind: EBUSY where the bind would say EOVERFLOW',
      {
        needs: ['processes', 'counters', 'device-state'],
        machine: {
          devices: [
            { type: 'dsa', bdf: '0000:6a:01.0', pasidBits: 1, workQueues: [{ mode: 'dedicated', size: 8 }] },
            { type: 'dsa', bdf: '0000:6f:01.0', workQueues: [{ mode: 'shared', size: 8 }] },
          ],
        },
      },
      (world) => {
        const [narrow] = world.devices(world.spawn());
        const pasid = world.bind(narrow);
        expect(pasid).toBe(1);
        const [mine, wide] = world.devices();
        expect(world.bind(wide)).toBe(2);
        expect(world.refused('EBUSY', () => world.bind(mine))).toMatchObject({ syscall: 'open' });
        world.unbind(narrow, pasid);
        world.refused('EOVERFLOW', () => world.bind(mine));
      },
    );
  },
};
