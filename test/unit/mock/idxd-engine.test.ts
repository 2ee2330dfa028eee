import * as fc from 'fast-check';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { COMP_STATUS, STATUS_WRITE_FAULT } from '../../../lib/abi/completion-status.js';
import { DESC_FLAG } from '../../../lib/abi/descriptor-flags.js';
import { DSA_OPCODE } from '../../../lib/abi/dsa.js';
import { IAX_OPCODE } from '../../../lib/abi/iax.js';
import type { MockKernel } from 'intel-svm/mock';
import { BDF, Client, PAGE, RECORDED, WQ, machine, swerr, unbound, bind, type Fields } from './idxd-tools.js';

const { SUCCESS } = COMP_STATUS;
const { MEMMOVE, MEMFILL, COMPARE, CRCGEN, NOOP } = DSA_OPCODE;

/** Bytes that are not all alike. */
const noise = (length: number, seed = 1): Uint8Array =>
  Uint8Array.from({ length }, (_, index) => ((index + seed) * 2654435761) >>> 13);

/** A client of a fresh machine and a few pages of its memory. */
function setUp(kernel: MockKernel = machine(), pages = 5) {
  const client = new Client(kernel);
  const arena = client.process.alloc(pages * PAGE);
  return { kernel, client, process: client.process, arena };
}

/** A range within `length` bytes. */
const rangeIn = (length: number) =>
  fc.tuple(fc.nat(length - 1), fc.nat(length - 1)).map(([a, b]) => ({ at: Math.min(a, b), size: Math.abs(a - b) + 1 }));

const READ_SEED = 0x1_0000;
const BYPASS_INVERSION = 0x2_0000;
const BYPASS_REFLECTION = 0x4_0000;

const reversed = (byte: number): number =>
  Array.from({ length: 8 }, (_, bit) => ((byte >> bit) & 1) << (7 - bit)).reduce((sum, bit) => sum | bit, 0);

const turn = (value: number): number =>
  Array.from({ length: 32 }, (_, bit) => ((value >>> bit) & 1) * 2 ** (31 - bit)).reduce((sum, bit) => sum + bit, 0);

/** Most significant bit first, as the specification draws the register. */
function reference(bytes: Uint8Array, seed: number, flags: number): number {
  let register = (flags & BYPASS_INVERSION) !== 0 ? seed : turn(~seed >>> 0);
  for (const byte of bytes) {
    register ^= ((flags & BYPASS_REFLECTION) !== 0 ? byte : reversed(byte)) << 24;
    for (let bit = 0; bit < 8; bit += 1) register = (register << 1) ^ (register < 0 ? 0x1edc6f41 : 0);
  }
  return (flags & BYPASS_INVERSION) !== 0 ? register >>> 0 : ~turn(register >>> 0) >>> 0;
}

const seedBytes = (seed: number): Record<number, number> =>
  Object.fromEntries(Array.from({ length: 4 }, (_, index) => [40 + index, (seed >>> (8 * index)) & 0xff]));

/** Three pages; the middle one is not there, or not writable. */
function withHole(kind: 'unmapped' | 'read-only', kernel = machine()) {
  const { client, process } = setUp(kernel);
  const before = process.alloc(PAGE * 3);
  before.bytes.set(noise(3 * PAGE));
  const page = before.address + BigInt(PAGE);
  const { mm } = process;
  if (kind === 'unmapped') mm.unmap(Number(page), PAGE);
  else mm.protect(Number(page), PAGE, 'read');
  return { client, process, kernel, memory: before, page };
}

const BLOCKING = RECORDED | DESC_FLAG.BOF;
const blocking = (options = {}) =>
  machine({ workQueues: [{ mode: 'dedicated', size: 16, blockOnFault: true }], ...options });

/** What a program with page faults sees of one run. */
const trace = (seed: number) => {
  const kernel = machine({ workQueues: [{ mode: 'shared', size: 8, blockOnFault: true }] }, { seed });
  const client = new Client(kernel, { shared: true });
  const lines: unknown[] = [client.ring.address];
  const memory = client.process.alloc(8 * PAGE, { populate: false });
  for (let n = 0; n < 8; n += 1) {
    const destination = memory.address + BigInt(n * 3000);
    lines.push(
      client.run({ opcode: MEMFILL, flags: RECORDED | DESC_FLAG.BOF, source: 0x5aan, destination, size: 3000 }),
    );
    lines.push(kernel.clock.now);
  }
  return lines;
};

