import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DESC_FLAG } from '../../../lib/abi/descriptor-flags.js';
import {
  DSA_COMPLETION,
  DSA_COMPLETION_ALIGN,
  DSA_DESCRIPTOR,
  DSA_DESCRIPTOR_SIZE,
  DSA_OPCODE,
  packFlagsOpcode,
  packPasidPriv,
  unpackFlagsOpcode,
  unpackPasidPriv,
} from '../../../lib/abi/dsa.js';
import { IAX_COMPLETION, IAX_COMPLETION_ALIGN, IAX_DESCRIPTOR, IAX_OPCODE } from '../../../lib/abi/iax.js';

describe('the first two words of a descriptor', () => {
  it('are put together as the header says', () => {
    expect(packPasidPriv(0x12345, true)).toBe(0x8001_2345);
    expect(packPasidPriv(0, false)).toBe(0);
    expect(packFlagsOpcode(DESC_FLAG.CRAV | DESC_FLAG.RCR, DSA_OPCODE.MEMMOVE)).toBe(0x0300_000c);
    expect(packFlagsOpcode(0xff_ffff, 0xff)).toBe(0xffff_ffff);
  });

  it('come apart as they were put together', () => {
    fc.assert(
      fc.property(fc.nat(0xf_ffff), fc.boolean(), fc.nat(0xff_ffff), fc.nat(0xff), (pasid, priv, flags, opcode) => {
        expect(unpackPasidPriv(packPasidPriv(pasid, priv))).toEqual({ pasid, priv });
        expect(unpackFlagsOpcode(packFlagsOpcode(flags, opcode))).toEqual({ flags, opcode });
      }),
    );
  });

  it('are those that the single fields make, on DSA and on IAX', () => {
    const view = new DataView(new ArrayBuffer(64));
    fc.assert(
      fc.property(fc.nat(0xf_ffff), fc.boolean(), fc.nat(0xff_ffff), fc.nat(0xff), (pasid, priv, flags, opcode) => {
        DSA_DESCRIPTOR.set(view, 0, 'pasid', pasid);
        DSA_DESCRIPTOR.set(view, 0, 'priv', Number(priv));
        DSA_DESCRIPTOR.set(view, 0, 'flags', flags);
        DSA_DESCRIPTOR.set(view, 0, 'opcode', opcode);
        expect(IAX_DESCRIPTOR.get(view, 0, 'pasidPriv')).toBe(packPasidPriv(pasid, priv));
        expect(IAX_DESCRIPTOR.get(view, 0, 'flagsOpcode')).toBe(packFlagsOpcode(flags, opcode));
      }),
    );
  });

  it('ignore the reserved bits when taken apart', () => {
    expect(unpackPasidPriv(0x7ff0_0001)).toEqual({ pasid: 1, priv: false });
  });

  it('refuse what does not fit', () => {
    expect(() => packPasidPriv(0x10_0000, false)).toThrow(RangeError);
    expect(() => packFlagsOpcode(0x100_0000, 0)).toThrow(RangeError);
    expect(() => packFlagsOpcode(0, 0x100)).toThrow(RangeError);
  });
});

describe('sizes', () => {
  it('a record is as large as its alignment, a descriptor is 64 bytes', () => {
    expect(DSA_COMPLETION.size).toBe(DSA_COMPLETION_ALIGN);
    expect(IAX_COMPLETION.size).toBe(IAX_COMPLETION_ALIGN);
    expect(DSA_DESCRIPTOR.size).toBe(DSA_DESCRIPTOR_SIZE);
    expect(IAX_DESCRIPTOR.size).toBe(DSA_DESCRIPTOR_SIZE);
  });
});

describe('flags and opcodes', () => {
  it('each flag is one bit of 24, and none is given away twice', () => {
    const values = Object.values(DESC_FLAG);
    expect(values.filter((flag) => flag <= 0 || flag > 0xff_ffff || (flag & (flag - 1)) !== 0)).toEqual([]);
    expect(new Set(values).size).toBe(values.length);
  });

  it.each([
    ['DSA', DSA_OPCODE],
    ['IAX', IAX_OPCODE],
  ])('each opcode of %s is one byte, and none is given away twice', (_device, opcodes) => {
    const values: number[] = Object.values(opcodes);
    expect(values.filter((opcode) => opcode < 0 || opcode > 0xff)).toEqual([]);
    expect(new Set(values).size).toBe(values.length);
  });
});
