import * as v from 'valibot';
import type { CpuFeatures } from '../lib/kernel.js';
import type { ClockMode } from './clock.js';
import { DEVICES, type MockDeviceOptions } from './devices/options.js';
import { boolean, flag, integer, oneOf, parse } from './schema.js';

/** Which kernel binds, and how: the functions of intel-svm.h (v5.1), or iommu_sva behind open(2) (v7.2). */
export type Semantics = 'legacy' | 'modern';

/** The machine's VT-d unit. Defaults: present, on, and able to do everything SVM needs. */
export interface MockIommuOptions {
  /** DMA remapping on at boot. Off: no device can be bound. Default true. */
  readonly enabled?: boolean;
  /** PASIDs that the unit supports, as a width in bits: PSS + 1. Default 20. */
  readonly pasidBits?: number;
  /** ECAP.SRS: supervisor requests. Default true. */
  readonly srs?: boolean;
  /** ECAP.FLTS: first-level translation, without which no PASID entry can be written. Default true. */
  readonly flts?: boolean;
  /** ECAP.SMTS: scalable mode (`intel_iommu=sm_on`). Default true. */
  readonly smts?: boolean;
  /** ECAP.PASID. Default true. */
  readonly pasid?: boolean;
  /** ECAP.SMPWC: page-walk coherency, which SVM needs since v5.8. Default true. */
  readonly smpwc?: boolean;
  /** CAP.5LP: five-level first-level tables. Default: as the CPU. */
  readonly fiveLevel?: boolean;
  /** CAP.FL1GP: 1 GiB pages. Default true. */
  readonly oneGiB?: boolean;
  /** CAP.CM: caching mode, as a virtual IOMMU sets it. A bit of `cap` in sysfs; it changes nothing else. Default false. */
  readonly cachingMode?: boolean;
}

/** What differs between kernel versions in SVM itself. Defaults follow `semantics`. */
export interface SvmSwitches {
  /**
   * Highest PASID handed out, counted from the smaller of the device's and the system's number of PASIDs.
   * Default -2 in 'legacy' (v5.1 applied an exclusive end to max - 1), -1 in 'modern' (and in 5.4.y).
   */
  readonly allocationEnd: -1 | -2;
  /** Errno where the address space's PASID is too large for the device. Default ENOSPC / EOVERFLOW. */
  readonly pasidTooLarge: 'ENOSPC' | 'EOVERFLOW';
  /** Errno where the device has no PASID capability. Default EINVAL / ENOSPC. */
  readonly pasidUnsupported: 'EINVAL' | 'ENOSPC';
  /**
   * Refuse with ENOTSUPP (524), before the PCI check, where the IOMMU's paging differs from the CPU's (v5.6, v5.7).
   * Default false. Legacy only.
   */
  readonly notSvmCapableIsEnotsupp: boolean;
  /** Refuse a five-level CPU over a four-level IOMMU when the PASID entry is written (v5.2 on). Default false. Legacy only. */
  readonly checksFiveLevel: boolean;
  /** A device access below the stack extends it (find_extend_vma, until v6.1). Default true / false. */
  readonly stackGrowth: boolean;
  /** Entries of the page request ring: 128 in v5.1, 2048 today. */
  readonly pageRequestRing: number;
  /** After an overflow of the ring: 'fatal' stops requests for good, 'recovers' clears the bit. Default 'fatal' / 'recovers'. */
  readonly pageRequestOverflow: 'fatal' | 'recovers';
  /** `svm_dev_ops.fault_cb` is called for every request. Default true. Legacy only: 'modern' has no callback. */
  readonly faultCallback: boolean;
  /** False: stable kernels that return EOPNOTSUPP for every bind on x86 (6.1.164+, 6.12.69+, 6.18.5). Default true. Modern only. */
  readonly svaOnX86: boolean;
}

/** Bugs of old kernels, off by default. They mean something under 'legacy' only. */
export interface Quirks {
  /** `fault_cb` gets the page frame number instead of the byte address (every version that had it). */
  readonly faultAddressIsPageNumber: boolean;
  /** A second device that joins a PASID gets no PASID entry of its own (v4.19 to v5.4-rc). */
  readonly secondDeviceWithoutEntry: boolean;
  /** A response for every request, not only for the last of its group (v5.1). */
  readonly responseForEveryRequest: boolean;
}

