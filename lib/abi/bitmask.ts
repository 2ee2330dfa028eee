/**
 * The 256-bit masks in the sysfs of IDXD: `op_cap`, `op_config` and `errors`.
 *
 * Two forms exist. Today the kernel prints a bitmap (`%*pb`): eight groups of eight hex digits, commas between them, the
 * highest bits first. v5.10 printed four 64-bit words, `0x` before each, spaces between them, the lowest bits first.
 */
import { malformed, outOfRange } from './invalid.js';

export const MASK_BITS = 256;
/** 64-bit words of a mask, lowest first. */
export const MASK_WORDS = 4;

const WORD_BITS = 64n;
const WORD_MASK = 2n ** WORD_BITS - 1n;
const GROUP_DIGITS = 8;
const BITMAP = /^[0-9a-f]{1,8}(,[0-9a-f]{1,8}){0,7}$/i;
const WORDS = /^0x[0-9a-f]{1,16}( 0x[0-9a-f]{1,16}){3}$/i;

/**
 * Reads a mask in either form. Of a bitmap it takes what the kernel takes: fewer groups, and groups without leading
 * zeros. White space around it is ignored.
 * @throws TypeError with code `ERR_INVALID_ARG_VALUE` if it is neither form
 */
export function parseMask(text: string): bigint {
  const trimmed = text.trim();
  if (BITMAP.test(trimmed)) {
    const digits = trimmed.split(',').map((group) => group.padStart(GROUP_DIGITS, '0'));
    return BigInt(`0x${digits.join('')}`);
  }
  if (WORDS.test(trimmed)) return joinWords(trimmed.split(' ').map(BigInt));
  throw malformed('text', 'a 256-bit mask as sysfs prints it', text);
}

/**
 * Prints a mask as the kernel does, without the newline.
 * @param form 'bitmap', or 'words' as v5.10 printed `op_cap`
 */
export function formatMask(mask: bigint, form: 'bitmap' | 'words' = 'bitmap'): string {
  if (form === 'words') {
    return splitWords(mask)
      .map((word) => `0x${word.toString(16)}`)
      .join(' ');
  }
  checkMask(mask);
  const digits = mask.toString(16).padStart(MASK_BITS / 4, '0');
  const starts = Array.from({ length: digits.length / GROUP_DIGITS }, (_, group) => group * GROUP_DIGITS);
  return starts.map((start) => digits.slice(start, start + GROUP_DIGITS)).join(',');
}

/** The numbers of the bits that are set: for `op_cap` the opcodes. */
export function maskBits(mask: bigint): ReadonlySet<number> {
  checkMask(mask);
  const bits = new Set<number>();
  for (let bit = 0, rest = mask; rest !== 0n; bit += 1, rest >>= 1n) {
    if ((rest & 1n) === 1n) bits.add(bit);
  }
  return bits;
}

/** The mask with these bits set. */
export function maskOf(bits: Iterable<number>): bigint {
  let mask = 0n;
  for (const bit of bits) {
    if (!Number.isInteger(bit) || bit < 0 || bit >= MASK_BITS) throw outOfRange('bit', 'an integer from 0 to 255', bit);
    mask |= 1n << BigInt(bit);
  }
  return mask;
}

/** The four 64-bit words of a mask, lowest first. */
export function splitWords(mask: bigint): readonly bigint[] {
  checkMask(mask);
  return Array.from({ length: MASK_WORDS }, (_, word) => (mask >> (BigInt(word) * WORD_BITS)) & WORD_MASK);
}

/** The mask of four 64-bit words, lowest first. */
export function joinWords(words: readonly bigint[]): bigint {
  if (words.length !== MASK_WORDS) throw malformed('words', 'four words of 64 bits', words.join(' '));
  return words.reduceRight((mask, word) => {
    if (word < 0n || word > WORD_MASK) throw outOfRange('word', 'from 0n to 2n ** 64n - 1n', word);
    return (mask << WORD_BITS) | word;
  }, 0n);
}

function checkMask(mask: bigint): void {
  if (mask < 0n || mask >> BigInt(MASK_BITS) !== 0n) throw outOfRange('mask', 'from 0n to 2n ** 256n - 1n', mask);
}
