import * as fc from 'fast-check';
import { describe, expect, expectTypeOf, it } from 'vitest';
import { DSA_COMPLETION, DSA_DESCRIPTOR } from '../../../lib/abi/dsa.js';
import { IAX_COMPLETION, IAX_DESCRIPTOR } from '../../../lib/abi/iax.js';
import {
  bitField,
  bytes,
  defineLayout,
  type Field,
  type FieldName,
  type Fields,
  type Layout,
  u16,
  u32,
  u64,
  u8,
  word,
} from '../../../lib/abi/layout.js';
import { HISI_QP_CTX, HISI_QP_INFO } from '../../../lib/abi/uacce.js';

const SAMPLE = defineLayout('sample', 32, {
  byte: u8(0, 'byte'),
  half: u16(2, 'half'),
  flags: word(4),
  low: bitField(4, 0, 20, 'low'),
  high: bitField(4, 31, 1, 'high'),
  full: u32(8, 'full'),
  address: u64(16, 'address'),
  rest: bytes(24, 5, 'rest'),
});

/** A view of `size` bytes in the middle of a buffer of ones, so that a stray write shows. */
function guarded(size: number): { view: DataView; untouched: () => boolean } {
  const guard = 64;
  const all = new Uint8Array(guard + size + guard).fill(0xff);
  const view = new DataView(all.buffer, guard, size);
  const untouched = (): boolean =>
    all.subarray(0, guard).every((byte) => byte === 0xff) && all.subarray(guard + size).every((byte) => byte === 0xff);
  return { view, untouched };
}

describe('accessors', () => {
  it('are little-endian', () => {
    const view = new DataView(new ArrayBuffer(32));
    SAMPLE.set(view, 0, 'half', 0x1234);
    SAMPLE.set(view, 0, 'full', 0x89ab_cdef);
    SAMPLE.setU64(view, 0, 'address', 0x0123_4567_89ab_cdefn);
    expect([...new Uint8Array(view.buffer, 0, 24)]).toEqual([
      0, 0, 0x34, 0x12, 0, 0, 0, 0, 0xef, 0xcd, 0xab, 0x89, 0, 0, 0, 0, 0xef, 0xcd, 0xab, 0x89, 0x67, 0x45, 0x23, 0x01,
    ]);
  });

  it('count from the base, which need not be aligned', () => {
    const view = new DataView(new ArrayBuffer(64));
    SAMPLE.set(view, 13, 'full', 7);
    expect(view.getUint32(21, true)).toBe(7);
    expect(SAMPLE.get(view, 13, 'full')).toBe(7);
  });

  it('read bit-fields out of the word and write them into it', () => {
    const view = new DataView(new ArrayBuffer(32));
    SAMPLE.set(view, 0, 'flags', 0xffff_ffff);
    SAMPLE.set(view, 0, 'low', 0x12345);
    expect(SAMPLE.get(view, 0, 'flags')).toBe(0xfff1_2345);
    SAMPLE.set(view, 0, 'high', 0);
    expect(SAMPLE.get(view, 0, 'flags')).toBe(0x7ff1_2345);
    expect(SAMPLE.get(view, 0, 'low')).toBe(0x12345);
    expect(SAMPLE.get(view, 0, 'high')).toBe(0);
  });

  it('give bytes as a window on the memory', () => {
    const view = new DataView(new ArrayBuffer(40));
    SAMPLE.bytes(view, 8, 'rest').set([1, 2, 3, 4, 5]);
    expect(SAMPLE.bytes(view, 8, 'rest')).toEqual(Uint8Array.of(1, 2, 3, 4, 5));
    expect([...new Uint8Array(view.buffer, 32, 6)]).toEqual([1, 2, 3, 4, 5, 0]);
  });

  it('agree between bigint and number below 2^53', () => {
    const view = new DataView(new ArrayBuffer(32));
    fc.assert(
      fc.property(fc.maxSafeNat(), (address) => {
        SAMPLE.setAddress(view, 0, 'address', address);
        expect(SAMPLE.getU64(view, 0, 'address')).toBe(BigInt(address));
        SAMPLE.setU64(view, 0, 'address', BigInt(address));
        expect(SAMPLE.getAddress(view, 0, 'address')).toBe(address);
      }),
    );
  });

  it.each([2n ** 53n, 0xffff_8000_0000_0000n, 2n ** 64n - 1n])('refuse to read %s as a number', (address) => {
    const view = new DataView(new ArrayBuffer(32));
    SAMPLE.setU64(view, 0, 'address', address);
    expect(() => SAMPLE.getAddress(view, 0, 'address')).toThrow(RangeError);
    expect(SAMPLE.getU64(view, 0, 'address')).toBe(address);
  });
});

