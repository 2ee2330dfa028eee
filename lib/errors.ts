import { inspect } from 'node:util';
import { ERRNO, errnoMessage, type ErrnoName } from './abi/errno.js';
import { hintFor } from './hints.js';

/** What failed: the call, and the file or device it was made on. */
export interface SvmErrorContext {
  /** The system call or kernel function, without prefix: 'open', 'mmap', 'bind_mm', 'submit'. */
  readonly syscall: string;
  /** The device node or sysfs file, where there is one. */
  readonly path?: string | undefined;
  /** What to do. Default: the entry of the hint table for this call and errno, if any. */
  readonly hint?: string | undefined;
  readonly cause?: unknown;
}

/**
 * A call that the kernel or a device refused, in the shape of Node's own system errors.
 * Misuse by the caller (a wrong type, an offset past the end) is a `TypeError` or `RangeError` with an `ERR_*` code instead.
 */
export class SvmError extends Error {
  override readonly name = 'SvmError';
  /** Symbolic errno: 'EBUSY', 'ENOSPC', ... */
  readonly code: ErrnoName;
  /** The same as a negative number, as the kernel returns it: -16. */
  readonly errno: number;
  readonly syscall: string;
  readonly path: string | undefined;
  /** One sentence that says what to do; `undefined` where the cause is not known. */
  readonly hint: string | undefined;

  constructor(code: ErrnoName, context: SvmErrorContext) {
    const where = context.path === undefined ? '' : ` '${context.path}'`;
    super(`${code}: ${errnoMessage(code)}, ${context.syscall}${where}`, { cause: context.cause });
    this.code = code;
    this.errno = -ERRNO[code];
    this.syscall = context.syscall;
    this.path = context.path;
    this.hint = context.hint ?? hintFor(context.syscall, code);
  }
}

export { outOfRange } from './abi/invalid.js';

const coded = <E extends Error>(error: E, code: string): E & { code: string } => Object.assign(error, { code });

function describe(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  if (typeof value === 'function') return `function ${value.name}`;
  if (typeof value === 'object') return `an instance of ${value.constructor?.name ?? 'Object'}`;
  return `type ${typeof value} (${inspect(value).slice(0, 40)})`;
}

/** @returns a `TypeError` with code `ERR_INVALID_ARG_TYPE`. */
export function invalidArgType(argument: string, expected: string, actual: unknown): TypeError {
  return coded(
    new TypeError(`The "${argument}" argument must be ${expected}. Received ${describe(actual)}`),
    'ERR_INVALID_ARG_TYPE',
  );
}

/** @returns a `TypeError` with code `ERR_INVALID_ARG_VALUE`. */
export function invalidArgValue(argument: string, problem: string): TypeError {
  return coded(new TypeError(`The "${argument}" argument ${problem}`), 'ERR_INVALID_ARG_VALUE');
}

/** @returns an `Error` with code `ERR_INVALID_STATE`: use after close, release after release. */
export function invalidState(problem: string): Error {
  return coded(new Error(`Invalid state: ${problem}`), 'ERR_INVALID_STATE');
}
