import { invalidArgValue } from '../lib/errors.js';
import type { Clock } from './clock.js';
import type { Counters } from './counters.js';
import { IdxdBus } from './devices/idxd/bus.js';
import type { IdxdDevice } from './devices/idxd/device.js';
import { UacceDevice } from './devices/uacce/device.js';
import type { MockDeviceOptions } from './devices/options.js';
import type { Injection, InjectionKind } from './injections.js';
import type { DmaFault } from './iommu/iommu.js';
import { Machine } from './machine.js';
import { resolveOptions, type MachineSettings, type MockKernelOptions } from './options.js';
import { publishIommu } from './sysfs/iommu.js';
import { MockProcess, type Holdings } from './process.js';

/** A device of the machine. */
export type MockDevice = IdxdDevice | UacceDevice;

/** A machine with accelerators and a small Linux on it. */
export class MockKernel {
  /** The options it was made from, defaults filled in. */
  readonly settings: MachineSettings;
  /** The process that runs this program. */
  readonly self: MockProcess;
  /** The machine's hardware, in the order of the options: for tests that look behind the kernel. */
  readonly hardware: readonly MockDevice[];
  readonly #machine: Machine;
  readonly #holdings: Holdings = { openFiles: 0, deviceMappings: 0, pinnedBuffers: 0, allocations: 0 };

  constructor(options: MockKernelOptions = {}) {
    this.settings = resolveOptions(options);
    this.#machine = new Machine(this.settings);
    publishIommu(this.#machine.sysfs, this.settings);
    checkDistinct(this.settings.devices);
    const idxd = new IdxdBus(this.#machine);
    let uacceId = 0;
    this.hardware = this.settings.devices.map((device) =>
      device.type === 'uacce' ? new UacceDevice(this.#machine, device, uacceId++) : idxd.add(device),
    );
    this.self = this.spawn();
  }

  /** The machine's clock. */
  get clock(): Clock {
    return this.#machine.clock;
  }

  /** Unrecoverable DMA faults so far, as the kernel log would show them. */
  get dmaFaults(): readonly DmaFault[] {
    return this.#machine.iommu.dmaFaults;
  }

  /** Starts another process, unrelated to the others. @param caller rights that differ from the machine's default */
  spawn(caller: { readonly uid?: number; readonly capSysRawio?: boolean } = {}): MockProcess {
    const rights = { ...this.settings.caller, ...caller };
    if (caller.uid !== undefined && caller.capSysRawio === undefined) rights.capSysRawio = caller.uid === 0;
    return new MockProcess(this.#machine, this.#holdings, rights);
  }

  /** A kernel thread: no address space of its own, so it can bind in supervisor mode only. */
  kernelThread(): MockProcess {
    return new MockProcess(this.#machine, this.#holdings, { uid: 0, capSysRawio: true, kernelThread: true });
  }

  /**
   * Makes something go wrong.
   * @param times how often; default: until `stop()` is called on the result
   */
  inject(kind: InjectionKind, times?: number): Injection {
    return this.#machine.injections.arm(kind, times);
  }

  /** What is held and what has happened. */
  counters(): Counters {
    const { iommu, svm, sva } = this.#machine;
    return {
      ...this.#holdings,
      pasids: iommu.pasids.size,
      bindings: svm?.users ?? sva?.users ?? 0,
      pageRequests: iommu.pageRequests.served,
      lostPageRequests: iommu.pageRequests.lost,
      iotlbEntries: iommu.iotlb.size,
      staleTranslations: iommu.staleTranslations,
      dmaFaults: iommu.dmaFaults.length,
    };
  }
}

/** Two devices cannot share a PCI address. */
function checkDistinct(devices: readonly MockDeviceOptions[]): void {
  const seen = new Set<string>();
  for (const { bdf } of devices) {
    if (seen.has(bdf)) throw invalidArgValue('devices', `must have distinct PCI addresses. '${bdf}' occurs twice`);
    seen.add(bdf);
  }
}

/** Makes a machine. The same options and seed give the same machine and the same run. */
export function createMockKernel(options: MockKernelOptions = {}): MockKernel {
  return new MockKernel(options);
}
