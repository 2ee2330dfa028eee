/**
 * SWERR, the software error register of an IDXD device (`union sw_err_reg` of drivers/dma/idxd/registers.h), which the
 * `errors` attribute shows to everybody. It is one per device, latched, and holds the latest error: of any process, and
 * of descriptors that could not report in a completion record.
 */
import { MASK_WORDS, formatMask, joinWords, parseMask, splitWords } from './bitmask.js';
import { bitField, defineLayout, u16, u32, u64 } from './layout.js';

const SWERR = defineLayout('sw_err_reg', 32, {
  valid: bitField(0, 0, 1, 'valid'),
  overflow: bitField(0, 1, 1, 'overflow'),
  descValid: bitField(0, 2, 1, 'desc_valid'),
  wqIdxValid: bitField(0, 3, 1, 'wq_idx_valid'),
  batch: bitField(0, 4, 1, 'batch'),
  faultRw: bitField(0, 5, 1, 'fault_rw'),
  priv: bitField(0, 6, 1, 'priv'),
  error: bitField(0, 8, 8, 'error'),
  wqIdx: bitField(0, 16, 8, 'wq_idx'),
  operation: bitField(4, 0, 8, 'operation'),
  pasid: bitField(4, 8, 20, 'pasid'),
  batchIdx: u16(8, 'batch_idx'),
  invalidFlags: u32(12, 'invalid_flags'),
  faultAddr: u64(16, 'fault_addr'),
});

/** Single bits and wider numbers: how the fields appear in `Swerr`. */
const FLAGS = ['valid', 'overflow', 'descValid', 'wqIdxValid', 'batch', 'faultRw', 'priv'] as const;
const NUMBERS = ['error', 'wqIdx', 'operation', 'pasid', 'batchIdx', 'invalidFlags'] as const;

/** The register, taken apart. */
export interface Swerr {
  /** An error is recorded; without it the rest is zero or stale. */
  readonly valid: boolean;
  /** More errors followed that were not recorded. */
  readonly overflow: boolean;
  /** `operation`, `pasid`, `priv` and `batch` come from a descriptor. */
  readonly descValid: boolean;
  readonly wqIdxValid: boolean;
  /** The descriptor was part of a batch: `batchIdx` is its place. */
  readonly batch: boolean;
  /** The access at `faultAddr` was a write. */
  readonly faultRw: boolean;
  readonly priv: boolean;
  /** Code as in a completion record: see `completionStatus`. */
  readonly error: number;
  readonly wqIdx: number;
  /** Opcode. */
  readonly operation: number;
  /** PASID of the submitter. */
  readonly pasid: number;
  readonly batchIdx: number;
  readonly invalidFlags: number;
  readonly faultAddr: bigint;
}

/**
 * @param words the four 64-bit words of the register, lowest first. Reserved bits are ignored.
 * @throws TypeError if there are not four, RangeError if one has more than 64 bits
 */
export function decodeSwerr(words: readonly bigint[]): Swerr {
  const view = new DataView(new ArrayBuffer(SWERR.size));
  // Joining checks the number of words and their width.
  for (const [index, word] of splitWords(joinWords(words)).entries()) view.setBigUint64(8 * index, word, true);
  const flag = (name: (typeof FLAGS)[number]): boolean => SWERR.get(view, 0, name) === 1;
  return {
    valid: flag('valid'),
    overflow: flag('overflow'),
    descValid: flag('descValid'),
    wqIdxValid: flag('wqIdxValid'),
    batch: flag('batch'),
    faultRw: flag('faultRw'),
    priv: flag('priv'),
    error: SWERR.get(view, 0, 'error'),
    wqIdx: SWERR.get(view, 0, 'wqIdx'),
    operation: SWERR.get(view, 0, 'operation'),
    pasid: SWERR.get(view, 0, 'pasid'),
    batchIdx: SWERR.get(view, 0, 'batchIdx'),
    invalidFlags: SWERR.get(view, 0, 'invalidFlags'),
    faultAddr: SWERR.getU64(view, 0, 'faultAddr'),
  };
}

/**
 * @returns the four words of the register; reserved bits are zero
 * @throws RangeError if a value does not fit its field
 */
export function encodeSwerr(swerr: Swerr): readonly bigint[] {
  const view = new DataView(new ArrayBuffer(SWERR.size));
  for (const name of FLAGS) SWERR.set(view, 0, name, Number(swerr[name]));
  for (const name of NUMBERS) SWERR.set(view, 0, name, swerr[name]);
  SWERR.setU64(view, 0, 'faultAddr', swerr.faultAddr);
  return Array.from({ length: MASK_WORDS }, (_, index) => view.getBigUint64(8 * index, true));
}

/**
 * @param text what `errors` says, in the form of any kernel
 * @throws TypeError if it is not a 256-bit mask
 */
export function parseSwerr(text: string): Swerr {
  return decodeSwerr(splitWords(parseMask(text)));
}

/** @returns what `errors` says on a recent kernel, without the newline */
export function formatSwerr(swerr: Swerr): string {
  return formatMask(joinWords(encodeSwerr(swerr)));
}
