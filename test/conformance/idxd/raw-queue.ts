import type { SvmDevice } from 'intel-svm';
import { COMP_STATUS } from '../../../lib/abi/completion-status.js';
import { DESC_FLAG } from '../../../lib/abi/descriptor-flags.js';
import { DSA_OPCODE } from '../../../lib/abi/dsa.js';
import { Ring, type Completion, type DescriptorFields } from '../../../lib/idxd/ring.js';
import type { DeviceMapping, Kernel, Submit } from '../../../lib/kernel.js';

/** Flags of a descriptor whose completion record is wanted. */
export const RECORD = DESC_FLAG.CRAV | DESC_FLAG.RCR;

/** Turns of the event loop after which a completion is given up: a device in a virtual machine is slow, not lost. */
const PATIENCE = 200_000;

/** A work queue by system calls alone: what the port does, with nothing of `WorkQueue` in between. */
export class RawQueue implements Disposable {
  readonly kernel: Kernel;
  readonly device: SvmDevice;
  readonly fd: number;
  readonly ring: Ring;
  /** The PASID to write into descriptors: 0 where the queue or the CPU puts it in. */
  readonly pasid: number;
  #portal: DeviceMapping | undefined;
  #submit: Submit | undefined;

  constructor(device: SvmDevice, slots = 16, pasid = 0) {
    this.device = device;
    this.kernel = device.kernel;
    this.pasid = pasid;
    this.fd = this.kernel.open(device.path);
    this.ring = new Ring(this.kernel, slots);
  }

  attribute(name: string): string {
    return this.kernel.sysfs.read(`${this.device.sysfs}/${name}`);
  }

  /** The way through the portal, which is mapped at the first call. */
  get submit(): Submit {
    this.#portal ??= this.kernel.mmap(this.fd, this.kernel.pageSize);
    const instruction = this.attribute('mode') === 'dedicated' ? 'movdir64b' : 'enqcmd';
    this.#submit ??= this.kernel.submitter(this.#portal, instruction, this.ring.memory);
    return this.#submit;
  }

  encode(slot: number, fields: DescriptorFields): void {
    this.ring.encode(slot, { pasid: this.pasid, flags: RECORD, ...fields });
  }

  /** Submits one descriptor through the portal and waits for its record. */
  run(fields: DescriptorFields, slot = 0): Promise<Completion> {
    this.encode(slot, fields);
    if (this.submit(slot) !== 1) throw new Error('the queue took no descriptor');
    return this.completion(slot);
  }

  /** Submits one descriptor by write(2) and waits for its record. */
  runByWrite(fields: DescriptorFields, slot = 0): Promise<Completion> {
    this.encode(slot, fields);
    this.kernel.write(this.fd, this.ring.descriptor(slot));
    return this.completion(slot);
  }

  async completion(slot: number): Promise<Completion> {
    for (let turns = 0; !this.ring.isComplete(slot); turns += 1) {
      if (turns === PATIENCE) throw new Error(`slot ${slot} did not complete`);
      await this.kernel.turn();
    }
    return this.ring.completion(slot);
  }

  [Symbol.dispose](): void {
    if (this.#portal !== undefined) this.kernel.munmap(this.#portal);
    this.kernel.close(this.fd);
    this.ring.free();
  }
}

/** Fields of the operations that this suite uses. */
export const move = (srcAddr: bigint, dstAddr: bigint, xferSize: number): DescriptorFields => ({
  opcode: DSA_OPCODE.MEMMOVE,
  srcAddr,
  dstAddr,
  xferSize,
});

export const SUCCESS = { status: COMP_STATUS.SUCCESS };