/** What the character devices of the IDXD driver do, by version. Defaults: v7.2. */
export interface IdxdSwitches {
  /** `pasid_enabled` is decided at probe (until v6.12) or every open tries (v6.17 on). Default 'open'. */
  readonly pasidEnabledAt: 'probe' | 'open';
  /** write(2) submits descriptors (v6.9 on). Default true. */
  readonly writeSubmission: boolean;
  /** mmap needs CAP_SYS_RAWIO on devices that are not safe for user submission (v6.9 on). Default true. */
  readonly mmapNeedsRawio: boolean;
  /** mmap, write and poll refuse an address space other than the opener's (6.1.159, 6.12.38, v6.17 on). Default true. Modern only. */
  readonly mmCheck: boolean;
  /** write(2) refuses BATCH: on devices of version 0x100 (v6.17 on), or on every DSA (until v6.12). Default 'version-0x100'. */
  readonly batchRefused: 'version-0x100' | 'every-dsa';
  /** WQs need `driver_name` (v6.7 on). Default true. */
  readonly driverName: boolean;
  /** The event log is used where the device has one (v6.4 on). Default true. */
  readonly eventLog: boolean;
  /** Configuration is restored after a function-level reset (v6.17 on). Default true. */
  readonly flrRecovery: boolean;
  /** Module parameter `sva`. Default true. */
  readonly sva: boolean;
  /** Module parameter `tc_override`. Default false. */
  readonly tcOverride: boolean;
}

/** Kernel configuration. */
export interface KernelConfig {
  /** CONFIG_INTEL_IOMMU_SVM: off leaves the stubs of intel-svm.h. Default true. */
  readonly intelIommuSvm: boolean;
  /** CONFIG_IOMMU_SVA. Default true. Modern only. */
  readonly iommuSva: boolean;
}

/** Rights that processes start with. */
export interface CallerOptions {
  /** User id; 0 may write sysfs. Default 0. */
  readonly uid: number;
  /** CAP_SYS_RAWIO in the initial user namespace. Default: as root. */
  readonly capSysRawio: boolean;
}

/** A machine, and the kernel that runs on it. */
export interface MockKernelOptions {
  /** Default 'legacy'. */
  readonly semantics?: Semantics;
  /** Seed of the addresses: where each process's mappings and stack begin. An integer; its low 32 bits count. Default 1. */
  readonly seed?: number;
  /** Default 'virtual'. */
  readonly clock?: ClockMode;
  readonly iommu?: MockIommuOptions;
  readonly cpu?: Partial<CpuFeatures>;
  readonly config?: Partial<KernelConfig>;
  readonly svm?: Partial<SvmSwitches>;
  readonly quirks?: Partial<Quirks>;
  readonly idxd?: Partial<IdxdSwitches>;
  /** What UACCE_CMD_PUT_Q leaves behind: 'zombie' until 6.12.63 and 6.18.5, 'init' since. Default 'init'. */
  readonly uaccePutQ?: 'zombie' | 'init';
  readonly caller?: Partial<CallerOptions>;
  /** Default: a DSA with a dedicated and a shared work queue that block on faults, and an IAX with a dedicated one. */
  readonly devices?: readonly MockDeviceOptions[];
}

/** The options with every default filled in. */
export interface MachineSettings {
  readonly semantics: Semantics;
  readonly seed: number;
  readonly clock: ClockMode;
  readonly iommu: Required<MockIommuOptions>;
  readonly cpu: CpuFeatures;
  readonly config: KernelConfig;
  readonly svm: SvmSwitches;
  readonly quirks: Quirks;
  readonly idxd: IdxdSwitches;
  readonly uaccePutQ: 'zombie' | 'init';
  readonly caller: CallerOptions;
  readonly devices: readonly MockDeviceOptions[];
}

const SVM_DEFAULTS: Record<Semantics, SvmSwitches> = {
  legacy: {
    allocationEnd: -2,
    pasidTooLarge: 'ENOSPC',
    pasidUnsupported: 'EINVAL',
    notSvmCapableIsEnotsupp: false,
    checksFiveLevel: false,
    stackGrowth: true,
    pageRequestRing: 128,
    pageRequestOverflow: 'fatal',
    faultCallback: true,
    svaOnX86: true,
  },
  modern: {
    allocationEnd: -1,
    pasidTooLarge: 'EOVERFLOW',
    pasidUnsupported: 'ENOSPC',
    notSvmCapableIsEnotsupp: false,
    checksFiveLevel: true,
    stackGrowth: false,
    pageRequestRing: 2048,
    pageRequestOverflow: 'recovers',
    faultCallback: false,
    svaOnX86: true,
  },
};

