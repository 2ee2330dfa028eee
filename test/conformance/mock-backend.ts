import { createMockKernel, type MockKernelOptions, type Semantics } from 'intel-svm/mock';
import type { Backend, Feature, Machine, MachineOptions } from './backend.js';
import { BareMachine } from './bare-machine.js';
import { contextOf, stateOf } from './device-context.js';

const FEATURES: readonly Feature[] = [
  'processes',
  'machine-options',
  'injection',
  'counters',
  'device-state',
  'hardware-pasid',
  'iommu-access',
  'lam',
  'reclaim',
  'accelerator',
  'version-0x100',
  'portal',
  'no-portal',
  'enqcmd',
  'block-on-fault',
  'no-block-on-fault',
  'sva-refused',
];

/** Two accelerators, so that the two nodes are two devices: a dedicated and a shared work queue. */
const twoDevices = (blockOnFault: boolean): NonNullable<MachineOptions['devices']> => [
  { type: 'dsa', bdf: '0000:6a:01.0', workQueues: [{ mode: 'dedicated', size: 16, blockOnFault }] },
  { type: 'dsa', bdf: '0000:6f:01.0', workQueues: [{ mode: 'shared', size: 16, blockOnFault }] },
];

/** The mock kernel as a backend of the suite. */
export function mockBackend(semantics: Semantics): Backend {
  return {
    name: `mock, ${semantics}`,
    semantics,
    features: new Set(FEATURES),
    machine({ options, needs }) {
      const complete: MockKernelOptions = {
        // An accelerator works while its program waits; everything else is looked at between two events.
        clock: needs.includes('accelerator') ? 'virtual' : 'manual',
        devices: twoDevices(needs.includes('block-on-fault')),
        svm: { svaOnX86: !needs.includes('sva-refused') },
        caller: { capSysRawio: !needs.includes('no-portal') },
        ...options,
        semantics,
      };
      // The public mock has accelerators in front of its IOMMU; what speaks to the IOMMU itself runs without them.
      return needs.includes('iommu-access') ? new BareMachine(complete) : publicMachine(complete);
    },
  };
}

function publicMachine(options: MockKernelOptions): Machine {
  const kernel = createMockKernel(options);
  return {
    self: kernel.self,
    spawn: () => kernel.spawn(),
    kernelThread: () => kernel.kernelThread(),
    counters: () => kernel.counters(),
    deviceState: (device) => stateOf(contextOf(kernel.hardware, device)),
    inject: (kind, times) => kernel.inject(kind, times),
    get iommu(): never {
      throw new Error("a case that uses the IOMMU must need 'iommu-access'");
    },
    settle: () => void kernel.clock.runUntilIdle(),
  };
}
