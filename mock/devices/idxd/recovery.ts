import { CMD_STATUS } from '../../../lib/abi/cmd-status.js';
import type { IdxdDevice } from './device.js';
import { clearState } from './driver.js';

/** What a halted device needs before it works again. */
export type Recovery = 'software-reset' | 'flr' | 'system-reset';

/** From a halt to the end of its repair, nanoseconds. */
const RESET_TIME = 1_000_000;
const FLR_TIME = 100_000_000;

/** idxd_halt(): what the driver does about a device that has halted. */
export function recover(device: IdxdDevice, recovery: Recovery): void {
  const { clock, settings } = device.machine;
  if (recovery === 'software-reset') {
    clock.after(RESET_TIME, () => reinitialize(device));
  } else if (recovery === 'flr' && settings.idxd.flrRecovery) {
    clock.after(FLR_TIME, () => reset(device));
  } else {
    for (const queue of device.workQueues) queue.portalMapped = false;
    clearState(device);
  }
}

/** idxd_device_reinit(): the configuration is written again, device and queues are enabled again. */
function reinitialize(device: IdxdDevice): void {
  device.halted = false;
  if (device.bound && device.command() === CMD_STATUS.SUCCESS) device.state = 'enabled';
  else clearState(device);
}

/** idxd_reset_prepare() and idxd_reset_done(): configuration saved, then device and user queues attached anew. */
function reset(device: IdxdDevice): void {
  const { bus, workQueues, groups, engines, readBufferLimit, bound } = device;
  const boundQueues = workQueues.filter((queue) => queue.bound);
  const queueConfigs = workQueues.map(({ config }) => ({ ...config }));
  const groupConfigs = groups.map(({ config }) => ({ ...config }));
  const engineGroups = engines.map(({ group }) => group);
  for (const queue of boundQueues) bus.detach(queue.name);
  if (bound) bus.detach(device.name);

  device.halted = false;
  clearState(device);
  device.readBufferLimit = readBufferLimit;
  for (const [index, group] of groups.entries()) Object.assign(group.config, groupConfigs[index]);
  for (const [index, engine] of engines.entries()) engine.group = engineGroups[index] ?? -1;
  for (const [index, queue] of workQueues.entries()) {
    queue.restore(queueConfigs[index] ?? queue.config);
  }

  if (bound) bus.tryAttach(device.name);
  for (const queue of boundQueues) bus.tryAttach(queue.name);
}
