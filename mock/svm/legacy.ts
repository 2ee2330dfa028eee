import {
  PRQ_RESPONSE_FAILURE,
  PRQ_RESPONSE_INVALID,
  PRQ_RESPONSE_SUCCESS,
  SVM_FLAG_PRIVATE_PASID,
  SVM_FLAG_SUPERVISOR_MODE,
  SVM_REQ_EXEC,
  SVM_REQ_PRIV,
  SVM_REQ_READ,
  SVM_REQ_WRITE,
} from '../../lib/abi/svm.js';
import { KernelBug, fail } from '../errno.js';
import type { Injections } from '../injections.js';
import type { DeviceContext } from '../iommu/device-context.js';
import type { Iommu } from '../iommu/iommu.js';
import type { PageRequest } from '../iommu/page-requests.js';
import type { AddressSpace, MmNotifier } from '../mm/address-space.js';
import { pageNumber } from '../mm/page.js';
import type { MachineSettings } from '../options.js';
import { isCanonical, walksCpuTables } from './capability.js';

/** `struct intel_svm_dev`: one device on one PASID. */
interface DeviceBinding {
  users: number;
  /** The first bind's: later binds must bring the same. */
  readonly ops: object | null;
  readonly faultCb: FaultCallback;
}

/** `svm_dev_ops.fault_cb` of one binding, its device already applied. */
export type FaultCallback = (
  pasid: number,
  address: bigint,
  priv: Uint8Array | null,
  rwxp: number,
  response: number,
) => void;

/** `struct intel_svm`: one PASID. */
interface Binding {
  readonly pasid: number;
  /** `undefined`: a supervisor PASID. */
  readonly mm: AddressSpace | undefined;
  readonly isPrivate: boolean;
  readonly devices: Map<DeviceContext, DeviceBinding>;
  readonly notifier: MmNotifier | undefined;
}

/**
 * The functions of intel-svm.h as drivers/iommu/intel-svm.c of v5.1 implements them. The order of the checks is the
 * kernel's, since it decides which errno a caller sees when several apply.
 */
export class LegacySvm {
  readonly #settings: MachineSettings;
  readonly #injections: Injections;
  readonly #iommu: Iommu;
  /** In the order they were allocated: a shared bind takes the first that fits. */
  readonly #bindings = new Map<number, Binding>();

