import { fail } from '../../errno.js';
import type { Attribute } from '../../sysfs/tree.js';
import { readOnly, readWrite, type Attributes } from '../attributes.js';
import type { IdxdDevice } from './device.js';
import type { Engine } from './engine.js';
import type { Group, GroupConfig } from './group.js';
import { parseLong, parseUnsigned } from './parse.js';

/** Read buffers that an engine needs (group_read_buffers_allowed_store). */
const READ_BUFFERS_PER_ENGINE = 4;

/** Attributes of engine<m>.<n> (drivers/dma/idxd/sysfs.c). */
export function engineAttributes(device: IdxdDevice, engine: Engine): Attributes {
  return {
    group_id: readWrite(
      () => String(engine.group),
      (text) => {
        const group = parseLong(text);
        if (!device.hardware.configurable) fail('EPERM');
        if (group < -1 || group >= device.hardware.maxGroups) fail('EINVAL');
        engine.group = group;
      },
    ),
  };
}

/** Attributes of group<m>.<n>. */
export function groupAttributes(device: IdxdDevice, group: Group): Attributes {
  const { hardware, workQueues, engines } = device;
  return {
    work_queues: readOnly(() =>
      workQueues
        .filter(({ config }) => config.group === group.id)
        .map(({ name }) => name)
        .join(' '),
    ),
    engines: readOnly(() =>
      engines
        .filter((engine) => engine.group === group.id)
        .map(({ id }) => `engine${device.id}.${id}`)
        .join(' '),
    ),
    traffic_class_a: trafficClass(device, group, 'trafficClassA'),
    traffic_class_b: trafficClass(device, group, 'trafficClassB'),
    ...(hardware.type === 'dsa' && readBuffers(device, group)),
    ...(hardware.progressLimit && {
      desc_progress_limit: progressLimit(group, 'descProgressLimit'),
      batch_progress_limit: progressLimit(group, 'batchProgressLimit'),
    }),
  };
}

/** Read buffers of a group, under today's names and those of before 5.17. */
function readBuffers(device: IdxdDevice, { id, config }: Group): Attributes {
  const { maxReadBuffers } = device.hardware;
  const free = (): number =>
    device.groups.reduce((left, group) => left - group.config.readBuffersReserved, maxReadBuffers);
  const limit = readWrite(
    () => (config.useReadBufferLimit ? '1' : '0'),
    (text) => {
      const value = parseUnsigned(text);
      requireDisabled(device);
      if (device.readBufferLimit === 0) fail('EPERM');
      config.useReadBufferLimit = value !== 0;
    },
  );
  const allowed = readWrite(
    () => String(config.readBuffersAllowed),
    (text) => {
      const value = parseUnsigned(text);
      requireDisabled(device);
      const needed = READ_BUFFERS_PER_ENGINE * device.engines.filter(({ group }) => group === id).length;
      if (value < needed || value > config.readBuffersReserved + free()) fail('EINVAL');
      config.readBuffersAllowed = value;
    },
  );
  const reserved = readWrite(
    () => String(config.readBuffersReserved),
    (text) => {
      const value = parseUnsigned(text);
      requireDisabled(device);
      if (value > maxReadBuffers || value > free() + config.readBuffersReserved) fail('EINVAL');
      config.readBuffersReserved = value;
    },
  );
  return {
    use_read_buffer_limit: limit,
    use_token_limit: limit,
    read_buffers_allowed: allowed,
    tokens_allowed: allowed,
    read_buffers_reserved: reserved,
    tokens_reserved: reserved,
  };
}

function trafficClass(device: IdxdDevice, { config }: Group, name: 'trafficClassA' | 'trafficClassB'): Attribute {
  return readWrite(
    () => String(config[name]),
    (text) => {
      const value = parseLong(text);
      requireDisabled(device);
      if (device.hardware.version <= 0x200 && !device.bus.tcOverride) fail('EPERM');
      if (value < 0 || value > 7) fail('EINVAL');
      config[name] = value;
    },
  );
}

function progressLimit({ config }: Group, name: keyof GroupConfig & `${string}ProgressLimit`): Attribute {
  return readWrite(
    () => String(config[name]),
    (text) => {
      const value = parseLong(text);
      if (value < 0 || value > 3) fail('EINVAL');
      config[name] = value;
    },
  );
}

function requireDisabled(device: IdxdDevice): void {
  if (!device.hardware.configurable || device.state === 'enabled') fail('EPERM');
}
