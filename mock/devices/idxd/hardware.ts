import { formatMask, maskOf } from '../../../lib/abi/bitmask.js';
import { DSA_OPCODE } from '../../../lib/abi/dsa.js';
import { invalidArgValue, outOfRange } from '../../../lib/errors.js';
import type { IdxdDeviceOptions, WorkQueueOptions } from '../options.js';
import { OPERATIONS } from './operations/table.js';
import { roundUpToPowerOfTwo } from './parse.js';

export type IdxdType = 'dsa' | 'iax';

const MIB = 1024 * 1024;

/** WQ_DEFAULT_MAX_XFER and WQ_DEFAULT_MAX_BATCH of idxd.h. */
export const DEFAULT_MAX_TRANSFER_SIZE = 2 * MIB;
export const DEFAULT_MAX_BATCH_SIZE = 32;
/** What accel-config and every guide give a queue; 0, the value at boot, is none that the device takes. */
export const DEFAULT_PRIORITY = 10;
/** IDXD_MAX_PRIORITY, WQ_NAME_SIZE and DRIVER_NAME_SIZE of idxd.h. */
export const MAX_PRIORITY = 15;
export const MAX_NAME = 1024;
export const MAX_DRIVER_NAME = 128;

/** PCI device ids (drivers/dma/idxd/init.c: DSA and IAX of Sapphire Rapids). */
export const PCI_IDS = {
  dsa: { vendor: 0x8086, device: 0x0b25 },
  iax: { vendor: 0x8086, device: 0x0cfe },
} as const;

/** What the silicon of one device is and can do. Defaults are those of a Sapphire Rapids. */
export interface IdxdHardware {
  readonly type: IdxdType;
  readonly version: number;
  readonly maxWorkQueues: number;
  /** Entries of all work queues together. */
  readonly maxWorkQueuesSize: number;
  readonly maxGroups: number;
  readonly maxEngines: number;
  /** Bytes. */
  readonly maxTransferSize: number;
  /** Descriptors. 0: the device has no batches (IAX). */
  readonly maxBatchSize: number;
  readonly maxReadBuffers: number;
  /** Opcodes that the device executes. */
  readonly operations: ReadonlySet<number>;
  readonly configurable: boolean;
  readonly blockOnFault: boolean;
  readonly sharedWorkQueues: boolean;
  /** The event log's entry is 32 << evlSupport bytes; 0: no event log. */
  readonly evlSupport: number;
  readonly userSubmissionSafe: boolean;
  readonly privilegedPasid: boolean;
  /** WQCAP: ats_disable and prs_disable exist; op_config is per work queue (DSA 2.0 on). */
  readonly atsDisable: boolean;
  readonly prsDisable: boolean;
  readonly opConfig: boolean;
  /** GRPCAP: progress limits (DSA 2.0 on). */
  readonly progressLimit: boolean;
  /** Nanoseconds. */
  readonly latency: number;
  readonly latencyPerKiB: number;
}

/**
 * The hardware that options describe.
 * @throws TypeError `ERR_INVALID_ARG_VALUE` or RangeError `ERR_OUT_OF_RANGE` where no device can be so
 */
export function resolveHardware(options: IdxdDeviceOptions): IdxdHardware {
  const { type, version = 0x100 } = options;
  const revised = version >= 0x200;
  if (!Number.isInteger(version) || version < 0x100 || version > 0x3ff) {
    throw outOfRange('version', 'an integer from 0x100 to 0x3ff', version);
  }
  const { evlSupport = 0 } = options;
  if (!Number.isInteger(evlSupport) || evlSupport < 0 || evlSupport > 2) {
    throw outOfRange('evlSupport', 'an integer from 0 to 2', evlSupport);
  }
  if (evlSupport !== 0 && !revised) throw invalidArgValue('evlSupport', 'needs a device of version 0x200 or later');
  if (type === 'iax' && options.maxBatchSize !== undefined) {
    throw invalidArgValue('maxBatchSize', 'does not exist on an IAX device: it has no batches');
  }
  return {
    type,
    version,
    maxWorkQueues: count('maxWorkQueues', options.maxWorkQueues ?? 8, 64),
    maxWorkQueuesSize: count('maxWorkQueuesSize', options.maxWorkQueuesSize ?? 128, 0xffff),
    maxGroups: count('maxGroups', options.maxGroups ?? 4, 64),
    maxEngines: count('maxEngines', options.maxEngines ?? (type === 'iax' ? 8 : 4), 64),
    maxTransferSize: powerOfTwo('maxTransferSize', options.maxTransferSize ?? 2048 * MIB, 2 ** 31),
    maxBatchSize: type === 'iax' ? 0 : powerOfTwo('maxBatchSize', options.maxBatchSize ?? 1024, 2 ** 15),
    maxReadBuffers: type === 'iax' ? 0 : 96,
    operations: executable(type, options.operations),
    configurable: options.configurable ?? true,
    blockOnFault: options.blockOnFault ?? true,
    sharedWorkQueues: options.sharedWorkQueues ?? true,
    evlSupport,
    userSubmissionSafe: options.userSubmissionSafe ?? false,
    privilegedPasid: options.privilegedPasid ?? true,
    atsDisable: options.ats ?? true,
    prsDisable: revised && (options.pri ?? true),
    opConfig: revised,
    progressLimit: revised,
    latency: time('latency', options.latency ?? 300),
    latencyPerKiB: time('latencyPerKiB', options.latencyPerKiB ?? 30),
  };
}

/**
 * Refuses a configuration that could not be written to the device either.
 * @throws TypeError `ERR_INVALID_ARG_VALUE` or RangeError `ERR_OUT_OF_RANGE`
 */
