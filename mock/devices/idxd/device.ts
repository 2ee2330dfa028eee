import { maskOf } from '../../../lib/abi/bitmask.js';
import { CMD_STATUS } from '../../../lib/abi/cmd-status.js';
import { fail } from '../../errno.js';
import { DeviceContext } from '../../iommu/device-context.js';
import type { Machine } from '../../machine.js';
import { svmCapable } from '../../svm/capability.js';
import type { IdxdDeviceOptions, WorkQueueOptions } from '../options.js';
import { publishPciDevice } from '../pci.js';
import type { IdxdBus } from './bus.js';
import { configure, initialGroupConfig } from './configuration.js';
import { Engine } from './engine.js';
import { ErrorRegister } from './error-register.js';
import { EventLog } from './event-log.js';
import { ExecutionUnit, recordFormat, type DeviceError } from './execution.js';
import { Group } from './group.js';
import { PCI_IDS, checkWorkQueues, resolveHardware, type IdxdHardware } from './hardware.js';
import { recover, type Recovery } from './recovery.js';
import { deviceAttributes } from './sysfs-device.js';
import { engineAttributes, groupAttributes } from './sysfs-group.js';
import { queueAttributes } from './sysfs-queue.js';
import type { Task } from './task.js';
import { WorkQueue, type QueueHost } from './work-queue.js';

export type DeviceState = 'disabled' | 'enabled' | 'halted';

/** What a command does: nothing for success, or an error code of the device. */
type Command = () => number | void;

/** A DSA or IAX device: its parts, its commands, and what the idxd driver keeps of it. */
export class IdxdDevice {
  readonly id: number;
  /** 'dsa0', 'iax1': one counter for both kinds. */
  readonly name: string;
  readonly machine: Machine;
  readonly bus: IdxdBus;
  readonly hardware: IdxdHardware;
  readonly context: DeviceContext;
  /** Its directory in sysfs. */
  readonly directory: string;
  readonly workQueues: readonly WorkQueue[];
  readonly engines: readonly Engine[];
  readonly groups: readonly Group[];
  /** SWERR, and the driver's copy of it: `errors`. */
  readonly errors: ErrorRegister;
  /** `undefined` where the device has none or the kernel does not use it. */
  readonly eventLog: EventLog | undefined;
  /** Whether user work queues bind the address space of who opens them: `pasid_enabled`. Decided when the driver probes. */
  readonly userPasid: boolean;
  state: DeviceState = 'disabled';
  /** GENSTS: the device answers no command until it is repaired. */
  halted = false;
  /** The idxd driver is attached. */
  bound = false;
  /** Why the last configuration or command failed: `cmd_status`. */
  cmdStatus = 0;
  /** `read_buffer_limit`. */
  readBufferLimit = 0;

  /** Made by `IdxdBus.add`. @throws TypeError `ERR_INVALID_ARG_VALUE`, RangeError `ERR_OUT_OF_RANGE` */
  constructor(bus: IdxdBus, options: IdxdDeviceOptions, id: number) {
    const { machine } = bus;
    const hardware = resolveHardware(options);
    checkWorkQueues(hardware, options.workQueues ?? []);
    this.id = id;
    this.name = `${hardware.type}${id}`;
    this.machine = machine;
    this.bus = bus;
    this.hardware = hardware;
    this.context = new DeviceContext(options);
    this.directory = `${publishPciDevice(machine.sysfs, options, PCI_IDS[hardware.type])}/${this.name}`;
    this.errors = new ErrorRegister(machine.clock);
    if (machine.settings.idxd.eventLog && hardware.evlSupport > 0) {
      this.eventLog = new EventLog(machine.clock, recordFormat(hardware.type).size);
    }
    this.userPasid = this.#probesUserPasid();
    this.workQueues = this.#makeQueues(options.workQueues ?? []);
    this.engines = this.#makeEngines();
    this.groups = Array.from(
      { length: hardware.maxGroups },
      (_, index) => new Group(index, `group${id}.${index}`, initialGroupConfig(this, hardware.maxReadBuffers)),
    );
  }

  /** Bit n: opcode n is executed. What a queue's op_config may allow. */
  get opCap(): bigint {
    return maskOf(this.hardware.operations);
  }

