/**
 * Intel Data Streaming Accelerator: opcodes, the 64-byte descriptor and the 32-byte completion record, with the names of
 * linux/idxd.h in v6.12.
 */
import { bitField, bytes, defineLayout, placeBits, takeBits, u16, u32, u64, u8, word } from './layout.js';

/** `enum dsa_opcode`. */
export const DSA_OPCODE = {
  NOOP: 0x00,
  BATCH: 0x01,
  DRAIN: 0x02,
  MEMMOVE: 0x03,
  MEMFILL: 0x04,
  COMPARE: 0x05,
  COMPVAL: 0x06,
  CR_DELTA: 0x07,
  AP_DELTA: 0x08,
  DUALCAST: 0x09,
  TRANSL_FETCH: 0x0a,
  CRCGEN: 0x10,
  COPY_CRC: 0x11,
  DIF_CHECK: 0x12,
  DIF_INS: 0x13,
  DIF_STRP: 0x14,
  DIF_UPDT: 0x15,
  DIX_GEN: 0x17,
  CFLUSH: 0x20,
} as const;

export type DsaOpcodeName = keyof typeof DSA_OPCODE;

/** Bytes of a descriptor, DSA or IAX; also the alignment of a portal write and of a batch's descriptor list. */
export const DSA_DESCRIPTOR_SIZE = 64;

/** `struct dsa_hw_desc`. The names from byte 40 on belong to the operations named beside them. */
export const DSA_DESCRIPTOR = defineLayout('dsa_hw_desc', DSA_DESCRIPTOR_SIZE, {
  /** pasid 19:0, priv 31: see `packPasidPriv`. */
  pasidPriv: word(0),
  pasid: bitField(0, 0, 20, 'pasid'),
  rsvd: bitField(0, 20, 11, 'rsvd'),
  priv: bitField(0, 31, 1, 'priv'),
  /** flags 23:0, opcode 31:24: see `packFlagsOpcode`. */
  flagsOpcode: word(4),
  flags: bitField(4, 0, 24, 'flags'),
  opcode: bitField(4, 24, 8, 'opcode'),
  completionAddr: u64(8, 'completion_addr'),

  srcAddr: u64(16, 'src_addr'),
  /** DRAIN. */
  rdbackAddr: u64(16, 'rdback_addr'),
  /** MEMFILL, COMPVAL. */
  pattern: u64(16, 'pattern'),
  /** BATCH: 64-byte aligned. */
  descListAddr: u64(16, 'desc_list_addr'),
  /** MEMFILL with a pattern of 16 bytes. */
  patternLower: u64(16, 'pattern_lower'),
  /** TRANSL_FETCH. */
  translFetchAddr: u64(16, 'transl_fetch_addr'),

  dstAddr: u64(24, 'dst_addr'),
  /** DRAIN. */
  rdbackAddr2: u64(24, 'rdback_addr2'),
  /** COMPARE, CR_DELTA. */
  src2Addr: u64(24, 'src2_addr'),
  /** COMPVAL. */
  compPattern: u64(24, 'comp_pattern'),

  /** Bytes. */
  xferSize: u32(32, 'xfer_size'),
  /** BATCH. */
  descCount: u32(32, 'desc_count'),
  /** TRANSL_FETCH. */
  regionSize: u32(32, 'region_size'),
  intHandle: u16(36, 'int_handle'),
  rsvd1: u16(38, 'rsvd1'),

  /** COMPARE, COMPVAL; looked at with flag CR. */
  expectedRes: u8(40, 'expected_res'),

  /** CR_DELTA. */
  deltaAddr: u64(40, 'delta_addr'),
  maxDeltaSize: u32(48, 'max_delta_size'),
  deltRsvd: u32(52, 'delt_rsvd'),
  expectedResMask: u8(56, 'expected_res_mask'),

  /** AP_DELTA. */
  deltaRecSize: u32(40, 'delta_rec_size'),

  /** DUALCAST: bits 11:0 equal to those of dstAddr. */
  dest2: u64(40, 'dest2'),

  /** CRCGEN, COPY_CRC. */
  crcSeed: u32(40, 'crc_seed'),
  crcRsvd: u32(44, 'crc_rsvd'),
  seedAddr: u64(48, 'seed_addr'),

  /** DIF_CHECK, DIF_STRP. */
  srcDifFlags: u8(40, 'src_dif_flags'),
  difChkRes: u8(41, 'dif_chk_res'),
  difChkFlags: u8(42, 'dif_chk_flags'),
  difChkRes2: bytes(43, 5, 'dif_chk_res2'),
  chkRefTagSeed: u32(48, 'chk_ref_tag_seed'),
  chkAppTagMask: u16(52, 'chk_app_tag_mask'),
  chkAppTagSeed: u16(54, 'chk_app_tag_seed'),

  /** DIF_INS. */
  difInsRes: u8(40, 'dif_ins_res'),
  destDifFlag: u8(41, 'dest_dif_flag'),
  difInsFlags: u8(42, 'dif_ins_flags'),
  difInsRes2: bytes(43, 13, 'dif_ins_res2'),
  insRefTagSeed: u32(56, 'ins_ref_tag_seed'),
  insAppTagMask: u16(60, 'ins_app_tag_mask'),
  insAppTagSeed: u16(62, 'ins_app_tag_seed'),

  /** DIF_UPDT. */
  srcUpdFlags: u8(40, 'src_upd_flags'),
  updDestFlags: u8(41, 'upd_dest_flags'),
  difUpdFlags: u8(42, 'dif_upd_flags'),
  difUpdRes: bytes(43, 5, 'dif_upd_res'),
  srcRefTagSeed: u32(48, 'src_ref_tag_seed'),
  srcAppTagMask: u16(52, 'src_app_tag_mask'),
  srcAppTagSeed: u16(54, 'src_app_tag_seed'),
  destRefTagSeed: u32(56, 'dest_ref_tag_seed'),
  destAppTagMask: u16(60, 'dest_app_tag_mask'),
  destAppTagSeed: u16(62, 'dest_app_tag_seed'),

  /** MEMFILL with a pattern of 16 bytes. */
  patternUpper: u64(40, 'pattern_upper'),

  /** TRANSL_FETCH. */
  translFetchRes: u64(40, 'transl_fetch_res'),
  regionStride: u32(48, 'region_stride'),

  /** DIX_GEN. */
  dixGenRes: u8(40, 'dix_gen_res'),
  destDifFlags: u8(41, 'dest_dif_flags'),
  difFlags: u8(42, 'dif_flags'),
  dixGenRes2: bytes(43, 13, 'dix_gen_res2'),
  refTagSeed: u32(56, 'ref_tag_seed'),
  appTagMask: u16(60, 'app_tag_mask'),
  appTagSeed: u16(62, 'app_tag_seed'),

  opSpecific: bytes(40, 24, 'op_specific'),
});

