import { expect } from 'vitest';
import { WorkQueue } from 'intel-svm';
import { DSA_COMPLETION_ALIGN, DSA_DESCRIPTOR, DSA_OPCODE } from '../../../lib/abi/dsa.js';
import type { Subject } from '../suite.js';
import { RawQueue, SUCCESS, move } from './raw-queue.js';

/** Descriptors on their way: write(2), MOVDIR64B, ENQCMD. */
export const idxdSubmission: Subject = {
  title: 'IDXD submission',
  semantics: 'modern',
  needs: ['accelerator'],
  register(test) {
    test('4.3: write(2) takes several descriptors at once', {}, async (world) => {
      using queue = new RawQueue(world.devices()[0]);
      for (const slot of [0, 1, 2]) queue.encode(slot, { opcode: DSA_OPCODE.NOOP });
      expect(queue.kernel.write(queue.fd, queue.ring.memory.bytes.subarray(0, 192))).toBe(192);
      for (const slot of [0, 1, 2]) await expect(queue.completion(slot)).resolves.toMatchObject(SUCCESS);
    });

    test('4.3: write(2) takes whole descriptors: of 100 bytes 64, of 32 none', {}, async (world) => {
      using queue = new RawQueue(world.devices()[0]);
      queue.encode(0, { opcode: DSA_OPCODE.NOOP });
      expect(queue.kernel.write(queue.fd, queue.ring.memory.bytes.subarray(0, 32))).toBe(0);
      expect(queue.kernel.write(queue.fd, queue.ring.memory.bytes.subarray(0, 100))).toBe(64);
      await expect(queue.completion(0)).resolves.toMatchObject(SUCCESS);
    });

    test('4.3: write(2) takes descriptors from memory of any alignment', {}, async (world) => {
      using queue = new RawQueue(world.devices()[0]);
      queue.encode(0, { opcode: DSA_OPCODE.NOOP });
      const copy = new Uint8Array(71);
      copy.set(queue.ring.descriptor(0), 7);
      expect(queue.kernel.write(queue.fd, copy.subarray(7))).toBe(64);
      await expect(queue.completion(0)).resolves.toMatchObject(SUCCESS);
    });

    test('4.3: write(2) refuses a completion record that is not aligned', {}, (world) => {
      using queue = new RawQueue(world.devices()[0]);
      queue.encode(0, { opcode: DSA_OPCODE.NOOP });
      const descriptor = queue.ring.descriptor(0);
      const view = new DataView(descriptor.buffer, descriptor.byteOffset, descriptor.byteLength);
      const aligned = DSA_DESCRIPTOR.getU64(view, 0, 'completionAddr');
      for (const off of [1, 8, DSA_COMPLETION_ALIGN / 2]) {
        DSA_DESCRIPTOR.setU64(view, 0, 'completionAddr', aligned + BigInt(off));
        world.refused('EINVAL', () => queue.kernel.write(queue.fd, descriptor));
      }
    });

    test('4.3: write(2) looks at the completion address even if it is not valid (no CRAV)', {}, (world) => {
      using queue = new RawQueue(world.devices()[0]);
      queue.encode(0, { opcode: DSA_OPCODE.NOOP, flags: 0 });
      const descriptor = queue.ring.descriptor(0);
      new DataView(descriptor.buffer, descriptor.byteOffset).setUint8(8, 1);
      world.refused('EINVAL', () => queue.kernel.write(queue.fd, descriptor));
    });

    test('4.3: write(2) refuses BATCH on a device of version 0x100', { needs: ['version-0x100'] }, (world) => {
      using queue = new RawQueue(world.devices()[0]);
      queue.encode(0, { opcode: DSA_OPCODE.BATCH, descListAddr: queue.ring.memory.address, xferSize: 2 });
      world.refused('EINVAL', () => queue.kernel.write(queue.fd, queue.ring.descriptor(0)));
    });

    test('4.3: write(2) stops at the first descriptor that it refuses, and says how far it came', {}, async (world) => {
      using queue = new RawQueue(world.devices()[0]);
      queue.encode(0, { opcode: DSA_OPCODE.NOOP });
      queue.encode(1, { opcode: DSA_OPCODE.NOOP });
      const second = queue.ring.descriptor(1);
      new DataView(second.buffer, second.byteOffset).setUint8(8, 1);
      expect(queue.kernel.write(queue.fd, queue.ring.memory.bytes.subarray(0, 128))).toBe(64);
      await expect(queue.completion(0)).resolves.toMatchObject(SUCCESS);
    });

    test('4.3: write(2) drives a shared queue as well', {}, async (world) => {
      using queue = new RawQueue(world.devices()[1]);
      await expect(queue.runByWrite({ opcode: DSA_OPCODE.NOOP })).resolves.toMatchObject(SUCCESS);
    });

    test('5.1: MOVDIR64B drives a dedicated queue', { needs: ['portal'] }, async (world) => {
      using queue = new RawQueue(world.devices()[0]);
      for (let slot = 0; slot < 16; slot += 1) {
        await expect(queue.run({ opcode: DSA_OPCODE.NOOP }, slot)).resolves.toMatchObject(SUCCESS);
      }
    });

    test('5.1: MOVDIR64B of several descriptors in one call', { needs: ['portal'] }, async (world) => {
      using queue = new RawQueue(world.devices()[0]);
      for (let slot = 0; slot < 8; slot += 1) queue.encode(slot, { opcode: DSA_OPCODE.NOOP });
      expect(queue.submit(0, 8)).toBe(8);
      for (let slot = 0; slot < 8; slot += 1) await expect(queue.completion(slot)).resolves.toMatchObject(SUCCESS);
    });

    test('5.1: ENQCMD drives a shared queue', { needs: ['portal', 'enqcmd'] }, async (world) => {
      using queue = new RawQueue(world.devices()[1]);
      for (let slot = 0; slot < 4; slot += 1) {
        await expect(queue.run({ opcode: DSA_OPCODE.NOOP }, slot)).resolves.toMatchObject(SUCCESS);
      }
    });

    test('5.1: slots outside the ring are refused before anything is stored', { needs: ['portal'] }, (world) => {
      using queue = new RawQueue(world.devices()[0], 4);
      const { submit } = queue;
      const slots = queue.ring.memory.byteLength / 64;
      for (const slot of [-1, slots, 0.5, Number.NaN, 2 ** 40]) {
        world.misused(RangeError, 'ERR_OUT_OF_RANGE', () => submit(slot));
      }
      world.misused(RangeError, 'ERR_OUT_OF_RANGE', () => submit(slots - 1, 2));
    });

    test('5.1: more work than the queue has entries waits for its turn', {}, async (world) => {
      for (const device of world.devices().slice(0, 2)) {
        await using queue = new WorkQueue(device);
        const source = new Uint8Array(64).fill(7);
        const targets = Array.from({ length: 3 * queue.size }, () => new Uint8Array(64));
        const runs = targets.map((target) =>
          queue.run(move(queue.device.kernel.addressOf(source), queue.device.kernel.addressOf(target), 64), [
            source,
            target,
          ]),
        );
        for (const completion of await Promise.all(runs)) expect(completion).toMatchObject(SUCCESS);
        for (const target of targets) expect(target).toEqual(source);
      }
    });

    test('4.5: close waits for what is in flight', {}, async (world) => {
      const [dedicated] = world.devices();
      const queue = new WorkQueue(dedicated);
      const source = new Uint8Array(20_000).fill(3);
      const target = new Uint8Array(20_000).fill(1);
      const { kernel } = dedicated;
      const run = queue.run(move(kernel.addressOf(source), kernel.addressOf(target), source.length), [source, target]);
      await queue.close();
      await expect(run).resolves.toMatchObject(SUCCESS);
      expect(target).toEqual(source);
      await expect(queue.run({ opcode: DSA_OPCODE.NOOP })).rejects.toMatchObject({ code: 'ERR_INVALID_STATE' });
      await queue.close();
    });
  },
};
