import { DESC_FLAG } from '../../../../lib/abi/descriptor-flags.js';
import type { Operation } from './operation.js';

const PATTERN = 16;
const PATTERN_BYTES = 8;
const DESTINATION = 24;

/** Fills memory with a pattern of eight bytes, which starts at the first byte of the destination. */
export const memfill: Operation = {
  flags: DESC_FLAG.CC | DESC_FLAG.ADDR2_TCS | DESC_FLAG.STORD | DESC_FLAG.DRDBK,
  mayBlock: true,
  transfers: true,
  reservedFrom: 40,
  run(task, dma) {
    const { size, pasid, bytes } = task;
    const target = task.address(DESTINATION);
    while (task.done < size) {
      const to = dma.access(pasid, target + task.done, size - task.done, true);
      if (to === undefined) return 'fault';
      fill(to.bytes, to.at, to.length, bytes, task.done);
      task.done += to.length;
    }
    return 'done';
  },
};

function fill(target: Uint8Array, at: number, length: number, descriptor: Uint8Array, phase: number): void {
  const head = Math.min(length, PATTERN_BYTES);
  for (let index = 0; index < head; index += 1) {
    target[at + index] = descriptor[PATTERN + ((phase + index) % PATTERN_BYTES)] ?? 0;
  }
  // What is written doubles itself: a multiple of the pattern stays in step with it.
  for (let written = head; written < length; written *= 2) {
    target.copyWithin(at + written, at, at + Math.min(written, length - written));
  }
}
