import { DSA_DESCRIPTOR_SIZE } from '../abi/dsa.js';
import { SvmError } from '../errors.js';
import type { DeviceMapping, Kernel, Submit, SubmitInstruction } from '../kernel.js';
import { readIfPresent } from '../sysfs.js';
import type { SvmDevice } from '../svm/device.js';
import type { Ring } from './ring.js';

/** How descriptors reach the queue: a mapped portal with one of its instructions, or write(2) where mapping is refused. */
export type SubmissionMode = SubmitInstruction | 'write';
export const SUBMISSION_MODES: readonly SubmissionMode[] = ['movdir64b', 'enqcmd', 'write'];

/**
 * The instruction that a queue takes: MOVDIR64B if it is dedicated, ENQCMD if it is shared.
 * @param forced the mode that the caller asks for. Throws SvmError EINVAL if it is the other instruction.
 */
export function instructionFor(
  device: SvmDevice,
  queueMode: 'dedicated' | 'shared',
  forced: SubmissionMode | undefined,
): SubmitInstruction {
  const instruction = queueMode === 'dedicated' ? 'movdir64b' : 'enqcmd';
  if (forced === undefined || forced === 'write' || forced === instruction) return instruction;
  const hint = `A ${queueMode} work queue takes ${instruction.toUpperCase()} alone; the device drops anything else.`;
  throw new SvmError('EINVAL', { syscall: 'submit', path: device.path, hint });
}

/**
 * The PASID field of a descriptor. A caller of intel_svm_bind_mm is the driver and names the PASID; elsewhere the CPU or the
 * queue puts it in, and ENQCMD wants the field zero.
 */
export function descriptorPasid(kernel: Kernel, pasid: number): number {
  return kernel.svm === undefined ? 0 : pasid;
}

/** The way from a ring to a work queue: the portal if the kernel maps it, else write(2). */
export class Submission implements Disposable {
  readonly mode: SubmissionMode;
  readonly #kernel: Kernel;
  readonly #device: SvmDevice;
  readonly #fd: number;
  readonly #ring: Ring;
  #portal: DeviceMapping | undefined;

  /**
   * Offers descriptors of the ring to the queue: fewer than `count` are taken when it is full.
   * Throws SvmError ENXIO when the queue was disabled, and what write(2) returns.
   */
  readonly submit: Submit;

  /**
   * @param instruction what the queue takes: `instructionFor` its mode
   * @param forced a mode to use whatever the machine would prefer
   * @throws SvmError EPERM where the forced portal is refused, ENOSYS where the CPU lacks its instruction
   */
  constructor(
    device: SvmDevice,
    fd: number,
    ring: Ring,
    instruction: SubmitInstruction,
    forced: SubmissionMode | undefined,
  ) {
    const { kernel } = device;
    this.#kernel = kernel;
    this.#device = device;
    this.#fd = fd;
    this.#ring = ring;
    const submit = forced === 'write' ? undefined : this.#openPortal(instruction, forced === undefined);
    this.mode = submit === undefined ? 'write' : instruction;
    this.submit = submit ?? ((slot, count = 1) => this.#write(slot, count));
  }

  [Symbol.dispose](): void {
    if (this.#portal === undefined) return;
    this.#kernel.munmap(this.#portal);
    this.#portal = undefined;
  }

  /**
   * @param optional the mode was not asked for: without CAP_SYS_RAWIO (EPERM on mmap) and on a CPU without the instruction
   *   (ENOSYS) the driver still takes descriptors by write(2)
   */
  #openPortal(instruction: SubmitInstruction, optional: boolean): Submit | undefined {
    try {
      this.#portal = this.#kernel.mmap(this.#fd, this.#kernel.pageSize);
      return this.#kernel.submitter(this.#portal, instruction, this.#ring.memory);
    } catch (error) {
      this[Symbol.dispose]();
      if (optional && error instanceof SvmError && (error.code === 'EPERM' || error.code === 'ENOSYS'))
        return undefined;
      throw error;
    }
  }

  #write(slot: number, count: number): number {
    this.requireEnabled();
    const first = slot * DSA_DESCRIPTOR_SIZE;
    const descriptors = this.#ring.memory.bytes.subarray(first, first + count * DSA_DESCRIPTOR_SIZE);
    try {
      return this.#kernel.write(this.#fd, descriptors) / DSA_DESCRIPTOR_SIZE;
    } catch (error) {
      if (error instanceof SvmError && error.code === 'EAGAIN') return 0;
      throw error;
    }
  }

  /**
   * A queue that was disabled loses what is stored to its portal, and write(2) to it dereferences a null portal in the kernel
   * (idxd cdev.c): neither must come to pass.
   * @throws SvmError ENXIO
   */
  requireEnabled(): void {
    const { path, sysfs } = this.#device;
    if (readIfPresent(this.#kernel, `${sysfs}/state`) === 'enabled') return;
    const hint = 'The work queue was disabled or removed while in use: enable it and open it again.';
    throw new SvmError('ENXIO', { syscall: 'submit', path, hint });
  }
}
