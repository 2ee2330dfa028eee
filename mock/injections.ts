import { inspect } from 'node:util';
import { invalidArgValue, outOfRange } from '../lib/errors.js';

const KINDS = [
  'allocation-failure',
  'notifier-failure',
  'iommu-off',
  'pasid-exhaustion',
  'queue-full',
  'command-failure',
  'page-request-overflow',
  'missing-invalidation',
] as const;

/**
 * What can be made to go wrong, at its next occasion.
 * - 'allocation-failure': kernel memory runs out: a bind, an open, an mmap of a UACCE queue or an `alloc` answers ENOMEM;
 * - 'notifier-failure': the mmu notifier cannot be registered (ENOMEM after the PASID was allocated);
 * - 'iommu-off': binds, probes, unbinds and validity checks find DMA remapping disabled. DMA under PASIDs that are bound
 *   goes on;
 * - 'pasid-exhaustion': no PASID is free;
 * - 'queue-full': a shared queue answers "retry", a dedicated one drops the descriptor;
 * - 'command-failure': a device command fails;
 * - 'page-request-overflow': the next page request finds the ring full;
 * - 'missing-invalidation': the kernel forgets to invalidate translations after an munmap, an mprotect, a fork or reclaim.
 *   What the garbage collector unmaps is invalidated all the same, since nobody can tell when that is.
 *
 * 'device-halt' is the one fault that waits for nothing: see `MockKernel.inject`.
 */
export type InjectionKind = (typeof KINDS)[number];

/** An injected fault. It ends when its count is used up, at `stop()`, or at the end of a `using` block. */
export interface Injection extends Disposable {
  readonly kind: InjectionKind | 'device-halt';
  /** How often it has struck. */
  readonly hits: number;
  stop(): void;
}

/** Faults that wait for their occasion. */
export class Injections {
  readonly #armed = new Map<InjectionKind, Set<{ left: number; hits: number }>>();

  /**
   * @param times how often it strikes, 1 or more; default: until stopped
   * @throws TypeError `ERR_INVALID_ARG_VALUE` for an unknown kind, RangeError `ERR_OUT_OF_RANGE`
   */
  arm(kind: InjectionKind, times = Infinity): Injection {
    if (!KINDS.includes(kind)) throw invalidArgValue('kind', `must be a kind of fault. Received ${inspect(kind)}`);
    if (times !== Infinity && !(Number.isInteger(times) && times >= 1)) {
      throw outOfRange('times', 'an integer from 1 on', times);
    }
    const entry = { left: times, hits: 0 };
    const entries = this.#armed.get(kind) ?? new Set();
    this.#armed.set(kind, entries.add(entry));
    const stop = (): void => void entries.delete(entry);
    return {
      kind,
      stop,
      [Symbol.dispose]: stop,
      get hits() {
        return entry.hits;
      },
    };
  }

  /** Whether the fault strikes here and now; uses it up by one. */
  strikes(kind: InjectionKind): boolean {
    const entries = this.#armed.get(kind);
    if (entries === undefined) return false;
    for (const entry of entries) {
      entry.left -= 1;
      entry.hits += 1;
      if (entry.left <= 0) entries.delete(entry);
      return true;
    }
    return false;
  }
}
