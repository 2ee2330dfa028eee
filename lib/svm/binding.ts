import { SvmError, invalidState } from '../errors.js';
import { isCurrent } from './address-space.js';
import { bindMm, isPasidValid, unbindMm, type BindOptions } from './bind.js';
import type { SvmDevice } from './device.js';

/** One reference of a bind, given back once. `using binding = device.bind()`. */
export class SvmBinding implements Disposable {
  readonly device: SvmDevice;
  readonly pasid: number;
  readonly #mm: object;
  #bound = true;

  /** @throws as `bindMm` */
  constructor(device: SvmDevice, options: BindOptions = {}) {
    this.device = device;
    this.pasid = bindMm(device, options);
    this.#mm = device.kernel.mm;
  }

  /** Whether this reference is still held. */
  get bound(): boolean {
    return this.#bound;
  }

  /** `isPasidValid` of the bound PASID; false once unbound, and after exec and exit of the process. */
  get valid(): boolean {
    if (!this.#bound || !isCurrent(this.device.kernel, this.#mm)) return false;
    try {
      return isPasidValid(this.device, this.pasid);
    } catch (error) {
      // Somebody else unbound it.
      if (error instanceof SvmError && error.code === 'EINVAL') return false;
      throw error;
    }
  }

  /**
   * Gives the reference back.
   * @throws Error `ERR_INVALID_STATE` the second time, and after exec: another holder's reference must not be taken
   * @throws SvmError as `unbindMm`; ESRCH when the process has exited
   */
  unbind(): void {
    if (!this.#bound) throw invalidState(`the binding of '${this.device.path}' was unbound already`);
    if (this.device.kernel.mm !== this.#mm) {
      throw invalidState(`the binding of '${this.device.path}' ended with the address space it was made in`);
    }
    unbindMm(this.device, this.pasid);
    this.#bound = false;
  }

  /** Unbinds what is bound; a process that is gone has nothing to give back. */
  [Symbol.dispose](): void {
    if (this.#bound && isCurrent(this.device.kernel, this.#mm)) this.unbind();
    this.#bound = false;
  }
}
