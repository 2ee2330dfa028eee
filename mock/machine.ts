import { Clock } from './clock.js';
import type { CharDevice } from './devices/char-device.js';
import { Injections } from './injections.js';
import type { DeviceContext } from './iommu/device-context.js';
import { Iommu } from './iommu/iommu.js';
import type { MachineSettings } from './options.js';
import { Random } from './random.js';
import { LegacySvm } from './svm/legacy.js';
import { ModernSva } from './svm/modern.js';
import { SysfsTree } from './sysfs/tree.js';

/** The parts of the machine that devices and processes share. */
export class Machine {
  readonly settings: MachineSettings;
  readonly clock: Clock;
  readonly random: Random;
  readonly injections = new Injections();
  readonly iommu: Iommu;
  /** The functions of intel-svm.h, under 'legacy' semantics. */
  readonly svm: LegacySvm | undefined;
  /** The SVA layer that drivers call in open, under 'modern' semantics. */
  readonly sva: ModernSva | undefined;
  readonly sysfs = new SysfsTree();
  readonly #nodes = new Map<string, CharDevice>();
  readonly #contexts = new Map<string, DeviceContext>();
  #lastPid = 1000;

  constructor(settings: MachineSettings) {
    this.settings = settings;
    this.clock = new Clock(settings.clock);
    this.random = new Random(settings.seed);
    const ring = {
      entries: settings.svm.pageRequestRing,
      recoversFromOverflow: settings.svm.pageRequestOverflow === 'recovers',
    };
    this.iommu = new Iommu(this.clock, ring, this.injections);
    if (settings.semantics === 'legacy') this.svm = new LegacySvm(settings, this.injections, this.iommu);
    else this.sva = new ModernSva(settings, this.injections, this.iommu);
  }

  nextPid(): number {
    this.#lastPid += 1;
    return this.#lastPid;
  }

  /** Makes a device node appear below /dev. */
  addNode(device: CharDevice): void {
    this.#nodes.set(device.path, device);
    this.#contexts.set(device.path, device.context);
  }

  /** The device behind a node, also of one that is not there now. */
  context(path: string): DeviceContext | undefined {
    return this.#contexts.get(path);
  }

  removeNode(path: string): void {
    this.#nodes.delete(path);
  }

  node(path: string): CharDevice | undefined {
    return this.#nodes.get(path);
  }
}