export function checkWorkQueues(hardware: IdxdHardware, queues: readonly WorkQueueOptions[]): void {
  const { maxWorkQueues, maxWorkQueuesSize, maxEngines, type } = hardware;
  if (queues.length > maxWorkQueues) throw outOfRange('workQueues.length', `at most ${maxWorkQueues}`, queues.length);
  for (const [index, queue] of queues.entries()) checkWorkQueue(hardware, queue, `workQueues[${index}]`);
  const entries = queues.reduce((sum, { size }) => sum + size, 0);
  if (entries > maxWorkQueuesSize) {
    throw outOfRange('workQueues[].size', `at most ${maxWorkQueuesSize} together (max_work_queues_size)`, entries);
  }
  const groups = new Set(queues.map(({ group = 0 }) => group).filter((group) => group >= 0));
  if (groups.size > maxEngines) {
    throw invalidArgValue(
      'workQueues[].group',
      `uses ${groups.size} groups, but the ${type} has ${maxEngines} engines`,
    );
  }
}

function checkWorkQueue(hardware: IdxdHardware, queue: WorkQueueOptions, path: string): void {
  const { mode, size, threshold, group = 0, priority = DEFAULT_PRIORITY, nodeMode = 0o600 } = queue;
  const integer = (name: string, value: number, least: number, most: number): void => {
    if (Number.isInteger(value) && value >= least && value <= most) return;
    throw outOfRange(`${path}.${name}`, `an integer from ${least} to ${most}`, value);
  };
  if (mode === 'shared' && !hardware.configurable) {
    throw invalidArgValue(`${path}.mode`, "must be 'dedicated' on a device that is not configurable");
  }
  integer('size', size, 1, hardware.maxWorkQueuesSize);
  integer('priority', priority, 0, MAX_PRIORITY);
  integer('group', group, -1, hardware.maxGroups - 1);
  integer('nodeMode', nodeMode, 0, 0o777);
  if (threshold !== undefined) {
    if (mode === 'dedicated') throw invalidArgValue(`${path}.threshold`, 'belongs to shared work queues');
    integer('threshold', threshold, 1, size);
  }
  if (queue.blockOnFault === true && !hardware.blockOnFault) {
    throw invalidArgValue(`${path}.blockOnFault`, 'needs a device that can block on faults');
  }
  if (queue.maxTransferSize !== undefined) {
    powerOfTwo(`${path}.maxTransferSize`, queue.maxTransferSize, hardware.maxTransferSize);
  }
  if (queue.maxBatchSize !== undefined) {
    if (hardware.type === 'iax') throw invalidArgValue(`${path}.maxBatchSize`, 'does not exist on an IAX device');
    powerOfTwo(`${path}.maxBatchSize`, queue.maxBatchSize, hardware.maxBatchSize);
  }
  if (queue.name !== undefined && (queue.name.length === 0 || queue.name.length > MAX_NAME)) {
    throw invalidArgValue(`${path}.name`, `must have 1 to ${MAX_NAME} characters`);
  }
  if (queue.driverName !== undefined && (queue.driverName.length === 0 || queue.driverName.length > MAX_DRIVER_NAME)) {
    throw invalidArgValue(`${path}.driverName`, `must have 1 to ${MAX_DRIVER_NAME} characters`);
  }
}

/** What `op_cap` shows: the device's operations, without BATCH where the kernel hides it as write(2) refuses it. */
export function formatOpCap({ operations }: IdxdHardware, hidesBatch: boolean): string {
  return formatMask(maskOf([...operations].filter((opcode) => !hidesBatch || opcode !== DSA_OPCODE.BATCH)));
}

/** GENCAP: bits as in `union gen_cap_reg` of registers.h. */
export function genCap(hardware: IdxdHardware): number {
  const { type, blockOnFault, evlSupport, maxTransferSize, maxBatchSize, configurable } = hardware;
  const batchShift = maxBatchSize === 0 ? 0 : Math.log2(maxBatchSize);
  const overlapCopy = type === 'dsa' ? 1 << 1 : 0;
  const readback = type === 'dsa' ? (1 << 8) | (1 << 9) : 0;
  const cacheControl = (1 << 2) | (1 << 3);
  const commandCapabilities = 1 << 4;
  const bits =
    Number(blockOnFault) |
    overlapCopy |
    cacheControl |
    commandCapabilities |
    readback |
    (evlSupport << 13) |
    (Math.log2(maxTransferSize) << 16) |
    (batchShift << 21) |
    (Number(configurable) << 31);
  return bits >>> 0;
}

function count(name: string, value: number, most: number): number {
  if (!Number.isInteger(value) || value < 1 || value > most)
    throw outOfRange(name, `an integer from 1 to ${most}`, value);
  return value;
}

function time(name: string, value: number): number {
  if (!Number.isFinite(value) || value < 0) throw outOfRange(name, 'zero or more nanoseconds', value);
  return value;
}

function powerOfTwo(name: string, value: number, most: number): number {
  if (!Number.isInteger(value) || value < 1 || roundUpToPowerOfTwo(value) > most) {
    throw outOfRange(name, `an integer from 1 to ${most}`, value);
  }
  return roundUpToPowerOfTwo(value);
}

function executable(type: IdxdType, asked: readonly number[] | undefined): ReadonlySet<number> {
  const executed = OPERATIONS[type];
  for (const opcode of asked ?? []) {
    if (!Number.isInteger(opcode) || opcode < 0 || opcode > 255) {
      throw outOfRange('operations[]', 'an integer from 0 to 255', opcode);
    }
  }
  return new Set(asked === undefined ? executed.keys() : asked.filter((opcode) => executed.has(opcode)));
}
