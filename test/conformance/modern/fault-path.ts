import { expect } from 'vitest';
import type { SvmDevice } from 'intel-svm';
import type { RequestFields } from '../backend.js';
import { widths } from '../machines.js';
import type { Subject } from '../suite.js';
import type { World } from '../world.js';

const SUCCESS = 0;
const INVALID = 1;
const PAGE = 0x1000n;

function bound(world: World): { device: SvmDevice; pasid: number; called: () => number } {
  const [device] = world.devices();
  let calls = 0;
  const pasid = world.bind(device, {
    ops: {
      faultCb: () => {
        calls += 1;
      },
    },
  });
  return { device, pasid, called: () => calls };
}

function ask(world: World, device: SvmDevice, request: RequestFields): readonly number[] {
  const responses = world.machine.iommu.post(device, request);
  world.machine.settle();
  return responses;
}

/** Posts requests one after the other, all before the first is served. @returns the responses to each */
function askAll(world: World, device: SvmDevice, requests: readonly RequestFields[]): (readonly number[])[] {
  const answers = requests.map((request) => world.machine.iommu.post(device, request));
  world.machine.settle();
  return answers;
}

const map = (world: World, pages: number): bigint =>
  world.machine.iommu.map(world.self, pages * world.self.pageSize, { protection: 'read-write', executable: true });

