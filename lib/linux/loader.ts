/**
 * Finds and loads the addon, or says precisely why there is none. Nothing here throws: a program on the mock must not
 * notice that the addon is missing, and `connect` and the doctor quote the reason.
 */

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { CpuFeatures, Submit } from '../kernel.js';

/**
 * What the CPU reports in CPUID leaf 7 (Intel SDM vol. 2A, CPUID). Under a hypervisor it is the hypervisor's answer,
 * which may hide what the CPU executes.
 */
export interface AddonCpuFeatures extends CpuFeatures {
  /** The instruction set that the addon was compiled for, as in `process.arch`. */
  readonly arch: string;
  /** CLDEMOTE. */
  readonly cldemote: boolean;
  /** Direct store of 4 or 8 bytes. */
  readonly movdiri: boolean;
}

declare const handle: unique symbol;

/** A mapping of a device file, as only the addon can make it. Unmapped by `munmap`, or when it is collected. */
export interface AddonRegion {
  readonly [handle]: 'region';
}

/** Numbers of the shim's enumerations. */
export const ADDON_INSTRUCTION = { movdir64b: 0, enqcmd: 1 } as const;
export const ADDON_PROTECTION = { none: 0, read: 1, 'read-write': 2 } as const;

/**
 * Completion bytes that the addon's waiter thread looks at. Every waiter of an environment shares its one thread. It
 * holds its callback and its memory until `close`.
 */
export interface AddonWaiter {
  /** The slots that completed, in the order in which they were seen: the first `count` of them, during `onWake(count)`. */
  readonly completed: Int32Array<ArrayBuffer>;
  /**
   * Looks at the bytes of `count` (default 1) slots from `slot` on, until each is not zero. Keeps the process alive till
   * then. Throws `ERR_OUT_OF_RANGE`, and `ERR_INVALID_STATE` for a slot that is watched already or a closed waiter;
   * EAGAIN where no thread can be started.
   */
  watch(slot: number, count?: number): void;
  /** Stops looking: `onWake` is not called again. Its memory may be freed afterwards. Idempotent. */
  close(): void;
}

/**
 * The exports of the addon (native/addon/addon.h). Each thread that loads it gets its own, with its own descriptors,
 * regions, allocations and pins; numbers and objects of another thread's are refused.
 *
 * A wrong type is a `TypeError` `ERR_INVALID_ARG_TYPE`, a number that is no integer or out of range a `RangeError`
 * `ERR_OUT_OF_RANGE`, detached or resizable memory a `TypeError` `ERR_INVALID_ARG_VALUE`. What the kernel refuses is an
 * `Error` with `code`, `errno` and `syscall`, without `path`. No argument crashes the process.
 *
 * Memory is a typed array, a `Buffer`, a `DataView` or an `ArrayBuffer`; a `SharedArrayBuffer` through a view of it alone.
 */
export interface Addon {
  /** Version of the package that the addon was built from. */
  readonly version: string;
  /** Version of Node-API that it was compiled for. */
  readonly napiVersion: number;
  /** Bytes. */
  readonly pageSize: number;
  /** How the waiter thread sleeps: 'umwait' and 'tpause' where the CPU has WAITPKG. */
  readonly waitMethod: 'pause' | 'tpause' | 'umwait';
  /** Throws a system error (`code`, `errno`, `syscall` 'cpuid'): ENOSYS on a CPU without CPUID. */
  cpuFeatures(): AddonCpuFeatures;

  /** open(2), O_RDWR | O_CLOEXEC, of a character device: ENODEV for any other file. Closed by `close`. */
  open(path: string): number;
  /** close(2) of what `open` returned; EBADF for any other number, here and in all that take `fd`. May block. */
  close(fd: number): void;
  /**
   * ioctl(2).
   * @param argument at most 16383 bytes, what `_IOC_SIZE` can say; copied in, and back after success. EFAULT where it is
   *   shorter than `_IOC_SIZE(request)` says.
   */
  ioctl(fd: number, request: number, argument?: ArrayBufferView | ArrayBuffer): number;
  /**
   * write(2) of whole descriptors of 64 bytes: EINVAL where `bytes` is no multiple. EAGAIN when the first was refused.
   * @returns the number of bytes taken
   */
  write(fd: number, bytes: ArrayBufferView | ArrayBuffer): number;
  /** poll(2) with a timeout of zero. @returns pending events */
  poll(fd: number, events: number): number;
  /** mmap(2), readable and writable, MAP_SHARED. It outlives `close(fd)`. */
  mmap(fd: number, length: number, offset: number): AddonRegion;
  /** munmap(2). Submitters of the region refuse from then on. EINVAL where it is unmapped already. */
  munmap(region: AddonRegion): void;

