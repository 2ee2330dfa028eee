import { PRQ_RESPONSE_INVALID, PRQ_RESPONSE_SUCCESS } from '../../lib/abi/svm.js';
import { fail } from '../errno.js';
import type { Injections } from '../injections.js';
import type { DeviceContext } from '../iommu/device-context.js';
import type { Iommu } from '../iommu/iommu.js';
import type { PageRequest } from '../iommu/page-requests.js';
import type { AddressSpace, MmNotifier } from '../mm/address-space.js';
import type { MachineSettings } from '../options.js';
import { isCanonical, svmCapable } from './capability.js';

/** A bond of an address space and a device, as a driver holds it: `struct iommu_sva`. */
export interface SvaHandle {
  readonly device: DeviceContext;
  readonly mm: AddressSpace;
  readonly pasid: number;
}

interface Bond extends SvaHandle {
  references: number;
  readonly notifier: MmNotifier;
}

/** iommu_sva_bind_device() and the page-request handling of v7.2 (drivers/iommu/iommu-sva.c, intel/svm.c, intel/prq.c). */
export class ModernSva {
  readonly #settings: MachineSettings;
  readonly #injections: Injections;
  readonly #iommu: Iommu;
  /** mm->iommu_mm->pasid: given at the first bind, kept until the address space is freed. */
  readonly #pasids = new Map<AddressSpace, number>();
  readonly #bonds = new Map<DeviceContext, Map<AddressSpace, Bond>>();
  /** Requests of groups whose last one has not come. */
  readonly #partial: PageRequest[] = [];

  constructor(settings: MachineSettings, injections: Injections, iommu: Iommu) {
    this.#settings = settings;
    this.#injections = injections;
    this.#iommu = iommu;
    iommu.pageRequests.serveWith(
      (requests) => this.#serve(requests),
      () => void this.#partial.splice(0),
    );
  }

