import { expect } from 'vitest';
import {
  SVM_FLAG_SUPERVISOR_MODE,
  SVM_REQ_EXEC,
  SVM_REQ_PRIV,
  SVM_REQ_READ,
  SVM_REQ_WRITE,
  type SvmDevOps,
  type SvmDevice,
} from 'intel-svm';
import type { Process, RequestFields } from '../backend.js';
import { widths } from '../machines.js';
import type { Subject } from '../suite.js';
import type { World } from '../world.js';

const SUCCESS = 0;
const INVALID = 1;
const FAILURE = 0xf;

interface Call {
  readonly dev: SvmDevice;
  readonly pasid: number;
  readonly address: bigint;
  readonly priv: Uint8Array | null;
  readonly rwxp: number;
  readonly response: number;
}

/** A process's bind of its first device, with a callback that records. */
function bound(world: World, process: Process = world.self): { device: SvmDevice; pasid: number; calls: Call[] } {
  const [device] = world.devices(process);
  const calls: Call[] = [];
  const ops: SvmDevOps = {
    faultCb: (dev, pasid, address, priv, rwxp, response) => {
      calls.push({ dev, pasid, address, priv: priv && priv.slice(), rwxp, response });
    },
  };
  return { device, pasid: world.bind(device, { ops }), calls };
}

/** Posts one request, lets it be served. @returns the responses */
function ask(world: World, device: SvmDevice, request: RequestFields): readonly number[] {
  const responses = world.machine.iommu.post(device, request);
  world.machine.settle();
  return responses;
}

/** Memory whose pages are not there yet. */
const unfaulted = (world: World, pages = 1): { address: bigint; end: () => void } => {
  const { self } = world;
  const buffer = self.alloc(pages * self.pageSize, { populate: false });
  return { address: buffer.address, end: () => self.free(buffer) };
};

