import { completionStatus, type Kernel, type WorkQueue } from 'intel-svm';
import type { FaultLog, PageRequests } from './fault-log.js';
import { Operations } from './operations.js';

/** What a device does with an address that is mapped nowhere. */
export interface BadAddressReport {
  /** The address that it was given. */
  readonly address: bigint;
  /** The status byte of the completion record. */
  readonly status: number;
  readonly symbol: string;
  readonly meaning: string;
  /** As the completion record names it. */
  readonly faultAddress: bigint;
  /** Calls of the fault callback. */
  readonly faultCallbacks: PageRequests;
}

/** Bytes that are freed to have an address that is mapped nowhere. Many: the next small mapping may take the end of them. */
const FREED = 16 * 2 ** 20;

/** Gives the device a pointer to memory that was freed. */
export async function useBadAddress(queue: WorkQueue, faults: FaultLog): Promise<BadAddressReport> {
  const { kernel } = queue.device;
  const destination = kernel.alloc(kernel.pageSize);
  try {
    const address = freedAddress(kernel);
    const operands = [destination.bytes];
    const { status, faultAddress } = await new Operations(queue).tryMove(
      address,
      destination.address,
      kernel.pageSize,
      operands,
    );
    const row = completionStatus(status, 'dsa');
    return {
      address,
      status,
      symbol: row?.symbol ?? 'unknown',
      meaning: row?.meaning ?? 'a status that linux/idxd.h does not define',
      faultAddress,
      faultCallbacks: faults.take(),
    };
  } finally {
    kernel.free(destination);
  }
}

function freedAddress(kernel: Kernel): bigint {
  const freed = kernel.alloc(FREED, { populate: false });
  kernel.free(freed);
  return freed.address + BigInt(FREED / 2);
}