describe('operations', () => {
  it('NOOP does nothing but complete', () => {
    const { client } = setUp();
    expect(client.run({ opcode: NOOP })).toEqual({
      status: SUCCESS,
      result: 0,
      bytesCompleted: 0,
      faultAddress: 0n,
      invalidFlags: 0,
      crc: 0,
    });
  });

  it('MEMMOVE moves like memmove, however the ranges overlap', () => {
    const { client, arena } = setUp();
    fc.assert(
      fc.property(rangeIn(3 * PAGE), fc.nat(2 * PAGE), ({ at, size }, to) => {
        arena.bytes.set(noise(arena.byteLength));
        const expected = arena.bytes.slice();
        expected.copyWithin(to, at, at + size);
        const source = arena.address + BigInt(at);
        const { status } = client.run({ opcode: MEMMOVE, source, destination: arena.address + BigInt(to), size });
        expect(status).toBe(SUCCESS);
        expect(Buffer.compare(arena.bytes, expected)).toBe(0);
      }),
      { numRuns: 200 },
    );
  });

  it('MEMMOVE moves between plain buffers, and touches nothing beside them', () => {
    const { client, process } = setUp();
    fc.assert(
      fc.property(rangeIn(9000), fc.nat(200), ({ at, size }, to) => {
        const source = Buffer.from(noise(9000));
        const target = new Uint8Array(to + size + 40).fill(0xaa);
        const { status } = client.run({
          opcode: MEMMOVE,
          source: process.addressOf(source) + BigInt(at),
          destination: process.addressOf(target) + BigInt(to),
          size,
        });
        expect(status).toBe(SUCCESS);
        const expected = new Uint8Array(target.length).fill(0xaa);
        expected.set(source.subarray(at, at + size), to);
        expect(Buffer.compare(target, expected)).toBe(0);
      }),
      { numRuns: 100 },
    );
  });

  it('MEMMOVE is right where a range runs off a plain buffer into the rest of its page', () => {
    const { client, process } = setUp();
    const buffer = noise(100);
    const source = process.addressOf(buffer);
    // What surrounds the buffer is not zero either.
    process.poke(source - 16n, noise(16, 3));
    process.poke(source + 100n, noise(200, 5));
    for (const [at, to, size] of [
      [-10, 5, 30],
      [-10, 5, 300],
      [80, 90, 40],
      [90, 80, 40],
      [-16, 100, 116],
    ] as const) {
      const expected = process.peek(source - 16n, 400);
      expected.copyWithin(to + 16, at + 16, at + 16 + size);
      const addresses = { source: source + BigInt(at), destination: source + BigInt(to) };
      expect(client.run({ opcode: MEMMOVE, ...addresses, size }).status).toBe(SUCCESS);
      expect(process.peek(source - 16n, 400)).toEqual(expected);
    }
  });

  it('MEMFILL repeats its pattern from the first byte on', () => {
    const { client, arena } = setUp();
    fc.assert(
      fc.property(rangeIn(3 * PAGE), fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), ({ at, size }, source) => {
        arena.bytes.fill(0);
        const destination = arena.address + BigInt(at);
        expect(client.run({ opcode: MEMFILL, source, destination, size }).status).toBe(SUCCESS);
        const pattern = Array.from({ length: 8 }, (_, index) => Number((source >> BigInt(8 * index)) & 0xffn));
        const expected = new Uint8Array(arena.byteLength);
        for (let index = 0; index < size; index += 1) expected[at + index] = pattern[index % 8] ?? 0;
        expect(Buffer.compare(arena.bytes, expected)).toBe(0);
      }),
      { numRuns: 150 },
    );
  });

  it('COMPARE finds the first difference', () => {
    const { client, arena } = setUp(machine(), 8);
    const half = 4 * PAGE;
    fc.assert(
      fc.property(rangeIn(3 * PAGE), fc.nat(PAGE), fc.option(fc.nat()), ({ at, size }, to, where) => {
        const bytes = noise(size);
        arena.bytes.set(bytes, at);
        arena.bytes.set(bytes, half + to);
        const difference = where === null ? size : where % size;
        if (difference < size) arena.bytes[half + to + difference] = ~(bytes[difference] ?? 0);
        const record = client.run({
          opcode: COMPARE,
          source: arena.address + BigInt(at),
          destination: arena.address + BigInt(half + to),
          size,
        });
        expect(record).toMatchObject({
          status: SUCCESS,
          result: difference < size ? 1 : 0,
          bytesCompleted: difference,
        });
      }),
      { numRuns: 150 },
    );
  });

  it.each([
    ['equal, expected equal', false, 0, SUCCESS],
    ['equal, expected different', false, 1, COMP_STATUS.SUCCESS_PRED],
    ['different, expected equal', true, 0, COMP_STATUS.SUCCESS_PRED],
    ['different, expected different', true, 1, SUCCESS],
  ])('COMPARE checks its result with flag CR: %s', (_, differs, expected, status) => {
    const { client, arena } = setUp();
    arena.bytes[PAGE] = differs ? 1 : 0;
    const fields: Fields = {
      opcode: COMPARE,
      source: arena.address,
      destination: arena.address + BigInt(PAGE),
      size: 8,
      bytes: { 40: expected },
    };
    expect(client.run({ ...fields, flags: RECORDED | DESC_FLAG.CR })).toMatchObject({
      status,
      result: differs ? 1 : 0,
    });
    expect(client.run(fields).status).toBe(SUCCESS);
  });

  describe('CRCGEN', () => {
    it('computes CRC-32C under every combination of its flags', () => {
      const { client, arena } = setUp();
      arena.bytes.set(noise(arena.byteLength));
      const variants = fc.constantFrom(0, BYPASS_INVERSION, BYPASS_REFLECTION, BYPASS_INVERSION | BYPASS_REFLECTION);
      fc.assert(
        fc.property(
          fc.nat(3 * PAGE),
          fc.integer({ min: 1, max: 300 }),
          fc.nat(0xffff_ffff),
          variants,
          (at, size, seed, flags) => {
            const record = client.run({
              opcode: CRCGEN,
              flags: RECORDED | flags,
              source: arena.address + BigInt(at),
              size,
              bytes: seedBytes(seed),
            });
            expect(record.status).toBe(SUCCESS);
            expect(record.crc).toBe(reference(arena.bytes.subarray(at, at + size), seed, flags));
          },
        ),
        { numRuns: 100 },
      );
    });

    it('takes the seed from memory, also across a page', () => {
      const { client, arena } = setUp();
      arena.bytes.set(noise(64));
      new DataView(arena.bytes.buffer).setUint32(PAGE - 2, 0x12345678, true);
      const address = arena.address + BigInt(PAGE - 2);
      const bytes = Object.fromEntries(
        Array.from({ length: 8 }, (_, index) => [48 + index, Number((address >> BigInt(8 * index)) & 0xffn)]),
      );
      const fields = { opcode: CRCGEN, flags: RECORDED | READ_SEED, source: arena.address, size: 64, bytes };
      expect(client.run(fields).crc).toBe(reference(arena.bytes.subarray(0, 64), 0x12345678, 0));
    });
  });

  it('IAX completes NOOP with a record of 64 bytes', () => {
    const client = new Client(machine({ type: 'iax' }), { path: '/dev/iax/wq0.0' });
    client.ring.bytes.fill(0xff);
    const slot = client.submit({ opcode: IAX_OPCODE.NOOP });
    client.ring.bytes.fill(0xff, 64 * 64 + 1, 64 * 64 + 64);
    client.kernel.clock.runUntilIdle();
    expect(client.status(slot)).toBe(SUCCESS);
    expect(client.ring.bytes.subarray(64 * 64 + 1, 64 * 64 + 64).every((byte) => byte === 0)).toBe(true);
  });
});

