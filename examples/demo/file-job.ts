import { type Kernel, type WorkQueue } from 'intel-svm';
import { crc32c } from './crc32c.js';
import type { FaultLog, PageRequests } from './fault-log.js';
import type { InputFile } from './input-file.js';
import { Operations } from './operations.js';
import { startProgress } from './progress.js';

/** Bytes of a file that are in memory at a time: as many pieces as keep a queue busy, and little enough for any machine. */
const WINDOW = 8 * 2 ** 20;

/** What became of a file. */
export interface FileReport {
  readonly path: string;
  readonly bytes: number;
  readonly descriptors: number;
  /** Descriptors that resumed after a page fault which the device did not wait for. */
  readonly resumed: number;
  readonly pageRequests: PageRequests;
  /** Whether the device's copy is the file. */
  readonly copyIsEqual: boolean;
  readonly crc: { readonly device: number; readonly node: number };
}

/** Has the device copy a file and compute its CRC-32C, and compares both with what Node makes of it. */
export async function runFile(
  queue: WorkQueue,
  file: InputFile,
  faults: FaultLog,
  terminal: NodeJS.WritableStream,
): Promise<FileReport> {
  const operations = new Operations(queue);
  const crc = { device: 0, node: 0 };
  let bytes = 0;
  let copyIsEqual = true;
  const buffer = Buffer.allocUnsafeSlow(Math.max(1, Math.min(file.size, WINDOW)));
  const progress = startProgress(terminal, file.path, file.size);
  try {
    for (;;) {
      const length = await file.read(buffer);
      if (length === 0) break;
      const window = buffer.subarray(0, length);
      copyIsEqual = (await copyAndCompare(operations, queue.device.kernel, window)) && copyIsEqual;
      crc.device = await operations.checksum(queue.device.kernel.addressOf(window), length, crc.device, [window]);
      crc.node = crc32c(window, crc.node);
      bytes += length;
      progress.update(bytes);
    }
  } finally {
    progress.stop();
  }
  const { descriptors, resumed } = operations;
  return { path: file.path, bytes, descriptors, resumed, pageRequests: faults.take(), copyIsEqual, crc };
}

/** The destination is fresh memory that nobody has touched: its pages come when the device writes to them. */
async function copyAndCompare(operations: Operations, kernel: Kernel, source: Buffer): Promise<boolean> {
  const destination = kernel.alloc(source.byteLength, { populate: false });
  try {
    await operations.move(kernel.addressOf(source), destination.address, source.byteLength, [
      source,
      destination.bytes,
    ]);
    return Buffer.compare(source, destination.bytes) === 0;
  } finally {
    kernel.free(destination);
  }
}
