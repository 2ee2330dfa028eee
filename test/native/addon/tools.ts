/** What the addon's tests share: the addon, the shape of what it throws, and a garbage collection on demand. */

import { readFileSync, readdirSync } from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterEach, beforeEach } from 'vitest';
import { loadAddon, type Addon } from '../../../lib/linux/loader.js';

declare module 'vitest' {
  interface TestContext {
    /** See `useAddon`. */
    addon: Addon;
  }
}

/** Gives each test of the file the addon of this checkout as `addon`, and skips it where there is none. */
export function useAddon(): void {
  const load = loadAddon();
  beforeEach((context) => {
    context.addon = load.addon ?? context.skip(load.reason);
  });
  afterEach(() => load.addon?.stop());
}

/** Calls an export with arguments that its type may forbid. */
export function callWith(addon: Addon, name: keyof Addon, args: readonly unknown[]): unknown {
  const method: unknown = addon[name];
  if (typeof method !== 'function') throw new TypeError(`${name} is no function`);
  return Reflect.apply(method, addon, args);
}

/** What a call throws: class, code, and the errno and syscall of a system error. */
export interface Thrown {
  readonly name: string;
  readonly code: unknown;
  readonly errno?: unknown;
  readonly syscall?: unknown;
}

/** Runs a call that must throw. */
export function thrown(call: () => unknown): Thrown {
  let result: unknown;
  try {
    result = call();
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    const { name } = error;
    const { code, errno, syscall }: Error & { code?: unknown; errno?: unknown; syscall?: unknown } = error;
    return errno === undefined ? { name, code } : { name, code, errno, syscall };
  }
  throw new Error(`returned ${String(result)}`);
}

export const system = (code: string, errno: number, syscall: string): Thrown => ({
  name: 'Error',
  code,
  errno,
  syscall,
});
export const WRONG_TYPE: Thrown = { name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' };
export const WRONG_VALUE: Thrown = { name: 'TypeError', code: 'ERR_INVALID_ARG_VALUE' };
export const OUT_OF_RANGE: Thrown = { name: 'RangeError', code: 'ERR_OUT_OF_RANGE' };
export const INVALID_STATE: Thrown = { name: 'Error', code: 'ERR_INVALID_STATE' };

/** A view whose buffer was transferred away. */
export function detached<T extends ArrayBufferView<ArrayBuffer>>(view: T): T {
  structuredClone(view, { transfer: [view.buffer] });
  return view;
}

/** Collects garbage, and lets the finalizers run. */
export async function collectGarbage(): Promise<void> {
  setFlagsFromString('--expose-gc');
  const collect: unknown = runInNewContext('gc');
  if (typeof collect !== 'function') throw new Error('no garbage collector to call');
  for (let round = 0; round < 4; round += 1) {
    collect();
    await setImmediate();
  }
}

/** What this process has mapped of a file, in the order of the addresses: [start, end). */
export function mappingsOf(file: string): { readonly start: bigint; readonly end: bigint }[] {
  const lines = readFileSync('/proc/self/maps', 'utf8').split('\n');
  return lines.flatMap((line) => {
    const [, start, end, path] = /^([\da-f]+)-([\da-f]+) \S+ \S+ \S+ \d+ +(.*)$/.exec(line) ?? [];
    return path?.startsWith(file) === true ? [{ start: BigInt(`0x${start}`), end: BigInt(`0x${end}`) }] : [];
  });
}

/** Whether an address is mapped. */
export function isMapped(address: bigint): boolean {
  return mappingsOf('').some(({ start, end }) => start <= address && address < end);
}

/** Files that this process has open. */
export function openFiles(): number {
  return readdirSync('/proc/self/fd').length;
}
