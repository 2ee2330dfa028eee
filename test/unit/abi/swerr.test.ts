import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeSwerr, encodeSwerr, formatSwerr, parseSwerr, type Swerr } from '../../../lib/abi/swerr.js';

const NONE: Swerr = {
  valid: false,
  overflow: false,
  descValid: false,
  wqIdxValid: false,
  batch: false,
  faultRw: false,
  priv: false,
  error: 0,
  wqIdx: 0,
  operation: 0,
  pasid: 0,
  batchIdx: 0,
  invalidFlags: 0,
  faultAddr: 0n,
};

const anySwerr: fc.Arbitrary<Swerr> = fc.record({
  valid: fc.boolean(),
  overflow: fc.boolean(),
  descValid: fc.boolean(),
  wqIdxValid: fc.boolean(),
  batch: fc.boolean(),
  faultRw: fc.boolean(),
  priv: fc.boolean(),
  error: fc.nat(0xff),
  wqIdx: fc.nat(0xff),
  operation: fc.nat(0xff),
  pasid: fc.nat(0xf_ffff),
  batchIdx: fc.nat(0xffff),
  invalidFlags: fc.nat(0xffff_ffff),
  faultAddr: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
});

describe('SWERR', () => {
  it.each([
    [{ valid: true }, 0, 1n],
    [{ overflow: true }, 0, 1n << 1n],
    [{ descValid: true }, 0, 1n << 2n],
    [{ wqIdxValid: true }, 0, 1n << 3n],
    [{ batch: true }, 0, 1n << 4n],
    [{ faultRw: true }, 0, 1n << 5n],
    [{ priv: true }, 0, 1n << 6n],
    [{ error: 0xff }, 0, 0xffn << 8n],
    [{ wqIdx: 0xff }, 0, 0xffn << 16n],
    [{ operation: 0xff }, 0, 0xffn << 32n],
    [{ pasid: 0xf_ffff }, 0, 0xf_ffffn << 40n],
    [{ batchIdx: 0xffff }, 1, 0xffffn],
    [{ invalidFlags: 0xffff_ffff }, 1, 0xffff_ffffn << 32n],
    [{ faultAddr: 0xffff_ffff_ffff_ffffn }, 2, 0xffff_ffff_ffff_ffffn],
  ] satisfies [Partial<Swerr>, number, bigint][])('%o stands where the register has it', (part, index, bits) => {
    const words = [0n, 0n, 0n, 0n].with(index, bits);
    expect(encodeSwerr({ ...NONE, ...part })).toEqual(words);
    expect(decodeSwerr(words)).toEqual({ ...NONE, ...part });
  });

  it('comes back from words and from text', () => {
    fc.assert(
      fc.property(anySwerr, (swerr) => {
        expect(decodeSwerr(encodeSwerr(swerr))).toEqual(swerr);
        expect(parseSwerr(formatSwerr(swerr))).toEqual(swerr);
      }),
    );
  });

  it('is read from the text of any kernel', () => {
    // A MEMMOVE (3) of PASID 0x12 on queue 2 that had a bad flag (0x11).
    const swerr = {
      ...NONE,
      valid: true,
      descValid: true,
      wqIdxValid: true,
      error: 0x11,
      wqIdx: 2,
      operation: 3,
      pasid: 0x12,
      invalidFlags: 0x40,
    };
    expect(formatSwerr(swerr)).toBe('00000000,00000000,00000000,00000000,00000040,00000000,00001203,0002110d');
    expect(parseSwerr('00000000,00000000,00000000,00000000,00000040,00000000,00001203,0002110d\n')).toEqual(swerr);
    expect(parseSwerr('0x000012030002110d 0x0000004000000000 0x0000000000000000 0x0000000000000000\n')).toEqual(swerr);
  });

  it('ignores reserved bits', () => {
    expect(decodeSwerr([0xf000_0000_ff00_0080n, 0xffff_0000n, 0n, 2n ** 64n - 1n])).toEqual(NONE);
  });

  it('refuses what does not fit', () => {
    expect(() => encodeSwerr({ ...NONE, pasid: 0x10_0000 })).toThrow(RangeError);
    expect(() => encodeSwerr({ ...NONE, faultAddr: 2n ** 64n })).toThrow(RangeError);
    expect(() => decodeSwerr([0n])).toThrow(TypeError);
    expect(() => parseSwerr('garbage')).toThrow(TypeError);
  });
});
