/**
 * What `cmd_status` of an IDXD device says: why the last configuration or command failed. Values with bit 31 are the
 * driver's (`enum idxd_scmd_stat` of linux/idxd.h, v6.12), the others the device's own (`enum idxd_cmdsts_err` of
 * drivers/dma/idxd/registers.h). Symbols are without IDXD_SCMD_ and IDXD_CMDSTS_.
 */
import { constants } from './table.js';

/** Set in the values that come from the driver (`IDXD_SCMD_SOFTERR_MASK`). */
export const CMD_STATUS_SOFTERR_MASK = 0x8000_0000;
/** The part of the command status register that is the device's error code (`IDXD_CMDSTS_ERR_MASK`). */
export const CMD_STATUS_ERR_MASK = 0xff;

interface Row {
  readonly value: number;
  readonly symbol: string;
  /** Who refused: the driver before any command, or the device. */
  readonly source: 'driver' | 'device';
  /** What happened. */
  readonly meaning: string;
  /** What to do, one sentence. */
  readonly remedy: string;
}

const TABLE = [
  {
    value: 0x00,
    symbol: 'SUCCESS',
    source: 'device',
    meaning: 'the last command succeeded',
    remedy: 'Nothing to do.',
  },
  {
    value: 0x01,
    symbol: 'INVAL_CMD',
    source: 'device',
    meaning: 'the device does not know the command',
    remedy: 'Use a kernel that knows this device; load the newest idxd module.',
  },
  {
    value: 0x02,
    symbol: 'INVAL_WQIDX',
    source: 'device',
    meaning: 'the command names a work queue that the device does not have',
    remedy: 'Name a work queue below max_work_queues.',
  },
  {
    value: 0x03,
    symbol: 'HW_ERR',
    source: 'device',
    meaning: 'hardware error while executing the command',
    remedy: 'Look for PCIe errors in the kernel log and reset the device.',
  },
  {
    value: 0x10,
    symbol: 'ERR_DEV_ENABLED',
    source: 'device',
    meaning: 'enable: the device is enabled already',
    remedy: 'Disable the device first (drivers/idxd/unbind).',
  },
  {
    value: 0x11,
    symbol: 'ERR_CONFIG',
    source: 'device',
    meaning: 'enable: the configuration is invalid in some way',
    remedy: 'Write the configuration of groups, engines and work queues again from a disabled device.',
  },
  {
    value: 0x12,
    symbol: 'ERR_BUSMASTER_EN',
    source: 'device',
    meaning: 'enable: bus mastering is off for the PCI function',
    remedy: 'Bind the device to the idxd PCI driver, which switches bus mastering on.',
  },
  {
    value: 0x13,
    symbol: 'ERR_PASID_INVAL',
    source: 'device',
    meaning: 'enable: the PASID settings of the PCI function do not fit the configuration',
    remedy: 'Boot with intel_iommu=on,sm_on so that the driver can enable PASID.',
  },
  {
    value: 0x14,
    symbol: 'ERR_WQ_SIZE_ERANGE',
    source: 'device',
    meaning: 'enable: the sizes of the work queues are out of range',
    remedy: 'Keep the sum of all work queue sizes within max_work_queues_size.',
  },
  {
    value: 0x15,
    symbol: 'ERR_GRP_CONFIG',
    source: 'device',
    meaning: 'enable: the configuration of a group is invalid (first kind)',
    remedy: 'Put every used work queue and engine into exactly one group, and an engine into every group with a queue.',
  },
  {
    value: 0x16,
    symbol: 'ERR_GRP_CONFIG2',
    source: 'device',
    meaning: 'enable: the configuration of a group is invalid (second kind)',
    remedy: 'Put every used work queue and engine into exactly one group, and an engine into every group with a queue.',
  },
  {
    value: 0x17,
    symbol: 'ERR_GRP_CONFIG3',
    source: 'device',
    meaning: 'enable: the configuration of a group is invalid (third kind)',
    remedy: 'Check the read buffers reserved and allowed of the groups against max_read_buffers.',
  },
  {
    value: 0x18,
    symbol: 'ERR_GRP_CONFIG4',
    source: 'device',
    meaning: 'enable: the configuration of a group is invalid (fourth kind)',
    remedy: 'Check the read buffers reserved and allowed of the groups against max_read_buffers.',
  },
  {
    value: 0x20,
    symbol: 'ERR_DEV_NOTEN',
    source: 'device',
    meaning: 'enable queue: the device is not enabled',
    remedy: 'Enable the device first (drivers/idxd/bind).',
  },
  {
    value: 0x21,
    symbol: 'ERR_WQ_ENABLED',
    source: 'device',
    meaning: 'enable queue: the work queue is enabled already',
    remedy: 'Use the work queue, or disable it first (drivers/user/unbind).',
  },
  {
    value: 0x22,
    symbol: 'ERR_WQ_SIZE',
    source: 'device',
    meaning: 'enable queue: its size is zero',
    remedy: 'Give the work queue a size while the device is disabled.',
  },
  {
    value: 0x23,
    symbol: 'ERR_WQ_PRIOR',
    source: 'device',
    meaning: 'enable queue: its priority is zero or invalid',
    remedy: 'Give the work queue a priority from 1 to 15.',
  },
  {
    value: 0x24,
    symbol: 'ERR_WQ_MODE',
    source: 'device',
    meaning: 'enable queue: the device does not support its mode',
    remedy: 'Set the mode of the work queue to the one that the device has, mostly dedicated.',
  },
  {
    value: 0x25,
    symbol: 'ERR_BOF_EN',
    source: 'device',
    meaning: 'enable queue: block on fault is on, but not supported',
    remedy: 'Write 0 to block_on_fault of the work queue.',
  },
  {
    value: 0x26,
    symbol: 'ERR_PASID_EN',
    source: 'device',
    meaning: 'enable queue: its PASID setting is not allowed',
    remedy: 'Boot with intel_iommu=on,sm_on; a shared work queue needs PASID.',
  },
  {
    value: 0x27,
    symbol: 'ERR_MAX_BATCH_SIZE',
    source: 'device',
    meaning: 'enable queue: its batch size is out of range',
    remedy: 'Keep max_batch_size of the work queue within that of the device.',
  },
  {
    value: 0x28,
    symbol: 'ERR_MAX_XFER_SIZE',
    source: 'device',
    meaning: 'enable queue: its transfer size is out of range',
    remedy: 'Keep max_transfer_size of the work queue within that of the device.',
  },
  {
    value: 0x31,
    symbol: 'ERR_DIS_DEV_EN',
    source: 'device',
    meaning: 'disable, drain, abort or reset: the device is not enabled',
    remedy: 'Nothing to do: there was nothing to stop.',
  },
  {
    value: 0x32,
    symbol: 'ERR_DEV_NOT_EN',
    source: 'device',
    meaning: 'disable, drain, abort or reset: the work queue is not enabled',
    remedy: 'Nothing to do: there was nothing to stop.',
  },
  {
    value: 0x41,
    symbol: 'ERR_INVAL_INT_IDX',
    source: 'device',
    meaning: 'interrupt handle: no such interrupt',
    remedy: 'Reload the idxd module; if it comes back, report it to the maintainers of the driver.',
  },
  {
    value: 0x42,
    symbol: 'ERR_NO_HANDLE',
    source: 'device',
    meaning: 'interrupt handle: none left',
    remedy: 'Disable work queues of the kernel that are not used.',
  },
  {
    value: 0x8000_0010,
    symbol: 'DEV_ENABLED',
    source: 'driver',
    meaning: 'the device is not disabled',
    remedy: 'Disable the device first (drivers/idxd/unbind).',
  },
  {
    value: 0x8000_0020,
    symbol: 'DEV_NOT_ENABLED',
    source: 'driver',
    meaning: 'the device is not enabled',
    remedy: 'Enable the device first (drivers/idxd/bind).',
  },
  {
    value: 0x8000_0021,
    symbol: 'WQ_ENABLED',
    source: 'driver',
    meaning: 'the work queue is enabled already',
    remedy: 'Use the work queue, or disable it first (drivers/user/unbind).',
  },
  {
    value: 0x8002_0000,
    symbol: 'DEV_DMA_ERR',
    source: 'driver',
    meaning: 'the device could not be registered as a DMA device',
    remedy: 'See the kernel log; free memory or reload the idxd module.',
  },
  {
    value: 0x8003_0000,
    symbol: 'WQ_NO_GRP',
    source: 'driver',
    meaning: 'the work queue is in no group',
    remedy:
      'Write a group to group_id of the work queue while the device is disabled, and put an engine into that group.',
  },
  {
    value: 0x8004_0000,
    symbol: 'WQ_NO_NAME',
    source: 'driver',
    meaning: 'the work queue has no name',
    remedy: 'Write a name to it, after its type: setting the type clears the name.',
  },
  {
    value: 0x8005_0000,
    symbol: 'WQ_NO_SVM',
    source: 'driver',
    meaning: 'a shared work queue needs shared virtual memory, which is not available',
    remedy: 'Boot with intel_iommu=on,sm_on on a CPU with ENQCMD, or make the work queue dedicated.',
  },
  {
    value: 0x8006_0000,
    symbol: 'WQ_NO_THRESH',
    source: 'driver',
    meaning: 'the threshold of a shared work queue is zero',
    remedy: 'Write a number from 1 to its size to threshold, after setting size and mode.',
  },
  {
    value: 0x8007_0000,
    symbol: 'WQ_PORTAL_ERR',
    source: 'driver',
    meaning: 'the portal of the work queue could not be mapped',
    remedy: 'See the kernel log for a conflict over the memory of BAR 2.',
  },
  {
    value: 0x8008_0000,
    symbol: 'WQ_RES_ALLOC_ERR',
    source: 'driver',
    meaning: 'the resources of the work queue could not be allocated',
    remedy: 'Free memory, or make the work queue smaller.',
  },
  {
    value: 0x8009_0000,
    symbol: 'PERCPU_ERR',
    source: 'driver',
    meaning: 'the reference counter of the work queue could not be set up',
    remedy: 'Free memory and bind again.',
  },
  {
    value: 0x800a_0000,
    symbol: 'DMA_CHAN_ERR',
    source: 'driver',
    meaning: 'the DMA channel of the work queue could not be registered',
    remedy: 'See the kernel log; it concerns work queues of the kernel only.',
  },
  {
    value: 0x800b_0000,
    symbol: 'CDEV_ERR',
    source: 'driver',
    meaning: 'the character device of the work queue could not be made',
    remedy: 'See the kernel log and bind again.',
  },
  {
    value: 0x800c_0000,
    symbol: 'WQ_NO_SWQ_SUPPORT',
    source: 'driver',
    meaning: 'shared work queues are not possible here, or the queue has no type yet',
    remedy: 'Set the type to user first; a shared one also needs ENQCMD and PASID, else make it dedicated.',
  },
  {
    value: 0x800d_0000,
    symbol: 'WQ_NONE_CONFIGURED',
    source: 'driver',
    meaning: 'no work queue is in a group',
    remedy: 'Give a work queue a size and a group before enabling the device.',
  },
  {
    value: 0x800e_0000,
    symbol: 'WQ_NO_SIZE',
    source: 'driver',
    meaning: 'the work queue has no size',
    remedy: 'Write its number of entries to size while the device is disabled.',
  },
  {
    value: 0x800f_0000,
    symbol: 'WQ_NO_PRIV',
    source: 'driver',
    meaning: 'a dedicated work queue of the kernel needs a privileged PASID',
    remedy: 'Set the type of the work queue to user, or boot with intel_iommu=on,sm_on.',
  },
  {
    value: 0x8010_0000,
    symbol: 'WQ_IRQ_ERR',
    source: 'driver',
    meaning: 'the interrupt of the work queue could not be set up',
    remedy: 'See the kernel log; free interrupt vectors by disabling other work queues.',
  },
  {
    value: 0x8011_0000,
    symbol: 'WQ_USER_NO_IOMMU',
    source: 'driver',
    meaning: 'a user work queue needs an IOMMU with shared virtual addressing',
    remedy: 'Boot with intel_iommu=on,sm_on and load idxd with sva=1.',
  },
  {
    value: 0x8012_0000,
    symbol: 'DEV_EVL_ERR',
    source: 'driver',
    meaning: 'the event log could not be set up',
    remedy: 'Write a smaller event_log_size, or free memory.',
  },
  {
    value: 0x8020_0000,
    symbol: 'WQ_NO_DRV_NAME',
    source: 'driver',
    meaning: 'driver_name of the work queue does not name the driver it is bound to',
    remedy: 'Write user to driver_name before binding to drivers/user.',
  },
] as const satisfies readonly Row[];

export type CmdStatusSymbol = (typeof TABLE)[number]['symbol'];

/** What one value of `cmd_status` means. */
export interface CmdStatus extends Row {
  readonly symbol: CmdStatusSymbol;
}

/** All values, ascending. */
export const CMD_STATUSES: readonly CmdStatus[] = TABLE;

/** Symbol to value. */
export const CMD_STATUS = constants(TABLE, 'value');

/**
 * What a value of `cmd_status` means.
 * @param value as read from sysfs, or the command status register of the device, whose upper bytes are a result
 * @returns `undefined` for a value that is not defined
 */
export function cmdStatus(value: number): CmdStatus | undefined {
  const word = value >>> 0;
  const key = word >= CMD_STATUS_SOFTERR_MASK ? word : word & CMD_STATUS_ERR_MASK;
  return CMD_STATUSES.find((row) => row.value === key);
}