  /**
   * Whether the CPU executes an instruction of `ADDON_INSTRUCTION`: CPUID says so or, where a hypervisor hides it, a child
   * process survived it. (ENQCMD needs a PASID besides.)
   */
  executes(instruction: 0 | 1): boolean;
  /**
   * The way from a ring to a portal: a function that takes slot numbers and nothing else.
   * @param region a portal: at least 4096 bytes, else EINVAL (syscall 'submit'); EFAULT where a store to it would fault
   * @param instruction of `ADDON_INSTRUCTION`. Throws ENOSYS (syscall 'submit') where the CPU does not execute it.
   * @param ring within memory of `alloc`; as many slots as it has whole descriptors of 64 bytes. Held, so that `free`
   *   answers EBUSY, until the region is unmapped.
   * @returns `Kernel.submitter`'s function; it also throws EINVAL (syscall 'submit') where the first descriptor is one
   *   that ENQCMD must not be given (PASID or privilege set), and `ERR_INVALID_STATE` after `munmap` of the region
   */
  createSubmitter(region: AddonRegion, instruction: 0 | 1, ring: ArrayBufferView | ArrayBuffer): Submit;

  /**
   * Zeroed, page-aligned memory of `byteLength` bytes (whole pages behind it), unmapped by `free` or when it is collected.
   * @param populate faults it in, writable
   * @param hugePages asks for 2 MiB pages, which the kernel may refuse silently
   */
  alloc(byteLength: number, populate: boolean, hugePages: boolean): ArrayBuffer;
  /**
   * Detaches and unmaps. EINVAL (syscall 'munmap') for what is not of `alloc`, or freed; EBUSY while a pin, a submitter or a
   * waiter holds it.
   */
  free(buffer: ArrayBuffer): void;
  /**
   * mprotect(2) of a whole buffer of `alloc`.
   * @param protection of `ADDON_PROTECTION`. Throws EINVAL (syscall 'mprotect') as `free`; EBUSY for 'none' while a
   *   submitter or a waiter reads it.
   */
  protect(buffer: ArrayBuffer, protection: 0 | 1 | 2): void;
  /** Address of the first byte. */
  addressOf(memory: ArrayBufferView | ArrayBuffer): bigint;
  /**
   * Holds memory: it is not collected, and `free` answers EBUSY. (A transfer cannot be prevented from here.)
   * @returns a number for `unpin`, never used twice. Each pin counts.
   */
  pin(memory: ArrayBufferView | ArrayBuffer): number;
  /** EINVAL (syscall 'unpin') where the number is not pinned, or not any more. */
  unpin(pin: number): void;
  /**
   * Accesses every page of a range as the CPU would. `byteLength` 0 counts as 1.
   * Throws EFAULT (syscall 'touch') where a page is not mapped with that right; ENOMEM.
   */
  touch(address: bigint, byteLength: number, write: boolean): void;
  /** A copy of at most 1 MiB of this process's memory. EFAULT (syscall 'peek') where it is not readable. */
  peek(address: bigint, byteLength: number): Uint8Array<ArrayBuffer>;
  /** One step of a spin-wait. */
  pause(): void;

  /**
   * @param records within memory of `alloc`, held until `close`; the byte of slot n is at n * `stride` of it
   * @param stride bytes, at least 1; at most 2^20 slots
   * @param onWake called on the event loop with the number of completed slots, once for all that arrived; what it throws
   *   is an uncaught exception
   */
  createWaiter(records: ArrayBufferView | ArrayBuffer, stride: number, onWake: (count: number) => void): AddonWaiter;

  /**
   * Stops the waiter thread, unmaps every region and closes every descriptor; what the environment's own end does, for
   * `process.on('exit')`: `process.exit()` in the main thread runs no cleanup of addons.
   */
  stop(): void;
}

/** The addon and the file it came from; or why there is none, and one sentence about what to do. */
export type AddonLoad =
  | { readonly addon: Addon; readonly path: string }
  | { readonly addon: undefined; readonly reason: string; readonly hint: string };

