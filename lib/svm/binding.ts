import { invalidState } from '../errors.js';
import { bindMm, isPasidValid, unbindMm, type BindOptions } from './bind.js';
import type { SvmDevice } from './device.js';

/** One reference of a bind, given back once. `using binding = device.bind()`. */
export class SvmBinding implements Disposable {
  readonly device: SvmDevice;
  readonly pasid: number;
  #bound = true;

  /** @throws as `bindMm` */
  constructor(device: SvmDevice, options: BindOptions = {}) {
    this.device = device;
    this.pasid = bindMm(device, options);
  }

  /** Whether this reference is still held. */
  get bound(): boolean {
    return this.#bound;
  }

  /** `isPasidValid` of the bound PASID. False once unbound. */
  get valid(): boolean {
    return this.#bound && isPasidValid(this.device, this.pasid);
  }

  /**
   * Gives the reference back.
   * @throws Error `ERR_INVALID_STATE` the second time: another holder's reference must not be taken
   * @throws SvmError as `unbindMm`
   */
  unbind(): void {
    if (!this.#bound) throw invalidState(`the binding of '${this.device.path}' was unbound already`);
    unbindMm(this.device, this.pasid);
    this.#bound = false;
  }

  [Symbol.dispose](): void {
    if (this.#bound) this.unbind();
  }
}
