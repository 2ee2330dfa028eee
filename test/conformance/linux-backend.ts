import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { SvmError, connect, type SvmDevice } from 'intel-svm';
import type { Kernel } from '../../lib/kernel.js';
import type { Backend, Feature, Machine, Process } from './backend.js';
import { runSuite } from './suite.js';
import { SUBJECTS } from './subjects.js';
import { svaRefused } from './sva-refused.js';

const CAP_SYS_RAWIO = 17n;

/** Runs the suite on the kernel of this machine, or registers one test that says why there is nothing to run it on. */
export async function runOnThisMachine(): Promise<void> {
  try {
    const backend = await linuxBackend();
    // Where every bind is refused there is one thing to check: that it is, and how.
    runSuite(backend, backend.features.has('sva-refused') ? [svaRefused] : SUBJECTS);
  } catch (error) {
    if (!(error instanceof SvmError) || error.code !== 'ENODEV') throw error;
    const { hint } = error;
    it("the suite on this machine's kernel", (context) => {
      expect(hint).toBeTypeOf('string');
      context.skip(hint);
    });
  }
}

/**
 * The kernel of this machine, as a backend of the suite: one process, one DSA with a dedicated and a shared work queue that
 * nobody else uses.
 * @throws SvmError ENODEV where there is none
 */
async function linuxBackend(): Promise<Backend> {
  const connection = await connect({ backend: 'linux' });
  const { kernel } = connection;
  const mode = (device: SvmDevice): string => kernel.sysfs.read(`${device.sysfs}/mode`);
  const found = connection.devices().filter(({ type }) => type === 'dsa');
  const dedicated = found.find((device) => mode(device) === 'dedicated');
  const shared = found.find((device) => mode(device) === 'shared');
  if (dedicated === undefined || shared === undefined) {
    throw new Error('the suite needs an enabled dedicated and an enabled shared work queue of type "user"');
  }
  const self = processOf(kernel, [dedicated, shared]);
  return {
    name: 'linux',
    semantics: 'modern',
    features: featuresOf(kernel, dedicated, shared),
    machine: () => machineOf(self),
  };
}

function featuresOf(kernel: Kernel, dedicated: SvmDevice, shared: SvmDevice): ReadonlySet<Feature> {
  if (refusesSva(kernel, dedicated)) return new Set<Feature>(['sva-refused']);
  const blocks = kernel.sysfs.read(`${dedicated.sysfs}/block_on_fault`) === '1';
  const features = new Set<Feature>(['accelerator', blocks ? 'block-on-fault' : 'no-block-on-fault']);
  if (blocks && mayTrace(kernel)) features.add('tracefs');
  const version = kernel.sysfs.read(`/sys/bus/dsa/devices/${dedicated.accelerator}/version`);
  if (version === '0x100') features.add('version-0x100');
  features.add(mayMapPortals() ? 'portal' : 'no-portal');
  if (features.has('portal') && executesEnqcmd(kernel, shared)) features.add('enqcmd');
  return features;
}

function refusesSva(kernel: Kernel, device: SvmDevice): boolean {
  try {
    kernel.close(kernel.open(device.path));
    return false;
  } catch (error) {
    if (error instanceof SvmError && error.code === 'EOPNOTSUPP') return true;
    throw error;
  }
}

function mayTrace(kernel: Kernel): boolean {
  try {
    return kernel.sysfs.list('/sys/kernel/tracing/events/intel_iommu/prq_report').includes('enable');
  } catch (error) {
    if (error instanceof SvmError) return false;
    throw error;
  }
}

function mayMapPortals(): boolean {
  const effective = /^CapEff:\s*([\da-f]+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0';
  return ((BigInt(`0x${effective}`) >> CAP_SYS_RAWIO) & 1n) === 1n;
}

function executesEnqcmd(kernel: Kernel, shared: SvmDevice): boolean {
  const fd = kernel.open(shared.path);
  const portal = kernel.mmap(fd, kernel.pageSize);
  const ring = kernel.alloc(64);
  try {
    kernel.submitter(portal, 'enqcmd', ring);
    return true;
  } catch (error) {
    if (error instanceof SvmError && error.code === 'ENOSYS') return false;
    throw error;
  } finally {
    kernel.munmap(portal);
    kernel.close(fd);
    kernel.free(ring);
  }
}

function absent(feature: Feature): never {
  throw new Error(`a case that uses this must need '${feature}'`);
}

/** This process; what it cannot do to itself is behind features that this backend does not declare. */
function processOf(kernel: Kernel, devices: SvmDevice[]): Process {
  return Object.assign(kernel, {
    alive: true,
    devices: () => devices,
    exit: () => absent('processes'),
    exec: () => absent('processes'),
    fork: () => absent('processes'),
    enableLam: () => absent('lam'),
    forceTaggedSva: () => absent('lam'),
    evict: () => absent('reclaim'),
  });
}

function machineOf(self: Process): Machine {
  return {
    self,
    spawn: () => absent('processes'),
    kernelThread: () => absent('processes'),
    counters: () => absent('counters'),
    deviceState: () => absent('device-state'),
    inject: () => absent('injection'),
    get iommu(): never {
      return absent('iommu-access');
    },
    settle: () => {},
  };
}
