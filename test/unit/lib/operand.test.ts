import { describe, expect, it } from 'vitest';
import { operand } from '../../../lib/operand.js';
import type { MemoryView } from '../../../lib/kernel.js';

const buffer = new ArrayBuffer(64);
const shared = new SharedArrayBuffer(32);

describe('operand', () => {
  it.each<[string, MemoryView, { buffer: ArrayBufferLike; byteOffset: number; byteLength: number }]>([
    ['an ArrayBuffer', buffer, { buffer, byteOffset: 0, byteLength: 64 }],
    ['a SharedArrayBuffer', shared, { buffer: shared, byteOffset: 0, byteLength: 32 }],
    ['a typed array', new Uint16Array(buffer, 8, 4), { buffer, byteOffset: 8, byteLength: 8 }],
    ['a DataView', new DataView(buffer, 3, 5), { buffer, byteOffset: 3, byteLength: 5 }],
    ['a Buffer', Buffer.from(buffer, 16, 16), { buffer, byteOffset: 16, byteLength: 16 }],
    ['an empty view', new Uint8Array(buffer, 64), { buffer, byteOffset: 64, byteLength: 0 }],
  ])('takes %s apart', (_, view, parts) => {
    expect(operand(view, 'view')).toEqual(parts);
  });

  it('accepts a buffer of no bytes', () => {
    const empty = new ArrayBuffer(0);
    expect(operand(empty, 'view')).toEqual({ buffer: empty, byteOffset: 0, byteLength: 0 });
  });

  it.each([[null], [undefined], [5], ['text'], [{}], [[1, 2]], [new Proxy(buffer, {})]])('refuses %o', (value) => {
    // The type says so too; JavaScript callers have no types.
    const call = (): unknown => Reflect.apply(operand, undefined, [value, 'src']);
    expect(call).toThrow(expect.objectContaining({ name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' }));
    expect(call).toThrow(/"src"/);
  });

  it('refuses detached memory', () => {
    const moved = new Uint8Array(16);
    structuredClone(moved.buffer, { transfer: [moved.buffer] });
    expect(() => operand(moved, 'dst')).toThrow(
      expect.objectContaining({ code: 'ERR_INVALID_ARG_VALUE', message: expect.stringContaining('detached') }),
    );
    expect(() => operand(moved.buffer, 'dst')).toThrow(/detached/);
  });

  it('refuses memory that may be resized', () => {
    // Node 20 has resizable buffers; the type library of ES2022 does not know their constructor's option.
    const resizable = Reflect.construct(ArrayBuffer, [16, { maxByteLength: 64 }]);
    const growable = Reflect.construct(SharedArrayBuffer, [16, { maxByteLength: 64 }]);
    expect(() => operand(resizable, 'dst')).toThrow(/resizable/);
    expect(() => operand(new Uint8Array(growable), 'dst')).toThrow(/resizable/);
  });
});
