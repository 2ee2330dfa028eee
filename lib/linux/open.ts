import { SvmError } from '../errors.js';
import type { Kernel } from '../kernel.js';
import { listIfPresent } from '../sysfs.js';
import { LinuxKernel } from './kernel.js';
import { loadAddon, type Addon } from './loader.js';
import type { Roots } from './roots.js';

const DEVICE_DIRECTORIES = ['/sys/bus/dsa/devices', '/sys/class/uacce'];
const MOCK_HINT = "use the mock kernel: connect({ backend: 'mock' }) or INTEL_SVM_BACKEND=mock";

/** Addons whose devices are stopped when the process exits: process.exit() in the main thread cleans up no addon. */
const stoppedAtExit = new WeakSet<Addon>();

/**
 * The kernel of this machine.
 * @param roots where its file systems are mounted. Default: '/dev', '/sys', '/proc'
 * @throws SvmError ENODEV without the addon, or on a machine without an accelerator
 */
export function openLinuxKernel(roots: Partial<Roots> = {}): Kernel {
  const load = loadAddon();
  if (load.addon === undefined) {
    throw new SvmError('ENODEV', { syscall: 'connect', hint: `${load.reason}; ${load.hint}` });
  }
  const kernel = new LinuxKernel(load.addon, roots);
  if (!DEVICE_DIRECTORIES.some((directory) => listIfPresent(kernel, directory).length > 0)) {
    const hint = `no accelerator on this machine: ${DEVICE_DIRECTORIES.join(' and ')} are missing or empty (is the idxd or uacce driver loaded?); ${MOCK_HINT}`;
    throw new SvmError('ENODEV', { syscall: 'connect', hint });
  }
  stopAtExit(load.addon);
  return kernel;
}

function stopAtExit(addon: Addon): void {
  if (stoppedAtExit.has(addon)) return;
  stoppedAtExit.add(addon);
  process.on('exit', () => addon.stop());
}
