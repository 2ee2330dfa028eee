import { SvmError } from '../errors.js';
import type { Kernel } from '../kernel.js';

/** Whether a process still runs in the address space that it had; false after exec and exit, which end all that it held. */
export function isCurrent(kernel: Kernel, mm: object): boolean {
  try {
    return kernel.mm === mm;
  } catch (error) {
    if (error instanceof SvmError && error.code === 'ESRCH') return false;
    throw error;
  }
}
