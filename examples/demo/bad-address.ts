import { completionStatus, type WorkQueue } from 'intel-svm';
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
  readonly pageRequests: PageRequests;
}

/** Gives the device a pointer to memory that was freed. */
export async function useBadAddress(queue: WorkQueue, faults: FaultLog): Promise<BadAddressReport> {
  const { kernel } = queue.device;
  const freed = kernel.alloc(kernel.pageSize);
  kernel.free(freed);
  const destination = kernel.alloc(kernel.pageSize);
  try {
    const operands = [destination.bytes];
    const { status, faultAddress } = await new Operations(queue).tryMove(
      freed.address,
      destination.address,
      kernel.pageSize,
      operands,
    );
    const row = completionStatus(status, 'dsa');
    return {
      address: freed.address,
      status,
      symbol: row?.symbol ?? 'unknown',
      meaning: row?.meaning ?? 'a status that linux/idxd.h does not define',
      faultAddress,
      pageRequests: faults.take(),
    };
  } finally {
    kernel.free(destination);
  }
}