describe('what the device refuses', () => {
  const PAGES = 2;
  const valid = { opcode: MEMMOVE, size: 8 };
  const refused: [string, Fields, number, number?][] = [
    ['an opcode that does not exist', { opcode: 0x33 }, COMP_STATUS.BAD_OPCODE],
    ['an operation that the model does not execute', { opcode: DSA_OPCODE.BATCH }, COMP_STATUS.BAD_OPCODE],
    ['FENCE outside a batch', { flags: RECORDED | DESC_FLAG.FENCE }, COMP_STATUS.INVALID_FLAGS, DESC_FLAG.FENCE],
    [
      'BOF on a queue without block_on_fault',
      { ...valid, flags: RECORDED | DESC_FLAG.BOF },
      COMP_STATUS.INVALID_FLAGS,
      DESC_FLAG.BOF,
    ],
    [
      'a flag that the operation does not take',
      { flags: RECORDED | DESC_FLAG.CC },
      COMP_STATUS.INVALID_FLAGS,
      DESC_FLAG.CC,
    ],
    ['flags that do not exist', { flags: RECORDED | 0x80_8020 }, COMP_STATUS.INVALID_FLAGS, 0x80_8020],
    ['reserved bytes 38 and 39', { bytes: { 39: 1 } }, COMP_STATUS.NOZERO_RESERVE],
    ['the reserved tail of a NOOP', { bytes: { 40: 1 } }, COMP_STATUS.NOZERO_RESERVE],
    ['the reserved tail of a MEMMOVE', { ...valid, bytes: { 63: 1 } }, COMP_STATUS.NOZERO_RESERVE],
    ['the reserved word beside a CRC seed', { opcode: CRCGEN, size: 8, bytes: { 47: 1 } }, COMP_STATUS.NOZERO_RESERVE],
    ['a transfer of nothing', { opcode: MEMMOVE }, COMP_STATUS.XFER_ERANGE],
    ['a transfer above max_transfer_size', { opcode: MEMMOVE, size: 2 ** 21 + 1 }, COMP_STATUS.XFER_ERANGE],
    ['an interrupt from a user portal', { flags: RECORDED | DESC_FLAG.RCI }, COMP_STATUS.INT_HANDLE_INVAL],
    ['a wrong opcode before wrong flags', { opcode: 0x33, flags: RECORDED | 0x80_0000 }, COMP_STATUS.BAD_OPCODE],
    [
      'wrong flags before a wrong size',
      { opcode: MEMMOVE, flags: RECORDED | DESC_FLAG.CR },
      COMP_STATUS.INVALID_FLAGS,
      DESC_FLAG.CR,
    ],
  ];
  it.each(refused)('%s', (_, fields, status, invalidFlags = 0) => {
    const { client, arena } = setUp(machine(), PAGES);
    const addresses = { source: arena.address, destination: arena.address + BigInt(PAGE) };
    expect(client.run({ ...addresses, ...fields })).toMatchObject({ status, invalidFlags });
  });

  it('an operation that the hardware was declared without', () => {
    const { client, arena } = setUp(machine({ operations: [NOOP, COMPARE] }));
    const fields = { source: arena.address, destination: arena.address, size: 8 };
    expect(client.run({ ...fields, opcode: MEMMOVE }).status).toBe(COMP_STATUS.BAD_OPCODE);
    expect(client.run({ ...fields, opcode: COMPARE }).status).toBe(SUCCESS);
  });

  it('an operation that op_config of the queue leaves out', () => {
    const kernel = unbound({ version: 0x200 });
    kernel.self.sysfs.write(`${WQ}/op_config`, '1');
    bind(kernel.self, 'idxd', 'dsa0');
    bind(kernel.self, 'user', 'wq0.0');
    const { client, arena } = setUp(kernel);
    expect(client.run({ opcode: NOOP }).status).toBe(SUCCESS);
    expect(client.run({ opcode: MEMFILL, destination: arena.address, size: 8 }).status).toBe(COMP_STATUS.BAD_OPCODE);
  });

  it('a completion record that is not aligned: reported in SWERR alone', () => {
    const { client, process } = setUp();
    const slot = client.encode({ record: client.recordAddress(0) + 16n });
    client.ring.bytes.fill(0xee, 64 * 64, 64 * 65);
    client.store(slot);
    client.kernel.clock.runUntilIdle();
    expect(client.ring.bytes.subarray(64 * 64, 64 * 65).every((byte) => byte === 0xee)).toBe(true);
    expect(swerr(process)).toMatchObject({ valid: true, error: COMP_STATUS.CRA_ALIGN, operation: NOOP, wqIdx: 0 });
  });

  it('a record for IAX that is aligned for DSA only', () => {
    const client = new Client(machine({ type: 'iax' }), { path: '/dev/iax/wq0.0' });
    client.run({ record: client.recordAddress(0) + 32n });
    expect(swerr(client.process, '/sys/bus/dsa/devices/iax0').error).toBe(COMP_STATUS.CRA_ALIGN);
  });
});

