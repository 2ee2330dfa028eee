/** UACCE character devices: misc/uacce/uacce.h, and the HiSilicon queue manager behind them, misc/uacce/hisi_qm.h. */
import { _IO, _IOWR } from './ioctl.js';
import { defineLayout, u16, u32, u64 } from './layout.js';

/** Starts the queue. EINVAL on a started one, ENXIO once it was put or the device is gone. */
export const UACCE_CMD_START_Q = _IO('W', 0);
/** Stops the queue. Whether it may be started again depends on the kernel. */
export const UACCE_CMD_PUT_Q = _IO('W', 1);

/** `flags` of the class device: the device works on the addresses of the process. */
export const UACCE_DEV_SVA = 1 << 0;

/** Regions of a queue (`enum uacce_qfrt`); the mmap offset of a region is its number times the page size. */
export const UACCE_REGION = {
  /** Doorbells. */
  MMIO: 0,
  /** Memory of the queue. */
  DUS: 1,
} as const;

export type UacceRegionName = keyof typeof UACCE_REGION;

/** `struct hisi_qp_ctx`: argument of UACCE_CMD_QM_SET_QP_CTX. */
export const HISI_QP_CTX = defineLayout('hisi_qp_ctx', 4, {
  /** Out: number of the queue on the device. */
  id: u16(0, 'id'),
  /** In: kind of algorithm, at most 2. */
  qcType: u16(2, 'qc_type'),
});

/** `struct hisi_qp_info`: argument of UACCE_CMD_QM_SET_QP_INFO, all out. */
export const HISI_QP_INFO = defineLayout('hisi_qp_info', 16, {
  /** Bytes of a submission entry. */
  sqeSize: u32(0, 'sqe_size'),
  /** Entries. */
  sqDepth: u16(4, 'sq_depth'),
  /** Entries. */
  cqDepth: u16(6, 'cq_depth'),
  reserved: u64(8, 'reserved'),
});

export const UACCE_CMD_QM_SET_QP_CTX = _IOWR('H', 10, HISI_QP_CTX.size);
export const UACCE_CMD_QM_SET_QP_INFO = _IOWR('H', 11, HISI_QP_INFO.size);

/** What `api` of the class device says for the queue manager's versions (`HISI_QM_API_VER*_BASE`). */
export const HISI_QM_API = {
  VER: 'hisi_qm_v1',
  VER2: 'hisi_qm_v2',
  VER3: 'hisi_qm_v3',
  VER5: 'hisi_qm_v5',
} as const;

export type HisiQmApi = (typeof HISI_QM_API)[keyof typeof HISI_QM_API];