  /** Whether write(2) refuses a BATCH, and `op_cap` hides it. */
  get refusesBatch(): boolean {
    const { type, version, userSubmissionSafe } = this.hardware;
    if (type !== 'dsa' || userSubmissionSafe) return false;
    return this.machine.settings.idxd.batchRefused === 'every-dsa' || version === 0x100;
  }

  /** The driver has found the device: configures it, publishes it, and attaches the drivers as far as the machine lets it. */
  bringUp({ workQueues = [], enabled, numaNode }: IdxdDeviceOptions): void {
    configure(this, workQueues);
    this.#publish(numaNode ?? -1);
    if (enabled === false || this.workQueues.every(({ config }) => config.group < 0)) return;
    this.bus.tryAttach(this.name);
    for (const [index, { enabled: enabledQueue = true, type = 'user' }] of workQueues.entries()) {
      const queue = this.workQueues[index];
      if (enabledQueue && type === 'user' && queue !== undefined) this.bus.tryAttach(queue.name);
    }
  }

  /**
   * The device halts. Nothing in flight completes, and until it is repaired it takes nothing.
   * @param recovery what the device asks for. A software reset, and a function-level reset on kernels that can do it, repair
   *   the device after a while, `state` being 'halted' until then. Otherwise its configuration is gone, `state` is
   *   'disabled', and it can never be enabled again.
   */
  halt(recovery: Recovery): void {
    if (this.halted) return;
    this.halted = true;
    this.state = 'halted';
    this.abort(() => true);
    recover(this, recovery);
  }

  // Commands (idxd_cmd_exec and its callers)

  /** Gives the device a command. @returns the device's error code, 0 for success; `cmdStatus` keeps it */
  command(run: Command = () => CMD_STATUS.SUCCESS): number {
    if (this.halted) return CMD_STATUS.HW_ERR;
    this.cmdStatus = CMD_STATUS.SUCCESS;
    const failed = this.machine.injections.strikes('command-failure');
    const status = failed ? CMD_STATUS.HW_ERR : (run() ?? CMD_STATUS.SUCCESS);
    this.cmdStatus = status;
    return status;
  }