describe('values that do not fit', () => {
  const blank = new Uint8Array(32).fill(0xa5);
  const view = new DataView(blank.buffer);

  it.each([
    ['byte', 256],
    ['byte', -1],
    ['half', 0x1_0000],
    ['low', 0x10_0000],
    ['high', 2],
    ['full', 2 ** 32],
    ['full', 1.5],
    ['full', Number.NaN],
    ['flags', -1],
  ] as const)('%s = %s is refused', (field, value) => {
    expect(() => SAMPLE.set(view, 0, field, value)).toThrow(
      expect.objectContaining({ name: 'RangeError', code: 'ERR_OUT_OF_RANGE' }),
    );
    expect(blank.every((byte) => byte === 0xa5)).toBe(true);
  });

  it.each([-1n, 2n ** 64n])('a 64-bit field refuses %s', (value) => {
    expect(() => SAMPLE.setU64(view, 0, 'address', value)).toThrow(RangeError);
    expect(blank.every((byte) => byte === 0xa5)).toBe(true);
  });

  it.each([-1, 0.5, 2 ** 53, Number.NaN, Infinity])('an address refuses %s', (value) => {
    expect(() => SAMPLE.setAddress(view, 0, 'address', value)).toThrow(RangeError);
    expect(blank.every((byte) => byte === 0xa5)).toBe(true);
  });
});

describe('the view', () => {
  const edges = defineLayout('edges', 32, {
    first: u8(0, 'first'),
    last: u32(28, 'last'),
    all: bytes(0, 32, 'all'),
  });

  it.each([
    [-1, 'first'],
    [1, 'last'],
    [32, 'last'],
    [2 ** 32, 'first'],
  ] as const)('is not left from base %s at the %s field', (base, field) => {
    const { view, untouched } = guarded(edges.size);
    expect(() => edges.get(view, base, field)).toThrow(RangeError);
    expect(() => edges.set(view, base, field, 0)).toThrow(RangeError);
    expect(() => edges.bytes(view, base, 'all')).toThrow(RangeError);
    expect(untouched()).toBe(true);
  });

  it('is not left by half an address', () => {
    const { view, untouched } = guarded(20);
    expect(() => SAMPLE.setAddress(view, 0, 'address', 0)).toThrow(RangeError);
    expect(() => SAMPLE.setU64(view, 0, 'address', 0n)).toThrow(RangeError);
    expect(view.getUint32(16, true)).toBe(0xffff_ffff);
    expect(untouched()).toBe(true);
  });

  it.each([0.5, Number.NaN])('gives no bytes from base %s', (base) => {
    expect(() => SAMPLE.bytes(new DataView(new ArrayBuffer(64)), base, 'rest')).toThrow(RangeError);
  });
});

/** Writes all ones to the field and says which bytes have changed. */
function bytesWritten<F extends Fields>(layout: Layout<F>, name: string): readonly number[] {
  const { view, untouched } = guarded(layout.size);
  const struct = new Uint8Array(view.buffer, view.byteOffset, layout.size).fill(0);
  const isOf = <K extends Field['kind']>(key: string, kind: K): key is FieldName<F, K> =>
    layout.fields[key]?.kind === kind;
  const field: Field | undefined = layout.fields[name];
  if (isOf(name, 'number') && field?.kind === 'number') layout.set(view, 0, name, field.mask);
  if (isOf(name, 'u64')) layout.setU64(view, 0, name, 2n ** 64n - 1n);
  if (isOf(name, 'bytes')) layout.bytes(view, 0, name).fill(0xff);
  expect(untouched()).toBe(true);
  return [...struct.keys()].filter((offset) => struct[offset] !== 0);
}

