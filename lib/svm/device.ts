import type { DeviceNode, Kernel, SvmDevOps as KernelSvmDevOps } from '../kernel.js';
import { SvmBinding } from './binding.js';
import type { BindOptions } from './bind.js';

/** Which family of accelerator a device node belongs to. */
export type DeviceType = 'dsa' | 'iax' | 'uacce';

/** `struct svm_dev_ops`: see the fields of `faultCb`. Compared by identity. */
export type SvmDevOps = KernelSvmDevOps<SvmDevice>;

/** What discovery knows of a device node. */
export interface DeviceInfo {
  /** Node: '/dev/dsa/wq0.0'. */
  readonly path: string;
  /** Name in sysfs: 'wq0.0', 'hisi_zip-0'. */
  readonly name: string;
  readonly type: DeviceType;
  /** The accelerator it belongs to: 'dsa0'; for UACCE the name itself. */
  readonly accelerator: string;
  /** Directory in sysfs with the node's attributes. */
  readonly sysfs: string;
  /** PCI address '0000:6a:01.0'; `undefined` for a device that is not on PCI. */
  readonly bdf: string | undefined;
  /** NUMA node, -1 where the machine has none. */
  readonly numaNode: number;
}

/**
 * An accelerator's character device, as one process sees it: `struct device *` of intel-svm.h. `devices()` makes them,
 * one per node and process, so they may be compared by identity.
 */
export class SvmDevice implements DeviceNode, DeviceInfo {
  readonly kernel: Kernel;
  readonly path: string;
  readonly name: string;
  readonly type: DeviceType;
  readonly accelerator: string;
  readonly sysfs: string;
  readonly bdf: string | undefined;
  readonly numaNode: number;

  constructor(kernel: Kernel, info: DeviceInfo) {
    this.kernel = kernel;
    this.path = info.path;
    this.name = info.name;
    this.type = info.type;
    this.accelerator = info.accelerator;
    this.sysfs = info.sysfs;
    this.bdf = info.bdf;
    this.numaNode = info.numaNode;
  }

  /**
   * `bindMm` as a resource: `using binding = device.bind()` unbinds at the end of the block.
   * @throws as `bindMm`
   */
  bind(options: BindOptions = {}): SvmBinding {
    return new SvmBinding(this, options);
  }
}
