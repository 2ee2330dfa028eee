import { types } from 'node:util';
import { invalidArgType, invalidArgValue } from './errors.js';
import type { MemoryView } from './kernel.js';

/** A view taken apart: which bytes of which buffer. */
export interface Operand {
  readonly buffer: ArrayBufferLike;
  /** Bytes. */
  readonly byteOffset: number;
  /** Bytes. */
  readonly byteLength: number;
}

/** ArrayBuffer.prototype.detached came with V8 11.4; until then a view over a detached buffer tells. */
function isDetached(buffer: ArrayBufferLike): boolean {
  if (buffer.byteLength > 0 || types.isSharedArrayBuffer(buffer)) return false;
  try {
    return new Uint8Array(buffer).buffer !== buffer;
  } catch {
    return true;
  }
}

/** A buffer whose length may change has no memory of its own that stays in place. */
function isResizable(buffer: ArrayBufferLike): boolean {
  return ('resizable' in buffer && buffer.resizable === true) || ('growable' in buffer && buffer.growable === true);
}

/**
 * Checks that a value is memory which stays where it is, and takes it apart.
 *
 * @param value a typed array, `Buffer`, `DataView`, `ArrayBuffer` or `SharedArrayBuffer`
 * @param name of the argument, for the error message
 * @throws TypeError `ERR_INVALID_ARG_TYPE` for anything else, `ERR_INVALID_ARG_VALUE` for detached or resizable memory
 */
export function operand(value: MemoryView, name: string): Operand {
  const view: unknown = value;
  if (!ArrayBuffer.isView(view) && !types.isAnyArrayBuffer(view)) {
    throw invalidArgType(name, 'an ArrayBuffer, a SharedArrayBuffer or a view of one', view);
  }
  const buffer = ArrayBuffer.isView(view) ? view.buffer : view;
  if (isDetached(buffer)) throw invalidArgValue(name, 'is detached: its memory was transferred or freed');
  if (isResizable(buffer)) throw invalidArgValue(name, 'is resizable: its memory may be moved while a device uses it');
  return { buffer, byteOffset: ArrayBuffer.isView(view) ? view.byteOffset : 0, byteLength: view.byteLength };
}