const casesOf = <F extends Fields>(layout: Layout<F>): [string, Field, () => readonly number[]][] =>
  Object.entries<Field>(layout.fields).map(([name, field]) => [
    `${layout.name}.${name}`,
    field,
    () => bytesWritten(layout, name),
  ]);

describe('a write touches the bytes of its field only', () => {
  it.each([
    ...casesOf(DSA_DESCRIPTOR),
    ...casesOf(DSA_COMPLETION),
    ...casesOf(IAX_DESCRIPTOR),
    ...casesOf(IAX_COMPLETION),
    ...casesOf(HISI_QP_CTX),
    ...casesOf(HISI_QP_INFO),
  ])('%s', (_name, field, write) => {
    const bits = field.kind === 'number' ? field.mask * 2 ** field.shift : Infinity;
    const own = Array.from({ length: field.size }, (_, index) => index)
      .filter((index) => Math.floor(bits / 256 ** index) % 256 !== 0)
      .map((index) => field.offset + index);
    expect(write()).toEqual(own);
  });
});

describe('declarations', () => {
  it('refuse a field outside the struct', () => {
    expect(() => defineLayout('s', 8, { field: u64(8, 'field') })).toThrow(/s\.field/);
    expect(() => defineLayout('s', 8, { field: bytes(4, 5, 'field') })).toThrow(RangeError);
    expect(() => defineLayout('s', 8, { field: u8(-1, 'field') })).toThrow(RangeError);
    expect(() => defineLayout('s', 8, { field: u8(0.5, 'field') })).toThrow(RangeError);
    expect(() => defineLayout('s', 8, { field: bytes(0, 0, 'field') })).toThrow(RangeError);
  });

  it('refuse a field that is not aligned, unless packed', () => {
    const fields = { half: u16(1, 'half'), long: u64(4, 'long') };
    expect(() => defineLayout('s', 12, fields)).toThrow(/s\.half/);
    const packed = defineLayout('s', 12, fields, { packed: true });
    const view = new DataView(new ArrayBuffer(12));
    packed.set(view, 0, 'half', 0x0201);
    expect([...new Uint8Array(view.buffer, 0, 4)]).toEqual([0, 1, 2, 0]);
  });

  it('refuse bits outside the word', () => {
    expect(() => defineLayout('s', 4, { bits: bitField(0, 31, 2, 'bits') })).toThrow(RangeError);
    expect(() => defineLayout('s', 4, { bits: bitField(0, -1, 2, 'bits') })).toThrow(RangeError);
    expect(() => defineLayout('s', 4, { bits: bitField(0, 0, 0, 'bits') })).toThrow(RangeError);
    expect(defineLayout('s', 4, { bits: bitField(0, 31, 1, 'bits') }).size).toBe(4);
  });

  it('check names and kinds when compiling', () => {
    const view = new DataView(new ArrayBuffer(32));
    expectTypeOf<FieldName<typeof SAMPLE.fields, 'u64'>>().toEqualTypeOf<'address'>();
    expectTypeOf<FieldName<typeof SAMPLE.fields, 'bytes'>>().toEqualTypeOf<'rest'>();
    // @ts-expect-error there is no such field
    expect(() => SAMPLE.get(view, 0, 'nothing')).toThrow(TypeError);
    // @ts-expect-error a 64-bit field is not read as one of 32
    expect(() => SAMPLE.get(view, 0, 'address')).toThrow(TypeError);
    // @ts-expect-error nor the other way round
    expect(() => SAMPLE.setU64(view, 0, 'full', 1n)).toThrow(TypeError);
    // @ts-expect-error a number field has no bytes
    expect(() => SAMPLE.bytes(view, 0, 'byte')).toThrow(TypeError);
  });
});