/** Where and on what to load. Each defaults to this package in this process. */
export interface LoadOptions {
  /** The package's root folder. */
  readonly root?: string;
  /** As `process.platform`. */
  readonly platform?: string;
  /** As `process.arch`. */
  readonly arch?: string;
  /** Loads a `.node` file. */
  readonly open?: (path: string) => unknown;
}

const PACKAGE_NAME = 'intel-svm';
const ARCHITECTURES: readonly string[] = ['x64', 'arm64'];
/** What to do on a machine that cannot do better. */
export const MOCK_HINT = "use the mock kernel: connect({ backend: 'mock' }) or INTEL_SVM_BACKEND=mock";

const nodeRequire = createRequire(import.meta.url);
let loaded: AddonLoad | undefined;

/**
 * Loads the addon: build/Release of the package first, then its prebuilds (node-gyp-build's order; its variable
 * INTEL_SVM_PREBUILD names another folder to look in). Without `options` the answer is kept: one attempt per thread.
 */
export function loadAddon(options?: LoadOptions): AddonLoad {
  if (options !== undefined) return attempt(options);
  loaded ??= attempt({});
  return loaded;
}

function attempt(options: LoadOptions): AddonLoad {
  const { platform = process.platform, arch = process.arch, open = nodeRequire } = options;
  if (platform !== 'linux') {
    return missing(`the real backend needs Linux, and this is ${platform}`, MOCK_HINT);
  }
  if (!ARCHITECTURES.includes(arch)) {
    return missing(`the real backend exists for ${ARCHITECTURES.join(' and ')}, and this is ${arch}`, MOCK_HINT);
  }

  const root = options.root ?? findRoot(dirname(fileURLToPath(import.meta.url)));
  if (root === undefined) {
    return missing(
      `the folder of the package ${PACKAGE_NAME} is not above ${fileURLToPath(import.meta.url)}`,
      `if the program is bundled, leave ${PACKAGE_NAME} out of the bundle`,
    );
  }
  const build = `run in ${root}: node native/build.mjs`;

  let resolver: { resolve(directory: string): string };
  try {
    resolver = nodeRequire('node-gyp-build');
  } catch (error) {
    return missing(`the dependency node-gyp-build cannot be loaded: ${messageOf(error)}`, 'run: npm install');
  }

  let path: string;
  try {
    path = resolver.resolve(root);
  } catch {
    return notBuilt(root, `${platform}-${arch}`, build);
  }

  let addon: unknown;
  try {
    addon = open(path);
  } catch (error) {
    return missing(`${path} cannot be loaded: ${messageOf(error)}`, `build it on this machine, ${build}`);
  }
  if (!isAddon(addon)) {
    return missing(`${path} is not the addon of ${PACKAGE_NAME}`, `remove it, then ${build}`);
  }
  const version = readRecord(join(root, 'package.json'))['version'];
  if (addon.version !== version) {
    return missing(
      `${path} was built from version ${addon.version}, and the package is ${String(version)}`,
      `build it again, ${build}`,
    );
  }
  return { addon, path };
}

/** native/build.mjs leaves a note where it could not build. */
function notBuilt(root: string, target: string, build: string): AddonLoad {
  const place = process.env['INTEL_SVM_PREBUILD'] ?? root;
  const { reason, remedy } = readRecord(join(place, 'build/native-unavailable.json'));
  if (typeof reason === 'string' && typeof remedy === 'string') {
    return missing(`the addon is not built: ${reason}`, `${remedy}, then ${build}`);
  }
  return missing(`there is no addon for ${target} in build/Release or prebuilds of ${place}`, build);
}

function missing(reason: string, hint: string): AddonLoad {
  return { addon: undefined, reason, hint };
}

/** The nearest folder upwards whose package.json is this package's: two above lib/linux, three above dist/lib/linux. */
function findRoot(start: string): string | undefined {
  for (let folder = start; ; folder = dirname(folder)) {
    if (readRecord(join(folder, 'package.json'))['name'] === PACKAGE_NAME) return folder;
    if (folder === dirname(folder)) return undefined;
  }
}

/** The members of a JSON file that holds an object; none where it is missing or holds something else. */
function readRecord(file: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(readFileSync(file, 'utf8'));
    return isRecord(value) ? value : {};
  } catch {
    return {};
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

function isAddon(value: unknown): value is Addon {
  return (
    isRecord(value) &&
    typeof value['version'] === 'string' &&
    typeof value['napiVersion'] === 'number' &&
    typeof value['cpuFeatures'] === 'function'
  );
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
