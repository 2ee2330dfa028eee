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
import { POLL } from '../../../lib/kernel.js';
import { dsa, widths } from '../machines.js';
import type { MachineOptions } from '../backend.js';
import type { Subject } from '../suite.js';

const FLAGS = [SVM_FLAG_PRIVATE_PASID, SVM_FLAG_SUPERVISOR_MODE, SVM_FLAG_PRIVATE_PASID | SVM_FLAG_SUPERVISOR_MODE];

/** Errors that a bind takes over from open(2), one machine each. `pasids`: the number that the mm has got by then. */
const REFUSALS: readonly {
  readonly what: string;
  readonly code: 'EINVAL' | 'ENODEV' | 'ENOSPC' | 'EOPNOTSUPP';
  readonly machine: MachineOptions;
  readonly pasids: number;
}[] = [
  {
    what: 'CONFIG_IOMMU_SVA off',
    code: 'ENODEV',
    machine: { ...widths(20, 20), config: { iommuSva: false } },
    pasids: 0,
  },
  {
    what: 'a device in no IOMMU group',
    code: 'ENODEV',
    machine: { devices: [dsa(0, { iommu: false }), dsa(1)] },
    pasids: 0,
  },
  // dmar.c: without scalable mode and PASID the unit has no PASIDs to give (pasid_supported).
  { what: 'no scalable mode', code: 'ENOSPC', machine: { ...widths(20, 20), iommu: { smts: false } }, pasids: 0 },
  {
    what: 'an IOMMU without PASID',
    code: 'ENOSPC',
    machine: { ...widths(20, 20), iommu: { pasid: false } },
    pasids: 0,
  },
  { what: 'a device without a PASID capability', code: 'ENOSPC', machine: widths(0, 20), pasids: 0 },
  {
    what: 'SVA switched off on x86',
    code: 'EOPNOTSUPP',
    machine: { ...widths(20, 20), svm: { svaOnX86: false } },
    pasids: 0,
  },
  { what: 'remapping off', code: 'EINVAL', machine: { ...widths(20, 20), iommu: { enabled: false } }, pasids: 1 },
  {
    what: 'ATS that cannot be enabled',
    code: 'EINVAL',
    machine: { devices: [dsa(0, { ats: false }), dsa(1)] },
    pasids: 1,
  },
  {
    what: 'an IOMMU without page-walk coherency',
    code: 'ENODEV',
    machine: { ...widths(20, 20), iommu: { smpwc: false } },
    pasids: 1,
  },
  {
    what: 'an IOMMU without 1 GiB pages',
    code: 'ENODEV',
    machine: { ...widths(20, 20), iommu: { oneGiB: false } },
    pasids: 1,
  },
  {
    what: 'a five-level CPU over a four-level IOMMU',
    code: 'ENODEV',
    machine: { ...widths(20, 20), cpu: { la57: true }, iommu: { fiveLevel: false } },
    pasids: 1,
  },
];

