import { PASID_MAX, SVM_FLAG_PRIVATE_PASID, SVM_FLAG_SUPERVISOR_MODE } from '../abi/svm.js';
import { UACCE_DEV_SVA } from '../abi/uacce.js';
import { SvmError, invalidArgType, outOfRange } from '../errors.js';
import type { SvmCalls } from '../kernel.js';
import { readIfPresent } from '../sysfs.js';
import { bindOnOpen } from './bind-on-open.js';
import type { SvmDevOps, SvmDevice } from './device.js';

/** The arguments of `intel_svm_bind_mm` beside the device. */
export interface BindOptions {
  /** `SVM_FLAG_PRIVATE_PASID | SVM_FLAG_SUPERVISOR_MODE`. Default 0. */
  readonly flags?: number;
  /** Callbacks, compared by identity with those of earlier binds. Default `null`: none. */
  readonly ops?: SvmDevOps | null;
}

const KNOWN_FLAGS = SVM_FLAG_PRIVATE_PASID | SVM_FLAG_SUPERVISOR_MODE;
const INT32_MIN = -(2 ** 31);
const INT32_MAX = 2 ** 31 - 1;

/**
 * `intel_svm_bind_mm(dev, &pasid, flags, ops)`: lets the device use this process's address space.
 *
 * Binds are counted per PASID and device: the same process and `ops` get the same PASID again, and each bind needs its
 * `unbindMm`. With `SVM_FLAG_PRIVATE_PASID` every bind gets a number of its own.
 *
 * @returns the PASID: 20 bits where the kernel tells it, else a handle at or above 2^20 that stands for it
 * @throws TypeError `ERR_INVALID_ARG_TYPE`, RangeError `ERR_OUT_OF_RANGE` for flags that intel-svm.h does not define
 * @throws SvmError
 * - EBUSY: bound before with another `ops`
 * - EINVAL: no IOMMU, no PASID capability, or supervisor mode not supported
 * - ENOSPC: no PASID left that fits the device (EOVERFLOW on kernels that bind in open)
 * - ENOMEM; ENOSYS without CONFIG_INTEL_IOMMU_SVM; ENOTSUPP (v5.6, v5.7) where the IOMMU cannot walk the CPU's page tables
 * - on kernels that bind in open: what open(2) of the node returns, and EOPNOTSUPP for any flag
 */
export function bindMm(dev: SvmDevice, options: BindOptions = {}): number {
  const { flags, ops } = checkedOptions(options);
  const calls = svmCalls(dev);
  if (dev.kernel.svm === undefined) requireSva(dev);
  return calls.bindMm(dev, flags, ops);
}

/**
 * `intel_svm_bind_mm(dev, NULL, flags, NULL)`: throws what a first bind would, and binds nothing. It leaves PASID, ATS and
 * PRI enabled on the device, as the kernel's does.
 *
 * @throws as `bindMm`
 */
export function probe(dev: SvmDevice, options: Pick<BindOptions, 'flags'> = {}): void {
  const { flags } = checkedOptions(options);
  const calls = svmCalls(dev);
  if (dev.kernel.svm === undefined) requireSva(dev);
  calls.probe(dev, flags);
}

/**
 * `intel_svm_available(dev)`: whether a probe succeeds.
 * @throws TypeError `ERR_INVALID_ARG_TYPE` when `dev` is no device
 */
export function available(dev: SvmDevice): boolean {
  try {
    probe(dev);
    return true;
  } catch (error) {
    if (error instanceof SvmError) return false;
    throw error;
  }
}

/**
 * `intel_svm_unbind_mm(dev, pasid)`: gives one bind back. The device must be idle: nothing waits for work in flight.
 *
 * @throws SvmError EINVAL when the PASID is not bound on this device
 */
export function unbindMm(dev: SvmDevice, pasid: number): void {
  const calls = svmCalls(dev);
  calls.unbindMm(dev, checkedPasid(pasid));
}

