import { describe, expect, it } from 'vitest';
import { _IO, _IOWR } from '../../../lib/abi/ioctl.js';
import * as uacce from '../../../lib/abi/uacce.js';

describe('ioctl numbers', () => {
  it('are composed as asm-generic/ioctl.h does', () => {
    expect(_IO('W', 0)).toBe(0x5700);
    expect(_IO(';', 0x8e)).toBe(0x3b8e);
    expect(_IOWR('\u00ff', 0xff, 0x3fff)).toBe(0xffff_ffff);
  });

  it.each([
    ['', 0, 0],
    ['WW', 0, 0],
    ['\u0100', 0, 0],
    ['W', -1, 0],
    ['W', 256, 0],
    ['W', 0.5, 0],
    ['W', 0, 0x4000],
    ['W', 0, -1],
  ])('refuse type %j, number %s, size %s', (type, nr, size) => {
    expect(() => _IOWR(type, nr, size)).toThrow(RangeError);
  });
});

describe('UACCE', () => {
  it('has the numbers that its drivers know', () => {
    expect(uacce.UACCE_CMD_START_Q).toBe(0x5700);
    expect(uacce.UACCE_CMD_PUT_Q).toBe(0x5701);
    expect(uacce.UACCE_CMD_QM_SET_QP_CTX).toBe(0xc004_480a);
    expect(uacce.UACCE_CMD_QM_SET_QP_INFO).toBe(0xc010_480b);
    expect(uacce.UACCE_DEV_SVA).toBe(1);
    expect(uacce.UACCE_REGION).toEqual({ MMIO: 0, DUS: 1 });
  });

  it('has the queue manager versions by their api names', () => {
    expect(Object.values(uacce.HISI_QM_API)).toEqual(['hisi_qm_v1', 'hisi_qm_v2', 'hisi_qm_v3', 'hisi_qm_v5']);
  });
});
