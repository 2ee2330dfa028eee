import { COMP_STATUS, STATUS_WRITE_FAULT } from '../../../lib/abi/completion-status.js';
import { DESC_FLAG } from '../../../lib/abi/descriptor-flags.js';
import { DSA_COMPLETION, DSA_COMPLETION_ALIGN } from '../../../lib/abi/dsa.js';
import { IAX_COMPLETION, IAX_COMPLETION_ALIGN } from '../../../lib/abi/iax.js';
import { PRQ_RESPONSE_SUCCESS } from '../../../lib/abi/svm.js';
import type { DeviceContext } from '../../iommu/device-context.js';
import type { Iommu } from '../../iommu/iommu.js';
import { PAGE_SIZE, pageNumber, type Piece } from '../../mm/page.js';
import { Dma } from './dma.js';
import type { IdxdType } from './hardware.js';
import type { Executor, Operation } from './operations/operation.js';
import { OPERATIONS } from './operations/table.js';
import type { Halves, Task } from './task.js';

/** Flags that every operation takes. */
const COMMON_FLAGS = DESC_FLAG.CRAV | DESC_FLAG.RCR | DESC_FLAG.RCI | DESC_FLAG.CR_TCS;

const COMPLETION_ADDRESS = 8;
const TRANSFER_SIZE = 32;
/** Bytes 38 and 39: reserved on DSA, the operation's own flags on IAX. */
const RESERVED_1 = 38;

/** Offsets in a record that DSA and IAX share. */
const BYTES_COMPLETED = DSA_COMPLETION.fields.bytesCompleted.offset;
const FAULT_ADDRESS = DSA_COMPLETION.fields.faultAddr.offset;
const INVALID_FLAGS = DSA_COMPLETION.fields.invalidFlags.offset;

const RECORD = {
  dsa: { size: DSA_COMPLETION.size, align: DSA_COMPLETION_ALIGN },
  iax: { size: IAX_COMPLETION.size, align: IAX_COMPLETION_ALIGN },
} as const;

/** Size and alignment of a completion record, bytes. */
export const recordFormat = (type: IdxdType): { readonly size: number; readonly align: number } => RECORD[type];

/** Page requests for one page before the device gives up: an answer of "success" that changes nothing must not loop. */
const MAX_REQUESTS = 16;
/** Page request group indices: 9 bits. */
const GROUPS = 512;

/** An error of a descriptor that has no completion record to stand in. */
export interface DeviceError {
  readonly task: Task;
  /** `COMP_STATUS`, without the write-fault bit. */
  readonly error: number;
  readonly write: boolean;
  readonly address: Halves;
  readonly invalidFlags: number;
}

/** Where the device reports errors that no record can tell: its event log or its software error register. */
export type ErrorReporter = (error: DeviceError) => void;

/**
 * Carries descriptors out: checks, operation, completion record. It knows nothing of queues and time. A task is stepped
 * until it is finished; one that waits is woken through `Task.wake`.
 */
export class ExecutionUnit implements Executor {
  readonly #dma: Dma;
  readonly #iommu: Iommu;
  readonly #context: DeviceContext;
  readonly #executable: ReadonlySet<number>;
  readonly #operations: ReadonlyMap<number, Operation>;
  readonly #isDsa: boolean;
  readonly #recordSize: number;
  readonly #recordAlign: number;
  readonly #report: ErrorReporter;
  #group = 0;

  constructor(options: {
    readonly type: IdxdType;
    readonly executable: ReadonlySet<number>;
    readonly iommu: Iommu;
    readonly context: DeviceContext;
    readonly report: ErrorReporter;
  }) {
    this.#dma = new Dma(options.iommu, options.context);
    this.#iommu = options.iommu;
    this.#context = options.context;
    this.#executable = options.executable;
    this.#operations = OPERATIONS[options.type];
    this.#isDsa = options.type === 'dsa';
    const { size, align } = recordFormat(options.type);
    this.#recordSize = size;
    this.#recordAlign = align;
    this.#report = options.report;
  }

  /**
   * Checks the descriptor.
   * @returns the bytes that it will process, for the time it takes
   */
  begin(task: Task): number {
    const operation = this.#operations.get(task.opcode);
    task.status = this.#check(task, operation);
    task.phase = task.status === 0 ? 'run' : 'complete';
    return task.status === 0 ? task.size : 0;
  }

  /**
   * Takes the task as far as it goes. It must have begun.
   * @returns whether it is finished; otherwise it waits, and will call its `wake`
   */
  step(task: Task): boolean {
    if (task.phase === 'run') {
      const outcome = this.#run(task);
      if (outcome === 'wait') return false;
      task.phase = 'complete';
    }
    this.#complete(task);
    return true;
  }

