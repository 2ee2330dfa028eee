import { UACCE_CMD_PUT_Q, UACCE_CMD_START_Q } from '../../../lib/abi/uacce.js';
import { fail } from '../../errno.js';
import { PAGE_SIZE, pageAlign } from '../../mm/page.js';
import type { Caller, MappedRegion, OpenFile } from '../char-device.js';

type State = 'init' | 'started' | 'zombie';

/** An open UACCE queue: `struct uacce_queue` and its state machine. */
export class UacceQueue implements OpenFile {
  readonly pasid: number | undefined;
  readonly release: () => void;
  readonly #regionSizes: readonly number[];
  readonly #putQ: 'zombie' | 'init';
  readonly #mapped = new Set<number>();
  #state: State = 'init';

  constructor(options: {
    readonly pasid: number | undefined;
    readonly regionSizes: readonly number[];
    readonly putQ: 'zombie' | 'init';
    readonly release: () => void;
  }) {
    this.pasid = options.pasid;
    this.release = options.release;
    this.#regionSizes = options.regionSizes;
    this.#putQ = options.putQ;
  }

  get state(): State {
    return this.#state;
  }

  becomeZombie(): void {
    this.#state = 'zombie';
  }

  ioctl(_caller: Caller, request: number): number {
    if (this.#state === 'zombie') return fail('ENXIO');
    switch (request) {
      case UACCE_CMD_START_Q:
        if (this.#state === 'started') return fail('EINVAL');
        this.#state = 'started';
        return 0;
      case UACCE_CMD_PUT_Q:
        // Newer kernels do nothing to a queue that was never started; older ones end it.
        this.#state = this.#putQ === 'zombie' ? 'zombie' : 'init';
        return 0;
      default:
        return fail('EINVAL');
    }
  }

  mmap(_caller: Caller, length: number, offset: number): MappedRegion {
    const region = offset / PAGE_SIZE;
    const size = this.#regionSizes[region];
    if (size === undefined || size === 0) return fail('EINVAL');
    if (this.#state === 'zombie') return fail('ENXIO');
    if (this.#mapped.has(region)) return fail('EEXIST');
    const fits = region === 0 ? length <= pageAlign(size) : length === pageAlign(size);
    if (!fits) return fail('EINVAL');
    this.#mapped.add(region);
    return { unmap: () => void this.#mapped.delete(region) };
  }
}