/** The page request thread of v5.1 (intel-svm.c, prq_event_thread), and fault_cb. */
export const faultPath: Subject = {
  title: 'page requests and fault_cb',
  semantics: 'legacy',
  needs: ['iommu-access', 'processes', 'counters'],
  register(test) {
    test('2.1/1: no PASID in the request → FAILURE 0xf, no callback', {}, (world) => {
      const { device, calls } = bound(world);
      const { address, end } = unfaulted(world);
      expect(ask(world, device, { address, read: true })).toEqual([FAILURE]);
      expect(calls).toEqual([]);
      end();
    });

    test('2.1/2: a PASID that is not allocated → FAILURE 0xf, no callback', {}, (world) => {
      const { device, pasid, calls } = bound(world);
      const { address, end } = unfaulted(world);
      expect(ask(world, device, { pasid: pasid + 1, address, read: true })).toEqual([FAILURE]);
      expect(calls).toEqual([]);
      end();
    });

    test('2.1/2: … nor one that was unbound', {}, (world) => {
      const { device, pasid, calls } = bound(world);
      world.unbind(device, pasid);
      expect(ask(world, device, { pasid, address: 0x1000n, read: true })).toEqual([FAILURE]);
      expect(calls).toEqual([]);
    });

    test('2.1/3: the supervisor PASID has no mm → INVALID 1, with callback', {}, (world) => {
      const [device] = world.devices();
      const responses: number[] = [];
      const ops: SvmDevOps = { faultCb: (...call) => void responses.push(call[5]) };
      const pasid = world.bind(device, { flags: SVM_FLAG_SUPERVISOR_MODE, ops });
      const { address, end } = unfaulted(world);
      expect(ask(world, device, { pasid, address, read: true })).toEqual([INVALID]);
      expect(responses).toEqual([INVALID]);
      end();
    });

    for (const gone of ['exit', 'exec'] as const) {
      test(`2.1/4: the owner’s mm_users is 0 after ${gone} → INVALID 1, with callback`, {}, (world) => {
        const process = world.spawn();
        const { address } = process.alloc(process.pageSize);
        const { device, pasid, calls } = bound(world, process);
        process[gone]();
        expect(ask(world, device, { pasid, address, read: true })).toEqual([INVALID]);
        expect(calls).toMatchObject([{ pasid, address, response: INVALID }]);
      });
    }

    for (const address of [2n ** 47n, 2n ** 48n, 2n ** 57n, 2n ** 63n]) {
      test(`2.1/5: 0x${address.toString(16)} is not canonical with 48 bits → INVALID 1, with callback`, {}, (world) => {
        const { device, pasid, calls } = bound(world);
        expect(ask(world, device, { pasid, address, read: true })).toEqual([INVALID]);
        expect(calls).toMatchObject([{ response: INVALID, address }]);
      });
    }

    test('2.1/6: no VMA holds the address → INVALID 1, with callback', {}, (world) => {
      const { device, pasid, calls } = bound(world);
      expect(ask(world, device, { pasid, address: 0x1000n, read: true })).toEqual([INVALID]);
      expect(calls).toMatchObject([{ address: 0x1000n, response: INVALID }]);
    });

    test('2.1/6: freed memory is in no VMA → INVALID 1', {}, (world) => {
      const { device, pasid } = bound(world);
      const { address, end } = unfaulted(world);
      end();
      expect(ask(world, device, { pasid, address, write: true })).toEqual([INVALID]);
    });

    test('2.1/6: a stack does grow: below its VMA → SUCCESS 0, and the VMA reaches down', {}, (world) => {
      const { device, pasid, calls } = bound(world);
      const before = world.machine.iommu.stackOf(world.self);
      const address = before - 0x8000n;
      expect(ask(world, device, { pasid, address, write: true })).toEqual([SUCCESS]);
      expect(calls).toMatchObject([{ response: SUCCESS }]);
      expect(world.machine.iommu.stackOf(world.self)).toBe(address);
      expect(world.machine.iommu.access(device, pasid, address, true)).toBe('done');
    });

    test('2.1/6: … but not beyond its limit of 8 MiB → INVALID 1', {}, (world) => {
      const { device, pasid } = bound(world);
      const before = world.machine.iommu.stackOf(world.self);
      expect(ask(world, device, { pasid, address: before - 0x80_0000n, write: true })).toEqual([INVALID]);
      expect(world.machine.iommu.stackOf(world.self)).toBe(before);
    });

    test(
      '8: with the switch stackGrowth off the stack does not grow → INVALID 1',
      {
        machine: { ...widths(20, 20), svm: { stackGrowth: false } },
      },
      (world) => {
        const { device, pasid } = bound(world);
        const before = world.machine.iommu.stackOf(world.self);
        expect(ask(world, device, { pasid, address: before - 0x8000n, write: true })).toEqual([INVALID]);
        expect(world.machine.iommu.stackOf(world.self)).toBe(before);
      },
    );

    for (const [asked, rights, request] of [
      ['write', { protection: 'read', executable: false }, { write: true }],
      ['read and write', { protection: 'read', executable: false }, { read: true, write: true }],
      ['read', { protection: 'none', executable: false }, { read: true }],
      ['execute', { protection: 'read-write', executable: false }, { execute: true }],
      ['read and execute', { protection: 'read', executable: false }, { read: true, execute: true }],
    ] as const) {
      test(
        `2.1/7: ${asked} on a mapping '${rights.protection}' that does not grant it → INVALID 1, with callback`,
        {},
        (world) => {
          const { device, pasid, calls } = bound(world);
          const address = world.machine.iommu.map(world.self, world.self.pageSize, rights);
          expect(ask(world, device, { pasid, address, ...request })).toEqual([INVALID]);
          expect(calls).toMatchObject([{ address, response: INVALID }]);
          expect(world.machine.iommu.access(device, pasid, address, false)).toBe('fault');
        },
      );
    }

    for (const [asked, rights, request] of [
      ['read', { protection: 'read', executable: false }, { read: true }],
      ['write', { protection: 'read-write', executable: false }, { write: true }],
      ['execute', { protection: 'read', executable: true }, { execute: true }],
      [
        'read, write and execute',
        { protection: 'read-write', executable: true },
        { read: true, write: true, execute: true },
      ],
    ] as const) {
      test(`2.1/9: ${asked} where it is granted → SUCCESS 0, with callback, and the page is there`, {}, (world) => {
        const { device, pasid, calls } = bound(world);
        const address = world.machine.iommu.map(world.self, world.self.pageSize, rights);
        expect(world.machine.iommu.access(device, pasid, address, false)).toBe('fault');
        expect(ask(world, device, { pasid, address, ...request })).toEqual([SUCCESS]);
        expect(calls).toMatchObject([{ address, response: SUCCESS }]);
        expect(world.machine.iommu.access(device, pasid, address, 'write' in request)).toBe('done');
      });
    }

    test('2.1: a request with no right asked passes the check of rights and faults the page for read', {}, (world) => {
      const { device, pasid, calls } = bound(world);
      const address = world.machine.iommu.map(world.self, world.self.pageSize, {
        protection: 'read',
        executable: false,
      });
      expect(ask(world, device, { pasid, address })).toEqual([SUCCESS]);
      expect(calls).toMatchObject([{ rwxp: 0, response: SUCCESS }]);
      expect(world.machine.iommu.access(device, pasid, address, false)).toBe('done');
    });

    test(
      '2.1/8: the write flag is only given if write was asked: a read request does not break copy-on-write',
      {},
      (world) => {
        const { device, pasid } = bound(world);
        const { address, end } = unfaulted(world);
        world.self.touch(address, 1, 'write');
        world.fork(world.self);
        expect(ask(world, device, { pasid, address, read: true })).toEqual([SUCCESS]);
        expect(world.machine.iommu.access(device, pasid, address, true)).toBe('fault');
        expect(ask(world, device, { pasid, address, write: true })).toEqual([SUCCESS]);
        expect(world.machine.iommu.access(device, pasid, address, true)).toBe('done');
        end();
      },
    );

    test('2.1 order 1 before 5: no PASID and a wild address → FAILURE, no callback', {}, (world) => {
      const { device, calls } = bound(world);
      expect(ask(world, device, { address: 2n ** 50n, read: true })).toEqual([FAILURE]);
      expect(calls).toEqual([]);
    });

    test('2.1 order 2 before 5: an unknown PASID and a wild address → FAILURE', {}, (world) => {
      const { device, pasid } = bound(world);
      expect(ask(world, device, { pasid: pasid + 1, address: 2n ** 50n, read: true })).toEqual([FAILURE]);
    });

    test(
      '2.1: with LA57 57 bits are canonical: no VMA is there, and that is row 6',
      {
        machine: { ...widths(20, 20), cpu: { la57: true } },
      },
      (world) => {
        const { device, pasid, calls } = bound(world);
        expect(ask(world, device, { pasid, address: 2n ** 48n, read: true })).toEqual([INVALID]);
        expect(ask(world, device, { pasid, address: 2n ** 56n, read: true })).toEqual([INVALID]);
        expect(calls).toHaveLength(2);
      },
    );

    test('2.2: fault_cb is called once per request, successes included', {}, (world) => {
      const { device, pasid, calls } = bound(world);
      const { address, end } = unfaulted(world, 3);
      for (let page = 0n; page < 3n; page += 1n)
        ask(world, device, { pasid, address: address + page * 0x1000n, write: true });
      expect(calls.map((call) => call.response)).toEqual([SUCCESS, SUCCESS, SUCCESS]);
      expect(calls.map((call) => call.address)).toEqual([address, address + 0x1000n, address + 0x2000n]);
      end();
    });

    test('2.2: arguments: the device as it was bound, the PASID, the byte address of the page', {}, (world) => {
      const { device, pasid, calls } = bound(world);
      const { address, end } = unfaulted(world);
      ask(world, device, { pasid, address, read: true });
      expect(calls).toHaveLength(1);
      expect(calls[0]?.dev).toBe(device);
      expect(calls[0]).toMatchObject({ pasid, address, response: SUCCESS });
      end();
    });

    test(
      '2.2: quirk: the address is the page frame number, as in every version that had the callback',
      {
        machine: { ...widths(20, 20), quirks: { faultAddressIsPageNumber: true } },
      },
      (world) => {
        const { device, pasid, calls } = bound(world);
        const { address, end } = unfaulted(world);
        ask(world, device, { pasid, address, read: true });
        expect(calls).toMatchObject([{ address: address >> 12n }]);
        end();
      },
    );

    for (let bits = 0; bits < 16; bits += 1) {
      const request = {
        read: (bits & 8) !== 0,
        write: (bits & 4) !== 0,
        execute: (bits & 2) !== 0,
        privileged: (bits & 1) !== 0,
      };
      const asked = Object.entries(request).flatMap(([name, on]) => (on ? [name] : []));
      test(`2.2: rwxp of ${asked.join(', ') || 'nothing'} is ${bits}`, {}, (world) => {
        const { device, pasid, calls } = bound(world);
        const rights = { protection: 'read-write', executable: true } as const;
        const address = world.machine.iommu.map(world.self, world.self.pageSize, rights);
        ask(world, device, { pasid, address, ...request });
        const expected =
          (request.read ? SVM_REQ_READ : 0) |
          (request.write ? SVM_REQ_WRITE : 0) |
          (request.execute ? SVM_REQ_EXEC : 0) |
          (request.privileged ? SVM_REQ_PRIV : 0);
        expect(expected).toBe(bits);
        expect(calls).toMatchObject([{ rwxp: bits }]);
      });
    }

    test('2.2: private is the request’s 16 bytes', {}, (world) => {
      const { device, pasid, calls } = bound(world);
      const { address, end } = unfaulted(world);
      const privateData = Uint8Array.from({ length: 16 }, (_, index) => index * 7);
      ask(world, device, { pasid, address, read: true, privateData });
      expect(calls[0]?.priv).toEqual(privateData);
      end();
    });

    test('2.2: private of a request that carries none is null', {}, (world) => {
      const { device, pasid, calls } = bound(world);
      const { address, end } = unfaulted(world);
      ask(world, device, { pasid, address, read: true });
      expect(calls[0]?.priv).toBeNull();
      end();
    });

    test('2.2: fault_cb runs before the response is sent', {}, (world) => {
      const [device] = world.devices();
      const seen: number[] = [];
      let responses: readonly number[] = [];
      const pasid = world.bind(device, { ops: { faultCb: () => void seen.push(responses.length) } });
      const { address, end } = unfaulted(world);
      responses = world.machine.iommu.post(device, { pasid, address, read: true });
      expect(responses).toEqual([]);
      world.machine.settle();
      expect(seen).toEqual([0]);
      expect(responses).toEqual([SUCCESS]);
      end();
    });

    test('2.2: fault_cb runs after the fault was resolved: the page is there for it', {}, (world) => {
      const [device] = world.devices();
      const { address, end } = unfaulted(world);
      const seen: string[] = [];
      const pasid = world.bind(device, {
        ops: {
          faultCb: (_dev, requester) => void seen.push(world.machine.iommu.access(device, requester, address, true)),
        },
      });
      ask(world, device, { pasid, address, write: true });
      expect(seen).toEqual(['done']);
      end();
    });

    test(
      '2.2: requests of a device that is not on the PASID’s list: faulted in and answered, no callback',
      {},
      (world) => {
        const { device, pasid, calls } = bound(world);
        const [, stranger] = world.devices();
        const { address, end } = unfaulted(world);
        expect(ask(world, stranger, { pasid, address, write: true })).toEqual([SUCCESS]);
        expect(calls).toEqual([]);
        expect(world.machine.iommu.access(device, pasid, address, true)).toBe('done');
        end();
      },
    );

    for (const [what, ops] of [
      ['NULL ops', null],
      ['ops without a callback', {}],
      ['a NULL callback', { faultCb: null }],
    ] as const) {
      test(`2.2: with ${what} nothing is called, and the request is served`, {}, (world) => {
        const [device] = world.devices();
        const pasid = world.bind(device, { ops });
        const { address, end } = unfaulted(world);
        expect(ask(world, device, { pasid, address, read: true })).toEqual([SUCCESS]);
        expect(ask(world, device, { pasid, address: 0x1000n, read: true })).toEqual([INVALID]);
        end();
      });
    }

    test('2.2: each device of a PASID calls its own ops, with itself as dev', {}, (world) => {
      const [first, second] = world.devices();
      const called: SvmDevice[] = [];
      const ops = (): SvmDevOps => ({ faultCb: (dev) => void called.push(dev) });
      const pasid = world.bind(first, { ops: ops() });
      world.bind(second, { ops: ops() });
      const { address, end } = unfaulted(world);
      ask(world, second, { pasid, address, read: true });
      ask(world, first, { pasid, address, read: true });
      expect(called).toEqual([second, first]);
      end();
    });

    test('2.2: a process is called for its own PASID, not for another’s', {}, (world) => {
      const mine = bound(world);
      const other = world.spawn();
      const theirs = bound(world, other);
      const { address } = other.alloc(other.pageSize, { populate: false });
      expect(ask(world, mine.device, { pasid: theirs.pasid, address, read: true })).toEqual([SUCCESS]);
      expect(mine.calls).toEqual([]);
      expect(theirs.calls).toMatchObject([{ pasid: theirs.pasid, dev: theirs.device }]);
    });

    test(
      '8: with the switch faultCallback off nothing is called',
      {
        machine: { ...widths(20, 20), svm: { faultCallback: false } },
      },
      (world) => {
        const { device, pasid, calls } = bound(world);
        const { address, end } = unfaulted(world);
        expect(ask(world, device, { pasid, address, read: true })).toEqual([SUCCESS]);
        expect(calls).toEqual([]);
        end();
      },
    );

    test('1.5: DMA after the owner’s exit hits a cleared entry: unrecoverable, no page request', {}, (world) => {
      const process = world.spawn();
      const buffer = process.alloc(process.pageSize);
      const { device, pasid } = bound(world, process);
      expect(world.machine.iommu.access(device, pasid, buffer.address, true)).toBe('done');
      process.exit();
      expect(world.machine.iommu.access(device, pasid, buffer.address, true)).toBe('blocked');
      expect(world.machine.counters()).toMatchObject({ dmaFaults: 1, pageRequests: 0 });
    });

    test(
      '1.1: quirk v4.19: DMA of a second device without its own entry is unrecoverable',
      {
        machine: { ...widths(20, 20), quirks: { secondDeviceWithoutEntry: true } },
      },
      (world) => {
        const [first, second] = world.devices();
        const pasid = world.bind(first);
        world.bind(second);
        const buffer = world.self.alloc(world.self.pageSize);
        expect(world.machine.iommu.access(first, pasid, buffer.address, true)).toBe('done');
        expect(world.machine.iommu.access(second, pasid, buffer.address, true)).toBe('blocked');
        world.self.free(buffer);
      },
    );
  },
};