describe('the completion record', () => {
  afterEach(() => vi.restoreAllMocks());

  it('is written on success only when it is asked for', () => {
    const { client } = setUp();
    expect(client.run({ flags: DESC_FLAG.CRAV }).status).toBe(COMP_STATUS.NONE);
    expect(client.run({ flags: DESC_FLAG.CRAV | DESC_FLAG.RCR }).status).toBe(SUCCESS);
    expect(client.run({ flags: 0 }).status).toBe(COMP_STATUS.NONE);
  });

  it('is written on failure in any case', () => {
    const { client } = setUp();
    expect(client.run({ opcode: 0x33, flags: DESC_FLAG.CRAV }).status).toBe(COMP_STATUS.BAD_OPCODE);
  });

  it('changes nothing before its time', () => {
    const { client, arena, kernel } = setUp(machine({ latency: 1000, latencyPerKiB: 0 }, { clock: 'manual' }));
    arena.bytes.set(noise(64));
    const slot = client.submit({
      opcode: MEMMOVE,
      source: arena.address,
      destination: arena.address + 4096n,
      size: 64,
    });
    kernel.clock.advance(999);
    expect(client.status(slot)).toBe(0);
    expect(arena.bytes[PAGE + 1]).toBe(0);
    kernel.clock.advance(1);
    expect(client.status(slot)).toBe(SUCCESS);
    expect(arena.bytes[PAGE + 1]).toBe(arena.bytes[1]);
  });

  it('has all its fields by the time the status byte is stored', () => {
    const { client, arena } = setUp(machine({}, { clock: 'manual' }));
    const slot = client.submit({ opcode: COMPARE, source: arena.address, destination: 0x1000n, size: 100 });
    client.ring.bytes.fill(0xee, 64 * 64 + 1, 64 * 64 + 32);
    const seen: unknown[] = [];
    const { store } = Atomics;
    vi.spyOn(Atomics, 'store').mockImplementation((...args: Parameters<typeof store>) => {
      seen.push(client.record(slot));
      return store(...args);
    });
    client.kernel.clock.runUntilIdle();
    const complete = { result: 0, bytesCompleted: 0, faultAddress: 0x1000n, invalidFlags: 0, crc: 0 };
    expect(seen).toEqual([{ status: 0, ...complete }]);
    expect(client.record(slot)).toEqual({ status: COMP_STATUS.PAGE_FAULT_NOBOF, ...complete });
  });

  it('may lie where a plain buffer ends in the middle of it', () => {
    const { client, process } = setUp();
    const buffer = new Uint8Array(24);
    // The buffer starts 16 bytes into its page; 32-byte alignment leaves 8 of its bytes.
    const address = process.addressOf(buffer) + 16n;
    client.run({ record: address });
    expect(buffer[16]).toBe(SUCCESS);
  });
});