/** The bind happens in open(2) of the node (iommu_sva_bind_device). */
export const bindInOpen: Subject = {
  title: 'bind in open',
  semantics: 'modern',
  register(test) {
    test('4.1: a bind opens the node, the last unbind closes it', {}, (world) => {
      const [device] = world.devices();
      const pasid = world.bind(device);
      world.bind(device);
      world.expectHeld({ openFiles: 1, bindings: 1 });
      world.unbind(device, pasid);
      world.expectHeld({ openFiles: 1, bindings: 1 });
      world.unbind(device, pasid);
      world.expectHeld({ openFiles: 0, bindings: 0 });
    });

    for (const flags of FLAGS) {
      test(`8: private and supervisor PASIDs are refused: flags ${flags} → EOPNOTSUPP`, {}, (world) => {
        const [device] = world.devices();
        const error = world.refused('EOPNOTSUPP', () => bindMm(device, { flags }));
        expect(error).toMatchObject({
          syscall: 'bind_mm',
          path: device.path,
          hint: expect.stringContaining('without flags'),
        });
        world.refused('EOPNOTSUPP', () => probe(device, { flags }));
      });

      test(`8: … flags ${flags} on a bound device too, and its binding stays`, {}, (world) => {
        const [device] = world.devices();
        const pasid = world.bind(device);
        world.refused('EOPNOTSUPP', () => bindMm(device, { flags }));
        expect(isPasidValid(device, pasid)).toBe(true);
      });
    }

    for (const { what, code, machine, pasids } of REFUSALS) {
      test(`3.1: ${what} → ${code} from open`, { machine, needs: ['counters'] }, (world) => {
        const [device] = world.devices();
        const error = world.refused(code, () => bindMm(device), { pasids });
        expect(error).toMatchObject({ syscall: 'open', path: device.path, hint: expect.any(String) });
        expect(available(device)).toBe(false);
        world.refused(code, () => probe(device));
        world.refused('EINVAL', () => unbindMm(device, 1));
      });
    }

    test(
      '3.1: PASID already on the machine, device without the capability → EOVERFLOW: the number is not below 0 + 1',
      { machine: widths(20, 0) },
      (world) => {
        const [able, unable] = world.devices();
        world.bind(able);
        world.refused('EOVERFLOW', () => bindMm(unable));
      },
    );

    test(
      '3.1: the process’s PASID is not below the device’s maximum → EOVERFLOW',
      { machine: widths(20, 1), needs: ['processes'] },
      (world) => {
        const other = world.spawn();
        expect(world.bind(world.devices(other)[0])).toBe(1);
        const [wide, narrow] = world.devices();
        expect(world.bind(wide)).toBe(2);
        const error = world.refused('EOVERFLOW', () => bindMm(narrow));
        expect(error).toMatchObject({ syscall: 'open', path: narrow.path, hint: expect.stringContaining('narrowest') });
      },
    );

    test(
      '3.1: EOVERFLOW stays after the unbind: the number is the address space’s for life',
      { machine: widths(20, 1), needs: ['processes'] },
      (world) => {
        world.bind(world.devices(world.spawn())[0]);
        const [wide, narrow] = world.devices();
        world.unbind(wide, world.bind(wide));
        world.refused('EOVERFLOW', () => bindMm(narrow));
      },
    );

    test('3.1: no memory → ENOMEM from open', { needs: ['injection', 'counters'] }, (world) => {
      const [device] = world.devices();
      using failure = world.machine.inject('allocation-failure', 1);
      expect(world.refused('ENOMEM', () => bindMm(device))).toMatchObject({ syscall: 'open' });
      expect(failure.hits).toBe(1);
      world.bind(device);
    });

    test('3.1: no PASID free → ENOSPC from open', { needs: ['injection', 'counters'] }, (world) => {
      const [device] = world.devices();
      using exhaustion = world.machine.inject('pasid-exhaustion', 1);
      expect(world.refused('ENOSPC', () => bindMm(device))).toMatchObject({ syscall: 'open' });
      expect(exhaustion.hits).toBe(1);
      world.bind(device);
    });

    test(
      '3.1: remapping switched off: an existing bond is joined all the same, a new one → EINVAL',
      { needs: ['injection', 'processes'] },
      (world) => {
        const [, shared] = world.devices();
        const other = world.spawn();
        const fd = world.self.open(shared.path);
        const off = world.machine.inject('iommu-off');
        const again = world.self.open(shared.path);
        world.refused('EINVAL', () => other.open(shared.path), { pasids: 1 });
        off.stop();
        world.self.close(fd);
        world.self.close(again);
      },
    );

    test('3.1: an existing bond is joined without another number', { needs: ['injection', 'counters'] }, (world) => {
      const [, shared] = world.devices();
      const fd = world.self.open(shared.path);
      using numbers = world.machine.inject('pasid-exhaustion');
      const again = world.self.open(shared.path);
      expect(numbers.hits).toBe(0);
      world.expectHeld({ pasids: 1, bindings: 2, openFiles: 2 });
      world.self.close(again);
      world.self.close(fd);
    });

    test(
      '3: v6.12: a device without PRI may do SVA',
      { machine: { devices: [dsa(0, { pri: false }), dsa(1)] }, needs: ['device-state'] },
      (world) => {
        const [device] = world.devices();
        world.bind(device);
        expect(world.machine.deviceState(device)).toMatchObject({
          pasidEnabled: true,
          atsEnabled: true,
          priEnabled: false,
        });
      },
    );

    test(
      '3: SVA that works again: svaOnX86 on binds',
      { machine: { ...widths(20, 20), svm: { svaOnX86: true } } },
      (world) => {
        const [device] = world.devices();
        expect(available(device)).toBe(true);
        world.bind(device);
      },
    );

    test('4.1: a dedicated queue takes one opener: another process → EBUSY', { needs: ['processes'] }, (world) => {
      const [dedicated] = world.devices();
      const [theirs] = world.devices(world.spawn());
      world.bind(dedicated);
      expect(world.refused('EBUSY', () => bindMm(theirs))).toMatchObject({ syscall: 'open', path: theirs.path });
      expect(available(theirs)).toBe(false);
    });

    test('4.1: … and is free again after the unbind', { needs: ['processes'] }, (world) => {
      const [dedicated] = world.devices();
      const [theirs] = world.devices(world.spawn());
      world.unbind(dedicated, world.bind(dedicated));
      expect(world.bind(theirs)).toBeGreaterThan(0);
    });

    test('4.1: … and after its opener’s exit', { needs: ['processes'] }, (world) => {
      const other = world.spawn();
      world.bind(world.devices(other)[0]);
      other.exit();
      const [dedicated] = world.devices();
      expect(available(dedicated)).toBe(true);
      world.bind(dedicated);
    });

    test('4.1: binds of one process share one open file, so a dedicated queue may be bound many times', {}, (world) => {
      const [dedicated] = world.devices();
      for (let times = 0; times < 5; times += 1) world.bind(dedicated);
      expect(available(dedicated)).toBe(true);
      world.expectHeld({ openFiles: 1 });
    });

    test('4.1: a shared queue takes many processes, each with its PASID', { needs: ['processes'] }, (world) => {
      const pasids = [world.self, world.spawn(), world.spawn()].map((process) => world.bind(world.devices(process)[1]));
      expect(new Set(pasids).size).toBe(3);
    });

    test('4.1: a second open of a shared queue by the same process succeeds', { needs: ['counters'] }, (world) => {
      const [, shared] = world.devices();
      const first = world.self.open(shared.path);
      const second = world.self.open(shared.path);
      expect(world.self.pasid(second)).toBe(world.self.pasid(first));
      world.expectHeld({ pasids: 1, openFiles: 2, bindings: 2 });
      world.self.close(first);
      world.expectHeld({ openFiles: 1, bindings: 1 });
      world.self.close(second);
    });

    test('4: no ioctl → ENOTTY', {}, (world) => {
      const [device] = world.devices();
      const fd = world.self.open(device.path);
      expect(world.refused('ENOTTY', () => world.self.ioctl(fd, 0x6400))).toMatchObject({
        syscall: 'ioctl',
        path: device.path,
      });
      world.self.close(fd);
    });

    test('4.4: poll of an idle queue says nothing', {}, (world) => {
      const [device] = world.devices();
      const fd = world.self.open(device.path);
      expect(world.self.poll(fd, POLL.IN | POLL.OUT)).toBe(0);
      world.self.close(fd);
    });

    test(
      'design: another process’s PASID is unknown here: unbind and is_pasid_valid → EINVAL',
      { needs: ['processes'] },
      (world) => {
        const [, shared] = world.devices();
        const [, theirs] = world.devices(world.spawn());
        const pasid = world.bind(theirs);
        world.refused('EINVAL', () => unbindMm(shared, pasid));
        world.refused('EINVAL', () => isPasidValid(shared, pasid));
        expect(isPasidValid(theirs, pasid)).toBe(true);
      },
    );
  },
};
