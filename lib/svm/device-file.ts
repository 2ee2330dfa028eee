import { SvmError } from '../errors.js';
import type { Kernel } from '../kernel.js';
import { isCurrent } from './address-space.js';

interface SharedFile {
  readonly fd: number;
  users: number;
  claimed: boolean;
  readonly whenClosed: (() => void)[];
}

/** Open files by address space and node. A PASID belongs to an address space, and so does the file that bound it. */
const files = new WeakMap<object, Map<string, SharedFile>>();

/**
 * A process's one open file of a device node, shared by all who need it: a dedicated work queue cannot be opened twice.
 * The file is closed when the last holder disposes it; the kernel then drains the device.
 */
export class DeviceFile implements Disposable {
  readonly kernel: Kernel;
  readonly path: string;
  readonly fd: number;
  readonly #mm: object;
  readonly #shared: SharedFile;
  readonly #open: Map<string, SharedFile>;
  #held = true;
  #claims = false;

  /** Opens the node, or joins the file that is open. @throws SvmError as `Kernel.open` */
  constructor(kernel: Kernel, path: string) {
    const { mm } = kernel;
    const open = files.get(mm) ?? new Map<string, SharedFile>();
    files.set(mm, open);
    const shared = open.get(path) ?? { fd: kernel.open(path), users: 0, claimed: false, whenClosed: [] };
    open.set(path, shared);
    shared.users += 1;
    this.kernel = kernel;
    this.path = path;
    this.fd = shared.fd;
    this.#mm = mm;
    this.#shared = shared;
    this.#open = open;
  }

  /** Whether this process has the node open. */
  static isOpen(kernel: Kernel, path: string): boolean {
    return files.get(kernel.mm)?.has(path) ?? false;
  }

  /**
   * Makes this holder the only one that counts the entries of a dedicated queue: nobody reports when it is full.
   * @throws SvmError EBUSY when another holder of this process does
   */
  claim(): void {
    if (this.#shared.claimed) {
      const hint = 'This process drives the dedicated work queue already: use that WorkQueue, or close it first.';
      throw new SvmError('EBUSY', { syscall: 'open', path: this.path, hint });
    }
    this.#shared.claimed = true;
    this.#claims = true;
  }

  /**
   * Calls `release` when the device can reach nothing any more that was submitted through this file: when it is closed, or
   * now if it is. For memory that the device may still write.
   */
  whenClosed(release: () => void): void {
    if (this.#shared.users === 0) release();
    else this.#shared.whenClosed.push(release);
  }

  [Symbol.dispose](): void {
    if (!this.#held) return;
    this.#held = false;
    if (this.#claims) this.#shared.claimed = false;
    this.#shared.users -= 1;
    if (this.#shared.users > 0) return;
    this.#open.delete(this.path);
    // exec and exit closed the file; its number may be another's now.
    if (!isCurrent(this.kernel, this.#mm)) return;
    this.kernel.close(this.fd);
    for (const release of this.#shared.whenClosed) release();
  }
}
