import { DSA_OPCODE } from '../../../../lib/abi/dsa.js';
import { IAX_OPCODE } from '../../../../lib/abi/iax.js';
import { compare } from './compare.js';
import { crcgen } from './crcgen.js';
import { memfill } from './memfill.js';
import { memmove } from './memmove.js';
import { noop } from './noop.js';
import type { Operation } from './operation.js';

/** What the model executes, by kind of device and opcode. An operation added here is executed, and shown in `op_cap`. */
export const OPERATIONS: Readonly<Record<'dsa' | 'iax', ReadonlyMap<number, Operation>>> = {
  dsa: new Map([
    [DSA_OPCODE.NOOP, noop],
    [DSA_OPCODE.MEMMOVE, memmove],
    [DSA_OPCODE.MEMFILL, memfill],
    [DSA_OPCODE.COMPARE, compare],
    [DSA_OPCODE.CRCGEN, crcgen],
  ]),
  iax: new Map([[IAX_OPCODE.NOOP, noop]]),
};
