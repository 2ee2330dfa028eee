/**
 * How a C struct is declared once and read and written in place.
 *
 * All structs here are little-endian. A field is given by its byte offset, its width and the name that the C header has
 * for it, so that a test can compare the declaration with the header.
 */
import { outOfRange } from './invalid.js';

/** A member of at most 32 bits: a whole unsigned integer, or a bit-field within one. */
export interface NumberField {
  readonly kind: 'number';
  /** Bytes from the start of the struct to the integer. */
  readonly offset: number;
  /** Bytes of the integer, for a bit-field of the integer that holds it. */
  readonly size: 1 | 2 | 4;
  /** The lowest bit of a bit-field; 0 for a whole integer. */
  readonly shift: number;
  /** The largest value, all ones. */
  readonly mask: number;
  /** The member's name in C; `undefined` for a word that C only knows as several bit-fields. */
  readonly member: string | undefined;
}

/** A 64-bit member: a counter or pattern (`bigint`), or an address. */
export interface U64Field {
  readonly kind: 'u64';
  readonly offset: number;
  readonly size: 8;
  readonly member: string;
}

/** An array member. */
export interface BytesField {
  readonly kind: 'bytes';
  readonly offset: number;
  readonly size: number;
  readonly member: string;
}

export type Field = NumberField | U64Field | BytesField;
export type Fields = Readonly<Record<string, Field>>;

/** The names of those fields of `F` that are of the kind `K`. */
export type FieldName<F extends Fields, K extends Field['kind']> = {
  [N in keyof F]: F[N]['kind'] extends K ? N : never;
}[keyof F] &
  string;

/** `uint8_t member` at byte `offset`. */
export const u8 = (offset: number, member: string): NumberField => bitsOf(1, offset, 0, 8, member);
/** `uint16_t member` at byte `offset`. */
export const u16 = (offset: number, member: string): NumberField => bitsOf(2, offset, 0, 16, member);
/** `uint32_t member` at byte `offset`. */
export const u32 = (offset: number, member: string): NumberField => bitsOf(4, offset, 0, 32, member);
/** `uint64_t member` at byte `offset`. */
export const u64 = (offset: number, member: string): U64Field => ({ kind: 'u64', offset, size: 8, member });
/** An array member of `size` bytes at byte `offset`. */
export const bytes = (offset: number, size: number, member: string): BytesField => ({
  kind: 'bytes',
  offset,
  size,
  member,
});
/** `uint32_t member : width` in the 32-bit word at byte `offset`; bit `shift` of the word is its lowest. */
export const bitField = (offset: number, shift: number, width: number, member: string): NumberField =>
  bitsOf(4, offset, shift, width, member);
/** The whole 32-bit word at byte `offset` which C declares as several bit-fields, to be accessed at once. */
export const word = (offset: number): NumberField => bitsOf(4, offset, 0, 32, undefined);

function bitsOf(
  size: NumberField['size'],
  offset: number,
  shift: number,
  width: number,
  member: string | undefined,
): NumberField {
  return { kind: 'number', offset, size, shift, mask: 2 ** width - 1, member };
}

/**
 * `value` moved to the place of `field` within its integer, all other bits zero.
 * @throws RangeError if it is not an integer from 0 to the field's largest value
 */
export function placeBits(field: NumberField, value: number): number {
  if (!Number.isInteger(value) || value < 0 || value > field.mask) {
    throw outOfRange(field.member ?? 'word', `an integer from 0 to ${field.mask}`, value);
  }
  return (value << field.shift) >>> 0;
}

/** The value of `field` out of the integer that holds it. */
export function takeBits(field: NumberField, integer: number): number {
  return ((integer >>> field.shift) & field.mask) >>> 0;
}

/**
 * A struct and the ways to its fields. `base` is the byte offset of the struct in `view`; no alignment is asked of it.
 *
 * Every access throws RangeError if it would leave the view. Every write throws RangeError if the value does not fit
 * the field, and has then written nothing. A field's name of the wrong kind does not compile.
 */
export interface Layout<F extends Fields = Fields> {
  /** The struct's tag in C. */
  readonly name: string;
  /** `sizeof`, bytes. */
  readonly size: number;
  readonly fields: F;
  /** Reads a field of at most 32 bits. */
  get(view: DataView, base: number, name: FieldName<F, 'number'>): number;
  /** Writes a field of at most 32 bits; a bit-field leaves the rest of its word as it is. */
  set(view: DataView, base: number, name: FieldName<F, 'number'>, value: number): void;
  /** Reads a 64-bit field. */
  getU64(view: DataView, base: number, name: FieldName<F, 'u64'>): bigint;
  /** Writes a 64-bit field. */
  setU64(view: DataView, base: number, name: FieldName<F, 'u64'>, value: bigint): void;
  /**
   * Reads a 64-bit field as a number. For values below 2^53, which holds for user addresses without LA57; a larger one
   * throws RangeError rather than lose bits. `getU64` reads what another party may have chosen.
   */
  getAddress(view: DataView, base: number, name: FieldName<F, 'u64'>): number;
  /** Writes a 64-bit field from a number, a safe integer. Allocates no bigint. */
  setAddress(view: DataView, base: number, name: FieldName<F, 'u64'>, value: number): void;
  /** The bytes of an array field, as a window on the view's own memory. */
  bytes(view: DataView, base: number, name: FieldName<F, 'bytes'>): Uint8Array;
}

