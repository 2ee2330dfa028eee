import { maskOf } from '../../../lib/abi/bitmask.js';
import { CMD_STATUS } from '../../../lib/abi/cmd-status.js';
import { fail } from '../../errno.js';
import { DeviceContext } from '../../iommu/device-context.js';
import type { Machine } from '../../machine.js';
import { svmCapable } from '../../svm/capability.js';
import type { IdxdDeviceOptions, WorkQueueOptions } from '../options.js';
import { publishPciDevice } from '../pci.js';
import type { IdxdBus } from './bus.js';
import { QueueNode } from './cdev.js';
import { Engine } from './engine.js';
import { ErrorRegister } from './error-register.js';
import { EventLog } from './event-log.js';
import { ExecutionUnit, recordFormat, type DeviceError } from './execution.js';
import { Group, type GroupConfig } from './group.js';
import {
  DEFAULT_MAX_BATCH_SIZE,
  DEFAULT_MAX_TRANSFER_SIZE,
  PCI_IDS,
  checkWorkQueues,
  resolveHardware,
  type IdxdHardware,
} from './hardware.js';
import { roundUpToPowerOfTwo } from './parse.js';
import { deviceAttributes } from './sysfs-device.js';
import { engineAttributes, groupAttributes } from './sysfs-group.js';
import { queueAttributes } from './sysfs-queue.js';
import type { Task } from './task.js';
import { WorkQueue, type QueueHost } from './work-queue.js';

export type DeviceState = 'disabled' | 'enabled' | 'halted';

/** What a halted device needs before it works again. */
export type Recovery = 'software-reset' | 'flr' | 'system-reset';

/** WQ_DEFAULT_QUEUE_DEPTH of idxd.h: entries of a typed work queue that was given none. */
const DEFAULT_QUEUE_DEPTH = 16;

/** From a halt to the end of its repair, nanoseconds. */
const RESET_TIME = 1_000_000;
const FLR_TIME = 100_000_000;