  /** References to bonds, over all devices and address spaces. */
  get users(): number {
    let users = 0;
    for (const bonds of this.#bonds.values()) for (const bond of bonds.values()) users += bond.references;
    return users;
  }

  /** The PASID of an address space, if it has one. */
  pasidOf(mm: AddressSpace): number | undefined {
    return this.#pasids.get(mm);
  }

  /**
   * iommu_sva_bind_device(): a second bind of the same pair shares the bond. Throws its errnos.
   */
  bind(device: DeviceContext, mm: AddressSpace): SvaHandle {
    const { config, svm, iommu } = this.#settings;
    if (!config.iommuSva || !config.intelIommuSvm || !device.translated) fail('ENODEV');
    if (!svm.svaOnX86) fail('EOPNOTSUPP');
    if (mm.lam && !mm.forceTaggedSva) fail('EBUSY');
    const pasid = this.#allocate(device, mm);
    const existing = this.#bonds.get(device)?.get(mm);
    if (existing !== undefined) {
      existing.references += 1;
      return existing;
    }
    if (this.#injections.strikes('allocation-failure')) fail('ENOMEM');
    if (!iommu.enabled || this.#injections.strikes('iommu-off')) fail('EINVAL');
    // intel_iommu_sva_supported(): first what the unit can do, then what is on in the device. PASID comes with ATS.
    if (!svmCapable(this.#settings)) fail('ENODEV');
    if (!device.hasAts) fail('EINVAL');
    device.enablePasid();
    const bond: Bond = { device, mm, pasid, references: 1, notifier: this.#notifier(device, pasid) };
    if (this.#injections.strikes('notifier-failure')) fail('ENOMEM');
    mm.register(bond.notifier);
    device.pasidTable.set(pasid, { mm });
    const bonds = this.#bonds.get(device) ?? new Map<AddressSpace, Bond>();
    this.#bonds.set(device, bonds.set(mm, bond));
    return bond;
  }

  /** iommu_sva_unbind_device(): drops one reference of a bond. */
  unbind(handle: SvaHandle): void {
    const { device, mm, pasid } = handle;
    const bond = this.#bonds.get(device)?.get(mm);
    if (bond === undefined) return;
    bond.references -= 1;
    if (bond.references > 0) return;
    this.#bonds.get(device)?.delete(mm);
    this.#iommu.tearDown(device, pasid);
    mm.unregister(bond.notifier);
  }

  /** iommu_alloc_mm_data(): the address space's number, which must also fit this device. */
  #allocate(device: DeviceContext, mm: AddressSpace): number {
    const { svm } = this.#settings;
    const maxPasids = this.#maxPasids(device);
    const present = this.#pasids.get(mm);
    if (present !== undefined) return present < maxPasids ? present : fail(svm.pasidTooLarge);
    if (this.#injections.strikes('allocation-failure')) return fail('ENOMEM');
    if (maxPasids === 0) return fail(svm.pasidUnsupported);
    if (this.#injections.strikes('pasid-exhaustion')) return fail('ENOSPC');
    const pasid = this.#iommu.pasids.allocate(maxPasids + svm.allocationEnd) ?? fail('ENOSPC');
    this.#pasids.set(mm, pasid);
    mm.onFree = () => {
      this.#pasids.delete(mm);
      this.#iommu.pasids.free(pasid);
    };
    return pasid;
  }

  /** `dev->iommu->max_pasids`: none where the unit does not do PASIDs (dmar.c, pasid_supported). */
  #maxPasids(device: DeviceContext): number {
    const { smts, pasid, pasidBits } = this.#settings.iommu;
    return smts && pasid ? Math.min(device.maxPasids, 2 ** pasidBits) : 0;
  }

  #notifier(device: DeviceContext, pasid: number): MmNotifier {
    return {
      invalidateRange: (...range) => this.#iommu.invalidate(device, pasid, ...range),
      release: () => this.#iommu.tearDown(device, pasid),
    };
  }

  /** prq_event_thread(): malformed requests are refused at once, the others wait for the last of their group. */
  #serve(requests: readonly PageRequest[]): void {
    for (const request of requests) {
      const { read, write, execute, privileged, lastInGroup } = request;
      const malformed =
        !isCanonical(request.address, this.#settings) || (privileged && (read || write)) || (execute && read);
      if (!malformed && lastInGroup && !read && !write) continue; // stop marker: no answer
      const bond = this.#bondOf(request);
      if (malformed || bond === undefined) {
        // Only the last of a group is ever answered.
        if (lastInGroup) request.respond(PRQ_RESPONSE_INVALID);
        continue;
      }
      this.#partial.push(request);
      if (lastInGroup) request.respond(this.#finishGroup(request));
    }
  }

  /** Resolves a whole group. After a failure the rest of it is not looked at. */
  #finishGroup(last: PageRequest): number {
    const inGroup = (request: PageRequest): boolean => request.device === last.device && request.group === last.group;
    const group = this.#partial.filter(inGroup);
    const rest = this.#partial.filter((request) => !inGroup(request));
    this.#partial.splice(0, this.#partial.length, ...rest);
    return group.every((request) => this.#resolve(request)) ? PRQ_RESPONSE_SUCCESS : PRQ_RESPONSE_INVALID;
  }

  /** iommu_sva_handle_mm(). */
  #resolve(request: PageRequest): boolean {
    const mm = this.#bondOf(request)?.mm;
    if (mm === undefined || mm.users === 0) return false;
    const vma = mm.findVma(request.address, this.#settings.svm.stackGrowth);
    if (vma === undefined) return false;
    if (request.execute && !vma.executable) return false;
    return mm.handleFault(vma, request.address, request.write);
  }

  #bondOf(request: PageRequest): Bond | undefined {
    for (const bond of this.#bonds.get(request.device)?.values() ?? []) if (bond.pasid === request.pasid) return bond;
    return undefined;
  }
}
