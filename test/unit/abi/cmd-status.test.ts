import { describe, expect, it } from 'vitest';
import { CMD_STATUS, CMD_STATUSES, cmdStatus } from '../../../lib/abi/cmd-status.js';

describe('cmd_status', () => {
  it.each(CMD_STATUSES)('$symbol', (row) => {
    expect(CMD_STATUS[row.symbol]).toBe(row.value);
    expect(cmdStatus(row.value)).toBe(row);
    expect(row.source).toBe(row.value >= 0x8000_0000 ? 'driver' : 'device');
    expect(row.meaning).toMatch(/^[a-z].*[^.]$/);
    expect(row.remedy).toMatch(/^[A-Z].*\.$/);
  });

  it('has each value and each symbol once, ascending', () => {
    const values = CMD_STATUSES.map(({ value }) => value);
    expect(values).toEqual([...new Set(values)].toSorted((a, b) => a - b));
    expect(new Set(CMD_STATUSES.map(({ symbol }) => symbol)).size).toBe(CMD_STATUSES.length);
  });

  it('takes a value as a signed 32-bit number too', () => {
    expect(cmdStatus(0x8003_0000 | 0)?.symbol).toBe('WQ_NO_GRP');
  });

  it('takes the error code out of the register, whose upper bytes are a result', () => {
    expect(cmdStatus(0x0012_3421)?.symbol).toBe('ERR_WQ_ENABLED');
    expect(cmdStatus(0x0012_3400)?.symbol).toBe('SUCCESS');
  });

  it.each([0x04, 0x1f, 0xff, 0x8000_0000, 0x8000_0011, 0x8030_0000, 0xffff_ffff])('does not know %i', (value) => {
    expect(cmdStatus(value)).toBeUndefined();
  });
});
