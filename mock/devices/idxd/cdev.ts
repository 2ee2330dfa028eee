import { DSA_DESCRIPTOR_SIZE, DSA_OPCODE } from '../../../lib/abi/dsa.js';
import { POLL, type SubmitInstruction } from '../../../lib/kernel.js';
import { Errno, KernelBug, fail } from '../../errno.js';
import type { DeviceContext } from '../../iommu/device-context.js';
import type { AddressSpace } from '../../mm/address-space.js';
import { PAGE_SIZE } from '../../mm/page.js';
import type { SvaHandle } from '../../svm/modern.js';
import type { Caller, CharDevice, MappedRegion, OpenFile } from '../char-device.js';
import { decimal, readOnly } from '../attributes.js';
import type { IdxdDevice } from './device.js';
import { recordFormat } from './execution.js';
import type { Task } from './task.js';
import type { UserContext, WorkQueue } from './work-queue.js';

const PASID_PRIV = 0;
const FLAGS_OPCODE = 4;
const COMPLETION_ADDRESS = 8;
const PASID_MASK = 0xf_ffff;

/** The device node of a user work queue (drivers/dma/idxd/cdev.c). */
class QueueNode implements CharDevice {
  readonly path: string;
  readonly context: DeviceContext;
  readonly mode: number;
  /** Name of the character device in sysfs: a slash is an exclamation mark there. */
  readonly name: string;
  /** Its directory, below the work queue's. */
  readonly directory: string;
  readonly #device: IdxdDevice;
  readonly #queue: WorkQueue;

  constructor(device: IdxdDevice, queue: WorkQueue) {
    const { type } = device.hardware;
    this.path = `/dev/${type}/${queue.name}`;
    this.context = device.context;
    this.mode = queue.nodeMode;
    this.name = `${type}!${queue.name}`;
    this.directory = `${device.directory}/${queue.name}/${this.name}`;
    this.#device = device;
    this.#queue = queue;
  }

