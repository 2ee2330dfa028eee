import { describe, expect, it } from 'vitest';
import { Clock } from '../../../mock/clock.js';
import { Injections } from '../../../mock/injections.js';
import { DeviceContext } from '../../../mock/iommu/device-context.js';
import { Iommu } from '../../../mock/iommu/iommu.js';
import { PageRequestQueue, type PageRequest } from '../../../mock/iommu/page-requests.js';
import { PasidAllocator } from '../../../mock/iommu/pasid-allocator.js';
import { TranslationCache } from '../../../mock/iommu/translation-cache.js';
import { AddressSpace } from '../../../mock/mm/address-space.js';
import { OwnedMemory } from '../../../mock/mm/memory.js';
import { PAGE_SIZE, Page, pageNumber } from '../../../mock/mm/page.js';
import { Random } from '../../../mock/random.js';

const newPage = (): Page => new Page(new OwnedMemory(new Uint8Array(PAGE_SIZE)), 0, true);

function scene() {
  const injections = new Injections();
  const iommu = new Iommu(new Clock('manual'), { entries: 8, recoversFromOverflow: true }, injections);
  const mm = new AddressSpace(new Random(1));
  const address = mm.map(new OwnedMemory(new Uint8Array(2 * PAGE_SIZE)), 2 * PAGE_SIZE);
  const [a, b] = [new DeviceContext({ bdf: '0000:6a:01.0' }), new DeviceContext({ bdf: '0000:6b:01.0' })];
  return { injections, iommu, mm, address, a, b };
}

const width = (pasidBits?: number) =>
  new DeviceContext({ bdf: '0000:6a:01.0', ...(pasidBits !== undefined && { pasidBits }) });

const enabled = (options: { ats?: boolean; pri?: boolean }): boolean[] => {
  const device = new DeviceContext({ bdf: '0000:6a:01.0', ...options });
  device.enablePasid();
  return [device.pasidEnabled, device.atsEnabled, device.priEnabled];
};

describe('PasidAllocator', () => {
  it('starts at 1, goes up by one, and ends at `last`', () => {
    const pasids = new PasidAllocator();
    expect([1, 2, 3, 4].map(() => pasids.allocate(3))).toEqual([1, 2, 3, undefined]);
    expect(pasids.size).toBe(3);
  });

  it('gives the lowest free number, whatever the order of the frees', () => {
    const pasids = new PasidAllocator();
    for (let count = 0; count < 10; count += 1) pasids.allocate(100);
    for (const pasid of [7, 3, 9, 1]) pasids.free(pasid);
    expect([1, 2, 3, 4, 5].map(() => pasids.allocate(100))).toEqual([1, 3, 7, 9, 11]);
  });

  it('a freed number below the limit is given again at once', () => {
    const pasids = new PasidAllocator();
    expect(pasids.allocate(1)).toBe(1);
    pasids.free(1);
    expect(pasids.allocate(1)).toBe(1);
  });

  it('freeing what is not allocated changes nothing', () => {
    const pasids = new PasidAllocator();
    pasids.allocate(10);
    for (const pasid of [0, 2, -1, 1000]) pasids.free(pasid);
    expect(pasids.size).toBe(1);
    expect(pasids.allocate(10)).toBe(2);
  });

  it('a narrow limit does not disturb a wide one', () => {
    const pasids = new PasidAllocator();
    expect(pasids.allocate(0)).toBeUndefined();
    expect(pasids.allocate(100)).toBe(1);
    expect(pasids.allocate(1)).toBeUndefined();
    expect(pasids.allocate(100)).toBe(2);
  });
});

describe('TranslationCache', () => {
  it('forgets exactly the pages of a range, of one PASID', () => {
    const cache = new TranslationCache();
    for (const pasid of [1, 2]) {
      for (let page = 10; page < 20; page += 1) cache.fill(pasid, page, { page: newPage(), writable: true });
    }
    cache.invalidate(1, 12, 14);
    const left = (pasid: number): number[] =>
      [9, 10, 11, 12, 13, 14, 15, 19, 20].filter((page) => cache.lookup(pasid, page) !== undefined);
    expect(left(1)).toEqual([10, 11, 15, 19]);
    expect(left(2)).toEqual([10, 11, 12, 13, 14, 15, 19]);
    expect(cache.size).toBe(17);
  });

  it('a range wider than the cache empties it, and is not walked page by page', () => {
    const cache = new TranslationCache();
    cache.fill(1, 5, { page: newPage(), writable: true });
    cache.invalidate(1, 0, Number.MAX_SAFE_INTEGER);
    expect(cache.size).toBe(0);
  });

  it('forgets a PASID', () => {
    const cache = new TranslationCache();
    cache.fill(1, 5, { page: newPage(), writable: true });
    cache.fill(2, 5, { page: newPage(), writable: true });
    cache.invalidatePasid(1);
    expect([cache.lookup(1, 5), cache.lookup(2, 5)]).toMatchObject([undefined, { writable: true }]);
  });
});

