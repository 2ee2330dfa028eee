import { expect } from 'vitest';
import { isPasidValid, SVM_FLAG_PRIVATE_PASID } from 'intel-svm';
import { dsa, widths } from '../machines.js';
import type { Subject } from '../suite.js';

/** intel_svm_unbind_mm and intel_svm_is_pasid_valid: what only the functions of the header do. */
export const unbindAndValidity: Subject = {
  title: 'intel_svm_unbind_mm and intel_svm_is_pasid_valid',
  semantics: 'legacy',
  needs: ['processes', 'counters', 'device-state'],
  register(test) {
    test('1.3: any process may unbind any (device, PASID): the caller’s mm is not checked', {}, (world) => {
      const [device] = world.devices();
      const [theirs] = world.devices(world.spawn());
      const pasid = world.bind(device);
      world.unbind(theirs, pasid);
      world.refused('EINVAL', () => isPasidValid(device, pasid));
      expect(world.held()).toMatchObject({ pasids: 0, bindings: 0 });
    });

    test('1.3: … one reference at a time', {}, (world) => {
      const [device] = world.devices();
      const [theirs] = world.devices(world.spawn());
      const pasid = world.bind(device);
      world.bind(device);
      world.unbind(theirs, pasid);
      expect(isPasidValid(device, pasid)).toBe(true);
      expect(world.machine.deviceState(device).pasidTable).toEqual([pasid]);
    });

    test('1.3: … also a private one', {}, (world) => {
      const [device] = world.devices();
      const [theirs] = world.devices(world.spawn());
      const pasid = world.bind(device, { flags: SVM_FLAG_PRIVATE_PASID });
      world.unbind(theirs, pasid);
      expect(world.held()).toMatchObject({ pasids: 0, bindings: 0 });
    });

    test('1.3: … but through a device that is on the PASID: its own other device → EINVAL', {}, (world) => {
      const [device] = world.devices();
      const [, theirs] = world.devices(world.spawn());
      const pasid = world.bind(device);
      world.refused('EINVAL', () => world.unbind(theirs, pasid));
    });

    test('1.3: a kernel thread may unbind too', {}, (world) => {
      const [device] = world.devices();
      const [theirs] = world.devices(world.kernelThread());
      world.unbind(theirs, world.bind(device));
      expect(world.held()).toMatchObject({ pasids: 0, bindings: 0 });
    });

    test('1.3: the last device frees the number, not the first', {}, (world) => {
      const [first, second] = world.devices();
      const pasid = world.bind(first);
      world.bind(second);
      world.unbind(first, pasid);
      expect(world.held()).toMatchObject({ pasids: 1 });
      world.unbind(second, pasid);
      expect(world.held()).toMatchObject({ pasids: 0 });
    });

    test(
      '1.3: unbind through a device without IOMMU → EINVAL',
      { machine: { devices: [dsa(0), dsa(1, { iommu: false })] } },
      (world) => {
        const [covered, bare] = world.devices();
        const pasid = world.bind(covered);
        world.refused('EINVAL', () => world.unbind(bare, pasid));
      },
    );

    test('1.3: unbind while DMA remapping is off → EINVAL', { needs: ['injection'] }, (world) => {
      const [device] = world.devices();
      const pasid = world.bind(device);
      const off = world.machine.inject('iommu-off');
      world.refused('EINVAL', () => world.unbind(device, pasid));
      off.stop();
      expect(isPasidValid(device, pasid)).toBe(true);
    });

    test(
      '1.4: validity through a device without IOMMU → EINVAL, though the number is allocated',
      {
        machine: { devices: [dsa(0), dsa(1, { iommu: false })] },
      },
      (world) => {
        const [covered, bare] = world.devices();
        const pasid = world.bind(covered);
        world.refused('EINVAL', () => isPasidValid(bare, pasid));
        expect(isPasidValid(covered, pasid)).toBe(true);
      },
    );

    test(
      '1.4: with DMA remapping off → EINVAL for every number',
      { machine: { ...widths(20, 20), iommu: { enabled: false } } },
      (world) => {
        for (const device of world.devices()) {
          for (const pasid of [0, 1, 2]) world.refused('EINVAL', () => isPasidValid(device, pasid));
        }
      },
    );

    test(
      '1.4: trap: a device that cannot do PASID at all answers for others: it only has to have an IOMMU',
      { machine: widths(20, 0) },
      (world) => {
        const [able, unable] = world.devices();
        const pasid = world.bind(able);
        expect(isPasidValid(unable, pasid)).toBe(true);
        world.refused('EINVAL', () => isPasidValid(unable, pasid + 1));
      },
    );

    test('1.4: trap: any process may ask for any PASID', {}, (world) => {
      const [device] = world.devices();
      const other = world.spawn();
      const pasid = world.bind(device);
      for (const node of world.devices(other)) expect(isPasidValid(node, pasid)).toBe(true);
    });

    test('1.4: valid says nothing about one’s own bind: another process’s number is valid to all', {}, (world) => {
      const [device] = world.devices();
      const [theirs] = world.devices(world.spawn());
      const pasid = world.bind(theirs);
      expect(isPasidValid(device, pasid)).toBe(true);
      expect(world.bind(device)).not.toBe(pasid);
    });
  },
};