describe('page faults', () => {
  it.each([
    ['MEMMOVE reading', MEMMOVE, 'unmapped', 'source', 0],
    ['MEMMOVE writing', MEMMOVE, 'unmapped', 'destination', STATUS_WRITE_FAULT],
    ['MEMMOVE writing to a read-only page', MEMMOVE, 'read-only', 'destination', STATUS_WRITE_FAULT],
    ['MEMFILL', MEMFILL, 'unmapped', 'destination', STATUS_WRITE_FAULT],
    ['COMPARE, first operand', COMPARE, 'unmapped', 'source', 0],
    ['COMPARE, second operand', COMPARE, 'unmapped', 'destination', 0],
    ['CRCGEN', CRCGEN, 'unmapped', 'source', 0],
  ] as const)('%s stops at the page', (_, opcode, kind, operand, write) => {
    const { client, process, memory, page } = withHole(kind);
    const other = process.alloc(3 * PAGE);
    const start = memory.address + 4000n;
    if (opcode === COMPARE) other.bytes.set(memory.bytes.subarray(4000, 4096));
    const operands =
      operand === 'source'
        ? { source: start, destination: opcode === CRCGEN ? 0n : other.address }
        : { source: opcode === MEMFILL ? 0x55n : other.address, destination: start };
    expect(client.run({ opcode, size: 1000, ...operands })).toMatchObject({
      status: COMP_STATUS.PAGE_FAULT_NOBOF | write,
      bytesCompleted: 96,
      faultAddress: page,
      result: 0,
    });
  });

  it('reads of a read-only page are fine', () => {
    const { client, process, memory } = withHole('read-only');
    const destination = process.alloc(3 * PAGE).address;
    expect(client.run({ opcode: MEMMOVE, source: memory.address, destination, size: 3 * PAGE }).status).toBe(SUCCESS);
  });

  it('memory that was never touched faults', () => {
    const { client, process } = setUp();
    const fresh = process.alloc(PAGE, { populate: false });
    const fields = { opcode: MEMFILL, destination: fresh.address, size: 100 };
    expect(client.run(fields)).toMatchObject({
      status: COMP_STATUS.PAGE_FAULT_NOBOF | STATUS_WRITE_FAULT,
      bytesCompleted: 0,
    });
    process.touch(fresh.address, 1, 'write');
    expect(client.run(fields).status).toBe(SUCCESS);
  });

  it.each([0xffff_8000_0000_0123n, 0x8000_0000_0000_0001n, 0xffff_ffff_ffff_ffffn])(
    'the fault address is exact above 2^53: %s',
    (source) => {
      const { client, arena } = setUp();
      const record = client.run({ opcode: MEMMOVE, source, destination: arena.address, size: 4 });
      expect(record).toMatchObject({ status: COMP_STATUS.PAGE_FAULT_NOBOF, faultAddress: source });
    },
  );

  it('a backward move says so, and counts from the end', () => {
    const { client, memory } = withHole('unmapped');
    const source = memory.address;
    const destination = memory.address + 100n;
    const size = 2 * PAGE + 500;
    // The tail of both ranges lies in the last page.
    const record = client.run({ opcode: MEMMOVE, source, destination, size });
    expect(record).toMatchObject({ status: COMP_STATUS.PAGE_FAULT_NOBOF, result: 1, bytesCompleted: 500 });
    expect(record.faultAddress >> 12n).toBe((memory.address + BigInt(PAGE)) >> 12n);
  });

  it('a move goes on as the record says, until all is moved', () => {
    fc.assert(
      fc.property(rangeIn(3 * PAGE), fc.nat(2 * PAGE), ({ at, size }, to) => {
        const { client, process } = setUp();
        const arena = process.alloc(5 * PAGE);
        arena.bytes.set(noise(arena.byteLength));
        const expected = arena.bytes.slice();
        expected.copyWithin(to, at, at + size);
        process.mm.evict(Number(arena.address), arena.byteLength);
        let [source, destination, left] = [arena.address + BigInt(at), arena.address + BigInt(to), size];
        for (;;) {
          const { status, bytesCompleted, result, faultAddress } = client.run({
            opcode: MEMMOVE,
            source,
            destination,
            size: left,
          });
          if (status === SUCCESS) break;
          process.touch(faultAddress, 1, (status & STATUS_WRITE_FAULT) !== 0 ? 'write' : 'read');
          left -= bytesCompleted;
          if (result === 1) continue;
          source += BigInt(bytesCompleted);
          destination += BigInt(bytesCompleted);
        }
        expect(Buffer.compare(arena.bytes, expected)).toBe(0);
      }),
      { numRuns: 60 },
    );
  });

  it('an interrupted CRC is the seed of the rest', () => {
    const { client, process } = setUp();
    const memory = process.alloc(2 * PAGE);
    memory.bytes.set(noise(2 * PAGE));
    const fields = { opcode: CRCGEN, source: memory.address, size: 2 * PAGE };
    const whole = client.run(fields).crc;
    process.mm.evict(Number(memory.address) + PAGE, PAGE);
    const { status, bytesCompleted, crc } = client.run(fields);
    expect([status, bytesCompleted]).toEqual([COMP_STATUS.PAGE_FAULT_NOBOF, PAGE]);
    process.touch(memory.address + BigInt(PAGE), 1, 'read');
    const bytes = Object.fromEntries(
      Array.from({ length: 4 }, (_, index) => [40 + index, (crc >>> (8 * index)) & 0xff]),
    );
    expect(client.run({ opcode: CRCGEN, source: memory.address + BigInt(PAGE), size: PAGE, bytes }).crc).toBe(whole);
  });

  it('a record that cannot be written is lost; SWERR says so', () => {
    const { client, process, memory, page } = withHole('read-only');
    expect(client.run({ opcode: MEMFILL, destination: memory.address, size: 8, record: page }).status).toBe(0);
    expect(memory.bytes.subarray(0, 8).every((byte) => byte === 0)).toBe(true);
    expect(swerr(process)).toMatchObject({
      valid: true,
      descValid: true,
      wqIdxValid: true,
      faultRw: true,
      error: COMP_STATUS.CRA_XLAT,
      operation: MEMFILL,
      pasid: process.pasid(client.fd),
      faultAddr: page,
    });
  });

  describe('with block on fault', () => {
    it('the device asks for pages and waits', () => {
      const { client, process, kernel } = setUp(blocking());
      const source = process.alloc(4 * PAGE);
      source.bytes.set(noise(4 * PAGE));
      process.mm.evict(Number(source.address), 4 * PAGE);
      const target = process.alloc(4 * PAGE, { populate: false });
      const fields = {
        opcode: MEMMOVE,
        flags: BLOCKING,
        source: source.address,
        destination: target.address,
        size: 4 * PAGE,
      };
      expect(client.run(fields).status).toBe(SUCCESS);
      expect(Buffer.compare(target.bytes, source.bytes)).toBe(0);
      expect(kernel.counters().pageRequests).toBe(8);
    });

    it.each([
      ['reading', 'source', 0],
      ['writing', 'destination', STATUS_WRITE_FAULT],
    ] as const)('a request that is refused ends it where it stands: %s', (_, operand, write) => {
      const { client, process, memory, page } = withHole('unmapped', blocking());
      const other = process.alloc(3 * PAGE).address;
      const operands = { source: other, destination: other, [operand]: memory.address + 4000n };
      expect(client.run({ opcode: MEMMOVE, flags: BLOCKING, size: 500, ...operands })).toMatchObject({
        status: COMP_STATUS.PAGE_FAULT_IR | write,
        bytesCompleted: 96,
        faultAddress: page,
      });
    });

    it('without page requests the device cannot wait', () => {
      const { client, process, kernel } = setUp(blocking({ pri: false }));
      const destination = process.alloc(PAGE, { populate: false }).address;
      const { status } = client.run({ opcode: MEMFILL, flags: BLOCKING, destination, size: 8 });
      expect(status).toBe(COMP_STATUS.PAGE_FAULT_IR | STATUS_WRITE_FAULT);
      expect(kernel.counters().pageRequests).toBe(0);
    });

    it('the flag is needed as well as the attribute', () => {
      const { client, process } = setUp(blocking());
      const destination = process.alloc(PAGE, { populate: false }).address;
      const { status } = client.run({ opcode: MEMFILL, destination, size: 8 });
      expect(status).toBe(COMP_STATUS.PAGE_FAULT_NOBOF | STATUS_WRITE_FAULT);
    });

    it('an engine that waits lets the others work', () => {
      const kernel = machine(
        {
          workQueues: [
            { mode: 'dedicated', size: 4, blockOnFault: true },
            { mode: 'dedicated', size: 4, group: 1 },
          ],
        },
        { clock: 'manual' },
      );
      const first = new Client(kernel);
      const second = new Client(kernel, { path: '/dev/dsa/wq0.1' });
      const destination = kernel.self.alloc(PAGE, { populate: false }).address;
      const waits = first.submit({ opcode: MEMFILL, flags: BLOCKING, destination, size: 8 });
      kernel.clock.advance(1000);
      const runs = second.submit({});
      kernel.clock.advance(1000);
      expect([first.status(waits), second.status(runs)]).toEqual([0, SUCCESS]);
      kernel.clock.runUntilIdle();
      expect(first.status(waits)).toBe(SUCCESS);
    });

    it('an answer that helps nothing is not asked for for ever', () => {
      const { client, process, kernel } = setUp(blocking());
      const memory = process.alloc(PAGE, { populate: false });
      // The kernel says success, and somebody takes the page away again before the device is back.
      const { mm } = process;
      const handleFault = mm.handleFault.bind(mm);
      vi.spyOn(mm, 'handleFault').mockImplementation((...args) => {
        const granted = handleFault(...args);
        mm.evict(Number(memory.address), PAGE);
        return granted;
      });
      const { status } = client.run({ opcode: MEMFILL, flags: BLOCKING, destination: memory.address, size: 8 });
      expect(status).toBe(COMP_STATUS.PAGE_FAULT_IR | STATUS_WRITE_FAULT);
      expect(kernel.counters().pageRequests).toBe(16);
    });
  });

  it('legacy: fault_cb hears of the request, with the PASID in the descriptor', () => {
    const kernel = machine(
      { workQueues: [{ mode: 'dedicated', size: 16, blockOnFault: true }] },
      { semantics: 'legacy' },
    );
    const client = new Client(kernel);
    const { process } = client;
    const calls: unknown[] = [];
    const ops = {
      faultCb: (...[dev, pasid, address]: [{ path: string }, number, bigint]) => void calls.push([dev, pasid, address]),
    };
    const dev = { path: '/dev/dsa/wq0.0' };
    const pasid = process.svm?.bindMm(dev, 0, ops) ?? 0;
    const memory = process.alloc(PAGE, { populate: false });
    const fields = { opcode: MEMFILL, flags: RECORDED | DESC_FLAG.BOF, destination: memory.address + 8n, size: 8 };
    expect(client.run({ ...fields, pasid }).status).toBe(SUCCESS);
    expect(calls).toEqual([[dev, pasid, memory.address]]);
  });

  it('a PASID that is bound nowhere blocks even the record', () => {
    const kernel = machine({}, { semantics: 'legacy' });
    const client = new Client(kernel);
    expect(client.run({ pasid: 77 }).status).toBe(0);
    expect(swerr(client.process)).toMatchObject({ error: COMP_STATUS.CRA_XLAT, pasid: 77 });
    expect(kernel.dmaFaults).toEqual([{ bdf: BDF, pasid: 77, address: Number(client.recordAddress(0)), write: true }]);
  });
});

