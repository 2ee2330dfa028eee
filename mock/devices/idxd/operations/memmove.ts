import { DESC_FLAG } from '../../../../lib/abi/descriptor-flags.js';
import type { Dma } from '../dma.js';
import type { Task } from '../task.js';
import { copyPiece } from './copy.js';
import type { Operation, Outcome } from './operation.js';

const SOURCE = 16;
const DESTINATION = 24;
/** `result` of a move that stopped: 1 if it was copying from the end, so that the rest is the head. */
const RESULT = 1;

/** Moves bytes; the ranges may overlap, and then the direction is the one that loses nothing. */
export const memmove: Operation = {
  flags: DESC_FLAG.CC | DESC_FLAG.ADDR1_TCS | DESC_FLAG.ADDR2_TCS | DESC_FLAG.STORD | DESC_FLAG.DRDBK,
  mayBlock: true,
  transfers: true,
  reservedFrom: 40,
  run(task, dma) {
    const source = task.address(SOURCE);
    const target = task.address(DESTINATION);
    const backward = target > source && target < source + task.size;
    return backward ? moveBackward(task, dma, source, target) : moveForward(task, dma, source, target);
  },
};

function moveForward(task: Task, dma: Dma, source: number, target: number): Outcome {
  const { size, pasid } = task;
  while (task.done < size) {
    const from = dma.access(pasid, source + task.done, size - task.done, false);
    if (from === undefined) return 'fault';
    const to = dma.access(pasid, target + task.done, from.length, true);
    if (to === undefined) return 'fault';
    copyPiece(from, 0, to, to.length, false);
    task.done += to.length;
  }
  return 'done';
}

function moveBackward(task: Task, dma: Dma, source: number, target: number): Outcome {
  const { size, pasid } = task;
  while (task.done < size) {
    const left = size - task.done;
    const from = dma.accessBackward(pasid, source + left, left, false);
    const to = from && dma.accessBackward(pasid, target + left, from.length, true);
    if (from === undefined || to === undefined) {
      task.record[RESULT] = 1;
      return 'fault';
    }
    copyPiece(from, from.length - to.length, to, to.length, true);
    task.done += to.length;
  }
  // Set by a fault that was resolved since.
  task.record[RESULT] = 0;
  return 'done';
}
