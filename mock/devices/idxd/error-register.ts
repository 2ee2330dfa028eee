import { formatSwerr, type Swerr } from '../../../lib/abi/swerr.js';
import type { Clock } from '../../clock.js';

/**
 * Errors that only the software error register reports. The public headers do not number them and the driver does not look
 * at them; these numbers are the model's own.
 */
export const SUBMISSION_ERROR = {
  /** A posted store to a work queue that is not enabled. */
  QUEUE_DISABLED: 0x50,
  /** A posted store to a work queue without a free entry. */
  QUEUE_FULL: 0x51,
  /** A posted store to a shared work queue. */
  WRONG_MODE: 0x52,
} as const;

/** From an error to the interrupt thread that reads it, nanoseconds. */
const INTERRUPT_LATENCY = 2_000;

const NOTHING: Swerr = {
  valid: false,
  overflow: false,
  descValid: false,
  wqIdxValid: false,
  batch: false,
  faultRw: false,
  priv: false,
  error: 0,
  wqIdx: 0,
  operation: 0,
  pasid: 0,
  batchIdx: 0,
  invalidFlags: 0,
  faultAddr: 0n,
};

/**
 * SWERR and the driver's copy of it. The register holds the first error until the interrupt thread has read and cleared it
 * (idxd_misc_thread); later ones meanwhile only set `overflow`. The copy, which sysfs shows and poll(2) looks at, keeps the
 * latest reading for good.
 */
export class ErrorRegister {
  #register = NOTHING;
  #copy = NOTHING;
  readonly #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** The driver's copy has an error. */
  get valid(): boolean {
    return this.#copy.valid;
  }

  /** What `errors` shows. */
  format(): string {
    return formatSwerr(this.#copy);
  }

  /** The device has an error of a descriptor to report. */
  record(error: Partial<Swerr> & Pick<Swerr, 'error' | 'wqIdx' | 'operation' | 'pasid'>): void {
    if (this.#register.valid) {
      this.#register = { ...this.#register, overflow: true };
      return;
    }
    this.#register = { ...NOTHING, ...error, valid: true, descValid: true, wqIdxValid: true };
    this.#clock.after(INTERRUPT_LATENCY, () => {
      this.#copy = this.#register;
      this.#register = NOTHING;
    });
  }
}
