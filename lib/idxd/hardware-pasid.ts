import { DESC_FLAG } from '../abi/descriptor-flags.js';
import { DSA_OPCODE } from '../abi/dsa.js';
import { PASID_MAX } from '../abi/svm.js';
import { parseSwerr, type Swerr } from '../abi/swerr.js';
import { SvmError, invalidArgValue } from '../errors.js';
import { isPasidValid } from '../svm/bind.js';
import { DeviceFile } from '../svm/device-file.js';
import type { SvmDevice } from '../svm/device.js';
import { readIfPresent } from '../sysfs.js';
import { Ring } from './ring.js';
import { Submission, descriptorPasid, instructionFor } from './submission.js';

/**
 * Where a hardware PASID was learnt.
 * - 'kernel': the bind returned it. Needs nothing.
 * - 'debugfs': the device's PASID table in iommu/intel/dmar_translation_struct, where it has one SVA entry. Needs root and
 *   CONFIG_INTEL_IOMMU_DEBUGFS.
 * - 'errors': the device's `errors` attribute after a deliberately bad descriptor of this process. Needs no privilege, but
 *   leaves an error in the register, which poll(2) of every work queue of the device reports from then on.
 * - 'tracefs': the page request of a deliberate fault, in the event intel_iommu:prq_report. Needs root and a queue that
 *   blocks on faults.
 */
export type PasidSource = 'kernel' | 'debugfs' | 'errors' | 'tracefs';

/** A hardware PASID, and how it is known. */
export interface HardwarePasid {
  readonly pasid: number;
  readonly source: PasidSource;
}

const SOURCES: Readonly<Record<PasidSource, (dev: SvmDevice, pasid: number) => Promise<number | undefined>>> = {
  kernel: async (_dev, pasid) => (pasid <= PASID_MAX ? pasid : undefined),
  debugfs: async (dev) => fromPasidTable(dev),
  errors: fromErrorRegister,
  tracefs: fromPageRequest,
};

/** Sources that only look. */
const PASSIVE: readonly PasidSource[] = ['kernel', 'debugfs'];

/**
 * Finds the 20-bit number that the IOMMU knows this process by, beyond what `hardwarePasid` can say without doing anything.
 *
 * @param dev an IDXD work queue that this process has bound
 * @param pasid what `bindMm` returned for it
 * @param options.sources where to look, in this order. Default: 'kernel' and 'debugfs'; the others make the device do
 *   something and are only used when they are named
 * @returns `undefined` where none of the sources tells
 * @throws SvmError EINVAL when the PASID is not valid, as `isPasidValid`
 */
export async function findHardwarePasid(
  dev: SvmDevice,
  pasid: number,
  options: { readonly sources?: readonly PasidSource[] } = {},
): Promise<HardwarePasid | undefined> {
  isPasidValid(dev, pasid);
  const unknown = options.sources?.find((source) => !Object.hasOwn(SOURCES, source));
  if (unknown !== undefined) {
    throw invalidArgValue('options.sources', `must name ${Object.keys(SOURCES).join(', ')}. Received '${unknown}'`);
  }
  for (const source of options.sources ?? PASSIVE) {
    const found = await SOURCES[source](dev, pasid);
    if (found !== undefined) return { pasid: found, source };
  }
  return undefined;
}

/** A row of dmar_translation_struct: B.D.F, root and context entry, PASID, and the PASID entry's quadwords 2:1:0. */
const TABLE_ROW = /^([\da-f]{2}:[\da-f]{2}\.[0-7])\s+\S+\s+\S+\s+(-?\d+)\s+0x[\da-f]+:0x[\da-f]+:0x([\da-f]+)/;
/** PASID Granular Translation Type, bits 8:6 of quadword 0: first-level only, which is what SVA uses (VT-d spec). */
const PGTT_SHIFT = 6n;
const PGTT_MASK = 7n;
const PGTT_FIRST_LEVEL = 1n;

/** The only SVA entry of a device's PASID table is this process's, since it is bound; of several, none can be told. */
function fromPasidTable({ kernel, bdf }: SvmDevice): number | undefined {
  const table = permitted(() => readIfPresent(kernel, '/sys/kernel/debug/iommu/intel/dmar_translation_struct'));
  if (table === undefined || bdf === undefined) return undefined;
  const pasids = new Set<number>();
  for (const line of table.split('\n')) {
    const row = TABLE_ROW.exec(line);
    if (row?.[3] === undefined || row[1] !== bdf.slice(5)) continue;
    const pgtt = (BigInt(`0x${row[3]}`) >> PGTT_SHIFT) & PGTT_MASK;
    if (pgtt === PGTT_FIRST_LEVEL && Number(row[2]) > 0) pasids.add(Number(row[2]));
  }
  const [only] = pasids;
  return pasids.size === 1 ? only : undefined;
}

