import type { SvmDevice } from 'intel-svm';
import type { Counters, Injection, InjectionKind, MockKernelOptions, MockProcess } from 'intel-svm/mock';
import type { Protection } from '../../lib/kernel.js';
import { count, noHoldings } from '../../mock/counters.js';
import { UacceDevice } from '../../mock/devices/uacce/device.js';
import { Machine as Parts } from '../../mock/machine.js';
import type { AddressSpace } from '../../mock/mm/address-space.js';
import { OwnedMemory } from '../../mock/mm/memory.js';
import { pageAlign } from '../../mock/mm/page.js';
import { resolveOptions } from '../../mock/options.js';
import { MockProcess as ProcessOfParts } from '../../mock/process.js';
import type { DeviceState, IommuAccess, Machine, Process, RequestFields } from './backend.js';
import { contextOf, stateOf } from './device-context.js';

const ROOT = { uid: 0, capSysRawio: true };

/**
 * The mock's machine with no engine in its devices: the case is the device, and speaks to the IOMMU itself. Its nodes are
 * UACCE queues, whose driver does nothing but bind.
 */
export class BareMachine implements Machine, IommuAccess {
  readonly self: MockProcess;
  readonly iommu: IommuAccess = this;
  readonly #parts: Parts;
  readonly #devices: readonly UacceDevice[];
  readonly #holdings = noHoldings();

  constructor(options: MockKernelOptions) {
    this.#parts = new Parts(resolveOptions(options));
    const { devices } = this.#parts.settings;
    this.#devices = devices.map(
      ({ bdf, pasidBits = 20, iommu = true, ats = true, pri = true }, id) =>
        new UacceDevice(this.#parts, { type: 'uacce', bdf, pasidBits, iommu, ats, pri }, id),
    );
    this.self = this.spawn();
  }

  spawn(): MockProcess {
    return new ProcessOfParts(this.#parts, this.#holdings, ROOT);
  }

  kernelThread(): MockProcess {
    return new ProcessOfParts(this.#parts, this.#holdings, { ...ROOT, kernelThread: true });
  }

  counters(): Counters {
    return count(this.#parts, this.#holdings);
  }

  deviceState(device: SvmDevice): DeviceState {
    return stateOf(contextOf(this.#devices, device));
  }

  inject(kind: InjectionKind, times?: number): Injection {
    return this.#parts.injections.arm(kind, times);
  }

  settle(): void {
    this.#parts.clock.runUntilIdle();
  }

  post(device: SvmDevice, request: RequestFields): readonly number[] {
    const responses: number[] = [];
    this.#parts.iommu.request({
      device: contextOf(this.#devices, device),
      pasid: request.pasid,
      address: Number(request.address),
      read: request.read ?? false,
      write: request.write ?? false,
      execute: request.execute ?? false,
      privileged: request.privileged ?? false,
      group: request.group ?? 0,
      lastInGroup: request.lastInGroup ?? true,
      privateData: request.privateData,
      respond: (code) => void responses.push(code),
    });
    return responses;
  }

  access(device: SvmDevice, pasid: number, address: bigint, write: boolean): 'done' | 'fault' | 'blocked' {
    const result = this.#parts.iommu.translate(contextOf(this.#devices, device), pasid, Number(address), write);
    return typeof result === 'string' ? result : 'done';
  }

  map(process: Process, byteLength: number, rights: { protection: Protection; executable: boolean }): bigint {
    const memory = new OwnedMemory(new Uint8Array(pageAlign(byteLength)));
    return BigInt(addressSpaceOf(process).map(memory, byteLength, rights));
  }

  stackOf(process: Process): bigint {
    const { vmas, stack } = addressSpaceOf(process);
    return BigInt(vmas.lookup(stack.top - 1)?.start ?? stack.top);
  }
}

function addressSpaceOf(process: Process): AddressSpace {
  if (process instanceof ProcessOfParts) return process.mm;
  throw new TypeError('this is no process of the mock');
}
