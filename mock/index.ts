export { createMockKernel, type DeviceHalt, type MockDevice, type MockKernel } from './kernel.js';
export { KernelBug } from './errno.js';
export type { Clock, ClockMode } from './clock.js';
export type { Counters } from './counters.js';
export type { Injection, InjectionKind } from './injections.js';
export type { Recovery } from './devices/idxd/recovery.js';
export type { DmaFault } from './iommu/iommu.js';
export type { MockProcess } from './process.js';
export type {
  CallerOptions,
  IdxdSwitches,
  KernelConfig,
  MachineSettings,
  MockIommuOptions,
  MockKernelOptions,
  Quirks,
  Semantics,
  SvmSwitches,
} from './options.js';
export type {
  IdxdDeviceOptions,
  MockDeviceOptions,
  PciDeviceOptions,
  UacceDeviceOptions,
  WorkQueueOptions,
} from './devices/options.js';