describe('SWERR', () => {
  it('names an error of a descriptor without completion record', () => {
    const { client, process, kernel } = setUp();
    client.run({ opcode: MEMMOVE, flags: DESC_FLAG.CC | DESC_FLAG.RCR });
    const stranger = kernel.spawn({ uid: 1000 });
    expect(swerr(stranger)).toEqual({
      valid: true,
      overflow: false,
      descValid: true,
      wqIdxValid: true,
      batch: false,
      faultRw: false,
      priv: false,
      error: COMP_STATUS.INVALID_FLAGS,
      wqIdx: 0,
      operation: MEMMOVE,
      pasid: process.pasid(client.fd),
      batchIdx: 0,
      invalidFlags: DESC_FLAG.RCR,
      faultAddr: 0n,
    });
  });

  it('reports a page fault with its address when there is no record', () => {
    const { client, process } = setUp();
    client.run({ opcode: MEMFILL, flags: 0, destination: 0x2000n, size: 1 });
    expect(swerr(process)).toMatchObject({ error: COMP_STATUS.PAGE_FAULT_NOBOF, faultRw: true, faultAddr: 0x2000n });
  });

  it('keeps the first of two errors and says that there were more; the next reading has the latest', () => {
    const { client, process, kernel } = setUp(machine({ latency: 100 }));
    client.submit({ opcode: 0x33, flags: 0 });
    client.submit({ opcode: 0x34, flags: 0 });
    kernel.clock.runUntilIdle();
    expect(swerr(process)).toMatchObject({ operation: 0x33, overflow: true });
    client.run({ opcode: 0x35, flags: 0 });
    expect(swerr(process)).toMatchObject({ operation: 0x35, overflow: false, valid: true });
  });

  it('success and a false predicate are no errors', () => {
    const { client, process, arena } = setUp();
    const fields = { opcode: COMPARE, source: arena.address, destination: arena.address, size: 1, bytes: { 40: 1 } };
    client.run({ ...fields, flags: DESC_FLAG.CR });
    expect(swerr(process).valid).toBe(false);
  });
});

