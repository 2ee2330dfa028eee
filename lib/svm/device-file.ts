import type { Kernel } from '../kernel.js';

interface SharedFile {
  readonly fd: number;
  users: number;
}

/** Open files by address space and node. A PASID belongs to an address space, and so does the file that bound it. */
const files = new WeakMap<object, Map<string, SharedFile>>();

/**
 * A process's one open file of a device node, shared by all who need it: a dedicated work queue cannot be opened twice.
 * The file is closed when the last holder releases it.
 */
export class DeviceFile implements Disposable {
  readonly kernel: Kernel;
  readonly path: string;
  readonly fd: number;
  readonly #shared: SharedFile;
  readonly #open: Map<string, SharedFile>;
  #held = true;

  /** Opens the node, or joins the file that is open. @throws SvmError as `Kernel.open` */
  constructor(kernel: Kernel, path: string) {
    const { mm } = kernel;
    const open = files.get(mm) ?? new Map<string, SharedFile>();
    files.set(mm, open);
    const shared = open.get(path) ?? { fd: kernel.open(path), users: 0 };
    open.set(path, shared);
    shared.users += 1;
    this.kernel = kernel;
    this.path = path;
    this.fd = shared.fd;
    this.#shared = shared;
    this.#open = open;
  }

  /** Whether this process has the node open. */
  static isOpen(kernel: Kernel, path: string): boolean {
    return files.get(kernel.mm)?.has(path) ?? false;
  }

  [Symbol.dispose](): void {
    if (!this.#held) return;
    this.#held = false;
    this.#shared.users -= 1;
    if (this.#shared.users > 0) return;
    this.#open.delete(this.path);
    this.kernel.close(this.fd);
  }
}
