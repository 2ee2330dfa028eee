import type { ErrnoName } from '../lib/abi/errno.js';

/**
 * An errno on its way out of the fake kernel. The system-call layer turns it into an `SvmError` that names the call and
 * the file; nothing below that layer knows them.
 */
export class Errno extends Error {
  override readonly name = 'Errno';
  readonly code: ErrnoName;

  constructor(code: ErrnoName) {
    super(code);
    this.code = code;
  }
}

/** Returns `-code` to user space. */
export function fail(code: ErrnoName): never {
  throw new Errno(code);
}

/**
 * BUG(): the kernel would have crashed here, and no errno exists for it. The mock throws it so that the program under test
 * sees which call would have taken the machine down.
 */
export class KernelBug extends Error {
  override readonly name = 'KernelBug';
  readonly code = 'ERR_KERNEL_BUG';

  /** @param where the function and the condition that hits BUG() */
  constructor(where: string) {
    super(`kernel BUG: ${where}`);
  }
}
