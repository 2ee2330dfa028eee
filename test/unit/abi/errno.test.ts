import { constants } from 'node:os';
import { describe, expect, it } from 'vitest';
import { ERRNO, errnoMessage, errnoName, type ErrnoName } from '../../../lib/abi/errno.js';

const isErrnoName = (name: string): name is ErrnoName => Object.hasOwn(ERRNO, name);
const NAMES = Object.keys(ERRNO).filter(isErrnoName);

describe('ERRNO', () => {
  it('has every number from 1 to 133 but 41 and 58, which Linux has not given away, and ENOTSUPP', () => {
    const numbers = [...new Set(Object.values(ERRNO))].toSorted((a, b) => a - b);
    const all = Array.from({ length: 133 }, (_, index) => index + 1).filter((n) => n !== 41 && n !== 58);
    expect(numbers).toEqual([...all, 524]);
  });

  it.runIf(process.platform === 'linux' && process.arch === 'x64')('agrees with Node on Linux', () => {
    const known = Object.entries(constants.errno).filter(([name]) => isErrnoName(name));
    expect(known.length).toBeGreaterThan(70);
    expect(Object.fromEntries(known)).toEqual(
      Object.fromEntries(NAMES.filter((name) => name in constants.errno).map((name) => [name, ERRNO[name]])),
    );
  });
});

describe('errnoName', () => {
  it.each(NAMES.filter((name) => name !== 'EWOULDBLOCK' && name !== 'EDEADLOCK'))('%s, either sign', (name) => {
    expect(errnoName(ERRNO[name])).toBe(name);
    expect(errnoName(-ERRNO[name])).toBe(name);
  });

  it('prefers EAGAIN and EDEADLK', () => {
    expect(errnoName(ERRNO.EWOULDBLOCK)).toBe('EAGAIN');
    expect(errnoName(ERRNO.EDEADLOCK)).toBe('EDEADLK');
  });

  it.each([0, 41, 58, 134, 523, 525, 4095, Number.NaN, 1.5])('%s has no name', (n) => {
    expect(errnoName(n)).toBeUndefined();
  });
});

describe('errnoMessage', () => {
  it.each(NAMES)('%s has words of its own, without capital or full stop', (name) => {
    expect(errnoMessage(name)).toMatch(/^(?:[a-z]|XENIX|CSI).*[^.]$/);
  });

  it('differs between numbers', () => {
    const distinct = new Set(NAMES.map(errnoMessage));
    expect(distinct.size).toBe(new Set(Object.values(ERRNO)).size);
  });
});
