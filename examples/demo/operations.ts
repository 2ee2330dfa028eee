import {
  COMP_STATUS,
  DESC_FLAG,
  DSA_OPCODE,
  completionStatus,
  isWriteFault,
  statusCode,
  type Completion,
  type DescriptorFields,
  type MemoryView,
  type WorkQueue,
} from 'intel-svm';

/** Faults in a row after which an operation that gets no further is given up: source and destination may fault in turn. */
const MOST_FAULTS_WITHOUT_PROGRESS = 8;

/** The device completed a descriptor with a status that the demo knows no way around. */
export class OperationError extends Error {
  constructor(operation: string, { status }: Completion) {
    const row = completionStatus(status, 'dsa');
    super(
      row === undefined
        ? `${operation} completed with the unknown status 0x${status.toString(16)}`
        : `${operation} completed with ${row.symbol}: ${row.meaning}. ${row.remedy}`,
    );
  }
}

/** Ranges of any length through a queue: cut into descriptors, and sent on where a page fault stopped one. */
export class Operations {
  /** Descriptors submitted. */
  descriptors = 0;
  /** How many of them resumed an operation that a page fault had stopped. */
  resumed = 0;
  readonly #queue: WorkQueue;
  /** Block on fault: the device asks the IOMMU for a missing page and waits, where its queue may. */
  readonly #flags: number;

  constructor(queue: WorkQueue) {
    this.#queue = queue;
    this.#flags = queue.blockOnFault ? DESC_FLAG.BOF : 0;
  }

  /**
   * Copies `length` bytes. The pieces are in flight together; none is any more when this returns or throws.
   * @param operands the memory behind the addresses
   */
  async move(source: bigint, destination: bigint, length: number, operands: readonly MemoryView[]): Promise<void> {
    const outcomes = await Promise.allSettled(
      this.#pieces(length).map(({ offset, size }) =>
        this.#toTheEnd(
          'MEMMOVE',
          { srcAddr: source + BigInt(offset), dstAddr: destination + BigInt(offset), xferSize: size },
          operands,
          (before, { result, bytesCompleted }) => {
            const xferSize = before.xferSize - bytesCompleted;
            // Copied from the end: what is left is at the front, where it was.
            if (result === 1) return { ...before, xferSize };
            const done = BigInt(bytesCompleted);
            return { srcAddr: before.srcAddr + done, dstAddr: before.dstAddr + done, xferSize };
          },
        ),
      ),
    );
    for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
  }

  /** CRC-32C of `length` bytes. @param seed the CRC of the bytes before them */
  async checksum(source: bigint, length: number, seed: number, operands: readonly MemoryView[]): Promise<number> {
    let crc = seed;
    for (const { offset, size } of this.#pieces(length)) {
      const completion = await this.#toTheEnd(
        'CRCGEN',
        { srcAddr: source + BigInt(offset), xferSize: size, crcSeed: crc },
        operands,
        (before, { bytesCompleted, crc: soFar }) => ({
          srcAddr: before.srcAddr + BigInt(bytesCompleted),
          xferSize: before.xferSize - bytesCompleted,
          crcSeed: soFar,
        }),
      );
      crc = completion.crc;
    }
    return crc;
  }

  /** One MEMMOVE as it is, whatever comes of it. */
  tryMove(source: bigint, destination: bigint, size: number, operands: readonly MemoryView[]): Promise<Completion> {
    return this.#submit('MEMMOVE', { srcAddr: source, dstAddr: destination, xferSize: size }, operands);
  }

  #submit(
    opcode: 'MEMMOVE' | 'CRCGEN',
    fields: DescriptorFields,
    operands: readonly MemoryView[],
  ): Promise<Completion> {
    this.descriptors += 1;
    return this.#queue.run({ ...fields, opcode: DSA_OPCODE[opcode], flags: this.#flags }, operands);
  }

  /**
   * Submits an operation until it is done. A page fault that the device does not wait for stops it: the page is touched,
   * which makes it present, and the rest is submitted.
   * @param rest what is left to do after a partial completion
   */
  async #toTheEnd<F extends DescriptorFields>(
    opcode: 'MEMMOVE' | 'CRCGEN',
    fields: F,
    operands: readonly MemoryView[],
    rest: (before: F, completion: Completion) => F,
  ): Promise<Completion> {
    const { kernel } = this.#queue.device;
    let left = fields;
    let faultsWithoutProgress = 0;
    for (;;) {
      const completion = await this.#submit(opcode, left, operands);
      const code = statusCode(completion.status);
      if (code === COMP_STATUS.SUCCESS) return completion;
      const faulted = code === COMP_STATUS.PAGE_FAULT_NOBOF || code === COMP_STATUS.PAGE_FAULT_IR;
      faultsWithoutProgress = completion.bytesCompleted > 0 ? 0 : faultsWithoutProgress + 1;
      if (!faulted || faultsWithoutProgress > MOST_FAULTS_WITHOUT_PROGRESS)
        throw new OperationError(opcode, completion);
      kernel.touch(completion.faultAddress, 1, isWriteFault(completion.status) ? 'write' : 'read');
      left = rest(left, completion);
      this.resumed += 1;
    }
  }

  /** A range in pieces that one descriptor may have. */
  #pieces(length: number): { readonly offset: number; readonly size: number }[] {
    const { maxTransferSize } = this.#queue;
    return Array.from({ length: Math.ceil(length / maxTransferSize) }, (_, index) => {
      const offset = index * maxTransferSize;
      return { offset, size: Math.min(maxTransferSize, length - offset) };
    });
  }
}