  /** ENABLE_DEVICE. Throws ENXIO. */
  enable(): void {
    this.#require(() => {
      const entries = this.workQueues.reduce((sum, { config }) => sum + config.size, 0);
      if (entries > this.hardware.maxWorkQueuesSize) return CMD_STATUS.ERR_WQ_SIZE_ERANGE;
      const grouped = this.workQueues.filter(({ config }) => config.group >= 0);
      const served = grouped.every(({ config }) => this.engines.some(({ group }) => group === config.group));
      return served ? CMD_STATUS.SUCCESS : CMD_STATUS.ERR_GRP_CONFIG;
    });
    this.#writeGroups();
    this.state = 'enabled';
  }

  /** ENABLE_WQ. Throws ENXIO. */
  enableQueue(queue: WorkQueue): void {
    this.#writeGroups();
    this.#require(() => this.#queueRefusal(queue));
    queue.state = 'enabled';
  }

  /** idxd_wq_set_pasid() and idxd_wq_disable_pasid(): WQCFG can only be written while the queue is disabled. Throws ENXIO. */
  setQueuePasid(queue: WorkQueue, pasid: number | undefined): void {
    if (queue.state === 'enabled') this.#require(() => this.drain((task) => task.queue === queue));
    queue.state = 'disabled';
    queue.pasid = pasid;
    this.#require();
    queue.state = 'enabled';
  }

  /**
   * Waits until descriptors are done. What then still waits, for the answer to a lost page request, is dropped; the
   * hardware would wait for ever.
   */
  drain(matches: (task: Task) => boolean): void {
    this.machine.clock.runUntil(() => !this.#busy(matches));
    this.abort(matches);
  }

  /** Drops descriptors, wherever they stand. */
  abort(matches: (task: Task) => boolean): void {
    for (const queue of this.workQueues) queue.abort(matches);
    for (const engine of this.engines) if (engine.task !== undefined && matches(engine.task)) engine.abort();
  }

  #busy(matches: (task: Task) => boolean): boolean {
    return (
      this.engines.some(({ task }) => task !== undefined && matches(task)) ||
      this.workQueues.some((queue) => queue.holds(matches))
    );
  }

  #require(run?: Command): void {
    if (this.command(run) !== CMD_STATUS.SUCCESS) fail('ENXIO');
  }

  /** What ENABLE_WQ finds wrong. */
  #queueRefusal({ config }: WorkQueue): number {
    const { type, maxTransferSize, maxBatchSize, sharedWorkQueues } = this.hardware;
    if (config.size === 0) return CMD_STATUS.ERR_WQ_SIZE;
    if (config.priority === 0) return CMD_STATUS.ERR_WQ_PRIOR;
    if (config.mode === 'shared' && !sharedWorkQueues) return CMD_STATUS.ERR_WQ_MODE;
    if (type === 'dsa' && config.maxBatchSize > maxBatchSize) return CMD_STATUS.ERR_MAX_BATCH_SIZE;
    return config.maxTransferSize > maxTransferSize ? CMD_STATUS.ERR_MAX_XFER_SIZE : CMD_STATUS.SUCCESS;
  }

  #writeGroups(): void {
    for (const group of this.groups) {
      group.write(
        this.workQueues.filter(({ config }) => config.group === group.id),
        this.engines.filter((engine) => engine.group === group.id),
      );
    }
  }

  // Errors

  /** An error that no completion record can tell: to the event log where there is one, else to SWERR. */
  #report(error: DeviceError): void {
    const { task, address } = error;
    const queue = this.workQueues[task.queue.id];
    if (queue !== undefined && this.eventLog?.record(queue, error) === true) return;
    this.errors.record({
      batch: task.inBatch,
      faultRw: error.write,
      error: error.error,
      wqIdx: task.queue.id,
      operation: task.opcode,
      pasid: task.pasid,
      invalidFlags: error.invalidFlags,
      faultAddr: (BigInt(address.high) << 32n) | BigInt(address.low),
    });
  }

  // Construction

  /** Whether the PCI probe switches user PASIDs on. */
  #probesUserPasid(): boolean {
    const { settings } = this.machine;
    const { idxd, config, iommu } = settings;
    if (!idxd.sva || !config.intelIommuSvm) return false;
    if (idxd.pasidEnabledAt === 'open') return true;
    const { translated, pasidBits, hasAts, hasPri } = this.context;
    return translated && iommu.enabled && svmCapable(settings) && pasidBits !== undefined && hasAts && hasPri;
  }

  #makeQueues(options: readonly WorkQueueOptions[]): WorkQueue[] {
    const host: QueueHost = {
      injections: this.machine.injections,
      accepts: () => this.state === 'enabled',
      dropped: (queue, error, opcode, pasid) => {
        if (!this.halted) this.errors.record({ error, wqIdx: queue.id, operation: opcode, pasid });
      },
    };
    return Array.from({ length: this.hardware.maxWorkQueues }, (_, index) => {
      const nodeMode = options[index]?.nodeMode ?? 0o600;
      return new WorkQueue(index, `wq${this.id}.${index}`, { host, opCap: this.opCap, nodeMode });
    });
  }

  #makeEngines(): Engine[] {
    const { clock, iommu } = this.machine;
    const { hardware, context } = this;
    const unit = new ExecutionUnit({
      type: hardware.type,
      executable: hardware.operations,
      iommu,
      context,
      report: (error) => this.#report(error),
    });
    const finished = (task: Task): void => this.workQueues[task.queue.id]?.release(task);
    return Array.from(
      { length: hardware.maxEngines },
      (_, index) => new Engine(index, { clock, unit, hardware }, finished),
    );
  }

  #publish(numaNode: number): void {
    this.bus.publish(this.name, this.directory, deviceAttributes(this, numaNode));
    for (const queue of this.workQueues) {
      this.bus.publish(queue.name, `${this.directory}/${queue.name}`, queueAttributes(this, queue));
    }
    for (const engine of this.engines) {
      const name = `engine${this.id}.${engine.id}`;
      this.bus.publish(name, `${this.directory}/${name}`, engineAttributes(this, engine));
    }
    for (const group of this.groups) {
      this.bus.publish(group.name, `${this.directory}/${group.name}`, groupAttributes(this, group));
    }
  }
}