/** Opcodes that no device has: two, so that an error of before can be told from the one that is made here. */
const BAD_OPCODES = [0x7f, 0x7e];
/** Turns of the event loop until the driver's interrupt thread must have copied the register. */
const PATIENCE = 20_000;

/** A descriptor without a completion record can report its error in SWERR alone, with the PASID it came under. */
async function fromErrorRegister(dev: SvmDevice, bound: number): Promise<number | undefined> {
  const read = (): Swerr => parseSwerr(dev.kernel.sysfs.read(`${accelerator(dev)}/errors`));
  const before = read();
  const opcode = BAD_OPCODES.find((candidate) => candidate !== before.operation) ?? 0;
  const queueIndex = Number(dev.name.split('.')[1]);
  return withRing(dev, async (ring, submit) => {
    ring.encode(0, { opcode, pasid: descriptorPasid(dev.kernel, bound) });
    if (submit() !== 1) return undefined;
    for (let turns = 0; turns < PATIENCE; turns += 1) {
      const { valid, descValid, operation, wqIdxValid, wqIdx, pasid } = read();
      if (valid && descValid && operation === opcode && (!wqIdxValid || wqIdx === queueIndex)) return pasid;
      await dev.kernel.turn();
    }
    return undefined;
  });
}

const PRQ_REPORT = '/sys/kernel/tracing/events/intel_iommu/prq_report/enable';
const TRACE = '/sys/kernel/tracing/trace';

/** A page request names the page it wants, so the one for a page of ours is ours. */
async function fromPageRequest(dev: SvmDevice, bound: number): Promise<number | undefined> {
  const { kernel } = dev;
  if (kernel.sysfs.read(`${dev.sysfs}/block_on_fault`) !== '1') return undefined;
  const before = permitted(() => readIfPresent(kernel, PRQ_REPORT));
  if (before === undefined) return undefined;
  kernel.sysfs.write(PRQ_REPORT, '1');
  try {
    const page = await provokePageRequest(dev, bound);
    const wanted = `addr=0x${page.toString(16)} `;
    const line = kernel.sysfs
      .read(TRACE)
      .split('\n')
      .find((text) => text.includes('prq_report:') && text.includes(wanted));
    const found = /\bpasid=0x([\da-f]+)/.exec(line ?? '')?.[1];
    return found === undefined ? undefined : Number.parseInt(found, 16);
  } finally {
    kernel.sysfs.write(PRQ_REPORT, before);
  }
}

/** @returns the number of the page that the device asked for */
async function provokePageRequest(dev: SvmDevice, bound: number): Promise<bigint> {
  const { kernel } = dev;
  return withRing(dev, async (ring, submit, file) => {
    const target = kernel.alloc(kernel.pageSize, { populate: false });
    file.whenClosed(() => kernel.free(target));
    ring.encode(0, {
      opcode: DSA_OPCODE.MEMFILL,
      pasid: descriptorPasid(kernel, bound),
      flags: DESC_FLAG.CRAV | DESC_FLAG.RCR | DESC_FLAG.BOF,
      dstAddr: target.address,
      xferSize: kernel.pageSize,
    });
    if (submit() === 1) {
      for (let turns = 0; turns < PATIENCE && !ring.isComplete(0); turns += 1) await kernel.turn();
    }
    return target.address / BigInt(kernel.pageSize);
  });
}

/**
 * Runs with a ring of one slot on the file that this process has open; `submit` offers the slot to the queue. Nothing says
 * when the device is done with a descriptor that has no record, so the memory is kept until the file is closed.
 */
async function withRing<T>(
  dev: SvmDevice,
  use: (ring: Ring, submit: () => number, file: DeviceFile) => Promise<T>,
): Promise<T> {
  const { kernel } = dev;
  const mode = kernel.sysfs.read(`${dev.sysfs}/mode`) === 'dedicated' ? 'dedicated' : 'shared';
  using file = new DeviceFile(kernel, dev.path);
  const ring = new Ring(kernel, 1);
  file.whenClosed(() => ring.free());
  using submission = new Submission(dev, file.fd, ring, instructionFor(dev, mode, undefined), undefined);
  submission.requireEnabled();
  return await use(ring, () => submission.submit(0), file);
}

const accelerator = (dev: SvmDevice): string => `/sys/bus/dsa/devices/${dev.accelerator}`;

/** A source that this user may not read tells nothing. */
function permitted(read: () => string | undefined): string | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof SvmError && (error.code === 'EACCES' || error.code === 'EPERM')) return undefined;
    throw error;
  }
}