const DEFAULT_DEVICES: readonly MockDeviceOptions[] = [
  {
    type: 'dsa',
    bdf: '0000:6a:01.0',
    workQueues: [
      { mode: 'dedicated', size: 16, blockOnFault: true },
      { mode: 'shared', size: 16, blockOnFault: true },
    ],
  },
  { type: 'iax', bdf: '0000:6a:02.0', workQueues: [{ mode: 'dedicated', size: 16 }] },
];

const settings = (svm: SvmSwitches) =>
  v.strictObject({
    semantics: v.optional(oneOf('legacy', 'modern'), 'legacy'),
    seed: v.optional(integer(Number.MIN_SAFE_INTEGER), 1),
    clock: v.optional(oneOf('virtual', 'manual', 'real'), 'virtual'),
    iommu: v.optional(
      v.strictObject({
        enabled: flag(true),
        pasidBits: v.optional(integer(1, 20), 20),
        srs: flag(true),
        flts: flag(true),
        smts: flag(true),
        pasid: flag(true),
        smpwc: flag(true),
        fiveLevel: v.optional(boolean),
        oneGiB: flag(true),
        cachingMode: flag(false),
      }),
      {},
    ),
    cpu: v.optional(
      v.strictObject({ movdir64b: flag(true), enqcmd: flag(true), waitpkg: flag(true), la57: flag(false) }),
      {},
    ),
    config: v.optional(v.strictObject({ intelIommuSvm: flag(true), iommuSva: flag(true) }), {}),
    svm: v.optional(
      v.strictObject({
        allocationEnd: v.optional(oneOf(-1, -2), svm.allocationEnd),
        pasidTooLarge: v.optional(oneOf('ENOSPC', 'EOVERFLOW'), svm.pasidTooLarge),
        pasidUnsupported: v.optional(oneOf('EINVAL', 'ENOSPC'), svm.pasidUnsupported),
        notSvmCapableIsEnotsupp: flag(svm.notSvmCapableIsEnotsupp),
        checksFiveLevel: flag(svm.checksFiveLevel),
        stackGrowth: flag(svm.stackGrowth),
        pageRequestRing: v.optional(integer(1), svm.pageRequestRing),
        pageRequestOverflow: v.optional(oneOf('fatal', 'recovers'), svm.pageRequestOverflow),
        faultCallback: flag(svm.faultCallback),
        svaOnX86: flag(svm.svaOnX86),
      }),
      {},
    ),
    quirks: v.optional(
      v.strictObject({
        faultAddressIsPageNumber: flag(false),
        secondDeviceWithoutEntry: flag(false),
        responseForEveryRequest: flag(false),
      }),
      {},
    ),
    idxd: v.optional(
      v.strictObject({
        pasidEnabledAt: v.optional(oneOf('probe', 'open'), 'open'),
        writeSubmission: flag(true),
        mmapNeedsRawio: flag(true),
        mmCheck: flag(true),
        batchRefused: v.optional(oneOf('version-0x100', 'every-dsa'), 'version-0x100'),
        driverName: flag(true),
        eventLog: flag(true),
        flrRecovery: flag(true),
        sva: flag(true),
        tcOverride: flag(false),
      }),
      {},
    ),
    uaccePutQ: v.optional(oneOf('zombie', 'init'), 'init'),
    caller: v.optional(v.strictObject({ uid: v.optional(integer(0), 0), capSysRawio: v.optional(boolean) }), {}),
    devices: v.optional(DEVICES),
  });

const SETTINGS = { legacy: settings(SVM_DEFAULTS.legacy), modern: settings(SVM_DEFAULTS.modern) };

/**
 * Fills in the defaults. An explicit `undefined` means the default as well.
 * @throws TypeError `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`, RangeError `ERR_OUT_OF_RANGE`: the message names the
 *   option by its path, e.g. 'iommu.pasidBits', 'devices[1].type'
 */
export function resolveOptions(options: MockKernelOptions): MachineSettings {
  const { iommu, cpu, caller, ...rest } = parse(
    SETTINGS[options?.semantics === 'modern' ? 'modern' : 'legacy'],
    options,
  );
  return {
    ...rest,
    iommu: { ...iommu, fiveLevel: iommu.fiveLevel ?? cpu.la57 },
    cpu,
    caller: { uid: caller.uid, capSysRawio: caller.capSysRawio ?? caller.uid === 0 },
    devices: options.devices ?? DEFAULT_DEVICES,
  };
}
