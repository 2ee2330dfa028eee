import { closeSync, constants, openSync, readFileSync, readdirSync, realpathSync, writeSync } from 'node:fs';
import { posix } from 'node:path';
import { DSA_DESCRIPTOR_SIZE } from '../abi/dsa.js';
import { ERRNO, errnoName } from '../abi/errno.js';
import { SvmError, invalidArgType } from '../errors.js';
import type {
  AllocOptions,
  CpuFeatures,
  DeviceMapping,
  DmaBuffer,
  Kernel,
  MemoryView,
  Pin,
  Protection,
  Submit,
  SubmitInstruction,
  Sysfs,
} from '../kernel.js';
import { operand } from '../operand.js';
import { ADDON_INSTRUCTION, ADDON_PROTECTION, type Addon, type AddonRegion } from './loader.js';
import { resolveRoots, type Roots } from './roots.js';

/** The addon cannot represent a larger length; nothing that is shared with a device comes near it. */
const MAX_LENGTH = 2 ** 47;

/** A Node.js process has one address space from start to end. */
const MM: object = {};

/** `Kernel` over the addon: this process on this machine. */
export class LinuxKernel implements Kernel {
  readonly backend = 'linux';
  readonly pid = process.pid;
  readonly mm = MM;
  readonly pageSize: number;
  readonly cpu: CpuFeatures;
  readonly sysfs: Sysfs;
  /** No kernel that is in use exports the functions of intel-svm.h to user space: drivers bind in open(2). */
  readonly svm = undefined;
  readonly #addon: Addon;
  readonly #roots: Roots;
  readonly #paths = new Map<number, string>();
  readonly #regions = new WeakMap<DeviceMapping, AddonRegion>();
  readonly #allocations = new WeakMap<DmaBuffer, ArrayBuffer>();

  /** @param roots where the file systems are mounted, for tests and containers. Default: '/dev', '/sys', '/proc' */
  constructor(addon: Addon, roots: Partial<Roots> = {}) {
    this.#addon = addon;
    this.#roots = resolveRoots(roots);
    this.pageSize = addon.pageSize;
    this.cpu = cpuFeatures(addon);
    this.sysfs = this.#sysfs();
  }

  open(path: string): number {
    const fd = this.#call('open', path, () => this.#addon.open(this.#locate(path)));
    this.#paths.set(fd, path);
    return fd;
  }

  close(fd: number): void {
    this.#onFile('close', fd, () => this.#addon.close(fd));
    this.#paths.delete(fd);
  }

  ioctl(fd: number, request: number, argument?: Uint8Array): number {
    return this.#onFile('ioctl', fd, () => this.#addon.ioctl(fd, request, argument));
  }

  mmap(fd: number, length: number, offset = 0): DeviceMapping {
    const region = this.#onFile('mmap', fd, () => this.#addon.mmap(fd, length, offset));
    const mapping: DeviceMapping = { fd, length, offset };
    this.#regions.set(mapping, region);
    return mapping;
  }

  munmap(mapping: DeviceMapping): void {
    this.#call('munmap', undefined, () => this.#addon.munmap(this.#region(mapping, 'munmap')));
    this.#regions.delete(mapping);
  }

  write(fd: number, bytes: Uint8Array): number {
    // The addon takes whole descriptors; the driver ignores a tail, and has nothing to do without a whole one.
    const whole = bytes.subarray(0, bytes.length - (bytes.length % DSA_DESCRIPTOR_SIZE));
    return this.#onFile('write', fd, () => (whole.length === 0 ? 0 : this.#addon.write(fd, whole)));
  }

  poll(fd: number, events: number): number {
    return this.#onFile('poll', fd, () => this.#addon.poll(fd, events));
  }

