import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatMask, joinWords, maskBits, maskOf, parseMask, splitWords } from '../../../lib/abi/bitmask.js';

const anyMask = fc.bigInt({ min: 0n, max: 2n ** 256n - 1n });

describe('a mask', () => {
  it('survives both forms', () => {
    fc.assert(
      fc.property(anyMask, fc.constantFrom('bitmap', 'words'), (mask, form) => {
        expect(parseMask(formatMask(mask, form))).toBe(mask);
        expect(parseMask(`${formatMask(mask, form)}\n`)).toBe(mask);
      }),
    );
  });

  it('survives as set of bits and as words', () => {
    fc.assert(
      fc.property(anyMask, (mask) => {
        expect(maskOf(maskBits(mask))).toBe(mask);
        expect(joinWords(splitWords(mask))).toBe(mask);
      }),
    );
  });

  it('is the mask of the bits that it was made of', () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.nat(255)), (bits) => {
        expect([...maskBits(maskOf(bits))]).toEqual(bits.toSorted((a, b) => a - b));
      }),
    );
  });
});

describe('the forms', () => {
  // Opcodes 0, 1, 3 and 0x20.
  const mask = maskOf([0, 1, 3, 0x20]);

  it('a bitmap has its highest group first', () => {
    expect(formatMask(mask)).toBe('00000000,00000000,00000000,00000000,00000000,00000000,00000001,0000000b');
    expect(formatMask(1n << 255n)).toBe('80000000,00000000,00000000,00000000,00000000,00000000,00000000,00000000');
  });

  it('words have the lowest first', () => {
    expect(formatMask(mask, 'words')).toBe('0x10000000b 0x0 0x0 0x0');
    expect(formatMask(1n << 255n, 'words')).toBe('0x0 0x0 0x0 0x8000000000000000');
  });

  it('words may be padded, as v5.10 printed errors', () => {
    expect(parseMask('0x000000010000000b 0x0000000000000000 0x0000000000000000 0x0000000000000000\n')).toBe(mask);
  });

  it('a bitmap may be short, as the kernel accepts it', () => {
    expect(parseMask('1,b')).toBe(mask);
    expect(parseMask('B')).toBe(0xbn);
  });

  it.each([
    '',
    'none',
    '0x1',
    '0x0 0x0 0x0',
    '0x0 0x0 0x0 0x0 0x0',
    '0 0 0 0',
    '123456789',
    '1,,2',
    ',1',
    '0,0,0,0,0,0,0,0,0',
    '0x1,0x2',
    '0x10000000000000000 0x0 0x0 0x0',
  ])('%j is neither', (text) => {
    expect(() => parseMask(text)).toThrow(
      expect.objectContaining({ name: 'TypeError', code: 'ERR_INVALID_ARG_VALUE' }),
    );
  });
});

describe('out of range', () => {
  it.each([-1n, 2n ** 256n])('%s is no mask', (mask) => {
    expect(() => formatMask(mask)).toThrow(RangeError);
    expect(() => formatMask(mask, 'words')).toThrow(RangeError);
    expect(() => maskBits(mask)).toThrow(RangeError);
    expect(() => splitWords(mask)).toThrow(RangeError);
  });

  it.each([-1, 256, 0.5, Number.NaN])('%s is no bit', (bit) => {
    expect(() => maskOf([bit])).toThrow(RangeError);
  });

  it('there are four words of 64 bits', () => {
    expect(() => joinWords([0n, 0n, 0n])).toThrow(TypeError);
    expect(() => joinWords([0n, 0n, 0n, 0n, 0n])).toThrow(TypeError);
    expect(() => joinWords([0n, 0n, 0n, 2n ** 64n])).toThrow(RangeError);
    expect(() => joinWords([-1n, 0n, 0n, 0n])).toThrow(RangeError);
  });
});
