import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { crc32c, reverse32 } from '../../../mock/devices/idxd/crc32c.js';

const checksum = (bytes: Uint8Array, seed = 0): number => ~crc32c(~seed >>> 0, bytes, 0, bytes.length) >>> 0;

/** One bit at a time, from the definition. */
function bitwise(bytes: Uint8Array): number {
  let register = 0xffff_ffff;
  for (const byte of bytes) {
    register ^= byte;
    for (let bit = 0; bit < 8; bit += 1) register = (register >>> 1) ^ (register & 1 ? 0x82f63b78 : 0);
  }
  return ~register >>> 0;
}

describe('CRC-32C', () => {
  // RFC 3720, appendix B.4. The RFC prints the bytes as they go out, least significant first.
  const ascending = Uint8Array.from({ length: 32 }, (_, index) => index);
  it.each([
    ['32 bytes of zeroes', new Uint8Array(32), 0x8a9136aa],
    ['32 bytes of ones', new Uint8Array(32).fill(0xff), 0x62a8ab43],
    ['32 bytes ascending', ascending, 0x46dd794e],
    ['32 bytes descending', ascending.toReversed(), 0x113fdb5c],
    ['the digits of its check value', new TextEncoder().encode('123456789'), 0xe3069283],
    ['nothing', new Uint8Array(0), 0],
  ])('of %s', (_, bytes, expected) => {
    expect(checksum(bytes)).toBe(expected);
  });

  it('agrees with the definition at every length and alignment', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), fc.nat(16), (bytes, offset) => {
        const part = bytes.subarray(offset);
        expect(~crc32c(0xffff_ffff, bytes, Math.min(offset, bytes.length), part.length) >>> 0).toBe(bitwise(part));
      }),
    );
  });

  it('goes on from where it stopped', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), fc.nat(80), (bytes, cut) => {
        expect(checksum(bytes.subarray(cut), checksum(bytes.subarray(0, cut)))).toBe(checksum(bytes));
      }),
    );
  });

  it('reverses bits', () => {
    expect(reverse32(1)).toBe(0x8000_0000);
    expect(reverse32(0x1edc6f41)).toBe(0x82f63b78);
    expect(reverse32(0xffff_0000)).toBe(0xffff);
  });
});