/** The page request handling of v7.2: prq.c, then iommu-sva.c. */
export const faultPath: Subject = {
  title: 'page requests',
  semantics: 'modern',
  needs: ['iommu-access', 'processes', 'counters'],
  register(test) {
    for (const [asked, request] of [
      ['read', { read: true }],
      ['write', { write: true }],
      ['read and write', { read: true, write: true }],
      ['write and execute', { write: true, execute: true }],
    ] as const) {
      test(`2.4: ${asked} where it is granted → SUCCESS, and the page is there`, {}, (world) => {
        const { device, pasid } = bound(world);
        const address = map(world, 1);
        expect(world.machine.iommu.access(device, pasid, address, false)).toBe('fault');
        expect(ask(world, device, { pasid, address, ...request })).toEqual([SUCCESS]);
        expect(world.machine.iommu.access(device, pasid, address, 'write' in request)).toBe('done');
      });
    }

    test('2.4: there is no driver callback: the device’s own report is the only one', {}, (world) => {
      const { device, pasid, called } = bound(world);
      ask(world, device, { pasid, address: map(world, 1), read: true });
      ask(world, device, { pasid, address: PAGE, read: true });
      expect(world.machine.counters()).toMatchObject({ pageRequests: 2 });
      expect(called()).toBe(0);
    });

    for (const [what, request] of [
      ['an address that is not canonical', { address: 2n ** 47n, read: true }],
      ['an address in no VMA', { address: PAGE, read: true }],
      ['a privileged read', { read: true, privileged: true }],
      ['a privileged write', { write: true, privileged: true }],
      ['execute together with read', { read: true, execute: true }],
      ['no PASID', { read: true, pasid: undefined }],
      ['a PASID that nobody has', { read: true, pasid: 77 }],
    ] as const) {
      test(`2.4: ${what} → INVALID`, {}, (world) => {
        const { device, pasid } = bound(world);
        const fields = { pasid, address: map(world, 1), ...request };
        const { pasid: asked, ...rest } = fields;
        expect(ask(world, device, asked === undefined ? rest : { ...rest, pasid: asked })).toEqual([INVALID]);
        expect(
          world.machine.iommu.access(device, pasid, fields.address === PAGE ? map(world, 1) : fields.address, false),
        ).toBe('fault');
      });

      test(`2.4: ${what}, but not the last of its group: INVALID is not sent`, {}, (world) => {
        const { device, pasid } = bound(world);
        const { pasid: asked, ...rest } = { pasid, address: map(world, 1), ...request, lastInGroup: false };
        expect(ask(world, device, asked === undefined ? rest : { ...rest, pasid: asked })).toEqual([]);
      });
    }

    for (const [asked, protection, request] of [
      ['write', 'read', { write: true }],
      ['read', 'none', { read: true }],
    ] as const) {
      test(`2.4: ${asked} on a mapping '${protection}' → INVALID`, {}, (world) => {
        const { device, pasid } = bound(world);
        const address = world.machine.iommu.map(world.self, 1, { protection, executable: false });
        expect(ask(world, device, { pasid, address, ...request })).toEqual([INVALID]);
      });
    }

    test('2.4: write and execute where only write is granted → INVALID', {}, (world) => {
      const { device, pasid } = bound(world);
      const address = world.machine.iommu.map(world.self, 1, { protection: 'read-write', executable: false });
      expect(ask(world, device, { pasid, address, write: true, execute: true })).toEqual([INVALID]);
    });

    test(
      '2.4: the last of a group with neither read nor write is a stop marker: dropped without answer',
      {},
      (world) => {
        const { device, pasid } = bound(world);
        const address = map(world, 1);
        expect(ask(world, device, { pasid, address })).toEqual([]);
        expect(ask(world, device, { pasid, address, execute: true })).toEqual([]);
        expect(ask(world, device, { pasid, address, privileged: true })).toEqual([]);
        expect(world.machine.iommu.access(device, pasid, address, false)).toBe('fault');
      },
    );

    test('2.4 order: the canonical check comes before the stop marker: INVALID', {}, (world) => {
      const { device, pasid } = bound(world);
      expect(ask(world, device, { pasid, address: 2n ** 50n })).toEqual([INVALID]);
    });

    test('2.4: a requester that is not bound → INVALID, though the PASID is', {}, (world) => {
      const { pasid } = bound(world);
      const [, stranger] = world.devices();
      expect(ask(world, stranger, { pasid, address: map(world, 1), read: true })).toEqual([INVALID]);
    });

    test('2.4: the mm is gone, the bond held by a child’s file → INVALID', {}, (world) => {
      const parent = world.spawn();
      const [theirs] = world.devices(parent);
      const { address } = parent.alloc(1);
      const pasid = world.bind(theirs);
      world.fork(parent);
      parent.exit();
      expect(world.held()).toMatchObject({ bindings: 1 });
      expect(ask(world, theirs, { pasid, address, read: true })).toEqual([INVALID]);
    });

    test('3.2: DMA after exit hits a cleared entry', {}, (world) => {
      const process = world.spawn();
      const [theirs] = world.devices(process);
      const { address } = process.alloc(1);
      const pasid = world.bind(theirs);
      expect(world.machine.iommu.access(theirs, pasid, address, false)).toBe('done');
      process.exit();
      expect(world.machine.iommu.access(theirs, pasid, address, false)).toBe('blocked');
      expect(world.machine.counters()).toMatchObject({ dmaFaults: 1 });
    });

    test('2.4: v6.1+: vma_lookup, so the stack does not grow for a device → INVALID', {}, (world) => {
      const { device, pasid } = bound(world);
      const before = world.machine.iommu.stackOf(world.self);
      expect(ask(world, device, { pasid, address: before - PAGE, write: true })).toEqual([INVALID]);
      expect(world.machine.iommu.stackOf(world.self)).toBe(before);
    });

    test(
      '8: with the switch stackGrowth on it does',
      { machine: { ...widths(20, 20), svm: { stackGrowth: true } } },
      (world) => {
        const { device, pasid } = bound(world);
        const before = world.machine.iommu.stackOf(world.self);
        expect(ask(world, device, { pasid, address: before - PAGE, write: true })).toEqual([SUCCESS]);
        expect(world.machine.iommu.stackOf(world.self)).toBe(before - PAGE);
      },
    );

    test('2.3: a group is answered once, after its last request', {}, (world) => {
      const { device, pasid } = bound(world);
      const address = map(world, 3);
      const answers = askAll(
        world,
        device,
        [0n, 1n, 2n].map((page) => ({
          pasid,
          address: address + page * PAGE,
          write: true,
          group: 3,
          lastInGroup: page === 2n,
        })),
      );
      expect(answers).toEqual([[], [], [SUCCESS]]);
      for (const page of [0n, 1n, 2n])
        expect(world.machine.iommu.access(device, pasid, address + page * PAGE, true)).toBe('done');
    });

    test('2.3: nothing of a group is handled before its last request', {}, (world) => {
      const { device, pasid } = bound(world);
      const address = map(world, 2);
      expect(ask(world, device, { pasid, address, write: true, group: 3, lastInGroup: false })).toEqual([]);
      expect(world.machine.iommu.access(device, pasid, address, true)).toBe('fault');
      expect(ask(world, device, { pasid, address: address + PAGE, write: true, group: 3 })).toEqual([SUCCESS]);
      expect(world.machine.iommu.access(device, pasid, address, true)).toBe('done');
    });

    test('2.3: errors are sticky: after a failure the rest of the group is not handled', {}, (world) => {
      const { device, pasid } = bound(world);
      const address = map(world, 2);
      const answers = askAll(world, device, [
        { pasid, address, write: true, lastInGroup: false },
        { pasid, address: PAGE, write: true, lastInGroup: false },
        { pasid, address: address + PAGE, write: true },
      ]);
      expect(answers).toEqual([[], [], [INVALID]]);
      expect(world.machine.iommu.access(device, pasid, address, true)).toBe('done');
      expect(world.machine.iommu.access(device, pasid, address + PAGE, true)).toBe('fault');
    });

    test('2.3: the next group starts clean after a failed one', {}, (world) => {
      const { device, pasid } = bound(world);
      const address = map(world, 1);
      expect(ask(world, device, { pasid, address: PAGE, read: true })).toEqual([INVALID]);
      expect(ask(world, device, { pasid, address, read: true })).toEqual([SUCCESS]);
    });

    test('2.3: groups that interleave are answered each for itself', {}, (world) => {
      const { device, pasid } = bound(world);
      const address = map(world, 2);
      const answers = askAll(world, device, [
        { pasid, address, write: true, group: 1, lastInGroup: false },
        { pasid, address: PAGE, write: true, group: 2, lastInGroup: false },
        { pasid, address: address + PAGE, write: true, group: 1 },
        { pasid, address, write: true, group: 2 },
      ]);
      expect(answers).toEqual([[], [], [SUCCESS], [INVALID]]);
    });

    test('2.3: the same group index of two devices is two groups', {}, (world) => {
      const { device, pasid } = bound(world);
      const [, second] = world.devices();
      world.bind(second);
      const address = map(world, 1);
      const bad = world.machine.iommu.post(device, { pasid, address: PAGE, read: true, group: 4, lastInGroup: false });
      const good = world.machine.iommu.post(second, { pasid, address, read: true, group: 4 });
      world.machine.settle();
      expect([bad, good]).toEqual([[], [SUCCESS]]);
      expect(ask(world, device, { pasid, address, read: true, group: 4 })).toEqual([INVALID]);
    });

    test('2.4: a malformed request that is not the last is no part of its group', {}, (world) => {
      const { device, pasid } = bound(world);
      const address = map(world, 1);
      const answers = askAll(world, device, [
        { pasid, address: 2n ** 50n, read: true, lastInGroup: false },
        { pasid, address, read: true },
      ]);
      expect(answers).toEqual([[], [SUCCESS]]);
    });

    test('2.3: the ring holds 2048 requests, the next one is lost', {}, (world) => {
      const { device, pasid } = bound(world);
      const answers = askAll(
        world,
        device,
        Array.from({ length: 2049 }, () => ({ pasid, address: PAGE, read: true })),
      );
      expect(answers.filter((responses) => responses.length === 1)).toHaveLength(2048);
      expect(answers.at(-1)).toEqual([]);
      expect(world.machine.counters()).toMatchObject({ pageRequests: 2048, lostPageRequests: 1 });
    });

    test('2.3: an overflow is recovered: later requests are served', {}, (world) => {
      const { device, pasid } = bound(world);
      const address = map(world, 1);
      askAll(
        world,
        device,
        Array.from({ length: 2049 }, () => ({ pasid, address: PAGE, read: true })),
      );
      expect(ask(world, device, { pasid, address, read: true })).toEqual([SUCCESS]);
    });

    test('2.3: an overflow discards groups whose last request has not come', { needs: ['injection'] }, (world) => {
      const { device, pasid } = bound(world);
      const address = map(world, 2);
      expect(ask(world, device, { pasid, address, write: true, group: 6, lastInGroup: false })).toEqual([]);
      using overflow = world.machine.inject('page-request-overflow', 1);
      expect(ask(world, device, { pasid, address, write: true, group: 7 })).toEqual([]);
      expect(overflow.hits).toBe(1);
      expect(ask(world, device, { pasid, address: address + PAGE, write: true, group: 6 })).toEqual([SUCCESS]);
      // Only the request that came after the overflow was handled.
      expect(world.machine.iommu.access(device, pasid, address, true)).toBe('fault');
      expect(world.machine.iommu.access(device, pasid, address + PAGE, true)).toBe('done');
    });

    test(
      '8: with the switch to a fatal overflow requests stop for good',
      {
        needs: ['injection'],
        machine: { ...widths(20, 20), svm: { pageRequestOverflow: 'fatal' } },
      },
      (world) => {
        const { device, pasid } = bound(world);
        const address = map(world, 1);
        using overflow = world.machine.inject('page-request-overflow', 1);
        expect(ask(world, device, { pasid, address, read: true })).toEqual([]);
        expect(overflow.hits).toBe(1);
        expect(ask(world, device, { pasid, address, read: true })).toEqual([]);
        expect(world.machine.counters()).toMatchObject({ pageRequests: 0, lostPageRequests: 2 });
      },
    );
  },
};
