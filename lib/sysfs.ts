import { SvmError } from './errors.js';
import type { Kernel } from './kernel.js';

/** An attribute's text, or `undefined` where there is no such file: absent by version, or its device has gone. */
export function readIfPresent(kernel: Kernel, path: string): string | undefined {
  return ifPresent(() => kernel.sysfs.read(path));
}

/** Names in a directory; none where there is no such directory: its driver is not loaded. */
export function listIfPresent(kernel: Kernel, path: string): string[] {
  return ifPresent(() => kernel.sysfs.list(path)) ?? [];
}

/** `Sysfs.realpath`, or `undefined` where there is no such file. */
export function realpathIfPresent(kernel: Kernel, path: string): string | undefined {
  return ifPresent(() => kernel.sysfs.realpath(path));
}

function ifPresent<T>(access: () => T): T | undefined {
  try {
    return access();
  } catch (error) {
    if (error instanceof SvmError && error.code === 'ENOENT') return undefined;
    throw error;
  }
}
