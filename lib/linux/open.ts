import { existsSync, readdirSync } from 'node:fs';
import { SvmError } from '../errors.js';
import type { Kernel } from '../kernel.js';
import { loadAddon } from './loader.js';

const DEVICE_DIRECTORIES = ['/sys/bus/dsa/devices', '/sys/class/uacce'];
const MOCK_HINT = "use the mock kernel: connect({ backend: 'mock' }) or INTEL_SVM_BACKEND=mock";

/**
 * The kernel of this machine.
 * @throws SvmError ENODEV without the addon or without an accelerator, ENOSYS where this version cannot drive the one there is
 */
export function openLinuxKernel(): Kernel {
  const load = loadAddon();
  if (load.addon === undefined)
    throw new SvmError('ENODEV', { syscall: 'connect', hint: `${load.reason}; ${load.hint}` });
  const present = DEVICE_DIRECTORIES.filter((directory) => existsSync(directory) && readdirSync(directory).length > 0);
  const hint =
    present.length === 0
      ? `no accelerator on this machine: ${DEVICE_DIRECTORIES.join(' and ')} are missing or empty (is the idxd or uacce driver loaded?); ${MOCK_HINT}`
      : `${present.join(' and ')} show an accelerator, but this version has no real backend yet; ${MOCK_HINT}`;
  throw new SvmError(present.length === 0 ? 'ENODEV' : 'ENOSYS', { syscall: 'connect', hint });
}