export interface LayoutOptions {
  /** The struct has fields that are not aligned to their size. Default false: such a declaration is an error. */
  readonly packed?: boolean;
}

/**
 * Declares a struct.
 *
 * @param name its tag in C
 * @param size `sizeof`, bytes
 * @param fields by the name they have here; those of a union may overlap
 * @throws RangeError if a field leaves the struct, a bit-field leaves its word, or a field is not naturally aligned
 */
export function defineLayout<const F extends Fields>(
  name: string,
  size: number,
  fields: F,
  options: LayoutOptions = {},
): Layout<F> {
  for (const [key, field] of Object.entries(fields)) checkField(`${name}.${key}`, size, field, options.packed ?? false);

  // A map and not `fields` itself: V8 reads one object by ever other names at half the speed.
  const byName = new Map<string, Field>(Object.entries(fields));
  const numberField = (key: FieldName<F, 'number'>): NumberField => {
    const field = byName.get(key);
    if (field?.kind !== 'number') throw noSuchField(name, key);
    return field;
  };
  const offsetOfU64 = (key: FieldName<F, 'u64'>): number => {
    const field = byName.get(key);
    if (field?.kind !== 'u64') throw noSuchField(name, key);
    return field.offset;
  };

  return {
    name,
    size,
    fields,

    get(view, base, key) {
      const field = numberField(key);
      return takeBits(field, readInteger(view, base + field.offset, field.size));
    },

    set(view, base, key, value) {
      const field = numberField(key);
      const at = base + field.offset;
      const placed = placeBits(field, value);
      const others = readInteger(view, at, field.size) & ~(field.mask << field.shift);
      writeInteger(view, at, field.size, others | placed);
    },

    getU64(view, base, key) {
      return view.getBigUint64(base + offsetOfU64(key), true);
    },

    setU64(view, base, key, value) {
      const at = base + offsetOfU64(key);
      if (value < 0n || value > U64_MAX) throw outOfRange(key, 'from 0n to 2n ** 64n - 1n', value);
      view.setBigUint64(at, value, true);
    },

    getAddress(view, base, key) {
      const at = base + offsetOfU64(key);
      const value = view.getUint32(at + 4, true) * TWO_32 + view.getUint32(at, true);
      if (!Number.isSafeInteger(value)) throw outOfRange(key, 'below 2 ** 53', view.getBigUint64(at, true));
      return value;
    },

    setAddress(view, base, key, value) {
      const at = base + offsetOfU64(key);
      if (!Number.isSafeInteger(value) || value < 0) throw outOfRange(key, 'an integer from 0 to 2 ** 53 - 1', value);
      // The upper half first: where the view ends in between, it throws before the lower half is written.
      view.setUint32(at + 4, Math.floor(value / TWO_32), true);
      view.setUint32(at, value >>> 0, true);
    },

    bytes(view, base, key) {
      const field = byName.get(key);
      if (field?.kind !== 'bytes') throw noSuchField(name, key);
      const at = base + field.offset;
      // A view may be a part of a larger buffer: Uint8Array itself would only check against the buffer.
      if (!Number.isInteger(at) || at < 0 || at + field.size > view.byteLength) {
        throw outOfRange(key, `within the ${view.byteLength} bytes of the view`, at);
      }
      return new Uint8Array(view.buffer, view.byteOffset + at, field.size);
    },
  };
}

const TWO_32 = 2 ** 32;
const U64_MAX = 2n ** 64n - 1n;

function checkField(path: string, structSize: number, field: Field, packed: boolean): void {
  const { offset, size } = field;
  if (!Number.isInteger(offset) || !Number.isInteger(size) || offset < 0 || size < 1 || offset + size > structSize) {
    throw outOfRange(path, `within the ${structSize} bytes of the struct`, `${size} bytes at ${offset}`);
  }
  if (field.kind !== 'bytes' && !packed && offset % size !== 0) {
    throw outOfRange(path, `at a multiple of its ${size} bytes, unless packed`, offset);
  }
  if (field.kind === 'number' && (field.shift < 0 || field.mask < 1 || field.mask * 2 ** field.shift >= 256 ** size)) {
    throw outOfRange(path, `within the ${8 * size} bits of its word`, `mask ${field.mask} at bit ${field.shift}`);
  }
}

function noSuchField(struct: string, name: string): TypeError {
  return new TypeError(`struct ${struct} has no field ${name} of this kind`);
}

function readInteger(view: DataView, at: number, size: NumberField['size']): number {
  if (size === 1) return view.getUint8(at);
  if (size === 2) return view.getUint16(at, true);
  return view.getUint32(at, true);
}

function writeInteger(view: DataView, at: number, size: NumberField['size'], value: number): void {
  if (size === 1) view.setUint8(at, value);
  else if (size === 2) view.setUint16(at, value, true);
  else view.setUint32(at, value, true);
}
