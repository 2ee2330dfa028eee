import type { Piece } from '../../../mm/page.js';

/** Up to here a loop is faster than the two calls it replaces. */
const SHORT = 96;

/**
 * Copies `length` bytes between two pieces that may overlap.
 * @param from offset of the first byte in `source`
 * @param backward copy from the last byte to the first
 */
export function copyPiece(source: Piece, from: number, target: Piece, length: number, backward: boolean): void {
  const read = source.bytes;
  const write = target.bytes;
  const sourceAt = source.at + from;
  const targetAt = target.at;
  if (length > SHORT) {
    write.set(read.subarray(sourceAt, sourceAt + length), targetAt);
  } else if (backward) {
    for (let index = length - 1; index >= 0; index -= 1) write[targetAt + index] = read[sourceAt + index] ?? 0;
  } else {
    for (let index = 0; index < length; index += 1) write[targetAt + index] = read[sourceAt + index] ?? 0;
  }
}
