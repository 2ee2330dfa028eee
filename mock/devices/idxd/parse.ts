import { fail } from '../../errno.js';

const SIGNED = /^[+-]?\d+$/;
const UNSIGNED = /^\+?\d+$/;
const HEXADECIMAL = /^\+?0x[\da-f]+$/i;
const OCTAL = /^\+?0[0-7]*$/;

/** kstrtol(text, 10). EINVAL for anything else. */
export function parseLong(text: string): number {
  return SIGNED.test(text) ? Number(text) : fail('EINVAL');
}

/** kstrtoul(text, 10). EINVAL for anything else, a sign included. */
export function parseUnsigned(text: string): number {
  return UNSIGNED.test(text) ? Number(text) : fail('EINVAL');
}

/** kstrtoul(text, 0): decimal, 0x for hexadecimal, 0 for octal. EINVAL for anything else. */
export function parseAnyBase(text: string): number {
  if (HEXADECIMAL.test(text)) return Number(text.replace('+', ''));
  if (OCTAL.test(text)) return Number.parseInt(text, 8);
  return parseUnsigned(text);
}

/** kstrtobool(): y, t, 1, on against n, f, 0, off; only the first letters count. EINVAL for anything else. */
export function parseBool(text: string): boolean {
  if (/^([yt1]|on)/i.test(text)) return true;
  return /^([nf0]|of)/i.test(text) ? false : fail('EINVAL');
}

/** roundup_pow_of_two() of a number written in any base. EINVAL for 0 and for what is no number. */
export function parsePowerOfTwo(text: string): number {
  const value = parseAnyBase(text);
  return value === 0 ? fail('EINVAL') : roundUpToPowerOfTwo(value);
}

export const roundUpToPowerOfTwo = (value: number): number => 2 ** Math.ceil(Math.log2(value));