  open(caller: Caller): OpenFile {
    if (this.#device.machine.injections.strikes('allocation-failure')) return fail('ENOMEM');
    if (this.#queue.config.mode === 'dedicated' && this.#queue.clients > 0) return fail('EBUSY');
    return new QueueFile(this.#device, this.#queue, this.directory, caller);
  }
}

/** idxd_wq_add_cdev(): the device node, and the character device in sysfs. */
export function addNode(device: IdxdDevice, queue: WorkQueue): void {
  const { machine, bus, hardware } = device;
  const node = new QueueNode(device, queue);
  const major = bus.majors[hardware.type];
  const minor = bus.minors[hardware.type].allocate();
  queue.minor = minor;
  bus.publish(node.name, node.directory, { dev: readOnly(() => `${major}:${minor}`) });
  machine.addNode(node);
}

/** idxd_wq_del_cdev(): files that are open lose their directories with it. */
export function removeNode(device: IdxdDevice, queue: WorkQueue): void {
  const { machine, bus, hardware } = device;
  const node = new QueueNode(device, queue);
  machine.removeNode(node.path);
  for (const file of machine.sysfs.list(node.directory)) {
    if (file.startsWith('file')) bus.unpublish(file, `${node.directory}/${file}`);
  }
  bus.unpublish(node.name, node.directory);
  if (queue.minor !== undefined) bus.minors[hardware.type].free(queue.minor);
  queue.minor = undefined;
}

/** An open file of a work queue: `struct idxd_user_context` and its file operations. */
class QueueFile implements OpenFile, UserContext {
  readonly pasid: number | undefined;
  readonly #device: IdxdDevice;
  readonly #queue: WorkQueue;
  readonly #mm: AddressSpace;
  /** The bond that open made; `undefined` where drivers do not bind in open. */
  readonly #bond: SvaHandle | undefined;
  readonly #id: number;
  readonly #directory: string;
  readonly #generation: number;
  #crFaults = 0;
  #crFaultFailures = 0;

  constructor(device: IdxdDevice, queue: WorkQueue, cdevDirectory: string, caller: Caller) {
    const { sva } = device.machine;
    this.#device = device;
    this.#queue = queue;
    this.#mm = caller.mm;
    this.#bond = device.userPasid ? sva?.bind(device.context, caller.mm) : undefined;
    this.pasid = this.#bond?.pasid;
    if (this.#bond !== undefined) this.#register(this.#bond);
    this.#generation = queue.generation;
    this.#id = device.bus.fileIds.allocate();
    this.#directory = `${cdevDirectory}/file${this.#id}`;
    this.#publish(caller.pid);
    queue.clients += 1;
  }

  mmap(caller: Caller, length: number): MappedRegion {
    const { machine, hardware } = this.#device;
    if (machine.settings.idxd.mmapNeedsRawio && !hardware.userSubmissionSafe && !caller.capSysRawio) fail('EPERM');
    this.#requireOpener(caller);
    if (length > PAGE_SIZE) fail('EINVAL');
    return { store: (by, instruction, descriptor) => this.#store(by, instruction, descriptor) };
  }

  write(caller: Caller, bytes: Uint8Array): number {
    if (!this.#device.machine.settings.idxd.writeSubmission) return fail('EINVAL');
    this.#requireOpener(caller);
    let taken = 0;
    try {
      for (; taken + DSA_DESCRIPTOR_SIZE <= bytes.length; taken += DSA_DESCRIPTOR_SIZE) {
        this.#submitForUser(bytes.subarray(taken, taken + DSA_DESCRIPTOR_SIZE));
      }
    } catch (error) {
      if (!(error instanceof Errno) || taken === 0) throw error;
    }
    return taken;
  }

  poll(caller: Caller, events: number): number {
    if (this.#isForeign(caller)) return POLL.NVAL;
    return this.#device.errors.valid ? events & (POLL.IN | POLL.RDNORM) : 0;
  }

  /**
   * The last descriptor and mapping are gone: the device finishes what it has of this client, then the PASID goes. What
   * cannot finish, because its page request was lost, is aborted: the kernel would wait for ever.
   */
  release(): void {
    const device = this.#device;
    const queue = this.#queue;
    device.bus.fileIds.free(this.#id);
    device.bus.unpublish(`file${this.#id}`, this.#directory);
    if (queue.config.mode === 'dedicated') this.#releaseDedicated();
    else device.command(() => device.drain((task) => this.#submitted(task)));
    if (this.#bond !== undefined) {
      device.eventLog?.ignore(queue, this.#bond.pasid);
      if (queue.contexts.get(this.#bond.pasid) === this) queue.contexts.delete(this.#bond.pasid);
      device.machine.sva?.unbind(this.#bond);
    }
    if (queue.generation === this.#generation) queue.clients -= 1;
  }

  /** idxd_copy_cr(): the status byte last, once the rest is there. */
  copyRecord(address: number, record: Uint8Array): void {
    try {
      this.#mm.write(address + 1, record.subarray(1));
      this.#mm.write(address, record.subarray(0, 1));
      this.#crFaults += 1;
    } catch (error) {
      if (!(error instanceof Errno)) throw error;
      this.#crFaultFailures += 1;
    }
  }

  /** Enters the PASID: in the registry, and in WQCFG of a dedicated queue, which takes a disable and an enable. */
  #register(bond: SvaHandle): void {
    const { pasid } = bond;
    const queue = this.#queue;
    // A second open by the same process only gets a warning: the registry keeps the first file.
    if (!queue.contexts.has(pasid)) queue.contexts.set(pasid, this);
    if (queue.config.mode === 'shared') return;
    try {
      this.#device.setQueuePasid(queue, pasid);
    } catch (error) {
      queue.contexts.delete(pasid);
      this.#device.machine.sva?.unbind(bond);
      throw error;
    }
  }

  #releaseDedicated(): void {
    const device = this.#device;
    const queue = this.#queue;
    if (queue.generation !== this.#generation || queue.state !== 'enabled') return;
    if (this.#bond === undefined) {
      device.command(() => device.drain((task) => task.queue === queue));
      return;
    }
    try {
      device.setQueuePasid(queue, undefined);
    } catch (error) {
      // The kernel logs that the command failed and goes on; the queue keeps its PASID.
      if (!(error instanceof Errno)) throw error;
    }
  }

  /** Whether a descriptor is this client's: by PASID, on all queues of the device; by file where there is no PASID. */
  #submitted(task: Task): boolean {
    return this.#bond === undefined ? task.owner === this : task.pasid === this.#bond.pasid;
  }

  /** A user's store to the portal. */
  #store(caller: Caller, instruction: SubmitInstruction, descriptor: Uint8Array): boolean {
    const pasid = this.#storedPasid(caller, instruction, descriptor);
    return this.#queue.submit(instruction, descriptor, pasid, this);
  }

  /**
   * The PASID that a user's store carries. For ENQCMD it is IA32_PASID: without one, or with bits 31:0 of the source
   * set, the CPU raises #GP and the program dies of SIGSEGV. A call cannot return that; EFAULT is what comes closest.
   * Before open(2) bound anything, whoever called intel_svm_bind_mm() was the driver, and put the PASID into the
   * descriptor, as ENQCMDS takes it.
   */
  #storedPasid(caller: Caller, instruction: SubmitInstruction, descriptor: Uint8Array): number {
    const { sva } = this.#device.machine;
    const word = readWord(descriptor, PASID_PRIV);
    if (sva === undefined) return word & PASID_MASK;
    if (instruction === 'movdir64b') return this.#queue.pasid ?? 0;
    if (word !== 0) return fail('EFAULT');
    return sva.pasidOf(caller.mm) ?? fail('EFAULT');
  }

  /** idxd_submit_user_descriptor(): one descriptor of a write(2). */
  #submitForUser(descriptor: Uint8Array): void {
    const { hardware, machine } = this.#device;
    const queue = this.#queue;
    const isBatch = readWord(descriptor, FLAGS_OPCODE) >>> 24 === DSA_OPCODE.BATCH;
    if (isBatch && this.#device.refusesBatch) fail('EINVAL');
    if (readWord(descriptor, COMPLETION_ADDRESS) % recordFormat(hardware.type).align !== 0) fail('EINVAL');
    if (!queue.portalMapped) throw new KernelBug('idxd_cdev_write: the portal of the work queue is not mapped');
    const dedicated = queue.config.mode === 'dedicated';
    const word = readWord(descriptor, PASID_PRIV) & PASID_MASK;
    if (dedicated) {
      const pasid = machine.sva === undefined ? word : (queue.pasid ?? 0);
      queue.submit('movdir64b', descriptor, pasid, this);
      return;
    }
    for (let retries = queue.config.enqcmdsRetries; ; retries -= 1) {
      if (queue.submit('enqcmd', descriptor, this.pasid ?? word, this)) return;
      if (retries <= 0) fail('EAGAIN');
    }
  }

  #isForeign(caller: Caller): boolean {
    return this.#device.machine.settings.idxd.mmCheck && this.#bond !== undefined && caller.mm !== this.#mm;
  }

  #requireOpener(caller: Caller): void {
    if (this.#isForeign(caller)) fail('EPERM');
  }

  #publish(pid: number): void {
    this.#device.bus.publish(`file${this.#id}`, this.#directory, {
      cr_faults: decimal(() => this.#crFaults),
      cr_fault_failures: decimal(() => this.#crFaultFailures),
      pid: decimal(() => pid),
    });
  }
}

/** A 32-bit word of a descriptor. */
function readWord(descriptor: Uint8Array, offset: number): number {
  return new DataView(descriptor.buffer, descriptor.byteOffset, descriptor.byteLength).getUint32(offset, true);
}
