/**
 * The status byte of a completion record. Symbols are those of `enum dsa_completion_status` and
 * `enum iax_completion_status` in linux/idxd.h, without DSA_COMP_ and IAX_COMP_; the two devices share their numbers.
 */
import { constants } from './table.js';

/** The part of the status byte that is the code (`DSA_COMP_STATUS_MASK`). */
export const STATUS_MASK = 0x7f;
/** The bit that says that the access which faulted was a write (`DSA_COMP_STATUS_WRITE`). */
export const STATUS_WRITE_FAULT = 0x80;

export type Accelerator = 'dsa' | 'iax';

interface Row {
  /** Without the write-fault bit. */
  readonly code: number;
  readonly symbol: string;
  readonly appliesTo: readonly Accelerator[];
  /** What happened. */
  readonly meaning: string;
  /** What to do, one sentence. */
  readonly remedy: string;
}

const TABLE = [
  {
    code: 0x00,
    symbol: 'NONE',
    appliesTo: ['dsa', 'iax'],
    meaning: 'not completed yet',
    remedy:
      'Wait; if it stays so, see whether the work queue is enabled and whether the errors attribute of the device names this descriptor.',
  },
  {
    code: 0x01,
    symbol: 'SUCCESS',
    appliesTo: ['dsa', 'iax'],
    meaning: 'success',
    remedy: 'Nothing to do.',
  },
  {
    code: 0x02,
    symbol: 'SUCCESS_PRED',
    appliesTo: ['dsa'],
    meaning: 'success, but the result is not the expected one',
    remedy: 'Read the result field; without flag CR (check result) this status does not appear.',
  },
  {
    code: 0x03,
    symbol: 'PAGE_FAULT_NOBOF',
    appliesTo: ['dsa', 'iax'],
    meaning: 'stopped part of the way by a page fault, blocking on faults being off',
    remedy:
      'Touch the page at the fault address and submit the rest, or set flag BOF on a work queue with block_on_fault.',
  },
  {
    code: 0x04,
    symbol: 'PAGE_FAULT_IR',
    appliesTo: ['dsa', 'iax'],
    meaning: 'stopped part of the way by a page fault that the kernel refused to resolve',
    remedy:
      'Map the fault address with the right that was missing, or correct the address or size; then submit the rest.',
  },
  {
    code: 0x05,
    symbol: 'BATCH_FAIL',
    appliesTo: ['dsa'],
    meaning: 'the batch is done, and some descriptor in it did not succeed',
    remedy: 'Read the completion record of each descriptor of the batch.',
  },
  {
    code: 0x06,
    symbol: 'BATCH_PAGE_FAULT',
    appliesTo: ['dsa'],
    meaning: 'page fault while reading the descriptor list of the batch',
    remedy:
      'Touch the page of the list at the fault address and submit what follows the descriptors already completed.',
  },
  {
    code: 0x07,
    symbol: 'DR_OFFSET_NOINC',
    appliesTo: ['dsa'],
    meaning: 'the offsets in the delta record do not increase',
    remedy: 'Apply only a delta record that a device or the same library wrote, and all of it.',
  },
  {
    code: 0x08,
    symbol: 'DR_OFFSET_ERANGE',
    appliesTo: ['dsa'],
    meaning: 'an offset in the delta record lies beyond the transfer size',
    remedy: 'Give the target the size that it had when the delta record was made.',
  },
  {
    code: 0x09,
    symbol: 'DIF_ERR',
    appliesTo: ['dsa'],
    meaning: 'a data integrity field does not match its block',
    remedy: 'The status in dif_status says which tag or guard differs; bytes_completed says in which block.',
  },
  {
    code: 0x0a,
    symbol: 'ANALYTICS_ERROR',
    appliesTo: ['iax'],
    meaning: 'the input cannot be processed',
    remedy: 'Read error_code; mostly the input is not what the decompressor or filter was told it is.',
  },
  {
    code: 0x0b,
    symbol: 'OUTBUF_OVERFLOW',
    appliesTo: ['iax'],
    meaning: 'the output does not fit the destination',
    remedy: 'Give a larger destination and its size in max_dst_size.',
  },
  {
    code: 0x10,
    symbol: 'BAD_OPCODE',
    appliesTo: ['dsa', 'iax'],
    meaning: 'the operation does not exist here, or the work queue does not allow it',
    remedy: 'Look for the opcode in op_cap of the device and op_config of the work queue.',
  },
  {
    code: 0x11,
    symbol: 'INVALID_FLAGS',
    appliesTo: ['dsa', 'iax'],
    meaning: 'the operation or the device does not allow one of the flags',
    remedy: 'Clear the flags that invalid_flags names.',
  },
  {
    code: 0x12,
    symbol: 'NOZERO_RESERVE',
    appliesTo: ['dsa', 'iax'],
    meaning: 'a reserved field of the descriptor is not zero',
    remedy: 'Zero the 64 bytes of the descriptor before filling it in.',
  },
  {
    code: 0x13,
    symbol: 'XFER_ERANGE',
    appliesTo: ['dsa'],
    meaning: 'the transfer size is zero, too large, or not one the operation takes',
    remedy: 'Keep the size within max_transfer_size of the work queue, and a multiple of what the operation asks for.',
  },
  {
    code: 0x13,
    symbol: 'INVALID_SIZE',
    appliesTo: ['iax'],
    meaning: 'a size is zero, too large, or not one the operation takes',
    remedy: 'Keep source 1 within max_transfer_size of the work queue.',
  },
  {
    code: 0x14,
    symbol: 'DESC_CNT_ERANGE',
    appliesTo: ['dsa'],
    meaning: 'the number of descriptors in the batch is out of range',
    remedy:
      'A batch takes at least 2 descriptors and at most max_batch_size of the work queue; submit a single one alone.',
  },
  {
    code: 0x15,
    symbol: 'DR_ERANGE',
    appliesTo: ['dsa'],
    meaning: 'the size of the delta record is out of range',
    remedy: 'Give the exact size of the record, a whole number of 10-byte entries, or room for such.',
  },
  {
    code: 0x16,
    symbol: 'OVERLAP_BUFFERS',
    appliesTo: ['dsa', 'iax'],
    meaning: 'two buffers of the descriptor overlap',
    remedy: 'Give buffers apart from each other; of all operations only a move may overlap, where gen_cap allows it.',
  },
  {
    code: 0x17,
    symbol: 'DCAST_ERR',
    appliesTo: ['dsa'],
    meaning: 'bits 11:0 of the two destinations differ',
    remedy: 'Place both destinations of a dualcast at the same offset within their 4 KiB pages.',
  },
  {
    code: 0x18,
    symbol: 'DESCLIST_ALIGN',
    appliesTo: ['dsa'],
    meaning: 'the descriptor list of the batch is not 64-byte aligned',
    remedy: 'Align the descriptor list to 64 bytes.',
  },
  {
    code: 0x19,
    symbol: 'INT_HANDLE_INVAL',
    appliesTo: ['dsa', 'iax'],
    meaning: 'the interrupt handle is not one of this work queue',
    remedy: 'Clear flag RCI: interrupts are for work queues of the kernel.',
  },
  {
    code: 0x1a,
    symbol: 'CRA_XLAT',
    appliesTo: ['dsa', 'iax'],
    meaning: 'page fault at the completion record (seen in the errors attribute or the event log only)',
    remedy: 'Write to the pages of completion records before submitting and keep them writable and mapped.',
  },
  {
    code: 0x1b,
    symbol: 'CRA_ALIGN',
    appliesTo: ['dsa', 'iax'],
    meaning: 'the completion record is not aligned',
    remedy: 'Align completion records to 32 bytes on DSA and to 64 on IAX.',
  },
  {
    code: 0x1c,
    symbol: 'ADDR_ALIGN',
    appliesTo: ['dsa', 'iax'],
    meaning: 'an address is not aligned as the operation asks',
    remedy: 'Align what the operation wants aligned: the operands and record of a delta, the state (AECS) of IAX.',
  },
  {
    code: 0x1d,
    symbol: 'PRIV_BAD',
    appliesTo: ['dsa', 'iax'],
    meaning: 'the descriptor asks for a privilege that the work queue or submitter does not have',
    remedy: 'Leave the priv bit zero; only the kernel may set it.',
  },
  {
    code: 0x1e,
    symbol: 'TRAFFIC_CLASS_CONF',
    appliesTo: ['dsa', 'iax'],
    meaning: 'the traffic class flags contradict the configuration of the group',
    remedy: 'Clear the TCS flags, or have traffic_class_a and traffic_class_b of the group set to fit them.',
  },
  {
    code: 0x1f,
    symbol: 'PFAULT_RDBA',
    appliesTo: ['dsa', 'iax'],
    meaning: 'page fault at a readback address of a drain',
    remedy: 'Touch the readback address first, or drain without readback.',
  },
  {
    code: 0x20,
    symbol: 'HW_ERR1',
    appliesTo: ['dsa', 'iax'],
    meaning: 'hardware error',
    remedy:
      'Distrust the destination, do the work on the CPU, and look for machine check or PCIe errors in the kernel log.',
  },
  {
    code: 0x21,
    symbol: 'HW_ERR_DRB',
    appliesTo: ['dsa', 'iax'],
    meaning: 'hardware error during the readback of a drain',
    remedy: 'Do not count on earlier writes being visible; look for PCIe errors in the kernel log.',
  },
  {
    code: 0x22,
    symbol: 'TRANSLATION_FAIL',
    appliesTo: ['dsa', 'iax'],
    meaning: 'the IOMMU did not answer a translation request',
    remedy: 'Bind again by reopening the queue; if it stays so, look for DMAR faults in the kernel log.',
  },
  {
    code: 0x23,
    symbol: 'PRS_TIMEOUT',
    appliesTo: ['iax'],
    meaning: 'a page request was not answered in time',
    remedy: 'Touch the pages of all operands before submitting.',
  },
  {
    code: 0x24,
    symbol: 'WATCHDOG',
    appliesTo: ['iax'],
    meaning: 'the operation took longer than the device allows',
    remedy: 'Split the input; a stream that expands without bound is best decompressed on the CPU.',
  },
  {
    code: 0x26,
    symbol: 'DRAIN_EVL',
    appliesTo: ['dsa'],
    meaning: 'a completion record faulted before a drain (event log only)',
    remedy: 'Nothing to do: the kernel writes the record of the drain.',
  },
  {
    code: 0x27,
    symbol: 'BATCH_EVL_ERR',
    appliesTo: ['dsa'],
    meaning: 'a descriptor of a batch failed, or its completion record faulted (event log only)',
    remedy: 'Nothing to do: the kernel writes the record of the batch, where status 5 then says so.',
  },
  {
    code: 0x30,
    symbol: 'INVALID_COMP_FLAG',
    appliesTo: ['iax'],
    meaning: 'the compression or decompression flags are invalid',
    remedy: 'Check compr_flags or decompr_flags against iaa_cap of the device.',
  },
  {
    code: 0x31,
    symbol: 'INVALID_FILTER_FLAG',
    appliesTo: ['iax'],
    meaning: 'the filter flags are invalid',
    remedy: 'Check filter_flags: parser, widths and output format must be ones that the operation takes.',
  },
  {
    code: 0x32,
    symbol: 'INVALID_INPUT_SIZE',
    appliesTo: ['iax'],
    meaning: 'the input is too short for the elements asked for',
    remedy: 'Give source 1 at least the bytes that num_inputs elements of its width take.',
  },
  {
    code: 0x33,
    symbol: 'INVALID_NUM_ELEMS',
    appliesTo: ['iax'],
    meaning: 'the number of elements is invalid',
    remedy: 'Give num_inputs the number of elements in the input, not zero.',
  },
  {
    code: 0x34,
    symbol: 'INVALID_SRC1_WIDTH',
    appliesTo: ['iax'],
    meaning: 'the element width of source 1 is invalid',
    remedy: 'Use an element width from 1 to 32 bits that the operation takes.',
  },
  {
    code: 0x35,
    symbol: 'INVALID_INVERT_OUT',
    appliesTo: ['iax'],
    meaning: 'the output cannot be inverted in this operation',
    remedy: 'Clear the invert-output bit of filter_flags unless the output is a bit vector.',
  },
] as const satisfies readonly Row[];