/** A DSA or IAX device, and the idxd driver's state of it. */
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
  readonly errors: ErrorRegister;
  /** `undefined` where the device has none or the kernel does not use it. */
  readonly eventLog: EventLog | undefined;
  /** Whether user work queues bind the address space of who opens them: `pasid_enabled`. Decided when the driver probes. */
  readonly userPasid: boolean;
  state: DeviceState = 'disabled';
  /** The idxd driver is attached. */
  bound = false;
  /** Why the last configuration or command failed: `cmd_status`. */
  cmdStatus = 0;
  readBufferLimit = 0;
  /** GENSTS: the device answers no command until it is reset. */
  #halted = false;

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
    const { eventLog } = machine.settings.idxd;
    if (eventLog && hardware.evlSupport > 0) {
      this.eventLog = new EventLog(machine.clock, recordFormat(hardware.type).size);
    }
    this.userPasid = this.#probesUserPasid();
    this.workQueues = this.#makeQueues(options.workQueues ?? []);
    this.engines = this.#makeEngines();
    this.groups = Array.from(
      { length: hardware.maxGroups },
      (_, index) => new Group(index, `group${id}.${index}`, this.#initialGroupConfig(hardware.maxReadBuffers)),
    );
  }

  // Bring-up

  /** Configures what the options say, publishes the device, and attaches the drivers as far as the machine lets it. */
  bringUp(options: IdxdDeviceOptions): void {
    this.#configure(options.workQueues ?? []);
    this.#publish(options.numaNode ?? -1);
    if (options.enabled === false || this.workQueues.every(({ config }) => config.group < 0)) return;
    this.bus.tryAttach(this.name);
    for (const [index, { enabled = true, type = 'user' }] of (options.workQueues ?? []).entries()) {
      const queue = this.workQueues[index];
      if (enabled && type === 'user' && queue !== undefined) this.bus.tryAttach(queue.name);
    }
  }

  /** idxd_device_drv_probe(). Throws ENXIO, or ENOMEM; `cmdStatus` says why. */
  enable(): void {
    if (this.state !== 'disabled') this.#refuse('ENXIO', CMD_STATUS.DEV_ENABLED);
    if (this.hardware.configurable && !this.#checkConfiguration()) fail('ENXIO');
    const outOfMemory = this.machine.injections.strikes('allocation-failure');
    if (outOfMemory && this.eventLog !== undefined) this.#refuse('ENOMEM', CMD_STATUS.DEV_EVL_ERR);
    this.#enableHardware();
    this.state = 'enabled';
    if (outOfMemory) {
      this.#disableHardware();
      this.#refuse('ENOMEM', CMD_STATUS.DEV_DMA_ERR);
    }
    this.cmdStatus = CMD_STATUS.SUCCESS;
  }

  /** idxd_device_drv_remove(): active work queues go first; then the device is disabled and reset. */
  disable(): void {
    for (const queue of this.workQueues) if (queue.state === 'enabled') this.bus.detach(queue.name);
    this.#disableHardware();
    if (this.hardware.configurable) this.reset();
  }

  /** idxd_device_reset(): what is in flight is dropped, and the configuration is gone. */
  reset(): void {
    this.command(() => this.abort(() => true));
    this.#clearState();
  }

  /** idxd_user_drv_probe(). Throws ENXIO, ENODEV, EOPNOTSUPP, EBUSY, EINVAL or ENOMEM; `cmdStatus` says why. */
  enableQueue(queue: WorkQueue): void {
    const { settings, sva, injections } = this.machine;
    if (this.state !== 'enabled') fail('ENXIO');
    if (settings.idxd.driverName && !queue.config.driverName.startsWith('user')) {
      this.#refuse('ENODEV', CMD_STATUS.WQ_NO_DRV_NAME);
    }
    if (sva !== undefined && !this.userPasid) this.#refuse('EOPNOTSUPP', CMD_STATUS.WQ_USER_NO_IOMMU);
    queue.config.type = 'user';
    try {
      this.#enableWorkQueue(queue);
    } catch (error) {
      queue.config.type = 'none';
      throw error;
    }
    if (injections.strikes('allocation-failure')) {
      this.#disableWorkQueue(queue);
      this.#refuse('ENOMEM', CMD_STATUS.CDEV_ERR);
    }
    this.#addNode(queue);
    this.cmdStatus = CMD_STATUS.SUCCESS;
  }

  /** idxd_user_drv_remove(): allowed with clients; their files live on, but the portal takes nothing more. */
  disableQueue(queue: WorkQueue): void {
    this.#removeNode(queue);
    this.#disableWorkQueue(queue);
  }

  /** idxd_wq_set_pasid() and idxd_wq_disable_pasid(): WQCFG can only be written while the queue is disabled. Throws ENXIO. */
  setQueuePasid(queue: WorkQueue, pasid: number | undefined): void {
    if (queue.state === 'enabled') this.#requireCommand(() => this.drain((task) => task.queue === queue));
    queue.state = 'disabled';
    queue.pasid = pasid;
    this.#requireCommand();
    queue.state = 'enabled';
  }

  // Commands and what is in flight

  /**
   * idxd_cmd_exec().
   * @param run what the command does; an error code of its own, or nothing for success
   * @returns the device's error code, 0 for success
   */
  command(run: () => number | void = () => 0): number {
    if (this.#halted) return CMD_STATUS.HW_ERR;
    this.cmdStatus = CMD_STATUS.SUCCESS;
    const failed = this.machine.injections.strikes('command-failure');
    const status = failed ? CMD_STATUS.HW_ERR : (run() ?? CMD_STATUS.SUCCESS);
    this.cmdStatus = status;
    return status;
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

  /**
   * The device halts. Nothing in flight completes, and until it is repaired it takes nothing.
   * @param recovery what the device asks for. A software reset, and a function-level reset on kernels that can do it, repair
   *   themselves after a while; otherwise the device stays down, its configuration is gone, and only `state` 'disabled' shows
   */
  halt(recovery: Recovery): void {
    this.#halted = true;
    this.state = 'halted';
    this.abort(() => true);
    const { clock, settings } = this.machine;
    if (recovery === 'software-reset') {
      clock.after(RESET_TIME, () => this.#reinitialize());
    } else if (recovery === 'flr' && settings.idxd.flrRecovery) {
      clock.after(FLR_TIME, () => this.#recoverFromFlr());
    } else {
      for (const queue of this.workQueues) queue.portalMapped = false;
      this.#clearState();
    }
  }

  /** idxd_device_reinit(): the configuration is written again, device and queues are enabled again. */
  #reinitialize(): void {
    this.#halted = false;
    if (this.command() !== CMD_STATUS.SUCCESS) {
      this.#clearState();
      return;
    }
    this.state = 'enabled';
  }

  /** idxd_reset_prepare() and idxd_reset_done(): configuration saved, device and user queues attached anew. */
  #recoverFromFlr(): void {
    const queues = this.workQueues.map(({ config, bound }) => ({ config: { ...config }, bound }));
    const groups = this.groups.map(({ config }) => ({ ...config }));
    const engines = this.engines.map(({ group }) => group);
    const { readBufferLimit, bound } = this;
    for (const queue of this.workQueues) if (queue.bound) this.bus.detach(queue.name);
    if (bound) this.bus.detach(this.name);
    this.#halted = false;
    this.#clearState();
    this.readBufferLimit = readBufferLimit;
    for (const [index, group] of this.groups.entries()) Object.assign(group.config, groups[index]);
    for (const [index, engine] of this.engines.entries()) engine.group = engines[index] ?? -1;
    for (const [index, queue] of this.workQueues.entries()) {
      const saved = queues[index];
      if (saved !== undefined) queue.restore(saved.config);
    }
    if (bound) this.bus.tryAttach(this.name);
    for (const [index, queue] of this.workQueues.entries()) if (queues[index]?.bound) this.bus.tryAttach(queue.name);
  }

  #busy(matches: (task: Task) => boolean): boolean {
    return (
      this.engines.some(({ task }) => task !== undefined && matches(task)) ||
      this.workQueues.some((queue) => queue.holds(matches))
    );
  }

  #refuse(code: 'ENXIO' | 'ENODEV' | 'EOPNOTSUPP' | 'EBUSY' | 'ENOMEM', cmdStatus: number): never {
    this.cmdStatus = cmdStatus;
    return fail(code);
  }

  #requireCommand(run?: () => number | void): void {
    if (this.command(run) !== CMD_STATUS.SUCCESS) fail('ENXIO');
  }

  // The driver's side

  /** The part of drv_enable_wq() that a user queue takes. */
  #enableWorkQueue(queue: WorkQueue): void {
    const { config } = queue;
    if (queue.state === 'enabled') this.#refuse('EBUSY', CMD_STATUS.WQ_ENABLED);
    if (config.group < 0) this.#refuse('ENXIO', CMD_STATUS.WQ_NO_GRP);
    if (config.name === '') this.#refuse('ENXIO', CMD_STATUS.WQ_NO_NAME);
    if (config.mode === 'shared') {
      if (!this.#supportsShared(queue)) this.#refuse('ENXIO', CMD_STATUS.WQ_NO_SVM);
      if (config.threshold === 0) this.#refuse('ENXIO', CMD_STATUS.WQ_NO_THRESH);
    }
    // The whole device's configuration is written again: a queue that was disabled but kept its group is in the way.
    if (this.hardware.configurable && !this.#checkConfiguration()) fail('EINVAL');
    this.#writeGroups();
    this.#requireCommand(() => this.#queueRefusal(queue));
    queue.state = 'enabled';
    queue.portalMapped = true;
    queue.clients = 0;
    queue.generation += 1;
  }

  /** drv_disable_wq(): what is in the queue is finished, then the queue is reset. */
  #disableWorkQueue(queue: WorkQueue): void {
    queue.portalMapped = false;
    if (queue.state === 'enabled') {
      const ofQueue = (task: Task): boolean => task.queue === queue;
      this.command(() => this.drain(ofQueue));
      this.command(() => this.abort(ofQueue));
    }
    this.#forgetQueue(queue);
  }

  #forgetQueue(queue: WorkQueue): void {
    queue.state = 'disabled';
    queue.clearConfiguration();
    queue.pasid = undefined;
    queue.clients = 0;
    queue.generation += 1;
  }

  /** idxd_device_config() without the writing: @returns whether the driver would write it; `cmdStatus` may say why not. */
  #checkConfiguration(): boolean {
    const grouped = this.workQueues.filter(({ config }) => config.group >= 0);
    if (grouped.some((queue) => queue.config.mode === 'shared' && !this.#supportsShared(queue))) {
      this.cmdStatus = CMD_STATUS.WQ_NO_SWQ_SUPPORT;
      return false;
    }
    if (grouped.length === 0) {
      this.cmdStatus = CMD_STATUS.WQ_NONE_CONFIGURED;
      return false;
    }
    if (this.engines.every(({ group }) => group < 0)) return false;
    for (const { config } of this.groups) {
      if (config.trafficClassA === -1) config.trafficClassA = 0;
      if (config.trafficClassB === -1) config.trafficClassB = 1;
    }
    for (const { config } of grouped) {
      if (config.size === 0 && config.type !== 'none') config.size = DEFAULT_QUEUE_DEPTH;
      const isKernels = config.mode === 'dedicated' && config.type === 'kernel';
      if (isKernels && this.userPasid && !this.hardware.privilegedPasid) {
        this.cmdStatus = CMD_STATUS.WQ_NO_PRIV;
        return false;
      }
    }
    return true;
  }

  /** wq_shared_supported(): ENQCMD, and PASID for what the queue is used for. */
  #supportsShared({ config }: WorkQueue): boolean {
    const { settings, sva } = this.machine;
    // Where open(2) binds nothing, the PASID is the business of whoever calls intel_svm_bind_mm().
    const pasid = sva === undefined || this.userPasid;
    return settings.cpu.enqcmd && pasid && config.type !== 'none';
  }

  /** Whether the PCI probe switches user PASIDs on. */
  #probesUserPasid(): boolean {
    const { settings } = this.machine;
    const { idxd, config, iommu } = settings;
    if (!idxd.sva || !config.intelIommuSvm) return false;
    if (idxd.pasidEnabledAt === 'open') return true;
    const { translated, pasidBits, hasAts, hasPri } = this.context;
    return translated && iommu.enabled && svmCapable(settings) && pasidBits !== undefined && hasAts && hasPri;
  }

  /** idxd_device_clear_state(). A device that is not configurable keeps its configuration. */
  #clearState(): void {
    if (this.hardware.configurable) {
      for (const queue of this.workQueues) {
        this.#forgetQueue(queue);
        queue.config.size = 0;
        queue.config.group = -1;
      }
      for (const engine of this.engines) engine.group = -1;
      for (const group of this.groups) Object.assign(group.config, this.#initialGroupConfig(0));
    }
    this.state = 'disabled';
  }

  #addNode(queue: WorkQueue): void {
    const { type } = this.hardware;
    const node = new QueueNode(this, queue);
    queue.minor = this.bus.minors[type].allocate();
    const number = `${this.bus.majors[type]}:${queue.minor}`;
    this.bus.publish(`${type}!${queue.name}`, node.directory, { dev: { mode: 0o444, show: () => number } });
    this.machine.addNode(node);
  }

  #removeNode(queue: WorkQueue): void {
    const { type } = this.hardware;
    const node = new QueueNode(this, queue);
    this.machine.removeNode(node.path);
    for (const file of this.machine.sysfs.list(node.directory)) {
      if (file.startsWith('file')) this.bus.unpublish(`${node.directory}/${file}`, file);
    }
    this.bus.unpublish(node.directory, `${type}!${queue.name}`);
    if (queue.minor !== undefined) this.bus.minors[type].free(queue.minor);
    queue.minor = undefined;
  }

  // The device's side

  /** Command ENABLE_DEVICE. Throws ENXIO. */
  #enableHardware(): void {
    this.#requireCommand(() => {
      const grouped = this.workQueues.filter(({ config }) => config.group >= 0);
      const entries = this.workQueues.reduce((sum, { config }) => sum + config.size, 0);
      if (entries > this.hardware.maxWorkQueuesSize) return CMD_STATUS.ERR_WQ_SIZE_ERANGE;
      const served = grouped.every(({ config }) => this.engines.some(({ group }) => group === config.group));
      return served ? CMD_STATUS.SUCCESS : CMD_STATUS.ERR_GRP_CONFIG;
    });
    this.#writeGroups();
  }

  #writeGroups(): void {
    for (const group of this.groups) {
      group.write(
        this.workQueues.filter(({ config }) => config.group === group.id),
        this.engines.filter((engine) => engine.group === group.id),
      );
    }
  }

  /** Command DISABLE_DEVICE, which drains, and what the driver clears after it. */
  #disableHardware(): void {
    if (this.state !== 'enabled') return;
    if (this.command(() => this.drain(() => true)) === CMD_STATUS.SUCCESS) this.#clearState();
  }

  /** What command ENABLE_WQ finds wrong. */
  #queueRefusal({ config }: WorkQueue): number {
    const { type, maxTransferSize, maxBatchSize } = this.hardware;
    if (config.size === 0) return CMD_STATUS.ERR_WQ_SIZE;
    if (config.priority === 0) return CMD_STATUS.ERR_WQ_PRIOR;
    if (config.mode === 'shared' && !this.hardware.sharedWorkQueues) return CMD_STATUS.ERR_WQ_MODE;
    if (type === 'dsa' && config.maxBatchSize > maxBatchSize) return CMD_STATUS.ERR_MAX_BATCH_SIZE;
    return config.maxTransferSize > maxTransferSize ? CMD_STATUS.ERR_MAX_XFER_SIZE : CMD_STATUS.SUCCESS;
  }

  /** An error that no completion record can tell: to the event log where there is one, else to SWERR. */
  #report(error: DeviceError): void {
    const { task, address } = error;
    const queue = this.workQueues[task.queue.id];
    if (queue !== undefined && this.eventLog?.record(queue, error) === true) return;
    this.errors.record({
      descValid: true,
      wqIdxValid: true,
      batch: task.inBatch,
      faultRw: error.write,
      priv: false,
      error: error.error,
      wqIdx: task.queue.id,
      operation: task.opcode,
      pasid: task.pasid,
      batchIdx: 0,
      invalidFlags: error.invalidFlags,
      faultAddr: (BigInt(address.high) << 32n) | BigInt(address.low),
    });
  }

  #host(): QueueHost {
    return {
      injections: this.machine.injections,
      accepts: () => this.state === 'enabled',
      dropped: (queue, error, descriptor, pasid) => {
        if (this.#halted) return;
        this.errors.record({
          descValid: true,
          wqIdxValid: true,
          batch: false,
          faultRw: false,
          priv: false,
          error,
          wqIdx: queue.id,
          operation: descriptor[7] ?? 0,
          pasid,
          batchIdx: 0,
          invalidFlags: 0,
          faultAddr: 0n,
        });
      },
    };
  }

  #makeQueues(options: readonly WorkQueueOptions[]): WorkQueue[] {
    const { opCap } = this;
    const host = this.#host();
    return Array.from({ length: this.hardware.maxWorkQueues }, (_, index) => {
      const nodeMode = options[index]?.nodeMode ?? 0o600;
      return new WorkQueue(index, `wq${this.id}.${index}`, { host, opCap, nodeMode });
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
    return Array.from(
      { length: hardware.maxEngines },
      (_, index) =>
        new Engine(index, { clock, unit, hardware }, (task) => this.workQueues[task.queue.id]?.release(task)),
    );
  }

  /** @param readBuffersAllowed all of them when the driver probes, none after a reset */
  #initialGroupConfig(readBuffersAllowed: number): GroupConfig {
    // Before DSA 3.0 both traffic classes are fixed at 1, unless the module was told otherwise.
    const trafficClass = this.hardware.version <= 0x200 && !this.bus.tcOverride ? 1 : -1;
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

  #configure(options: readonly WorkQueueOptions[]): void {
    const { maxTransferSize, maxBatchSize } = this.hardware;
    if (options.length === 0 && this.hardware.type === 'iax' && this.hardware.configurable) this.#presetIax();
    for (const [index, option] of options.entries()) {
      const queue = this.workQueues[index];
      if (queue === undefined) continue;
      const shared = option.mode === 'shared';
      queue.restore({
        ...queue.config,
        mode: option.mode,
        size: option.size,
        threshold: shared ? (option.threshold ?? option.size) : 0,
        priority: option.priority ?? 10,
        group: option.group ?? 0,
        type: option.type ?? 'user',
        name: option.name ?? `app${index}`,
        driverName: option.driverName ?? 'user',
        blockOnFault: option.blockOnFault ?? false,
        maxTransferSize: roundUpToPowerOfTwo(
          option.maxTransferSize ?? Math.min(DEFAULT_MAX_TRANSFER_SIZE, maxTransferSize),
        ),
        maxBatchSize: roundUpToPowerOfTwo(option.maxBatchSize ?? Math.min(DEFAULT_MAX_BATCH_SIZE, maxBatchSize || 1)),
      });
    }
    const groups = new Set(this.workQueues.map(({ config }) => config.group).filter((group) => group >= 0));
    for (const [index, group] of [...groups].toSorted((a, b) => a - b).entries()) {
      const engine = this.engines[index];
      if (engine !== undefined) engine.group = group;
    }
  }

  /** load_defaults of init.c: the compression driver of the kernel gets the whole device (v6.8 on). */
  #presetIax(): void {
    const [queue] = this.workQueues;
    if (queue === undefined) return;
    Object.assign(queue.config, {
      mode: 'dedicated',
      size: this.hardware.maxWorkQueuesSize,
      priority: 10,
      group: 0,
      type: 'kernel',
      name: 'iaa_crypto',
      driverName: 'crypto',
    });
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
