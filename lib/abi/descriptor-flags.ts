/**
 * Flags of a descriptor, bits 23:0 of its second word: `IDXD_OP_FLAG_*` of linux/idxd.h. Which of them an operation
 * allows is the device's to say: one too many completes with INVALID_FLAGS and the offending bits in the record.
 */
export const DESC_FLAG = {
  /** Within a batch: wait for all descriptors before this one. */
  FENCE: 0x00_0001,
  /** Block on fault: on a page fault ask the IOMMU and wait, if the work queue allows it, instead of stopping. */
  BOF: 0x00_0002,
  /** The completion address is valid. */
  CRAV: 0x00_0004,
  /** Request a completion record also on success. */
  RCR: 0x00_0008,
  /** Request a completion interrupt; for work queues of the kernel. */
  RCI: 0x00_0010,
  /** Steering tag for the write of the completion record. */
  CRSTS: 0x00_0020,
  /** Check the result: SUCCESS_PRED if it is not the expected one. */
  CR: 0x00_0080,
  /** Cache control: write the destination into the cache. */
  CC: 0x00_0100,
  /** Use the second traffic class for address 1, 2, 3 or the completion record. */
  ADDR1_TCS: 0x00_0200,
  ADDR2_TCS: 0x00_0400,
  ADDR3_TCS: 0x00_0800,
  CR_TCS: 0x00_1000,
  /** Strict ordering of writes. */
  STORD: 0x00_2000,
  /** Read the destination back before completing. */
  DRDBK: 0x00_4000,
  /** Steering tag for writes to the destination. */
  DSTS: 0x00_8000,

  /** IAX: source 2 is a state (AECS) to read. */
  RD_SRC2_AECS: 0x01_0000,
  /** IAX: source 2 is a second input. */
  RD_SRC2_2ND: 0x02_0000,
  /** IAX: write the state (AECS) back on completion. */
  WR_SRC2_AECS_COMP: 0x04_0000,
  /** IAX: write the state (AECS) back on output overflow only. */
  WR_SRC2_AECS_OVFL: 0x08_0000,
  /** IAX: steering tag for source 2. */
  SRC2_STS: 0x10_0000,
  /** IAX: CRC by the polynomial of RFC 3720 (CRC-32C). */
  CRC_RFC3720: 0x20_0000,
} as const;

export type DescFlagName = keyof typeof DESC_FLAG;