describe('PageRequestQueue', () => {
  const device = new DeviceContext({ bdf: '0000:6a:01.0' });
  const request = (address: number, answers: number[] = []): PageRequest => ({
    device,
    pasid: 1,
    address,
    read: true,
    write: false,
    execute: false,
    privileged: false,
    group: 0,
    lastInGroup: true,
    privateData: undefined,
    respond: (code) => void answers.push(code),
  });

  it('serves later, in order, all that has gathered', () => {
    const clock = new Clock('manual');
    const queue = new PageRequestQueue(clock, { entries: 8, recoversFromOverflow: false });
    const batches: number[][] = [];
    queue.serveWith((requests) => void batches.push(requests.map(({ address }) => address)));
    for (const address of [3, 1, 2]) queue.post(request(address));
    expect(batches).toEqual([]);
    clock.runUntilIdle();
    expect(batches).toEqual([[3, 1, 2]]);
    expect(queue).toMatchObject({ served: 3, lost: 0 });
  });

  it('holds `entries`: one more sets the overflow bit and is lost, those before are served', () => {
    const clock = new Clock('manual');
    const queue = new PageRequestQueue(clock, { entries: 128, recoversFromOverflow: false });
    let served = 0;
    queue.serveWith((requests) => void (served += requests.length));
    for (let posted = 0; posted < 128; posted += 1) queue.post(request(posted));
    expect(queue.overflowed).toBe(false);
    queue.post(request(128));
    expect(queue).toMatchObject({ overflowed: true, lost: 1 });
    clock.runUntilIdle();
    expect(served).toBe(128);
    expect(queue.overflowed).toBe(true);
    queue.post(request(0));
    clock.runUntilIdle();
    expect([served, queue.lost]).toEqual([128, 2]);
  });

  it('recovers where the kernel clears the bit: after what was in the ring, it says so once', () => {
    const clock = new Clock('manual');
    const queue = new PageRequestQueue(clock, { entries: 1, recoversFromOverflow: true });
    const events: string[] = [];
    queue.serveWith(
      (requests) => void events.push(`served ${requests.length}`),
      () => void events.push('recovered'),
    );
    queue.post(request(0));
    queue.post(request(1));
    clock.runUntilIdle();
    expect(events).toEqual(['served 1', 'recovered']);
    queue.post(request(2));
    clock.runUntilIdle();
    expect(events).toEqual(['served 1', 'recovered', 'served 1']);
    expect(queue).toMatchObject({ overflowed: false, lost: 1, served: 2 });
  });

  it('what is posted while the ring is served is served next', () => {
    const clock = new Clock('manual');
    const queue = new PageRequestQueue(clock, { entries: 2, recoversFromOverflow: false });
    const seen: number[] = [];
    queue.serveWith((requests) => {
      for (const { address } of requests) {
        seen.push(address);
        if (address < 3) queue.post(request(address + 1));
      }
    });
    queue.post(request(0));
    clock.runUntilIdle();
    expect(seen).toEqual([0, 1, 2, 3]);
  });
});

