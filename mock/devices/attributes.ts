import type { Attribute } from '../sysfs/tree.js';

/** Attribute files of one directory, by name. */
export type Attributes = Record<string, Attribute>;

/** `%#x`: the kernel prints 0 as 0x0. */
export const hexadecimal = (value: number): string => `0x${value.toString(16)}`;

/** An attribute that everybody may read and nobody write. */
export const readOnly = (show: () => string): Attribute => ({ mode: 0o444, show });

/** The same for a number in decimal. */
export const decimal = (value: () => number): Attribute => readOnly(() => String(value()));

/** The same for a flag: 0 or 1. */
export const flag = (value: () => boolean): Attribute => readOnly(() => (value() ? '1' : '0'));

/** An attribute that root may write. */
export const readWrite = (show: () => string, store: (text: string) => void): Attribute => ({
  mode: 0o644,
  show,
  store,
});
