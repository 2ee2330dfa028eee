import { expect } from 'vitest';
import type { SvmDevice } from 'intel-svm';
import type { DmaBuffer } from '../../../lib/kernel.js';
import type { Subject } from '../suite.js';
import type { World } from '../world.js';

/** What ends a translation, and which access is refused after it. */
interface Ending {
  readonly what: string;
  readonly end: (world: World, buffer: DmaBuffer) => void;
  /** The device's next access, with which right. */
  readonly write: boolean;
}

const ENDINGS: readonly Ending[] = [
  { what: 'munmap', end: ({ self }, buffer) => self.free(buffer), write: false },
  { what: 'mprotect to nothing', end: ({ self }, buffer) => self.protect(buffer, 'none'), write: false },
  { what: 'mprotect to read, then a write', end: ({ self }, buffer) => self.protect(buffer, 'read'), write: true },
  { what: 'reclaim', end: ({ self }, buffer) => self.evict(buffer.bytes), write: false },
  { what: 'fork, then a write', end: (world) => void world.fork(world.self), write: true },
];

/** A device that has used a page, so that its translation is cached in the IOTLB and in the device's TLB. */
function warm(world: World): { device: SvmDevice; pasid: number; buffer: DmaBuffer } {
  const [device] = world.devices();
  const buffer = world.self.alloc(world.self.pageSize);
  const pasid = world.bind(device);
  expect(world.machine.iommu.access(device, pasid, buffer.address, true)).toBe('done');
  return { device, pasid, buffer };
}

/** Gives the memory back where the ending did not. */
function free(world: World, buffer: DmaBuffer): void {
  if (buffer.bytes.byteLength > 0) world.self.free(buffer);
}

/** Translations must not outlive what they translate. */
export const invalidation: Subject = {
  title: 'invalidation of translations',
  needs: ['iommu-access', 'counters', 'processes', 'reclaim'],
  register(test) {
    for (const { what, end, write } of ENDINGS) {
      test(`after ${what} the device faults: its cached translation is gone`, {}, (world) => {
        const { device, pasid, buffer } = warm(world);
        const { address } = buffer;
        end(world, buffer);
        expect(world.machine.iommu.access(device, pasid, address, write)).toBe('fault');
        expect(world.machine.counters()).toMatchObject({ staleTranslations: 0, dmaFaults: 0 });
        free(world, buffer);
      });

      test(
        `after ${what} without invalidation the stale translation is used, and counted`,
        { needs: ['injection'] },
        (world) => {
          const { device, pasid, buffer } = warm(world);
          const { address } = buffer;
          {
            using missing = world.machine.inject('missing-invalidation');
            end(world, buffer);
            expect(missing.hits).toBeGreaterThan(0);
          }
          expect(world.machine.iommu.access(device, pasid, address, write)).toBe('done');
          expect(world.machine.counters()).toMatchObject({ staleTranslations: 1 });
          free(world, buffer);
        },
      );
    }

    test('a fork leaves reads alone: the pages are still there', {}, (world) => {
      const { device, pasid, buffer } = warm(world);
      world.fork(world.self);
      expect(world.machine.iommu.access(device, pasid, buffer.address, false)).toBe('done');
      expect(world.machine.counters()).toMatchObject({ staleTranslations: 0 });
      free(world, buffer);
    });

    test('munmap of one mapping leaves the translations of others', {}, (world) => {
      const { device, pasid, buffer } = warm(world);
      const other = world.self.alloc(world.self.pageSize);
      world.self.free(other);
      const before = world.machine.counters().iotlbEntries;
      expect(before).toBe(1);
      expect(world.machine.iommu.access(device, pasid, buffer.address, true)).toBe('done');
      free(world, buffer);
      expect(world.machine.counters()).toMatchObject({ iotlbEntries: 0, staleTranslations: 0 });
    });

    test('every device of the PASID is told: a second one has cached the page too', {}, (world) => {
      const { device, pasid, buffer } = warm(world);
      const [, second] = world.devices();
      world.bind(second);
      const { address } = buffer;
      expect(world.machine.iommu.access(second, pasid, address, true)).toBe('done');
      free(world, buffer);
      expect(world.machine.iommu.access(device, pasid, address, false)).toBe('fault');
      expect(world.machine.iommu.access(second, pasid, address, false)).toBe('fault');
      expect(world.machine.counters()).toMatchObject({ staleTranslations: 0 });
    });

    test(
      '1.3: the last unbind flushes IOTLB and device TLB: DMA is blocked, and the next owner of the number starts clean',
      {},
      (world) => {
        const { device, pasid, buffer } = warm(world);
        const { address } = buffer;
        world.unbind(device, pasid);
        expect(world.machine.counters()).toMatchObject({ iotlbEntries: 0 });
        expect(world.machine.iommu.access(device, pasid, address, true)).toBe('blocked');
        expect(world.machine.counters()).toMatchObject({ dmaFaults: 1, staleTranslations: 0 });
        free(world, buffer);
      },
    );

    test('1.5: exit flushes before the page tables go: no stale use, DMA is blocked', {}, (world) => {
      const process = world.spawn();
      const [theirs] = world.devices(process);
      const buffer = process.alloc(process.pageSize);
      const { address } = buffer;
      const pasid = world.bind(theirs);
      expect(world.machine.iommu.access(theirs, pasid, address, true)).toBe('done');
      process.exit();
      expect(world.machine.counters()).toMatchObject({ iotlbEntries: 0 });
      expect(world.machine.iommu.access(theirs, pasid, address, true)).toBe('blocked');
      expect(world.machine.counters()).toMatchObject({ staleTranslations: 0 });
    });

    test('a page that faults in later is translated then: nothing "not present" is cached', {}, (world) => {
      const [device] = world.devices();
      const buffer = world.self.alloc(world.self.pageSize, { populate: false });
      const pasid = world.bind(device);
      expect(world.machine.iommu.access(device, pasid, buffer.address, true)).toBe('fault');
      world.self.touch(buffer.address, 1, 'write');
      expect(world.machine.iommu.access(device, pasid, buffer.address, true)).toBe('done');
      free(world, buffer);
    });

    test('a right given later is seen: read-only cached, write allowed by mprotect', {}, (world) => {
      const { device, pasid, buffer } = warm(world);
      world.self.protect(buffer, 'read');
      expect(world.machine.iommu.access(device, pasid, buffer.address, false)).toBe('done');
      expect(world.machine.iommu.access(device, pasid, buffer.address, true)).toBe('fault');
      world.self.protect(buffer, 'read-write');
      world.self.touch(buffer.address, 1, 'write');
      expect(world.machine.iommu.access(device, pasid, buffer.address, true)).toBe('done');
      expect(world.machine.counters()).toMatchObject({ staleTranslations: 0 });
      free(world, buffer);
    });

    test('PASIDs do not mix: the same address in two processes is two pages', {}, (world) => {
      const { pasid, buffer } = warm(world);
      const [, shared] = world.devices();
      const other = world.spawn();
      const [, theirs] = world.devices(other);
      const theirPasid = world.bind(theirs);
      world.bind(shared);
      expect(world.machine.iommu.access(shared, pasid, buffer.address, true)).toBe('done');
      expect(world.machine.iommu.access(theirs, theirPasid, buffer.address, true)).toBe('fault');
      free(world, buffer);
    });
  },
};
