import { formatMask, parseMask } from '../../../lib/abi/bitmask.js';
import { fail } from '../../errno.js';
import type { Attribute } from '../../sysfs/tree.js';
import { decimal, readOnly, readWrite, type Attributes } from '../attributes.js';
import type { IdxdDevice } from './device.js';
import { MAX_DRIVER_NAME, MAX_NAME, MAX_PRIORITY } from './hardware.js';
import { parseAnyBase, parseBool, parseLong, parsePowerOfTwo, parseUnsigned } from './parse.js';
import type { QueueType, WorkQueue } from './work-queue.js';

/** IDXD_ENQCMDS_MAX_RETRIES of idxd.h. */
const MAX_ENQCMDS_RETRIES = 64;

/**
 * Attributes of wq<m>.<n> (drivers/dma/idxd/sysfs.c). What a device does not have is absent. The order of the checks in a
 * store is the kernel's.
 */
export function queueAttributes(device: IdxdDevice, queue: WorkQueue): Attributes {
  const { hardware, machine } = device;
  return {
    clients: decimal(() => queue.clients),
    state: readOnly(() => queue.state),
    cdev_minor: decimal(() => queue.minor ?? fail('ENXIO')),
    occupancy: decimal(() => queue.occupancy),
    ...placement(device, queue),
    ...identity(queue),
    ...limits(device, queue),
    ...(machine.settings.idxd.driverName && { driver_name: driverName(queue) }),
    ...(hardware.atsDisable && { ats_disable: atsDisable(device, queue) }),
    ...(hardware.prsDisable && { prs_disable: prsDisable(queue) }),
    ...(hardware.opConfig && { op_config: opConfig(device, queue) }),
  };
}

/** Which group it is in, and its share there. */
function placement(device: IdxdDevice, queue: WorkQueue): Attributes {
  const { config } = queue;
  const { hardware } = device;
  const requireConfigurable = (): void => {
    if (!hardware.configurable || queue.state === 'enabled') fail('EPERM');
  };
  return {
    group_id: readWrite(
      () => String(config.group),
      (text) => {
        const group = parseLong(text);
        requireConfigurable();
        if (group < -1 || group >= hardware.maxGroups) fail('EINVAL');
        config.group = group;
      },
    ),
    mode: readWrite(
      () => config.mode,
      (text) => {
        requireConfigurable();
        if (text !== 'dedicated' && text !== 'shared') fail('EINVAL');
        config.mode = text;
        if (text === 'dedicated') config.threshold = 0;
      },
    ),
    size: readWrite(
      () => String(config.size),
      (text) => {
        const size = parseUnsigned(text);
        if (!hardware.configurable || device.state === 'enabled') fail('EPERM');
        const others = device.workQueues.reduce((sum, other) => sum + other.config.size, 0) - config.size;
        if (size + others > hardware.maxWorkQueuesSize) fail('EINVAL');
        config.size = size;
      },
    ),
    priority: readWrite(
      () => String(config.priority),
      (text) => {
        const priority = parseUnsigned(text);
        requireConfigurable();
        if (priority > MAX_PRIORITY) fail('EINVAL');
        config.priority = priority;
      },
    ),
    threshold: readWrite(
      () => String(config.threshold),
      (text) => {
        const threshold = parseAnyBase(text);
        if (threshold === 0 || threshold > config.size) fail('EINVAL');
        if (!hardware.configurable) fail('EPERM');
        if (queue.state === 'enabled') fail('ENXIO');
        if (config.mode === 'dedicated') fail('EINVAL');
        config.threshold = threshold;
      },
    ),
  };
}

/** What it is for. */
function identity(queue: WorkQueue): Attributes {
  const { config } = queue;
  return {
    type: readWrite(
      () => config.type,
      (text) => {
        requireDisabled(queue);
        if (!isType(text)) fail('EINVAL');
        if (text !== config.type) config.name = '';
        config.type = text;
      },
    ),
    name: readWrite(
      () => config.name,
      (text) => {
        requireDisabled(queue);
        if (text.length === 0 || text.length > MAX_NAME) fail('EINVAL');
        config.name = text.trim();
      },
    ),
  };
}

/** What it lets through. */
function limits(device: IdxdDevice, queue: WorkQueue): Attributes {
  const { config } = queue;
  const { hardware } = device;
  const size = (name: 'maxTransferSize' | 'maxBatchSize'): Attribute =>
    readWrite(
      () => String(config[name]),
      (text) => {
        if (!hardware.configurable || queue.state === 'enabled') fail('EPERM');
        const value = parsePowerOfTwo(text);
        if (value > hardware[name]) fail('EINVAL');
        config[name] = value;
      },
    );
  return {
    block_on_fault: readWrite(
      () => (config.blockOnFault ? '1' : '0'),
      (text) => {
        if (!hardware.blockOnFault) fail('EOPNOTSUPP');
        if (!hardware.configurable) fail('EPERM');
        if (queue.state === 'enabled') fail('ENXIO');
        const value = parseBool(text);
        if (value && config.prsDisable) fail('EOPNOTSUPP');
        config.blockOnFault = value;
      },
    ),
    max_transfer_size: size('maxTransferSize'),
    ...(hardware.type === 'dsa' && { max_batch_size: size('maxBatchSize') }),
    enqcmds_retries: readWrite(
      () => (config.mode === 'dedicated' ? fail('EOPNOTSUPP') : String(config.enqcmdsRetries)),
      (text) => {
        if (config.mode === 'dedicated') fail('EOPNOTSUPP');
        config.enqcmdsRetries = Math.min(parseUnsigned(text), MAX_ENQCMDS_RETRIES);
      },
    ),
  };
}

function driverName(queue: WorkQueue): Attribute {
  const { config } = queue;
  return readWrite(
    () => config.driverName,
    (text) => {
      requireDisabled(queue);
      if (text.length === 0 || text.length > MAX_DRIVER_NAME) fail('EINVAL');
      config.driverName = text.trim();
    },
  );
}

function atsDisable(device: IdxdDevice, queue: WorkQueue): Attribute {
  const { config } = queue;
  return readWrite(
    () => (config.atsDisable ? '1' : '0'),
    (text) => {
      requireDisabled(queue);
      if (!device.hardware.configurable) fail('EPERM');
      config.atsDisable = parseBool(text);
    },
  );
}

/** Without page requests there is no blocking on faults. */
function prsDisable(queue: WorkQueue): Attribute {
  const { config } = queue;
  return readWrite(
    () => (config.prsDisable ? '1' : '0'),
    (text) => {
      requireDisabled(queue);
      config.prsDisable = parseBool(text);
      if (config.prsDisable) config.blockOnFault = false;
    },
  );
}

function opConfig(device: IdxdDevice, queue: WorkQueue): Attribute {
  return readWrite(
    () => formatMask(queue.config.opConfig),
    (text) => {
      requireDisabled(queue);
      const mask = parseBitmap(text);
      if ((mask & ~device.opCap) !== 0n) fail('EINVAL');
      queue.setOpConfig(mask);
    },
  );
}

function parseBitmap(text: string): bigint {
  try {
    return parseMask(text);
  } catch {
    return fail('EINVAL');
  }
}

function requireDisabled(queue: WorkQueue): void {
  if (queue.state === 'enabled') fail('EPERM');
}

const isType = (text: string): text is QueueType => text === 'none' || text === 'kernel' || text === 'user';
