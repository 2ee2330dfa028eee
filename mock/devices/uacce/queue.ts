import {
  HISI_QP_CTX,
  HISI_QP_INFO,
  UACCE_CMD_PUT_Q,
  UACCE_CMD_QM_SET_QP_CTX,
  UACCE_CMD_QM_SET_QP_INFO,
  UACCE_CMD_START_Q,
} from '../../../lib/abi/uacce.js';
import { fail } from '../../errno.js';
import type { Injections } from '../../injections.js';
import { PAGE_SIZE, pageAlign } from '../../mm/page.js';
import type { Caller, MappedRegion, OpenFile } from '../char-device.js';

type State = 'init' | 'started' | 'zombie';

/** QM_MAX_QC_TYPE of qm.c. */
const MAX_QC_TYPE = 2;
/** HZIP_SQE_SIZE, bytes, and QM_Q_DEPTH, entries (drivers/crypto/hisilicon): a queue of the compression engine. */
const SQE_SIZE = 128;
const QUEUE_DEPTH = 1024;

/** What a queue is made of. */
interface QueueParts {
  readonly pasid: number | undefined;
  /** Its number on the device. */
  readonly id: number;
  /** Whether the driver is HiSilicon's queue manager, which has ioctls of its own. */
  readonly isHisi: boolean;
  readonly regionSizes: readonly number[];
  readonly putQ: 'zombie' | 'init';
  readonly injections: Injections;
  readonly release: () => void;
}

/** An open UACCE queue: `struct uacce_queue` and its state machine. */
export class UacceQueue implements OpenFile {
  readonly pasid: number | undefined;
  readonly release: () => void;
  readonly id: number;
  readonly #parts: QueueParts;
  readonly #mapped = new Set<number>();
  #state: State = 'init';

  constructor(parts: QueueParts) {
    this.pasid = parts.pasid;
    this.id = parts.id;
    this.release = parts.release;
    this.#parts = parts;
  }

  get state(): State {
    return this.#state;
  }

  becomeZombie(): void {
    this.#state = 'zombie';
  }

  ioctl(_caller: Caller, request: number, argument: Uint8Array | undefined): number {
    if (this.#state === 'zombie') return fail('ENXIO');
    switch (request) {
      case UACCE_CMD_START_Q:
        if (this.#state === 'started') return fail('EINVAL');
        this.#state = 'started';
        return 0;
      case UACCE_CMD_PUT_Q:
        // Newer kernels do nothing to a queue that was never started; older ones end it.
        this.#state = this.#parts.putQ === 'zombie' ? 'zombie' : 'init';
        return 0;
      default:
        return this.#parts.isHisi ? this.#hisiIoctl(request, argument) : fail('EINVAL');
    }
  }

  mmap(_caller: Caller, length: number, offset: number): MappedRegion {
    const region = offset / PAGE_SIZE;
    const size = this.#parts.regionSizes[region];
    if (size === undefined) return fail('EINVAL');
    if (this.#parts.injections.strikes('allocation-failure')) return fail('ENOMEM');
    if (this.#state === 'zombie') return fail('ENXIO');
    if (this.#mapped.has(region)) return fail('EEXIST');
    // The driver's part: a region that the device does not have has no length that fits.
    const fits = region === 0 ? length <= pageAlign(size) : length === pageAlign(size);
    if (!fits) return fail('EINVAL');
    this.#mapped.add(region);
    return { unmap: () => void this.#mapped.delete(region) };
  }

  /** hisi_qm_uacce_ioctl(). */
  #hisiIoctl(request: number, argument: Uint8Array | undefined): number {
    if (request === UACCE_CMD_QM_SET_QP_CTX) {
      const view = viewOf(argument, HISI_QP_CTX.size);
      if (HISI_QP_CTX.get(view, 0, 'qcType') > MAX_QC_TYPE) return fail('EINVAL');
      HISI_QP_CTX.set(view, 0, 'id', this.id);
      return 0;
    }
    if (request !== UACCE_CMD_QM_SET_QP_INFO) return fail('EINVAL');
    const view = viewOf(argument, HISI_QP_INFO.size);
    HISI_QP_INFO.set(view, 0, 'sqeSize', SQE_SIZE);
    HISI_QP_INFO.set(view, 0, 'sqDepth', QUEUE_DEPTH);
    HISI_QP_INFO.set(view, 0, 'cqDepth', QUEUE_DEPTH);
    return 0;
  }
}

/** copy_from_user(): EFAULT where the argument is not there as a whole. */
function viewOf(argument: Uint8Array | undefined, size: number): DataView {
  if (argument === undefined || argument.length < size) return fail('EFAULT');
  return new DataView(argument.buffer, argument.byteOffset, size);
}
