/**
 * What can be made to go wrong.
 * - 'allocation-failure': kernel memory runs out: a bind, an open or an `alloc` answers ENOMEM;
 * - 'notifier-failure': the mmu notifier cannot be registered (ENOMEM after the PASID was allocated);
 * - 'iommu-off': DMA remapping is disabled;
 * - 'pasid-exhaustion': no PASID is free;
 * - 'queue-full': a shared queue answers "retry", a dedicated one drops the descriptor;
 * - 'command-failure': a device command fails;
 * - 'page-request-overflow': the next page request finds the ring full;
 * - 'missing-invalidation': the kernel forgets to invalidate translations.
 */
export type InjectionKind =
  | 'allocation-failure'
  | 'notifier-failure'
  | 'iommu-off'
  | 'pasid-exhaustion'
  | 'queue-full'
  | 'command-failure'
  | 'page-request-overflow'
  | 'missing-invalidation';

/** An injected fault. It ends when its count is used up, at `stop()`, or at the end of a `using` block. */
export interface Injection extends Disposable {
  readonly kind: InjectionKind;
  /** How often it has struck. */
  readonly hits: number;
  stop(): void;
}

/** Faults that wait for their occasion. */
export class Injections {
  readonly #armed = new Map<InjectionKind, Set<{ left: number; hits: number }>>();

  /** @param times how often it strikes; default: until stopped */
  arm(kind: InjectionKind, times = Infinity): Injection {
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