describe('Iommu.translate', () => {
  it('without a PASID entry the access is blocked and recorded', () => {
    const { iommu, address, a } = scene();
    expect(iommu.translate(a, 1, address, true)).toBe('blocked');
    expect(iommu.dmaFaults).toEqual([{ bdf: '0000:6a:01.0', pasid: 1, address, write: true }]);
  });

  it('a page that is not there is a fault, once touched it is the page, and cached in IOTLB and device TLB', () => {
    const { iommu, mm, address, a } = scene();
    a.enablePasid();
    a.pasidTable.set(1, { mm });
    expect(iommu.translate(a, 1, address, false)).toBe('fault');
    expect([iommu.iotlb.size, a.tlb.size]).toEqual([0, 0]);
    mm.touch(address, 1, true);
    expect(iommu.translate(a, 1, address, false)).toBe(mm.walk(pageNumber(address)));
    expect([iommu.iotlb.size, a.tlb.size]).toEqual([1, 1]);
  });

  it('a device without ATS caches nothing itself', () => {
    const { iommu, mm, address } = scene();
    const device = new DeviceContext({ bdf: '0000:6c:01.0', ats: false });
    device.enablePasid();
    device.pasidTable.set(1, { mm });
    mm.touch(address, 1, true);
    iommu.translate(device, 1, address, false);
    expect([iommu.iotlb.size, device.tlb.size]).toEqual([1, 0]);
  });

  it('an IOTLB entry of one device does not let another one through', () => {
    const { iommu, mm, address, a, b } = scene();
    a.enablePasid();
    a.pasidTable.set(1, { mm });
    mm.touch(address, 1, true);
    iommu.translate(a, 1, address, true);
    expect(iommu.translate(b, 1, address, true)).toBe('blocked');
  });

  it('a write through a read-only translation is looked up again, not let through', () => {
    const { iommu, mm, address, a } = scene();
    a.enablePasid();
    a.pasidTable.set(1, { mm });
    mm.touch(address, 1, true);
    mm.protect(address, PAGE_SIZE, 'read');
    expect(iommu.translate(a, 1, address, false)).toBeInstanceOf(Page);
    expect(iommu.translate(a, 1, address, true)).toBe('fault');
    expect(iommu.staleTranslations).toBe(0);
  });

  it('the supervisor PASID names no address space: every access is a fault', () => {
    const { iommu, address, a } = scene();
    a.pasidTable.set(1, { mm: undefined });
    expect(iommu.translate(a, 1, address, false)).toBe('fault');
  });

  it('an invalidation reaches both caches, and one that is forgotten neither', () => {
    const { injections, iommu, mm, address, a } = scene();
    a.enablePasid();
    a.pasidTable.set(1, { mm });
    mm.touch(address, 2 * PAGE_SIZE, true);
    for (const at of [address, address + PAGE_SIZE]) iommu.translate(a, 1, at, true);
    const first = pageNumber(address);
    injections.arm('missing-invalidation', 1);
    iommu.invalidate(a, 1, first, first);
    expect([iommu.iotlb.size, a.tlb.size]).toEqual([2, 2]);
    iommu.invalidate(a, 1, first, first);
    expect([iommu.iotlb.size, a.tlb.size]).toEqual([1, 1]);
  });

  it('what the garbage collector unmaps is invalidated, and uses up no injected fault', () => {
    const { injections, iommu, mm, address, a } = scene();
    a.enablePasid();
    a.pasidTable.set(1, { mm });
    mm.register({
      invalidateRange: (...range) => iommu.invalidate(a, 1, ...range),
      release: () => undefined,
    });
    mm.touch(address, 2 * PAGE_SIZE, true);
    for (const at of [address, address + PAGE_SIZE]) iommu.translate(a, 1, at, true);
    const missing = injections.arm('missing-invalidation', 1);
    mm.unmap(address, PAGE_SIZE, true);
    expect([iommu.iotlb.size, missing.hits]).toEqual([1, 0]);
    mm.unmap(address + PAGE_SIZE, PAGE_SIZE);
    expect([iommu.iotlb.size, missing.hits]).toEqual([1, 1]);
  });

  it('the use of a translation whose page is gone, or has lost the right, is counted', () => {
    const { iommu, mm, address, a } = scene();
    a.enablePasid();
    a.pasidTable.set(1, { mm });
    mm.touch(address, 1, true);
    iommu.translate(a, 1, address, true);
    mm.protect(address, PAGE_SIZE, 'read');
    iommu.translate(a, 1, address, true);
    expect(iommu.staleTranslations).toBe(1);
    iommu.translate(a, 1, address, false);
    expect(iommu.staleTranslations).toBe(1);
    mm.unmap(address, PAGE_SIZE);
    iommu.translate(a, 1, address, false);
    expect(iommu.staleTranslations).toBe(2);
  });

  it('tearDown clears the entry and both caches of that PASID', () => {
    const { iommu, mm, address, a } = scene();
    a.enablePasid();
    for (const pasid of [1, 2]) a.pasidTable.set(pasid, { mm });
    mm.touch(address, 1, true);
    for (const pasid of [1, 2]) iommu.translate(a, pasid, address, true);
    iommu.tearDown(a, 1);
    expect([...a.pasidTable.keys()]).toEqual([2]);
    expect([iommu.iotlb.size, a.tlb.size]).toEqual([1, 1]);
    expect(iommu.translate(a, 1, address, true)).toBe('blocked');
  });
});

describe('DeviceContext', () => {
  it('knows 2^width PASIDs; width 0 is no capability', () => {
    expect([width(), width(4), width(0)].map(({ pasidBits, maxPasids }) => [pasidBits, maxPasids])).toEqual([
      [20, 2 ** 20],
      [4, 16],
      [undefined, 0],
    ]);
  });

  it('switches on what the device has: PRI needs ATS', () => {
    expect(enabled({})).toEqual([true, true, true]);
    expect(enabled({ pri: false })).toEqual([true, true, false]);
    expect(enabled({ ats: false })).toEqual([true, false, false]);
  });
});