/**
 * `intel_svm_is_pasid_valid(dev, pasid)`.
 *
 * @returns true while the address space behind the PASID lives; false when its process is gone but nobody has unbound
 * @throws SvmError EINVAL when the number is allocated nowhere or `dev` has no IOMMU. `dev` need not be bound to it.
 */
export function isPasidValid(dev: SvmDevice, pasid: number): boolean {
  const calls = svmCalls(dev);
  return calls.isPasidValid(dev, checkedPasid(pasid));
}

/**
 * The 20-bit number that the IOMMU knows a PASID by.
 *
 * @returns `undefined` where the kernel does not tell it
 * @throws SvmError EINVAL as `isPasidValid`
 */
export function hardwarePasid(dev: SvmDevice, pasid: number): number | undefined {
  isPasidValid(dev, pasid);
  return pasid <= PASID_MAX ? pasid : undefined;
}

/** The kernel's own functions, or their equivalent on a kernel that binds in open(2). */
function svmCalls(dev: SvmDevice): SvmCalls {
  const device: unknown = dev;
  if (typeof device !== 'object' || device === null || !('kernel' in device) || !('path' in device)) {
    throw invalidArgType('dev', 'an SvmDevice', device);
  }
  return dev.kernel.svm ?? bindOnOpen(dev.kernel);
}

/**
 * Where open(2) binds nothing, it succeeds all the same: the device would take pointers for something else.
 * @throws SvmError EOPNOTSUPP
 */
function requireSva(dev: SvmDevice): void {
  const { kernel, path, sysfs, type, accelerator } = dev;
  const bindsInOpen =
    type === 'uacce'
      ? (Number(readIfPresent(kernel, `${sysfs}/flags`)) & UACCE_DEV_SVA) !== 0
      : readIfPresent(kernel, `/sys/bus/dsa/devices/${accelerator}/pasid_enabled`) !== '0';
  if (bindsInOpen) return;
  const hint =
    type === 'uacce'
      ? 'The driver runs this device without shared virtual addressing (flags lacks UACCE_DEV_SVA).'
      : 'PASID is off for this device (pasid_enabled is 0): boot with intel_iommu=on,sm_on, and load idxd with sva=1.';
  throw new SvmError('EOPNOTSUPP', { syscall: 'bind_mm', path, hint });
}

function checkedOptions(options: unknown): { flags: number; ops: SvmDevOps | null } {
  if (typeof options !== 'object' || options === null) throw invalidArgType('options', 'an object', options);
  const { flags = 0, ops = null } = options as { flags?: unknown; ops?: unknown };
  if (typeof flags !== 'number') throw invalidArgType('options.flags', 'a number', flags);
  if (!Number.isInteger(flags) || flags < 0 || (flags & ~KNOWN_FLAGS) !== 0 || flags > INT32_MAX) {
    throw outOfRange('options.flags', 'a combination of SVM_FLAG_PRIVATE_PASID and SVM_FLAG_SUPERVISOR_MODE', flags);
  }
  return { flags, ops: checkedOps(ops) };
}

function checkedOps(ops: unknown): SvmDevOps | null {
  if (ops === null) return null;
  if (typeof ops !== 'object') throw invalidArgType('options.ops', 'an SvmDevOps object or null', ops);
  const callbacks = ops as SvmDevOps;
  const faultCb: unknown = callbacks.faultCb ?? undefined;
  if (faultCb !== undefined && typeof faultCb !== 'function') {
    throw invalidArgType('options.ops.faultCb', 'a function', faultCb);
  }
  return callbacks;
}

/** The header's parameter is an int; whether the number is allocated is the kernel's to say. */
function checkedPasid(pasid: unknown): number {
  if (typeof pasid !== 'number') throw invalidArgType('pasid', 'a number', pasid);
  if (!Number.isInteger(pasid) || pasid < INT32_MIN || pasid > INT32_MAX)
    throw outOfRange('pasid', 'an integer', pasid);
  return pasid;
}
