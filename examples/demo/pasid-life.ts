import { hardwarePasid, isPasidValid, SvmError, type SvmBinding, type SvmDevice, type SvmDevOps } from 'intel-svm';

/** What `isPasidValid` said: its answer, or the errno that it threw. */
export type Validity = 'valid' | 'not valid' | SvmError['code'];

/** A PASID from its bind to the next one. */
export interface PasidReport {
  readonly pasid: number;
  /** The 20-bit number, where the kernel tells it. */
  readonly hardwarePasid: number | undefined;
  readonly whileBound: Validity;
  readonly afterUnbind: Validity;
  /** The number that the next bind got. */
  readonly boundAgain: number;
}

/** Gives a binding back, which must be the process's last, and binds once more. */
export function endPasidLife(binding: SvmBinding, ops: SvmDevOps): PasidReport {
  const { device, pasid } = binding;
  const hardware = hardwarePasid(device, pasid);
  const whileBound = validity(device, pasid);
  binding.unbind();
  const afterUnbind = validity(device, pasid);
  using again = device.bind({ ops });
  return { pasid, hardwarePasid: hardware, whileBound, afterUnbind, boundAgain: again.pasid };
}

function validity(device: SvmDevice, pasid: number): Validity {
  try {
    return isPasidValid(device, pasid) ? 'valid' : 'not valid';
  } catch (error) {
    if (error instanceof SvmError) return error.code;
    throw error;
  }
}