/** Groups, responses and the ring (v5.1). */
export const pageRequestRing: Subject = {
  title: 'page request groups, responses, overflow',
  semantics: 'legacy',
  needs: ['iommu-access', 'counters'],
  register(test) {
    test('2.3: a request that is not the last of its group gets no response', {}, (world) => {
      const { device, pasid, calls } = bound(world);
      const { address, end } = unfaulted(world);
      expect(ask(world, device, { pasid, address, read: true, lastInGroup: false })).toEqual([]);
      expect(calls).toMatchObject([{ response: SUCCESS }]);
      end();
    });

    test('2.3: a group gets one response, with its last request', {}, (world) => {
      const { device, pasid, calls } = bound(world);
      const { address, end } = unfaulted(world, 3);
      const answers = [0n, 1n, 2n].map((page) =>
        world.machine.iommu.post(device, {
          pasid,
          address: address + page * 0x1000n,
          write: true,
          group: 5,
          lastInGroup: page === 2n,
        }),
      );
      world.machine.settle();
      expect(answers).toEqual([[], [], [SUCCESS]]);
      expect(calls).toHaveLength(3);
      end();
    });

    test(
      '2.3: v5.1 answers the last request’s own result: an earlier failure of the group is not remembered',
      {},
      (world) => {
        const { device, pasid, calls } = bound(world);
        const { address, end } = unfaulted(world);
        const bad = world.machine.iommu.post(device, { pasid, address: 0x1000n, read: true, lastInGroup: false });
        const good = world.machine.iommu.post(device, { pasid, address, read: true });
        world.machine.settle();
        expect([bad, good]).toEqual([[], [SUCCESS]]);
        expect(calls.map((call) => call.response)).toEqual([INVALID, SUCCESS]);
        end();
      },
    );

    test('2.3: private data asks for a response though the request is not the last', {}, (world) => {
      const { device, pasid } = bound(world);
      const { address, end } = unfaulted(world);
      const request = { pasid, address, read: true, lastInGroup: false, privateData: new Uint8Array(16) };
      expect(ask(world, device, request)).toEqual([SUCCESS]);
      end();
    });

    test(
      '2.3: quirk of v5.1: a response for every request, last or not',
      {
        machine: { ...widths(20, 20), quirks: { responseForEveryRequest: true } },
      },
      (world) => {
        const { device, pasid } = bound(world);
        const { address, end } = unfaulted(world);
        expect(ask(world, device, { pasid, address, read: true, lastInGroup: false })).toEqual([SUCCESS]);
        end();
      },
    );

    test('2.3: requests are served in the order of the ring', {}, (world) => {
      const { device, pasid, calls } = bound(world);
      const { address, end } = unfaulted(world, 10);
      const order = [7n, 0n, 9n, 3n, 3n, 1n];
      for (const page of order)
        world.machine.iommu.post(device, { pasid, address: address + page * 0x1000n, read: true });
      world.machine.settle();
      expect(calls.map((call) => (call.address - address) / 0x1000n)).toEqual(order);
      end();
    });

    test('2.3: the ring holds 128 requests', {}, (world) => {
      const { device, pasid, calls } = bound(world);
      const answers = Array.from({ length: 128 }, () =>
        world.machine.iommu.post(device, { pasid, address: 0x1000n, read: true }),
      );
      world.machine.settle();
      expect(answers.flat()).toHaveLength(128);
      expect(calls).toHaveLength(128);
      expect(world.machine.counters()).toMatchObject({ pageRequests: 128, lostPageRequests: 0 });
    });

    test('2.3: the 129th is lost: no callback, no response', {}, (world) => {
      const { device, pasid, calls } = bound(world);
      const answers = Array.from({ length: 129 }, () =>
        world.machine.iommu.post(device, { pasid, address: 0x1000n, read: true }),
      );
      world.machine.settle();
      expect(answers.map((responses) => responses.length)).toEqual([...Array.from({ length: 128 }, () => 1), 0]);
      expect(calls).toHaveLength(128);
      expect(world.machine.counters()).toMatchObject({ pageRequests: 128, lostPageRequests: 1 });
    });

    test('2.3: overflow is never cleared in v5.1: requests stop for good', {}, (world) => {
      const { device, pasid, calls } = bound(world);
      for (let posted = 0; posted < 129; posted += 1)
        world.machine.iommu.post(device, { pasid, address: 0x1000n, read: true });
      world.machine.settle();
      for (let later = 0; later < 3; later += 1)
        expect(ask(world, device, { pasid, address: 0x1000n, read: true })).toEqual([]);
      expect(calls).toHaveLength(128);
      expect(world.machine.counters()).toMatchObject({ lostPageRequests: 4 });
    });

    test('2.3: … for every device of the unit, and every PASID', { needs: ['injection'] }, (world) => {
      const { pasid } = bound(world);
      const [device, second] = world.devices();
      using overflow = world.machine.inject('page-request-overflow', 1);
      expect(ask(world, device, { pasid, address: 0x1000n, read: true })).toEqual([]);
      expect(overflow.hits).toBe(1);
      expect(ask(world, second, { pasid, address: 0x1000n, read: true })).toEqual([]);
      expect(world.machine.counters()).toMatchObject({ pageRequests: 0, lostPageRequests: 2 });
    });

    test(
      '8: with the switch to recovery, requests go on after an overflow',
      {
        needs: ['injection'],
        machine: { ...widths(20, 20), svm: { pageRequestOverflow: 'recovers' } },
      },
      (world) => {
        const { device, pasid } = bound(world);
        using overflow = world.machine.inject('page-request-overflow', 1);
        expect(ask(world, device, { pasid, address: 0x1000n, read: true })).toEqual([]);
        expect(overflow.hits).toBe(1);
        expect(ask(world, device, { pasid, address: 0x1000n, read: true })).toEqual([INVALID]);
        expect(world.machine.counters()).toMatchObject({ pageRequests: 1, lostPageRequests: 1 });
      },
    );

    test(
      '1.3: nothing waits for requests in flight: served after the unbind, they are answered FAILURE',
      {},
      (world) => {
        const { device, pasid, calls } = bound(world);
        const { address, end } = unfaulted(world);
        const responses = world.machine.iommu.post(device, { pasid, address, read: true });
        world.unbind(device, pasid);
        world.machine.settle();
        expect(responses).toEqual([FAILURE]);
        expect(calls).toEqual([]);
        end();
      },
    );
  },
};
