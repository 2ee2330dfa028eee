import { SvmError } from '../errors.js';
import type { Kernel } from '../kernel.js';
import { listIfPresent } from '../sysfs.js';
import { LinuxKernel } from './kernel.js';
import { MOCK_HINT, loadAddon, type Addon } from './loader.js';
import { resolveRoots, type Roots } from './roots.js';

const DEVICE_DIRECTORIES = ['/sys/bus/dsa/devices', '/sys/class/uacce'];

/** Addons whose devices are stopped when the process exits: process.exit() in the main thread cleans up no addon. */
const stoppedAtExit = new WeakSet<Addon>();

/** One per set of roots: a process has one kernel, and its devices are compared by identity. */
const kernels = new Map<string, Kernel>();

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
  const places = resolveRoots(roots);
  const key = JSON.stringify(places);
  const kernel = kernels.get(key) ?? new LinuxKernel(load.addon, places);
  kernels.set(key, kernel);
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
