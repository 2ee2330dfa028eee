import { PASID_BITS } from '../abi/svm.js';
import { SvmError } from '../errors.js';
import type { DeviceNode, Kernel, SvmCalls, SvmDevOps } from '../kernel.js';
import { DeviceFile } from './device-file.js';

interface DeviceBinding {
  readonly file: DeviceFile;
  readonly ops: object | null;
  users: number;
}

/** What one address space has bound. Its PASID stays the same as long as it lives. */
interface Bindings {
  readonly pasid: number;
  readonly devices: Map<string, DeviceBinding>;
}

const bindingsByMm = new WeakMap<object, Bindings>();

/** Stands for a PASID that the kernel does not tell. Outside the PASID space, so that nobody takes it for one. */
let nextHandle = 2 ** PASID_BITS;

/**
 * The functions of intel-svm.h on a kernel whose drivers bind in open(2) (v5.8 on): a bind opens the device node, the last
 * unbind closes it. Reference counts and the identity of `ops` are kept here, since those kernels have neither.
 */
export function bindOnOpen(kernel: Kernel): SvmCalls {
  return {
    bindMm: <D extends DeviceNode>(dev: D, flags: number, ops: SvmDevOps<D> | null) => bind(kernel, dev, flags, ops),
    probe: (dev, flags) => {
      requireNoFlags(dev, flags);
      // A node that this process has open is bound; a dedicated queue would refuse to be opened again.
      if (!DeviceFile.isOpen(kernel, dev.path)) new DeviceFile(kernel, dev.path)[Symbol.dispose]();
    },
    unbindMm: (dev, pasid) => unbind(kernel, dev, pasid),
    isPasidValid: (dev, pasid) => {
      if (find(kernel, pasid) === undefined)
        throw new SvmError('EINVAL', { syscall: 'is_pasid_valid', path: dev.path });
      return true;
    },
  };
}

function bind(kernel: Kernel, dev: DeviceNode, flags: number, ops: object | null): number {
  requireNoFlags(dev, flags);
  const { mm } = kernel;
  const known = bindingsByMm.get(mm);
  const present = known?.devices.get(dev.path);
  if (known !== undefined && present !== undefined) {
    if (present.ops !== ops) throw new SvmError('EBUSY', { syscall: 'bind_mm', path: dev.path });
    present.users += 1;
    return known.pasid;
  }
  const file = new DeviceFile(kernel, dev.path);
  const bindings = known ?? { pasid: kernel.pasid(file.fd) ?? nextHandle++, devices: new Map() };
  bindingsByMm.set(mm, bindings);
  bindings.devices.set(dev.path, { file, ops, users: 1 });
  return bindings.pasid;
}

function unbind(kernel: Kernel, dev: DeviceNode, pasid: number): void {
  const bindings = find(kernel, pasid);
  const binding = bindings?.devices.get(dev.path);
  if (bindings === undefined || binding === undefined) {
    throw new SvmError('EINVAL', { syscall: 'unbind_mm', path: dev.path });
  }
  binding.users -= 1;
  if (binding.users > 0) return;
  bindings.devices.delete(dev.path);
  binding.file[Symbol.dispose]();
}

/** The calling address space's bindings, if `pasid` is their number and any are left. */
function find(kernel: Kernel, pasid: number): Bindings | undefined {
  const bindings = bindingsByMm.get(kernel.mm);
  return bindings !== undefined && bindings.pasid === pasid && bindings.devices.size > 0 ? bindings : undefined;
}

/** Private PASIDs ended with v6.1, supervisor mode with v6.12; these kernels have no call that takes a flag. */
function requireNoFlags(dev: DeviceNode, flags: number): void {
  if (flags !== 0) throw new SvmError('EOPNOTSUPP', { syscall: 'bind_mm', path: dev.path });
}