  #run(task: Task): 'done' | 'wait' {
    const operation = this.#operations.get(task.opcode);
    if (operation === undefined) return 'done';
    task.status = COMP_STATUS.SUCCESS;
    const outcome = operation.run(task, this.#dma, this);
    if (outcome !== 'fault') return outcome;
    const { blocked, faultAddress, faultWrite } = this.#dma;
    const blocks = (task.flags & DESC_FLAG.BOF) !== 0;
    if (blocks && !blocked && this.#requestPage(task, faultAddress, faultWrite)) return 'wait';
    const code = blocks ? COMP_STATUS.PAGE_FAULT_IR : COMP_STATUS.PAGE_FAULT_NOBOF;
    task.status = (blocked ? COMP_STATUS.TRANSLATION_FAIL : code) | (faultWrite ? STATUS_WRITE_FAULT : 0);
    const { low, high } = task.halves(faultAddress);
    task.recordView.setUint32(BYTES_COMPLETED, task.done, true);
    task.recordView.setUint32(FAULT_ADDRESS, low, true);
    task.recordView.setUint32(FAULT_ADDRESS + 4, high, true);
    return 'done';
  }

  /** The order of the checks decides which of several errors is seen. @returns a status, or 0 */
  #check(task: Task, operation: Operation | undefined): number {
    const { flags, queue, opcode } = task;
    const executed = this.#executable.has(opcode) && queue.allows(opcode);
    if (operation === undefined || !executed) return COMP_STATUS.BAD_OPCODE;
    let allowed = COMMON_FLAGS | operation.flags;
    if (operation.mayBlock && queue.blockOnFault) allowed |= DESC_FLAG.BOF;
    if (task.inBatch) allowed |= DESC_FLAG.FENCE;
    if ((flags & DESC_FLAG.CRAV) === 0) allowed &= ~DESC_FLAG.RCR;
    const invalid = flags & ~allowed;
    if (invalid !== 0) {
      task.recordView.setUint32(INVALID_FLAGS, invalid, true);
      return COMP_STATUS.INVALID_FLAGS;
    }
    if ((flags & DESC_FLAG.CRAV) !== 0 && !this.#recordAligned(task)) return COMP_STATUS.CRA_ALIGN;
    if (this.#isDsa && task.view.getUint16(RESERVED_1, true) !== 0) return COMP_STATUS.NOZERO_RESERVE;
    for (let at = operation.reservedFrom; at < task.bytes.length; at += 1) {
      if (task.bytes[at] !== 0) return COMP_STATUS.NOZERO_RESERVE;
    }
    // A user portal has no interrupt handle; the driver gives them to its own queues alone.
    if ((flags & DESC_FLAG.RCI) !== 0) return COMP_STATUS.INT_HANDLE_INVAL;
    if (operation.transfers) {
      task.size = task.u32(TRANSFER_SIZE);
      if (task.size === 0 || task.size > queue.maxTransferSize) return COMP_STATUS.XFER_ERANGE;
    }
    return operation.validate?.(task) ?? 0;
  }

  #recordAligned(task: Task): boolean {
    return task.u32(COMPLETION_ADDRESS) % this.#recordAlign === 0;
  }

  /** Asks the IOMMU for a page. @returns whether an answer may come */
  #requestPage(task: Task, address: number, write: boolean): boolean {
    const { response } = task;
    task.response = undefined;
    if (!this.#context.priEnabled || (response !== undefined && response !== PRQ_RESPONSE_SUCCESS)) return false;
    const page = pageNumber(address);
    task.requests = page === task.requestedPage ? task.requests + 1 : 1;
    task.requestedPage = page;
    if (task.requests > MAX_REQUESTS) return false;
    this.#group = (this.#group + 1) % GROUPS;
    const { serial } = task;
    this.#iommu.request({
      device: this.#context,
      pasid: task.pasid,
      address: page * PAGE_SIZE,
      read: !write,
      write,
      execute: false,
      privileged: false,
      group: this.#group,
      lastInGroup: true,
      privateData: undefined,
      respond: (code) => {
        // The descriptor may have been aborted since, and its place taken by another.
        if (task.serial !== serial || task.response !== undefined) return;
        task.response = code;
        task.wake?.();
      },
    });
    return true;
  }

  #complete(task: Task): void {
    const { flags, status } = task;
    const failed = status !== COMP_STATUS.SUCCESS;
    if ((flags & DESC_FLAG.CRAV) === 0 || !this.#recordAligned(task)) {
      if (failed && status !== COMP_STATUS.SUCCESS_PRED) this.#reportStatus(task);
    } else if (failed || (flags & DESC_FLAG.RCR) !== 0) {
      this.#writeRecord(task);
    }
  }

  #reportStatus(task: Task): void {
    this.#report({
      task,
      error: task.status & ~STATUS_WRITE_FAULT,
      write: (task.status & STATUS_WRITE_FAULT) !== 0,
      address: {
        low: task.recordView.getUint32(FAULT_ADDRESS, true),
        high: task.recordView.getUint32(FAULT_ADDRESS + 4, true),
      },
      invalidFlags: task.status === COMP_STATUS.INVALID_FLAGS ? task.recordView.getUint32(INVALID_FLAGS, true) : 0,
    });
  }

  /** The status byte goes last: who sees it sees the rest. */
  #writeRecord(task: Task): void {
    const address = task.address(COMPLETION_ADDRESS);
    task.record[0] = task.status;
    const first = this.#dma.access(task.pasid, address, this.#recordSize, true);
    if (first === undefined) {
      this.#report({
        task,
        error: COMP_STATUS.CRA_XLAT,
        write: true,
        address: { low: task.u32(COMPLETION_ADDRESS), high: task.u32(COMPLETION_ADDRESS + 4) },
        invalidFlags: 0,
      });
      return;
    }
    // A record cannot cross a page, but the end of a heap block may run through it.
    for (let done = first.length; done < this.#recordSize;) {
      const rest = this.#dma.access(task.pasid, address + done, this.#recordSize - done, true);
      if (rest === undefined) break;
      put(task.record, done, rest);
      done += rest.length;
    }
    for (let index = 1; index < first.length; index += 1) first.bytes[first.at + index] = task.record[index] ?? 0;
    Atomics.store(first.bytes, first.at, task.status);
  }
}

function put(record: Uint8Array, from: number, { bytes, at, length }: Piece): void {
  for (let index = 0; index < length; index += 1) bytes[at + index] = record[from + index] ?? 0;
}
