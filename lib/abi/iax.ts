/**
 * Intel Analytics Accelerator (IAA; "iax" to the kernel): opcodes, the 64-byte descriptor and the 64-byte completion
 * record, with the names of linux/idxd.h in v6.12. The first two words of the descriptor are those of DSA:
 * `packPasidPriv` and `packFlagsOpcode` of dsa.ts serve both.
 */
import { bitField, bytes, defineLayout, u16, u32, u64, u8, word } from './layout.js';

/** `enum iax_opcode`. */
export const IAX_OPCODE = {
  NOOP: 0x00,
  DRAIN: 0x02,
  MEMMOVE: 0x03,
  DECOMPRESS: 0x42,
  COMPRESS: 0x43,
  CRC64: 0x44,
  ZERO_DECOMP_32: 0x48,
  ZERO_DECOMP_16: 0x49,
  ZERO_COMP_32: 0x4c,
  ZERO_COMP_16: 0x4d,
  SCAN: 0x50,
  SET_MEMBER: 0x51,
  EXTRACT: 0x52,
  SELECT: 0x53,
  RLE_BURST: 0x54,
  FIND_UNIQUE: 0x55,
  EXPAND: 0x56,
} as const;

export type IaxOpcodeName = keyof typeof IAX_OPCODE;

/** `struct iax_hw_desc`. */
export const IAX_DESCRIPTOR = defineLayout('iax_hw_desc', 64, {
  /** pasid 19:0, priv 31. */
  pasidPriv: word(0),
  pasid: bitField(0, 0, 20, 'pasid'),
  rsvd: bitField(0, 20, 11, 'rsvd'),
  priv: bitField(0, 31, 1, 'priv'),
  /** flags 23:0, opcode 31:24. */
  flagsOpcode: word(4),
  flags: bitField(4, 0, 24, 'flags'),
  opcode: bitField(4, 24, 8, 'opcode'),
  completionAddr: u64(8, 'completion_addr'),
  src1Addr: u64(16, 'src1_addr'),
  dstAddr: u64(24, 'dst_addr'),
  /** Bytes. */
  src1Size: u32(32, 'src1_size'),
  intHandle: u16(36, 'int_handle'),
  /** COMPRESS. */
  comprFlags: u16(38, 'compr_flags'),
  /** DECOMPRESS and the filters. */
  decomprFlags: u16(38, 'decompr_flags'),
  src2Addr: u64(40, 'src2_addr'),
  /** Bytes. */
  maxDstSize: u32(48, 'max_dst_size'),
  /** Bytes. */
  src2Size: u32(52, 'src2_size'),
  filterFlags: u32(56, 'filter_flags'),
  /** Elements. */
  numInputs: u32(60, 'num_inputs'),
});

/** Alignment of a completion record, bytes: its size, twice that of DSA. Anything else completes with CRA_ALIGN. */
export const IAX_COMPLETION_ALIGN = 64;

/** `struct iax_completion_record`. The device owns it until `status` is non-zero, which it writes last. */
export const IAX_COMPLETION = defineLayout('iax_completion_record', 64, {
  status: u8(0, 'status'),
  /** Status ANALYTICS_ERROR: which. */
  errorCode: u8(1, 'error_code'),
  /** Bit 0: the fault address is masked; bits 3:1: which operand. Older devices leave it zero. */
  faultInfo: u8(2, 'fault_info'),
  bytesCompleted: u32(4, 'bytes_completed'),
  faultAddr: u64(8, 'fault_addr'),
  /** Status INVALID_FLAGS: the flags that the operation does not allow. */
  invalidFlags: u32(16, 'invalid_flags'),
  rsvd2: u32(20, 'rsvd2'),
  /** Bytes written to the destination. */
  outputSize: u32(24, 'output_size'),
  /** Bits of the last byte written that belong to the output. */
  outputBits: u8(28, 'output_bits'),
  rsvd3: u8(29, 'rsvd3'),
  xorCsum: u16(30, 'xor_csum'),
  crc: u32(32, 'crc'),
  min: u32(36, 'min'),
  max: u32(40, 'max'),
  sum: u32(44, 'sum'),
  rsvd4: bytes(48, 16, 'rsvd4'),
});