  constructor(settings: MachineSettings, injections: Injections, iommu: Iommu) {
    this.#settings = settings;
    this.#injections = injections;
    this.#iommu = iommu;
    iommu.pageRequests.serveWith((requests) => this.#serve(requests));
  }

  /** Binds that have not been unbound, over all PASIDs and devices. */
  get users(): number {
    let users = 0;
    for (const { devices } of this.#bindings.values()) for (const device of devices.values()) users += device.users;
    return users;
  }

  /**
   * intel_svm_bind_mm(dev, &pasid, flags, ops).
   * @param mm the caller's; `undefined` in a kernel thread
   * @param ops compared by identity; `faultCb` is what it does
   */
  bindMm(
    device: DeviceContext,
    mm: AddressSpace | undefined,
    flags: number,
    ops: object | null,
    faultCb: FaultCallback,
  ): number {
    this.#requireStubs();
    this.#checkDevice(device, flags);
    const supervisor = (flags & SVM_FLAG_SUPERVISOR_MODE) !== 0;
    if (!supervisor && mm === undefined) throw new KernelBug('intel_svm_bind_mm: the caller has no address space');
    const owner = supervisor ? undefined : mm;
    const isPrivate = (flags & SVM_FLAG_PRIVATE_PASID) !== 0;

    const shared = isPrivate ? undefined : this.#findShared(owner);
    const present = shared?.devices.get(device);
    if (shared !== undefined && shared.pasid >= device.maxPasids) fail(this.#settings.svm.pasidTooLarge);
    if (shared !== undefined && present !== undefined) {
      if (present.ops !== ops) fail('EBUSY');
      present.users += 1;
      return shared.pasid;
    }

    this.#enableDevice(device);
    if (shared !== undefined) {
      if (!this.#settings.quirks.secondDeviceWithoutEntry) this.#writeEntry(device, shared.pasid, owner);
      shared.devices.set(device, { users: 1, ops, faultCb });
      return shared.pasid;
    }

    const pasid = this.#allocate(device);
    const binding = { pasid, mm: owner, isPrivate, devices: new Map(), notifier: this.#notifier(pasid) };
    if (owner !== undefined) {
      if (this.#injections.strikes('notifier-failure')) {
        this.#iommu.pasids.free(pasid);
        fail('ENOMEM');
      }
      owner.register(binding.notifier);
    }
    try {
      this.#writeEntry(device, pasid, owner);
    } catch (error) {
      owner?.unregister(binding.notifier);
      this.#iommu.pasids.free(pasid);
      throw error;
    }
    binding.devices.set(device, { users: 1, ops, faultCb });
    this.#bindings.set(pasid, binding);
    return pasid;
  }

  /** intel_svm_bind_mm(dev, NULL, flags, NULL): no reference and no number, but the device's PASID, ATS and PRI go on. */
  probe(device: DeviceContext, flags: number): void {
    this.#requireStubs();
    this.#checkDevice(device, flags);
    this.#enableDevice(device);
  }

  /** intel_svm_unbind_mm(dev, pasid). The caller's address space is not looked at. */
  unbindMm(device: DeviceContext, pasid: number): void {
    if (!this.#settings.config.intelIommuSvm) throw new KernelBug('intel_svm_unbind_mm: CONFIG_INTEL_IOMMU_SVM is off');
    const binding = this.#bindings.get(pasid);
    if (!this.#translated(device) || binding === undefined) return fail('EINVAL');
    const onDevice = binding.devices.get(device) ?? fail('EINVAL');
    onDevice.users -= 1;
    if (onDevice.users > 0) return;
    binding.devices.delete(device);
    this.#iommu.tearDown(device, pasid);
    if (binding.devices.size > 0) return;
    this.#bindings.delete(pasid);
    this.#iommu.pasids.free(pasid);
    if (binding.notifier !== undefined) binding.mm?.unregister(binding.notifier);
  }

  /** intel_svm_is_pasid_valid(dev, pasid). The device need not be on the PASID: it only selects "has an IOMMU". */
  isPasidValid(device: DeviceContext, pasid: number): boolean {
    if (!this.#settings.config.intelIommuSvm) return fail('EINVAL');
    const binding = this.#bindings.get(pasid);
    if (!this.#translated(device) || binding === undefined) return fail('EINVAL');
    return binding.mm === undefined || binding.mm.users > 0;
  }

  /** prq_event_thread(): every request is resolved, reported to `fault_cb`, and then answered. */
  #serve(requests: readonly PageRequest[]): void {
    for (const request of requests) {
      const { pasid } = request;
      const binding = pasid === undefined ? undefined : this.#bindings.get(pasid);
      const code = binding === undefined ? PRQ_RESPONSE_FAILURE : this.#resolve(request, binding.mm);
      if (binding !== undefined && this.#settings.svm.faultCallback) this.#callBack(request, binding, code);
      const answered = request.lastInGroup || request.privateData !== undefined;
      if (answered || this.#settings.quirks.responseForEveryRequest) request.respond(code);
    }
  }

  #resolve(request: PageRequest, mm: AddressSpace | undefined): number {
    if (mm === undefined || mm.users === 0) return PRQ_RESPONSE_INVALID;
    if (!isCanonical(request.address, this.#settings)) return PRQ_RESPONSE_INVALID;
    const vma = mm.findVma(request.address, this.#settings.svm.stackGrowth);
    if (vma === undefined) return PRQ_RESPONSE_INVALID;
    const granted =
      (!request.execute || vma.executable) &&
      (!request.read || vma.protection !== 'none') &&
      (!request.write || vma.protection === 'read-write');
    return granted && mm.handleFault(vma, request.address, request.write) ? PRQ_RESPONSE_SUCCESS : PRQ_RESPONSE_INVALID;
  }

  #callBack(request: PageRequest, binding: Binding, code: number): void {
    // The kernel warns and does not call back when the requester is not on the PASID's list.
    const onDevice = binding.devices.get(request.device);
    if (onDevice === undefined) return;
    const rwxp =
      (request.read ? SVM_REQ_READ : 0) |
      (request.write ? SVM_REQ_WRITE : 0) |
      (request.execute ? SVM_REQ_EXEC : 0) |
      (request.privileged ? SVM_REQ_PRIV : 0);
    const address = this.#settings.quirks.faultAddressIsPageNumber ? pageNumber(request.address) : request.address;
    try {
      onDevice.faultCb(binding.pasid, BigInt(address), request.privateData?.slice() ?? null, rwxp, code);
    } catch (error) {
      // The request must be answered all the same; the program learns of its mistake as of any uncaught exception.
      queueMicrotask(() => {
        throw error;
      });
    }
  }

  #requireStubs(): void {
    if (!this.#settings.config.intelIommuSvm) fail('ENOSYS');
  }

  #translated(device: DeviceContext): boolean {
    return device.translated && this.#settings.iommu.enabled && !this.#injections.strikes('iommu-off');
  }

  /** Checks 1 to 4 of intel_svm_bind_mm, the same for a bind and a probe. */
  #checkDevice(device: DeviceContext, flags: number): void {
    const { iommu, svm } = this.#settings;
    if (!this.#translated(device)) fail('EINVAL');
    if (svm.notSvmCapableIsEnotsupp && !walksCpuTables(this.#settings)) fail('ENOTSUPP');
    if (device.pasidBits === undefined) fail(svm.pasidUnsupported);
    if ((flags & SVM_FLAG_SUPERVISOR_MODE) !== 0 && !iommu.srs) fail('EINVAL');
  }

  /** The first PASID of an address space that is not private. Without an address space: the supervisor PASID. */
  #findShared(mm: AddressSpace | undefined): Binding | undefined {
    for (const binding of this.#bindings.values()) if (!binding.isPrivate && binding.mm === mm) return binding;
    return undefined;
  }

  /** Checks 7 and 8: memory for the device record, and PASID on the device. */
  #enableDevice(device: DeviceContext): void {
    if (this.#injections.strikes('allocation-failure')) fail('ENOMEM');
    if (!this.#settings.iommu.pasid || !this.#settings.iommu.smts) fail('EINVAL');
    device.enablePasid();
  }

  #allocate(device: DeviceContext): number {
    if (this.#injections.strikes('pasid-exhaustion')) return fail('ENOSPC');
    const systemMax = Math.min(2 ** this.#settings.iommu.pasidBits, 2 ** 20);
    const last = Math.min(device.maxPasids, systemMax) + this.#settings.svm.allocationEnd;
    return this.#iommu.pasids.allocate(last) ?? fail('ENOSPC');
  }

  #writeEntry(device: DeviceContext, pasid: number, mm: AddressSpace | undefined): void {
    const { iommu, cpu, svm } = this.#settings;
    if (!iommu.flts) fail('EINVAL');
    if (svm.checksFiveLevel && cpu.la57 && !iommu.fiveLevel) fail('EINVAL');
    // A dead address space has no page table to point at; its bindings stay, but nothing is translated.
    if (mm === undefined || mm.users > 0) device.pasidTable.set(pasid, { mm });
  }

  #notifier(pasid: number): MmNotifier {
    const eachDevice = (visit: (device: DeviceContext) => void): void => {
      for (const device of this.#bindings.get(pasid)?.devices.keys() ?? []) visit(device);
    };
    return {
      invalidateRange: (...range) => eachDevice((device) => this.#iommu.invalidate(device, pasid, ...range)),
      release: () => eachDevice((device) => this.#iommu.tearDown(device, pasid)),
    };
  }
}