export type CompletionSymbol = (typeof TABLE)[number]['symbol'];

/** What one status code means. */
export interface CompletionStatus extends Row {
  readonly symbol: CompletionSymbol;
}

/** All status codes, ascending. Code 0x13 has two rows: DSA and IAX name it differently. */
export const COMPLETION_STATUSES: readonly CompletionStatus[] = TABLE;

/** Symbol to code. */
export const COMP_STATUS = constants(TABLE, 'code');

/** The code in a status byte: without the write-fault bit. */
export function statusCode(byte: number): number {
  return byte & STATUS_MASK;
}

/** Whether the access that faulted was a write. Meaningful with the codes of page faults only. */
export function isWriteFault(byte: number): boolean {
  return (byte & STATUS_WRITE_FAULT) !== 0;
}

/** Whether the device has written the record. The memory of the descriptor and its operands is free again. */
export function isComplete(byte: number): boolean {
  return statusCode(byte) !== COMP_STATUS.NONE;
}

/**
 * What a status byte means.
 * @param byte as it stands in the record, with or without the write-fault bit
 * @param accelerator only a code of this kind of device; default: of either
 * @returns `undefined` for a code that is not defined
 */
export function completionStatus(byte: number, accelerator?: Accelerator): CompletionStatus | undefined {
  const code = statusCode(byte);
  return COMPLETION_STATUSES.find(
    (row) => row.code === code && (accelerator === undefined || row.appliesTo.includes(accelerator)),
  );
}
