import { inspect } from 'node:util';
import { invalidArgType, invalidArgValue } from '../lib/errors.js';
import type { Clock } from './clock.js';
import { count, noHoldings, type Counters } from './counters.js';
import { IdxdBus } from './devices/idxd/bus.js';
import { IdxdDevice } from './devices/idxd/device.js';
import type { Recovery } from './devices/idxd/recovery.js';
import { UacceDevice } from './devices/uacce/device.js';
import type { MockDeviceOptions } from './devices/options.js';
import type { Injection, InjectionKind } from './injections.js';
import type { DmaFault } from './iommu/iommu.js';
import { Machine } from './machine.js';
import { resolveOptions, type MachineSettings, type MockKernelOptions } from './options.js';
import { publishIommu } from './sysfs/iommu.js';
import { MockProcess } from './process.js';

/** A device of the machine. A `UacceDevice` can be pulled out with `remove()`, an `IdxdDevice` stopped with `halt()`. */
export type MockDevice = IdxdDevice | UacceDevice;

/** Which device halts, and what it then needs before it works again. */
export interface DeviceHalt {
  /** Name of a DSA or IAX device, e.g. 'dsa0'. */
  readonly device: string;
  readonly recovery: Recovery;
}

const RECOVERIES: readonly Recovery[] = ['software-reset', 'flr', 'system-reset'];

/** A machine with accelerators and a small Linux on it. */
export class MockKernel {
  /** The options it was made from, defaults filled in. */
  readonly settings: MachineSettings;
  /** The process that runs this program. */
  readonly self: MockProcess;
  /** The machine's hardware, in the order of the options: for tests that look behind the kernel. */
  readonly hardware: readonly MockDevice[];
  readonly #machine: Machine;
  readonly #holdings = noHoldings();

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
    const { uid = this.settings.caller.uid } = caller;
    const inherited = caller.uid === undefined ? this.settings.caller.capSysRawio : uid === 0;
    return new MockProcess(this.#machine, this.#holdings, { uid, capSysRawio: caller.capSysRawio ?? inherited });
  }

  /** A kernel thread: no address space of its own, so it can bind in supervisor mode only. */
  kernelThread(): MockProcess {
    return new MockProcess(this.#machine, this.#holdings, { uid: 0, capSysRawio: true, kernelThread: true });
  }

  /**
   * Halts a device at once (see `IdxdDevice.halt`). Nothing can stop that any more: `stop()` does nothing, and `hits` is 0
   * where the device had halted before.
   * @throws TypeError `ERR_INVALID_ARG_TYPE` or `ERR_INVALID_ARG_VALUE`: no such device, or an unknown recovery
   */
  inject(kind: 'device-halt', halt: DeviceHalt): Injection;
  /**
   * Makes something go wrong at its next occasion.
   * @param times how often, 1 or more; default: until `stop()` is called on the result
   * @throws TypeError `ERR_INVALID_ARG_VALUE` for an unknown kind, RangeError `ERR_OUT_OF_RANGE`
   */
  inject(kind: InjectionKind, times?: number): Injection;
  inject(kind: InjectionKind | 'device-halt', detail?: number | DeviceHalt): Injection {
    if (kind === 'device-halt') return this.#halt(detail);
    if (typeof detail === 'object') throw invalidArgType('times', 'a number', detail);
    return this.#machine.injections.arm(kind, detail);
  }

  /** What is held and what has happened. */
  counters(): Counters {
    return count(this.#machine, this.#holdings);
  }

  #halt(halt: number | DeviceHalt | undefined): Injection {
    if (typeof halt !== 'object' || halt === null) throw invalidArgType('halt', 'an object', halt);
    const device = this.hardware.find(({ name }) => name === halt.device);
    if (!(device instanceof IdxdDevice)) {
      throw invalidArgValue('halt.device', `must name a DSA or IAX device. Received ${inspect(halt.device)}`);
    }
    if (!RECOVERIES.includes(halt.recovery)) {
      const names = RECOVERIES.map((name) => inspect(name)).join(', ');
      throw invalidArgValue('halt.recovery', `must be one of ${names}. Received ${inspect(halt.recovery)}`);
    }
    const hits = device.halted ? 0 : 1;
    device.halt(halt.recovery);
    return { kind: 'device-halt', hits, stop: () => undefined, [Symbol.dispose]: () => undefined };
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

/**
 * Makes a machine. The same options and seed give the same machine and the same run.
 * @throws TypeError `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`, RangeError `ERR_OUT_OF_RANGE` for options that make no
 *   sense
 */
export function createMockKernel(options: MockKernelOptions = {}): MockKernel {
  return new MockKernel(options);
}
