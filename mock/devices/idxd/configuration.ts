import type { WorkQueueOptions } from '../options.js';
import type { IdxdDevice } from './device.js';
import type { GroupConfig } from './group.js';
import { DEFAULT_MAX_BATCH_SIZE, DEFAULT_MAX_TRANSFER_SIZE, DEFAULT_PRIORITY } from './hardware.js';
import { roundUpToPowerOfTwo } from './parse.js';

/** Configures a device as its options say, and gives each group that has a work queue one engine. */
export function configure(device: IdxdDevice, options: readonly WorkQueueOptions[]): void {
  const { hardware, workQueues, engines } = device;
  if (options.length === 0 && hardware.type === 'iax' && hardware.configurable) presetIax(device);
  for (const [index, option] of options.entries()) {
    const queue = workQueues[index];
    if (queue === undefined) continue;
    const { maxTransferSize = Math.min(DEFAULT_MAX_TRANSFER_SIZE, hardware.maxTransferSize) } = option;
    const { maxBatchSize = Math.min(DEFAULT_MAX_BATCH_SIZE, hardware.maxBatchSize || DEFAULT_MAX_BATCH_SIZE) } = option;
    Object.assign(queue.config, {
      mode: option.mode,
      size: option.size,
      threshold: option.mode === 'shared' ? (option.threshold ?? option.size) : 0,
      priority: option.priority ?? DEFAULT_PRIORITY,
      group: option.group ?? 0,
      type: option.type ?? 'user',
      name: option.name ?? `app${index}`,
      driverName: option.driverName ?? 'user',
      blockOnFault: option.blockOnFault ?? false,
      maxTransferSize: roundUpToPowerOfTwo(maxTransferSize),
      maxBatchSize: roundUpToPowerOfTwo(maxBatchSize),
    });
  }
  const groups = new Set(workQueues.map(({ config }) => config.group).filter((group) => group >= 0));
  for (const [index, group] of [...groups].toSorted((a, b) => a - b).entries()) {
    const engine = engines[index];
    if (engine !== undefined) engine.group = group;
  }
}

/**
 * A group's attributes before anybody wrote to them.
 * @param readBuffersAllowed all of them when the driver probes, none after a reset
 */
export function initialGroupConfig(
  { hardware, bus }: Pick<IdxdDevice, 'hardware' | 'bus'>,
  readBuffersAllowed: number,
): GroupConfig {
  // Before DSA 3.0 both traffic classes are fixed at 1, unless the module was told otherwise.
  const trafficClass = hardware.version <= 0x200 && !bus.tcOverride ? 1 : -1;
  return {
    useReadBufferLimit: false,
    readBuffersAllowed,
    readBuffersReserved: 0,
    trafficClassA: trafficClass,
    trafficClassB: trafficClass,
    descProgressLimit: 0,
    batchProgressLimit: 0,
  };
}

/** Defaults that the driver loads: the kernel's compression driver gets the whole IAX (drivers/dma/idxd/defaults.c). */
function presetIax({ hardware, workQueues }: IdxdDevice): void {
  const queue = workQueues[0];
  if (queue === undefined) return;
  Object.assign(queue.config, {
    mode: 'dedicated',
    size: hardware.maxWorkQueuesSize,
    priority: DEFAULT_PRIORITY,
    group: 0,
    type: 'kernel',
    name: 'iaa_crypto',
    driverName: 'crypto',
  });
}
