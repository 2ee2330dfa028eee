import { expect } from 'vitest';
import { COMP_STATUS } from '../../../lib/abi/completion-status.js';
import { DESC_FLAG } from '../../../lib/abi/descriptor-flags.js';
import { DSA_OPCODE } from '../../../lib/abi/dsa.js';
import type { Subject } from '../suite.js';
import { crc32c } from './reference.js';
import { RECORD, RawQueue, SUCCESS, move } from './raw-queue.js';

const pattern = (length: number): Uint8Array<ArrayBuffer> =>
  Uint8Array.from({ length }, (_, index) => (index * 7 + (index >> 8) + 1) & 0xff);

/** Operations on memory of the process: plain JavaScript buffers, wherever they lie. */
export const idxdOperations: Subject = {
  title: 'DSA operations',
  semantics: 'modern',
  needs: ['accelerator'],
  register(test) {
    for (const length of [1, 63, 64, 4095, 4096, 100_000]) {
      test(`5.2: MEMMOVE of ${length} bytes between JavaScript buffers`, {}, async (world) => {
        using queue = new RawQueue(world.devices()[0]);
        const source = pattern(length);
        const target = new Uint8Array(length + 2).fill(0xee);
        const { kernel } = queue;
        await expect(
          queue.runByWrite(move(kernel.addressOf(source), kernel.addressOf(target) + 1n, length)),
        ).resolves.toMatchObject(SUCCESS);
        expect(Buffer.compare(target.subarray(1, -1), source)).toBe(0);
        expect([target[0], target.at(-1)]).toEqual([0xee, 0xee]);
      });
    }

    for (const distance of [-96, -1, 1, 96]) {
      test(`5.2: MEMMOVE onto itself, ${distance} bytes away, moves as memmove does`, {}, async (world) => {
        using queue = new RawQueue(world.devices()[0]);
        const memory = pattern(10_000);
        const expected = memory.slice().copyWithin(200 + distance, 200, 9_200);
        const from = queue.kernel.addressOf(memory) + 200n;
        await expect(queue.runByWrite(move(from, from + BigInt(distance), 9_000))).resolves.toMatchObject(SUCCESS);
        expect(Buffer.compare(memory, expected)).toBe(0);
      });
    }

    test('5.2: MEMFILL repeats its eight bytes', {}, async (world) => {
      using queue = new RawQueue(world.devices()[0]);
      const target = pattern(5_003);
      const dstAddr = queue.kernel.addressOf(target);
      await expect(
        queue.runByWrite({
          opcode: DSA_OPCODE.MEMFILL,
          pattern: 0x0807_0605_0403_0201n,
          dstAddr,
          xferSize: target.length,
        }),
      ).resolves.toMatchObject(SUCCESS);
      expect(
        Buffer.compare(
          target,
          target.map((_, index) => (index % 8) + 1),
        ),
      ).toBe(0);
    });

    test('5.2: COMPARE tells equal from different, and where', {}, async (world) => {
      using queue = new RawQueue(world.devices()[0]);
      const left = pattern(9_000);
      const right = left.slice();
      const fields = {
        opcode: DSA_OPCODE.COMPARE,
        srcAddr: queue.kernel.addressOf(left),
        src2Addr: queue.kernel.addressOf(right),
        xferSize: left.length,
      };
      await expect(queue.runByWrite(fields)).resolves.toMatchObject({ ...SUCCESS, result: 0 });
      right[8_192] = (right[8_192] ?? 0) ^ 1;
      const different = await queue.runByWrite(fields);
      expect(different).toMatchObject({ ...SUCCESS, result: 1 });
      // The device compares in larger units and reports where a unit began: at most at the difference.
      expect(different.bytesCompleted).toBeLessThanOrEqual(8_192);
    });

    test('5.2: COMPARE with "check result" succeeds with a false predicate on a difference', {}, async (world) => {
      using queue = new RawQueue(world.devices()[0]);
      const left = pattern(100);
      const right = left.toReversed();
      const completion = await queue.runByWrite({
        opcode: DSA_OPCODE.COMPARE,
        flags: RECORD | DESC_FLAG.CR,
        srcAddr: queue.kernel.addressOf(left),
        src2Addr: queue.kernel.addressOf(right),
        xferSize: left.length,
        expectedRes: 0,
      });
      expect(completion).toMatchObject({ status: COMP_STATUS.SUCCESS_PRED, result: 1 });
    });

    test('5.2: CRCGEN of "123456789" is the check value of CRC-32C', {}, async (world) => {
      using queue = new RawQueue(world.devices()[0]);
      const text = new Uint8Array(Buffer.from('123456789'));
      const completion = await queue.runByWrite({
        opcode: DSA_OPCODE.CRCGEN,
        srcAddr: queue.kernel.addressOf(text),
        xferSize: text.length,
      });
      expect(completion).toMatchObject({ ...SUCCESS, crc: 0xe306_9283 });
    });

    test('5.5: a CRC goes on from its seed', {}, async (world) => {
      using queue = new RawQueue(world.devices()[0]);
      const data = pattern(12_345);
      const address = queue.kernel.addressOf(data);
      const crc = async (from: number, to: number, crcSeed: number): Promise<number> => {
        const fields = { opcode: DSA_OPCODE.CRCGEN, srcAddr: address + BigInt(from), xferSize: to - from, crcSeed };
        const completion = await queue.runByWrite(fields);
        expect(completion).toMatchObject(SUCCESS);
        return completion.crc;
      };
      const whole = await crc(0, data.length, 0);
      expect(whole).toBe(crc32c(data));
      expect(await crc(5_001, data.length, await crc(0, 5_001, 0))).toBe(whole);
    });

    test('5.3: an unknown operation is status 0x10', {}, async (world) => {
      using queue = new RawQueue(world.devices()[0]);
      await expect(queue.runByWrite({ opcode: 0x7f })).resolves.toMatchObject({ status: COMP_STATUS.BAD_OPCODE });
    });

    test('5.3: a flag that the operation does not take is status 0x11', {}, async (world) => {
      using queue = new RawQueue(world.devices()[0]);
      const fields = { opcode: DSA_OPCODE.NOOP, flags: RECORD | 0x80_0000 };
      await expect(queue.runByWrite(fields)).resolves.toMatchObject({ status: COMP_STATUS.INVALID_FLAGS });
    });

    test("5.3: a size of zero, and one above the queue's limit, is status 0x13", {}, async (world) => {
      using queue = new RawQueue(world.devices()[0]);
      const buffer = new Uint8Array(64);
      const address = queue.kernel.addressOf(buffer);
      const limit = Number(queue.attribute('max_transfer_size'));
      for (const size of [0, limit + 1]) {
        const completion = await queue.runByWrite(move(address, address, size));
        expect(completion.status, `size ${size}`).toBe(COMP_STATUS.XFER_ERANGE);
      }
    });
  },
};