/** Alignment of a completion record, bytes: its size. Anything else completes with CRA_ALIGN. */
export const DSA_COMPLETION_ALIGN = 32;

/**
 * `struct dsa_completion_record`. The device owns it from submission until `status` is non-zero, which it writes last.
 * The names from byte 16 on belong to the operations named beside them.
 */
export const DSA_COMPLETION = defineLayout('dsa_completion_record', 32, {
  status: u8(0, 'status'),
  /** COMPARE, COMPVAL, CR_DELTA: the comparison. MEMMOVE stopped by a fault: 1 if it was copying from the end. */
  result: u8(1, 'result'),
  /** DIF_CHECK, DIF_STRP, DIF_UPDT. */
  difStatus: u8(1, 'dif_status'),
  /** Bit 0: the fault address is masked; bits 3:1: which operand. Older devices leave it zero. */
  faultInfo: u8(2, 'fault_info'),
  bytesCompleted: u32(4, 'bytes_completed'),
  /** BATCH. */
  descsCompleted: u32(4, 'descs_completed'),
  faultAddr: u64(8, 'fault_addr'),

  /** Status INVALID_FLAGS: the flags that the operation does not allow. */
  invalidFlags: bitField(16, 0, 24, 'invalid_flags'),
  rsvd2: bitField(16, 24, 8, 'rsvd2'),

  /** CR_DELTA, bytes. */
  deltaRecSize: u32(16, 'delta_rec_size'),
  /** CRCGEN, COPY_CRC. */
  crcVal: u64(16, 'crc_val'),

  /** DIF_CHECK, DIF_STRP. */
  difChkRefTag: u32(16, 'dif_chk_ref_tag'),
  difChkAppTagMask: u16(20, 'dif_chk_app_tag_mask'),
  difChkAppTag: u16(22, 'dif_chk_app_tag'),

  /** DIF_INS. */
  difInsRes: u64(16, 'dif_ins_res'),
  difInsRefTag: u32(24, 'dif_ins_ref_tag'),
  difInsAppTagMask: u16(28, 'dif_ins_app_tag_mask'),
  difInsAppTag: u16(30, 'dif_ins_app_tag'),

  /** DIF_UPDT. */
  difUpdSrcRefTag: u32(16, 'dif_upd_src_ref_tag'),
  difUpdSrcAppTagMask: u16(20, 'dif_upd_src_app_tag_mask'),
  difUpdSrcAppTag: u16(22, 'dif_upd_src_app_tag'),
  difUpdDestRefTag: u32(24, 'dif_upd_dest_ref_tag'),
  difUpdDestAppTagMask: u16(28, 'dif_upd_dest_app_tag_mask'),
  difUpdDestAppTag: u16(30, 'dif_upd_dest_app_tag'),

  /** DIX_GEN. */
  dixGenRes: u64(16, 'dix_gen_res'),
  dixRefTag: u32(24, 'dix_ref_tag'),
  dixAppTagMask: u16(28, 'dix_app_tag_mask'),
  dixAppTag: u16(30, 'dix_app_tag'),

  opSpecific: bytes(16, 16, 'op_specific'),
});

/** The first word of a descriptor, DSA or IAX. ENQCMD wants it zero: the CPU puts in the PASID of the thread. */
export function packPasidPriv(pasid: number, priv: boolean): number {
  const { fields } = DSA_DESCRIPTOR;
  return (placeBits(fields.pasid, pasid) | placeBits(fields.priv, Number(priv))) >>> 0;
}

/** The parts of the first word of a descriptor. */
export function unpackPasidPriv(pasidPriv: number): { readonly pasid: number; readonly priv: boolean } {
  const { fields } = DSA_DESCRIPTOR;
  return { pasid: takeBits(fields.pasid, pasidPriv), priv: takeBits(fields.priv, pasidPriv) === 1 };
}

/**
 * The second word of a descriptor, DSA or IAX.
 * @param flags bits of `DESC_FLAG`
 * @param opcode one of `DSA_OPCODE` or `IAX_OPCODE`
 */
export function packFlagsOpcode(flags: number, opcode: number): number {
  const { fields } = DSA_DESCRIPTOR;
  return (placeBits(fields.flags, flags) | placeBits(fields.opcode, opcode)) >>> 0;
}

/** The parts of the second word of a descriptor. */
export function unpackFlagsOpcode(flagsOpcode: number): { readonly flags: number; readonly opcode: number } {
  const { fields } = DSA_DESCRIPTOR;
  return { flags: takeBits(fields.flags, flagsOpcode), opcode: takeBits(fields.opcode, flagsOpcode) };
}
