import { describe, expect, it } from 'vitest';
import {
  COMPLETION_STATUSES,
  COMP_STATUS,
  completionStatus,
  isComplete,
  isWriteFault,
  statusCode,
} from '../../../lib/abi/completion-status.js';

const BYTES = Array.from({ length: 256 }, (_, byte) => byte);

/** Codes that exist, written down from the specification and not from the table. */
const range = (from: number, to: number): number[] => BYTES.slice(from, to + 1);
const DSA_CODES = new Set([...range(0x00, 0x09), ...range(0x10, 0x22), 0x26, 0x27]);
const IAX_CODES = new Set([
  0x00,
  0x01,
  0x03,
  0x04,
  0x0a,
  0x0b,
  ...range(0x10, 0x13),
  0x16,
  ...range(0x19, 0x24),
  ...range(0x30, 0x35),
]);

describe('every status byte', () => {
  it.each(BYTES)('%i', (byte) => {
    const code = byte >= 0x80 ? byte - 0x80 : byte;
    expect(statusCode(byte)).toBe(code);
    expect(isWriteFault(byte)).toBe(byte >= 0x80);
    expect(isComplete(byte)).toBe(code !== 0);
    expect(completionStatus(byte, 'dsa')?.code).toBe(DSA_CODES.has(code) ? code : undefined);
    expect(completionStatus(byte, 'iax')?.code).toBe(IAX_CODES.has(code) ? code : undefined);
    expect(completionStatus(byte)?.code).toBe(DSA_CODES.has(code) || IAX_CODES.has(code) ? code : undefined);
  });
});

describe('the table', () => {
  it('names a write fault as the fault', () => {
    expect(completionStatus(0x83)?.symbol).toBe('PAGE_FAULT_NOBOF');
    expect(completionStatus(0x84, 'iax')?.symbol).toBe('PAGE_FAULT_IR');
  });

  it('does not fold high codes onto low ones', () => {
    expect(completionStatus(0x20)?.symbol).toBe('HW_ERR1');
    expect(completionStatus(0x30)?.symbol).toBe('INVALID_COMP_FLAG');
  });

  it('names code 0x13 as each device does', () => {
    expect(completionStatus(0x13, 'dsa')?.symbol).toBe('XFER_ERANGE');
    expect(completionStatus(0x13, 'iax')?.symbol).toBe('INVALID_SIZE');
  });

  it('ascends, has each symbol once, and one row for each device and code', () => {
    const codes = COMPLETION_STATUSES.map(({ code }) => code);
    expect(codes).toEqual(codes.toSorted((a, b) => a - b));
    expect(new Set(COMPLETION_STATUSES.map(({ symbol }) => symbol)).size).toBe(COMPLETION_STATUSES.length);
    const perDevice = COMPLETION_STATUSES.flatMap(({ code, appliesTo }) =>
      appliesTo.map((device) => `${device} ${code}`),
    );
    expect(new Set(perDevice).size).toBe(perDevice.length);
  });

  it.each(COMPLETION_STATUSES)('$symbol: a constant, a meaning, and one sentence of remedy', (row) => {
    expect(COMP_STATUS[row.symbol]).toBe(row.code);
    expect(row.appliesTo).not.toHaveLength(0);
    expect(row.meaning).toMatch(/^[a-z].*[^.]$/);
    expect(row.remedy).toMatch(/^[A-Z].*\.$/);
  });
});