describe('time and order', () => {
  it('an engine works on one descriptor at a time, in order', () => {
    const { client, kernel, arena } = setUp(machine({ latency: 100, latencyPerKiB: 1000 }, { clock: 'manual' }));
    const long = client.submit({ opcode: MEMFILL, destination: arena.address, size: 1024 });
    const short = client.submit({});
    kernel.clock.advance(1099);
    expect([client.status(long), client.status(short)]).toEqual([0, 0]);
    kernel.clock.advance(1);
    expect([client.status(long), client.status(short)]).toEqual([SUCCESS, 0]);
    kernel.clock.advance(100);
    expect(client.status(short)).toBe(SUCCESS);
  });

  it('queues of one group share its engine by priority', () => {
    const kernel = machine(
      {
        workQueues: [
          { mode: 'dedicated', size: 16, priority: 1 },
          { mode: 'dedicated', size: 16, priority: 3 },
        ],
      },
      { clock: 'manual' },
    );
    const clients = [new Client(kernel), new Client(kernel, { path: '/dev/dsa/wq0.1' })];
    for (const client of clients) for (let n = 0; n < 12; n += 1) client.submit({});
    kernel.clock.advance(300 * 9);
    const done = clients.map((client) => Array.from({ length: 12 }, (_, n) => client.status(n)).filter(Boolean).length);
    // The first descriptor found the engine free.
    expect(done).toEqual([3, 6]);
  });

  it('the same seed gives the same run', () => {
    expect(trace(7)).toEqual(trace(7));
    expect(trace(7)).not.toEqual(trace(8));
  });

  it.each(['virtual', 'real'] as const)('completes by itself under a %s clock', async (clock) => {
    const { client } = setUp(machine({}, { clock }));
    const slot = client.submit({});
    while (client.status(slot) === 0) await client.process.turn();
    expect(client.status(slot)).toBe(SUCCESS);
  });
});