  submitter(portal: DeviceMapping, instruction: SubmitInstruction, ring: DmaBuffer): Submit {
    return this.#call('submit', this.#paths.get(portal.fd), () =>
      this.#addon.createSubmitter(this.#region(portal, 'submit'), ADDON_INSTRUCTION[instruction], ring.bytes),
    );
  }

  alloc(byteLength: number, options: AllocOptions = {}): DmaBuffer {
    return this.#call('mmap', undefined, () => {
      if (!Number.isInteger(byteLength) || byteLength <= 0) throw new SvmError('EINVAL', { syscall: 'mmap' });
      if (byteLength > MAX_LENGTH) throw new SvmError('ENOMEM', { syscall: 'mmap' });
      const memory = this.#addon.alloc(byteLength, options.populate ?? true, options.hugePages ?? false);
      const buffer = { bytes: new Uint8Array(memory), address: this.#addon.addressOf(memory), byteLength };
      this.#allocations.set(buffer, memory);
      return buffer;
    });
  }

  free(buffer: DmaBuffer): void {
    this.#call('munmap', undefined, () => this.#addon.free(this.#memory(buffer, 'munmap')));
    this.#allocations.delete(buffer);
  }

  protect(buffer: DmaBuffer, protection: Protection): void {
    this.#call('mprotect', undefined, () =>
      this.#addon.protect(this.#memory(buffer, 'mprotect'), ADDON_PROTECTION[protection]),
    );
  }

  addressOf(view: MemoryView): bigint {
    return this.#addon.addressOf(viewOf(view));
  }

  pin(view: MemoryView): Pin {
    const memory = viewOf(view);
    const address = this.#addon.addressOf(memory);
    let pin: number | undefined = this.#addon.pin(memory);
    return {
      address,
      byteLength: memory.byteLength,
      release: () => {
        if (pin !== undefined) this.#addon.unpin(pin);
        pin = undefined;
      },
    };
  }

  touch(address: bigint, byteLength: number, access: 'read' | 'write'): void {
    this.#call('touch', undefined, () => this.#addon.touch(address, byteLength, access === 'write'));
  }

  /** No unprivileged process is told its PASID (no sysfs or proc file has it). */
  pasid(fd: number): undefined {
    this.#onFile('pasid', fd, () => undefined);
  }

  pause(): void {
    this.#addon.pause();
  }

  turn(): Promise<void> {
    return new Promise((resolve) => setImmediate(resolve));
  }

  #sysfs(): Sysfs {
    return {
      read: (path) => this.#call('read', path, () => readFileSync(this.#locate(path), 'utf8').replace(/\n$/, '')),
      list: (path) => this.#call('scandir', path, () => readdirSync(this.#locate(path)).toSorted()),
      write: (path, text) => this.#call('write', path, () => writeOnce(this.#locate(path), text)),
      realpath: (path) => this.#call('realpath', path, () => this.#name(realpathSync.native(this.#locate(path)))),
    };
  }

  /** Where a path of the port lies on this machine. Outside the roots there is no file (ENOENT). */
  #locate(path: string): string {
    if (typeof path !== 'string') throw invalidArgType('path', 'a string', path);
    const normal = posix.normalize(path);
    for (const [root, place] of this.#places()) {
      if (normal === root || normal.startsWith(`${root}/`)) return place + normal.slice(root.length);
    }
    throw Object.assign(new Error(`${path} is not below /dev, /sys or /proc`), { errno: -ERRNO.ENOENT });
  }

  /** The port's name of a file on this machine. */
  #name(file: string): string {
    for (const [root, place] of this.#places()) {
      if (file === place || file.startsWith(`${place}/`)) return root + file.slice(place.length);
    }
    return file;
  }

  #places(): [string, string][] {
    return Object.entries(this.#roots).map(([name, place]) => [`/${name}`, place]);
  }

  #region(mapping: DeviceMapping, syscall: string): AddonRegion {
    const region = this.#regions.get(mapping);
    if (region === undefined) throw new SvmError('EINVAL', { syscall });
    return region;
  }

  #memory(buffer: DmaBuffer, syscall: string): ArrayBuffer {
    const memory = this.#allocations.get(buffer);
    if (memory === undefined) throw new SvmError('EINVAL', { syscall });
    return memory;
  }

  #onFile<T>(syscall: string, fd: number, body: () => T): T {
    const path = this.#paths.get(fd);
    if (path === undefined) throw new SvmError('EBADF', { syscall });
    return this.#call(syscall, path, body);
  }

  /** System errors of the addon and of node:fs become `SvmError`s that name the port's call and path. */
  #call<T>(syscall: string, path: string | undefined, body: () => T): T {
    try {
      return body();
    } catch (error) {
      const name = systemErrno(error);
      if (name === undefined) throw error;
      throw new SvmError(name, { syscall, path, cause: error });
    }
  }
}

/** The symbol of a system error's errno, or `undefined` for any other error and for one that is an `SvmError` already. */
function systemErrno(error: unknown): keyof typeof ERRNO | undefined {
  if (error instanceof SvmError || !(error instanceof Error)) return undefined;
  const errno: unknown = 'errno' in error ? error.errno : undefined;
  return typeof errno === 'number' ? errnoName(errno) : undefined;
}

/** One write(2), without O_CREAT and without reading: attributes such as `bind` are write-only. */
function writeOnce(file: string, text: string): void {
  const fd = openSync(file, constants.O_WRONLY);
  try {
    writeSync(fd, text);
  } finally {
    closeSync(fd);
  }
}

/** Checks as `operand` does; the addon takes shared memory through a view alone. */
function viewOf(view: MemoryView): Uint8Array {
  const { buffer, byteOffset, byteLength } = operand(view, 'view');
  return new Uint8Array(buffer, byteOffset, byteLength);
}

/** A CPU without CPUID has none of them. */
function cpuFeatures(addon: Addon): CpuFeatures {
  try {
    const { movdir64b, enqcmd, waitpkg, la57 } = addon.cpuFeatures();
    return { movdir64b, enqcmd, waitpkg, la57 };
  } catch (error) {
    if (systemErrno(error) !== 'ENOSYS') throw error;
    return { movdir64b: false, enqcmd: false, waitpkg: false, la57: false };
  }
}
