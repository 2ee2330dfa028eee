import { COMP_STATUS } from '../../../../lib/abi/completion-status.js';
import { DESC_FLAG } from '../../../../lib/abi/descriptor-flags.js';
import type { Piece } from '../../../mm/page.js';
import type { Operation } from './operation.js';

const SOURCE = 16;
const SOURCE_2 = 24;
const EXPECTED_RESULT = 40;
/** Bits of the expected result that exist. */
const RESULT_MASK = 0x3;
const RESULT = 1;
const BYTES_COMPLETED = 4;

/**
 * Compares two ranges. `result` is 0 where they are equal, else 1, and `bytes_completed` the number of bytes before the
 * first difference. With flag CR a result other than the expected one ends as SUCCESS_PRED.
 */
export const compare: Operation = {
  flags: DESC_FLAG.CR | DESC_FLAG.ADDR1_TCS | DESC_FLAG.ADDR2_TCS,
  mayBlock: true,
  transfers: true,
  reservedFrom: 41,
  run(task, dma) {
    const { size, pasid, record } = task;
    const source = task.address(SOURCE);
    const source2 = task.address(SOURCE_2);
    let differs = false;
    while (task.done < size && !differs) {
      const first = dma.access(pasid, source + task.done, size - task.done, false);
      if (first === undefined) return 'fault';
      const second = dma.access(pasid, source2 + task.done, first.length, false);
      if (second === undefined) return 'fault';
      const equal = equalBytes(first, second, second.length);
      task.done += equal;
      differs = equal < second.length;
    }
    record[RESULT] = differs ? 1 : 0;
    task.recordView.setUint32(BYTES_COMPLETED, task.done, true);
    const expected = (task.bytes[EXPECTED_RESULT] ?? 0) & RESULT_MASK;
    if ((task.flags & DESC_FLAG.CR) !== 0 && record[RESULT] !== expected) task.status = COMP_STATUS.SUCCESS_PRED;
    return 'done';
  },
};

/** @returns how many bytes are equal before the first difference */
function equalBytes(first: Piece, second: Piece, length: number): number {
  let index = 0;
  while (index < length && first.bytes[first.at + index] === second.bytes[second.at + index]) index += 1;
  return index;
}
