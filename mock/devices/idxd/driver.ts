import { CMD_STATUS } from '../../../lib/abi/cmd-status.js';
import type { ErrnoName } from '../../../lib/abi/errno.js';
import { fail } from '../../errno.js';
import { addNode, removeNode } from './cdev.js';
import { initialGroupConfig } from './configuration.js';
import type { IdxdDevice } from './device.js';
import type { Task } from './task.js';
import type { WorkQueue } from './work-queue.js';

/** WQ_DEFAULT_QUEUE_DEPTH of idxd.h: entries of a work queue that has a type but was given none. */
const DEFAULT_QUEUE_DEPTH = 16;

/** idxd_device_drv_probe(). Throws ENXIO or ENOMEM; `cmdStatus` says why. */
export function probeDevice(device: IdxdDevice): void {
  if (device.state !== 'disabled') refuse(device, 'ENXIO', CMD_STATUS.DEV_ENABLED);
  if (device.hardware.configurable && !checkConfiguration(device)) fail('ENXIO');
  const outOfMemory = device.machine.injections.strikes('allocation-failure');
  if (outOfMemory && device.eventLog !== undefined) refuse(device, 'ENOMEM', CMD_STATUS.DEV_EVL_ERR);
  device.enable();
  if (outOfMemory) {
    disableDevice(device);
    refuse(device, 'ENOMEM', CMD_STATUS.DEV_DMA_ERR);
  }
  device.cmdStatus = CMD_STATUS.SUCCESS;
}

/** idxd_device_drv_remove(): work queues that are enabled go first; then the device is disabled and reset. */
export function removeDevice(device: IdxdDevice): void {
  for (const queue of device.workQueues) if (queue.state === 'enabled') device.bus.detach(queue.name);
  disableDevice(device);
  if (!device.hardware.configurable) return;
  device.command(() => device.abort(() => true));
  clearState(device);
}

/** idxd_user_drv_probe(). Throws ENXIO, ENODEV, EOPNOTSUPP, EBUSY, EINVAL or ENOMEM; `cmdStatus` says why. */
export function probeQueue(device: IdxdDevice, queue: WorkQueue): void {
  const { settings, sva, injections } = device.machine;
  if (device.state !== 'enabled') fail('ENXIO');
  if (settings.idxd.driverName && !queue.config.driverName.startsWith('user')) {
    refuse(device, 'ENODEV', CMD_STATUS.WQ_NO_DRV_NAME);
  }
  // Before open(2) bound anything, a user queue needed no PASID (v5.10).
  if (sva !== undefined && !device.userPasid) refuse(device, 'EOPNOTSUPP', CMD_STATUS.WQ_USER_NO_IOMMU);
  queue.config.type = 'user';
  try {
    enableQueue(device, queue);
  } catch (error) {
    queue.config.type = 'none';
    throw error;
  }
  if (injections.strikes('allocation-failure')) {
    disableQueue(device, queue);
    refuse(device, 'ENOMEM', CMD_STATUS.CDEV_ERR);
  }
  addNode(device, queue);
  device.cmdStatus = CMD_STATUS.SUCCESS;
}

/** idxd_user_drv_remove(): allowed with clients; their files live on, but the portal takes nothing more. */
export function removeQueue(device: IdxdDevice, queue: WorkQueue): void {
  removeNode(device, queue);
  disableQueue(device, queue);
}

/** idxd_device_clear_state(). A device that is not configurable keeps its configuration. */
export function clearState(device: IdxdDevice): void {
  if (device.hardware.configurable) {
    for (const queue of device.workQueues) {
      queue.reset();
      queue.config.size = 0;
      queue.config.group = -1;
    }
    for (const engine of device.engines) engine.group = -1;
    for (const group of device.groups) Object.assign(group.config, initialGroupConfig(device, 0));
  }
  device.state = 'disabled';
}

/** The part of drv_enable_wq() that a user queue takes. */
function enableQueue(device: IdxdDevice, queue: WorkQueue): void {
  const { config } = queue;
  if (queue.state === 'enabled') refuse(device, 'EBUSY', CMD_STATUS.WQ_ENABLED);
  if (config.group < 0) refuse(device, 'ENXIO', CMD_STATUS.WQ_NO_GRP);
  if (config.name === '') refuse(device, 'ENXIO', CMD_STATUS.WQ_NO_NAME);
  if (config.mode === 'shared') {
    if (!supportsShared(device, queue)) refuse(device, 'ENXIO', CMD_STATUS.WQ_NO_SVM);
    if (config.threshold === 0) refuse(device, 'ENXIO', CMD_STATUS.WQ_NO_THRESH);
  }
  // The whole device's configuration is checked and written again: a queue that was disabled but is still in a group has
  // no type, and as it is shared then, it is in the way of every other.
  if (device.hardware.configurable && !checkConfiguration(device)) fail('EINVAL');
  device.enableQueue(queue);
  queue.portalMapped = true;
  queue.clients = 0;
}

/** drv_disable_wq(): what is in the queue is finished, then the queue is reset. */
function disableQueue(device: IdxdDevice, queue: WorkQueue): void {
  queue.portalMapped = false;
  if (queue.state === 'enabled') {
    const ofQueue = (task: Task): boolean => task.queue === queue;
    device.command(() => device.drain(ofQueue));
    device.command(() => device.abort(ofQueue));
  }
  queue.reset();
}

/** idxd_device_disable(). */
function disableDevice(device: IdxdDevice): void {
  if (device.state !== 'enabled') return;
  if (device.command(() => device.drain(() => true)) === CMD_STATUS.SUCCESS) clearState(device);
}

/**
 * idxd_device_config(), without the writing.
 * @returns whether the driver would write it; otherwise `cmdStatus` may say why not
 */
function checkConfiguration(device: IdxdDevice): boolean {
  const grouped = device.workQueues.filter(({ config }) => config.group >= 0);
  if (grouped.some((queue) => queue.config.mode === 'shared' && !supportsShared(device, queue))) {
    device.cmdStatus = CMD_STATUS.WQ_NO_SWQ_SUPPORT;
    return false;
  }
  if (grouped.length === 0) {
    device.cmdStatus = CMD_STATUS.WQ_NONE_CONFIGURED;
    return false;
  }
  if (device.engines.every(({ group }) => group < 0)) return false;
  for (const { config } of device.groups) {
    if (config.trafficClassA === -1) config.trafficClassA = 0;
    if (config.trafficClassB === -1) config.trafficClassB = 1;
  }
  for (const { config } of grouped) {
    if (config.size === 0 && config.type !== 'none') config.size = DEFAULT_QUEUE_DEPTH;
    const isKernels = config.mode === 'dedicated' && config.type === 'kernel';
    if (isKernels && device.userPasid && !device.hardware.privilegedPasid) {
      device.cmdStatus = CMD_STATUS.WQ_NO_PRIV;
      return false;
    }
  }
  return true;
}

/** wq_shared_supported(): ENQCMD, and PASID for what the queue is used for. */
function supportsShared(device: IdxdDevice, { config }: WorkQueue): boolean {
  const { settings, sva } = device.machine;
  // Where open(2) binds nothing, the PASID is the business of whoever calls intel_svm_bind_mm().
  const pasid = sva === undefined || device.userPasid;
  return settings.cpu.enqcmd && pasid && config.type !== 'none';
}

function refuse(device: IdxdDevice, code: ErrnoName, cmdStatus: number): never {
  device.cmdStatus = cmdStatus;
  return fail(code);
}
