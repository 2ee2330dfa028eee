import { COMP_STATUS } from '../../../../lib/abi/completion-status.js';
import { DESC_FLAG } from '../../../../lib/abi/descriptor-flags.js';
import type { Piece } from '../../../mm/page.js';
import { crc32c, reverse32 } from '../crc32c.js';
import type { Dma } from '../dma.js';
import type { Task } from '../task.js';
import type { Operation } from './operation.js';

const SOURCE = 16;
const SEED = 40;
const RESERVED = 44;
const SEED_ADDRESS = 48;
const SEED_BYTES = 4;
/** `crc_val` of the record. */
const CRC_VALUE = 16;

/** Flags of CRC operations (DSA specification, CRC Generation). */
const READ_CRC_SEED = 1 << 16;
/** The seed goes in and the result comes out as it is: neither inverted nor with its bits in reverse order. */
const BYPASS_INVERSION = 1 << 17;
/** The bits of a byte are taken from the most significant one on. */
const BYPASS_DATA_REFLECTION = 1 << 18;

/** Bytes with their bits in reverse order. */
const REVERSED = Uint8Array.from({ length: 256 }, (_, byte) => reverse32(byte) >>> 24);

/**
 * CRC-32C of a range. With no flag the seed is the CRC of what came before, 0 at the start. Where a fault ends it,
 * `crc_val` is the seed to go on with.
 */
export const crcgen: Operation = {
  flags: DESC_FLAG.ADDR1_TCS | DESC_FLAG.ADDR3_TCS | READ_CRC_SEED | BYPASS_INVERSION | BYPASS_DATA_REFLECTION,
  mayBlock: true,
  transfers: true,
  reservedFrom: 56,
  validate: (task) => (task.u32(RESERVED) === 0 ? 0 : COMP_STATUS.NOZERO_RESERVE),
  run(task, dma) {
    if (!task.started && !takeSeed(task, dma)) return 'fault';
    const { size, pasid } = task;
    const source = task.address(SOURCE);
    let stopped = false;
    while (task.done < size) {
      const from = dma.access(pasid, source + task.done, size - task.done, false);
      if (from === undefined) {
        stopped = true;
        break;
      }
      task.value = absorb(task, from);
      task.done += from.length;
    }
    const raw = (task.flags & BYPASS_INVERSION) !== 0;
    task.recordView.setUint32(CRC_VALUE, raw ? reverse32(task.value) : ~task.value >>> 0, true);
    return stopped ? 'fault' : 'done';
  },
};

/** @returns false after a fault */
function takeSeed(task: Task, dma: Dma): boolean {
  let seed = task.u32(SEED);
  if ((task.flags & READ_CRC_SEED) !== 0) {
    const bytes = new DataView(new ArrayBuffer(SEED_BYTES));
    for (let index = 0; index < SEED_BYTES; index += 1) {
      const piece = dma.access(task.pasid, task.address(SEED_ADDRESS) + index, 1, false);
      if (piece === undefined) return false;
      bytes.setUint8(index, piece.bytes[piece.at] ?? 0);
    }
    seed = bytes.getUint32(0, true);
  }
  task.value = (task.flags & BYPASS_INVERSION) !== 0 ? reverse32(seed) : ~seed >>> 0;
  task.started = true;
  return true;
}

function absorb(task: Task, { bytes, at, length }: Piece): number {
  if ((task.flags & BYPASS_DATA_REFLECTION) === 0) return crc32c(task.value, bytes, at, length);
  const reversed = bytes.slice(at, at + length).map((byte) => REVERSED[byte] ?? 0);
  return crc32c(task.value, reversed, 0, length);
}
