import { expect } from 'vitest';
import { SVM_REQ_READ, SVM_REQ_WRITE, WorkQueue } from 'intel-svm';
import { COMP_STATUS, STATUS_WRITE_FAULT } from '../../../lib/abi/completion-status.js';
import { DESC_FLAG } from '../../../lib/abi/descriptor-flags.js';
import type { Kernel } from '../../../lib/kernel.js';
import type { Subject } from '../suite.js';
import { RECORD, RawQueue, SUCCESS, move } from './raw-queue.js';

const READ_FAULT = COMP_STATUS.PAGE_FAULT_NOBOF;
const WRITE_FAULT = COMP_STATUS.PAGE_FAULT_NOBOF | STATUS_WRITE_FAULT;

/** An address that was mapped and is not any more. */
function unmapped(kernel: Kernel): bigint {
  const buffer = kernel.alloc(kernel.pageSize);
  kernel.free(buffer);
  return buffer.address;
}

const pageOf = (address: bigint, kernel: Kernel): bigint => address - (address % BigInt(kernel.pageSize));

/** Page faults of a device, without and with block on fault. */
export const idxdFaults: Subject = {
  title: 'IDXD page faults',
  semantics: 'modern',
  needs: ['accelerator'],
  register(test) {
    test('5.3: an untouched destination stops the device: status 0x83 and the address', {}, async (world) => {
      using queue = new RawQueue(world.devices()[0]);
      const { kernel } = queue;
      const source = new Uint8Array(100).fill(9);
      const target = kernel.alloc(100, { populate: false });
      const completion = await queue.runByWrite(move(kernel.addressOf(source), target.address, 100));
      expect(completion).toMatchObject({ status: WRITE_FAULT, bytesCompleted: 0 });
      expect(pageOf(completion.faultAddress, kernel)).toBe(target.address);
      kernel.free(target);
    });

    test('5.5: after a touch the same descriptor succeeds', {}, async (world) => {
      using queue = new RawQueue(world.devices()[0]);
      const { kernel } = queue;
      const source = new Uint8Array(100).fill(9);
      const target = kernel.alloc(100, { populate: false });
      const fields = move(kernel.addressOf(source), target.address, 100);
      await queue.runByWrite(fields);
      kernel.touch(target.address, 100, 'write');
      await expect(queue.runByWrite(fields)).resolves.toMatchObject(SUCCESS);
      expect(Buffer.compare(target.bytes, source)).toBe(0);
      kernel.free(target);
    });

    test('5.5: touch and resume page by page, from where the device came to', {}, async (world) => {
      using queue = new RawQueue(world.devices()[0]);
      const { kernel } = queue;
      const length = 4 * kernel.pageSize;
      const source = kernel.alloc(length);
      source.bytes.fill(0x5a);
      const target = kernel.alloc(length, { populate: false });
      let done = 0;
      let faults = 0;
      for (;;) {
        const rest = move(source.address + BigInt(done), target.address + BigInt(done), length - done);
        const completion = await queue.runByWrite(rest);
        if (completion.status === COMP_STATUS.SUCCESS) break;
        expect(completion).toMatchObject({ status: WRITE_FAULT, result: 0 });
        kernel.touch(completion.faultAddress, 1, 'write');
        done += completion.bytesCompleted;
        faults += 1;
        expect(faults).toBeLessThanOrEqual(4);
      }
      expect(faults).toBe(4);
      expect(Buffer.compare(target.bytes, source.bytes)).toBe(0);
      kernel.free(source);
      kernel.free(target);
    });

    test('5.3: a source that is not mapped is a read fault: status 3', {}, async (world) => {
      using queue = new RawQueue(world.devices()[0]);
      const { kernel } = queue;
      const target = new Uint8Array(64);
      for (const address of [unmapped(kernel), 0n]) {
        const completion = await queue.runByWrite(move(address, kernel.addressOf(target), 64));
        expect(completion).toMatchObject({ status: READ_FAULT, bytesCompleted: 0 });
        expect(pageOf(completion.faultAddress, kernel)).toBe(pageOf(address, kernel));
      }
    });

    test('5.3: addresses that are not user addresses fault as well', {}, async (world) => {
      using queue = new RawQueue(world.devices()[0]);
      const { kernel } = queue;
      const target = new Uint8Array(64);
      for (const address of [0xffff_ffff_8100_0000n, 0x0123_4567_89ab_cdefn]) {
        const completion = await queue.runByWrite(move(address, kernel.addressOf(target), 64));
        expect(completion).toMatchObject({ status: READ_FAULT, bytesCompleted: 0 });
        expect(pageOf(completion.faultAddress, kernel)).toBe(pageOf(address, kernel));
      }
    });

    test('5.3: a read-only destination is a write fault, and stays as it was', {}, async (world) => {
      using queue = new RawQueue(world.devices()[0]);
      const { kernel } = queue;
      const source = new Uint8Array(64).fill(1);
      const target = kernel.alloc(64);
      target.bytes.fill(2);
      kernel.protect(target, 'read');
      await expect(queue.runByWrite(move(kernel.addressOf(source), target.address, 64))).resolves.toMatchObject({
        status: WRITE_FAULT,
        bytesCompleted: 0,
      });
      expect(target.bytes.every((byte) => byte === 2)).toBe(true);
      world.refused('EFAULT', () => kernel.touch(target.address, 64, 'write'));
      kernel.touch(target.address, 64, 'read');
      kernel.free(target);
    });

    test('5.3: a read-only source is read', {}, async (world) => {
      using queue = new RawQueue(world.devices()[0]);
      const { kernel } = queue;
      const source = kernel.alloc(64);
      source.bytes.fill(4);
      kernel.protect(source, 'read');
      const target = new Uint8Array(64);
      await expect(queue.runByWrite(move(source.address, kernel.addressOf(target), 64))).resolves.toMatchObject(
        SUCCESS,
      );
      expect(Buffer.compare(target, source.bytes)).toBe(0);
      kernel.free(source);
    });

    test('5.3: memory without rights faults both ways', {}, async (world) => {
      using queue = new RawQueue(world.devices()[0]);
      const { kernel } = queue;
      const none = kernel.alloc(64);
      kernel.protect(none, 'none');
      const other = new Uint8Array(64);
      const at = kernel.addressOf(other);
      await expect(queue.runByWrite(move(none.address, at, 64))).resolves.toMatchObject({ status: READ_FAULT });
      await expect(queue.runByWrite(move(at, none.address, 64))).resolves.toMatchObject({ status: WRITE_FAULT });
      kernel.protect(none, 'read-write');
      kernel.free(none);
    });

    test('5.3: memory that is freed after use faults: no stale translation is used', {}, async (world) => {
      using queue = new RawQueue(world.devices()[0]);
      const { kernel } = queue;
      const target = new Uint8Array(64);
      const source = kernel.alloc(64);
      source.bytes.fill(8);
      const fields = move(source.address, kernel.addressOf(target), 64);
      await expect(queue.runByWrite(fields)).resolves.toMatchObject(SUCCESS);
      kernel.free(source);
      await expect(queue.runByWrite(fields)).resolves.toMatchObject({ status: READ_FAULT });
    });

    test(
      '5.3: BOF on a queue that does not block is an invalid flag',
      { needs: ['no-block-on-fault'] },
      async (world) => {
        using queue = new RawQueue(world.devices()[0]);
        const buffer = new Uint8Array(64);
        const address = queue.kernel.addressOf(buffer);
        const fields = { ...move(address, address, 64), flags: RECORD | DESC_FLAG.BOF };
        await expect(queue.runByWrite(fields)).resolves.toMatchObject({ status: COMP_STATUS.INVALID_FLAGS });
      },
    );

    test(
      '5.5: block on fault: the kernel brings the page in, the device goes on',
      { needs: ['block-on-fault'] },
      async (world) => {
        using queue = new RawQueue(world.devices()[0]);
        const { kernel } = queue;
        const source = new Uint8Array(20_000).fill(6);
        const target = kernel.alloc(20_000, { populate: false });
        const fields = move(kernel.addressOf(source), target.address, 20_000);
        await expect(queue.runByWrite({ ...fields, flags: RECORD | DESC_FLAG.BOF })).resolves.toMatchObject(SUCCESS);
        expect(Buffer.compare(target.bytes, source)).toBe(0);
        kernel.free(target);
      },
    );

    test(
      '2.4: block on fault: what cannot be resolved is status 4 and the address',
      { needs: ['block-on-fault'] },
      async (world) => {
        using queue = new RawQueue(world.devices()[0]);
        const { kernel } = queue;
        const buffer = new Uint8Array(64);
        const bad = unmapped(kernel);
        const flags = RECORD | DESC_FLAG.BOF;
        const reading = await queue.runByWrite({ ...move(bad, kernel.addressOf(buffer), 64), flags });
        expect(reading).toMatchObject({ status: COMP_STATUS.PAGE_FAULT_IR });
        expect(pageOf(reading.faultAddress, kernel)).toBe(bad);
        const writing = await queue.runByWrite({ ...move(kernel.addressOf(buffer), bad, 64), flags });
        expect(writing).toMatchObject({ status: COMP_STATUS.PAGE_FAULT_IR | STATUS_WRITE_FAULT });
      },
    );

    test("2.4: without a callback of the kernel's, the completion record calls faultCb", {}, async (world) => {
      const [dedicated] = world.devices();
      const { kernel } = dedicated;
      const calls: unknown[] = [];
      const ops = {
        faultCb: (...[dev, pasid, address, priv, rwxp, response]: readonly unknown[]) => {
          calls.push({ dev, pasid, address, priv, rwxp, response });
        },
      };
      await using queue = new WorkQueue(dedicated, { ops });
      const buffer = new Uint8Array(64);
      const bad = unmapped(kernel);
      await queue.run(move(bad, kernel.addressOf(buffer), 64), [buffer]);
      await queue.run(move(kernel.addressOf(buffer), bad, 64), [buffer]);
      const call = { dev: dedicated, pasid: queue.pasid, address: bad, priv: null, response: 1 };
      expect(calls).toEqual([
        { ...call, rwxp: SVM_REQ_READ },
        { ...call, rwxp: SVM_REQ_WRITE },
      ]);
    });
  },
};
