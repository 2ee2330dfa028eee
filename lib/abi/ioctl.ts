/** ioctl request numbers as asm-generic/ioctl.h composes them (x86, arm64, riscv). */
import { outOfRange } from './invalid.js';

/** Which way the argument goes: `_IOC_NONE`, and `_IOC_WRITE | _IOC_READ`. */
const DIRECTION = { none: 0, readWrite: 3 } as const;

const NR_BITS = 8;
const TYPE_BITS = 8;
const SIZE_BITS = 14;

const fits = (bits: number, value: number): boolean => Number.isInteger(value) && value >= 0 && value < 2 ** bits;

/** `_IOC(direction, type, nr, size)`. */
function ioc(direction: number, type: string, nr: number, size: number): number {
  if (type.length !== 1 || !fits(TYPE_BITS, type.charCodeAt(0)))
    throw outOfRange('type', 'one Latin-1 character', type);
  if (!fits(NR_BITS, nr)) throw outOfRange('nr', `an integer below ${2 ** NR_BITS}`, nr);
  if (!fits(SIZE_BITS, size)) throw outOfRange('size', `an integer below ${2 ** SIZE_BITS}`, size);
  const typeShift = NR_BITS;
  const sizeShift = typeShift + TYPE_BITS;
  const directionShift = sizeShift + SIZE_BITS;
  return ((direction << directionShift) | (size << sizeShift) | (type.charCodeAt(0) << typeShift) | nr) >>> 0;
}

/**
 * `_IO(type, nr)`: a request without an argument.
 * @param type the character that a driver has for its requests
 */
export const _IO = (type: string, nr: number): number => ioc(DIRECTION.none, type, nr, 0);

/**
 * `_IOWR(type, nr, struct)`: a request whose argument goes both ways.
 * @param type the character that a driver has for its requests
 * @param size bytes of the struct that the argument points at
 */
export const _IOWR = (type: string, nr: number, size: number): number => ioc(DIRECTION.readWrite, type, nr, size);
