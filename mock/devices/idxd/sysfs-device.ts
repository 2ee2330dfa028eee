import { fail } from '../../errno.js';
import { decimal, flag, hexadecimal, readOnly, readWrite, type Attributes } from '../attributes.js';
import type { IdxdDevice } from './device.js';
import { EVENT_LOG_SIZE } from './event-log.js';
import { formatOpCap, genCap } from './hardware.js';
import { parseUnsigned } from './parse.js';

/** Attributes of dsa<m> and iax<m> (drivers/dma/idxd/sysfs.c). What a device does not have is absent. */
export function deviceAttributes(device: IdxdDevice, numaNode: number): Attributes {
  const { hardware, bus, workQueues } = device;
  const { type, version } = hardware;
  return {
    version: readOnly(() => hexadecimal(version)),
    max_groups: decimal(() => hardware.maxGroups),
    max_work_queues: decimal(() => hardware.maxWorkQueues),
    max_work_queues_size: decimal(() => hardware.maxWorkQueuesSize),
    max_engines: decimal(() => hardware.maxEngines),
    numa_node: decimal(() => numaNode),
    max_transfer_size: decimal(() => hardware.maxTransferSize),
    op_cap: readOnly(() => formatOpCap(hardware, device.refusesBatch)),
    gen_cap: readOnly(() => hexadecimal(genCap(hardware))),
    configurable: flag(() => hardware.configurable),
    clients: decimal(() => workQueues.reduce((sum, { clients }) => sum + clients, 0)),
    pasid_enabled: flag(() => device.userPasid),
    state: readOnly(() => device.state),
    errors: readOnly(() => device.errors.format()),
    cdev_major: decimal(() => bus.majors[type]),
    // Whatever is written clears it.
    cmd_status: readWrite(
      () => hexadecimal(device.cmdStatus),
      () => {
        device.cmdStatus = 0;
      },
    ),
    ...(type === 'dsa' && { max_batch_size: decimal(() => hardware.maxBatchSize), ...readBufferAttributes(device) }),
    // Of the features in it the model has none.
    ...(type === 'iax' && version >= 0x200 && { iaa_cap: readOnly(() => hexadecimal(0)) }),
    ...(type === 'dsa' && version >= 0x300 && { dsacaps: readOnly(() => Array(3).fill('0'.repeat(16)).join(',')) }),
    ...eventLogAttributes(device),
  };
}

/** Read buffers, under today's name and the one of before 5.17. */
function readBufferAttributes(device: IdxdDevice): Attributes {
  const { hardware } = device;
  const most = decimal(() => hardware.maxReadBuffers);
  const limit = readWrite(
    () => String(device.readBufferLimit),
    (text) => {
      const value = parseUnsigned(text);
      if (device.state === 'enabled' || !hardware.configurable) fail('EPERM');
      if (value > hardware.maxReadBuffers) fail('EINVAL');
      device.readBufferLimit = value;
    },
  );
  return { max_read_buffers: most, max_tokens: most, read_buffer_limit: limit, token_limit: limit };
}

function eventLogAttributes(device: IdxdDevice): Attributes {
  const { eventLog, hardware } = device;
  if (eventLog === undefined) return {};
  return {
    event_log_size: readWrite(
      () => String(eventLog.size),
      (text) => {
        const value = parseUnsigned(text);
        if (device.state === 'enabled' || !hardware.configurable) fail('EPERM');
        if (value < EVENT_LOG_SIZE.min || value > EVENT_LOG_SIZE.max) fail('EINVAL');
        eventLog.size = value;
      },
    ),
  };
}
