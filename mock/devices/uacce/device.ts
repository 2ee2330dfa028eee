import { UACCE_DEV_SVA } from '../../../lib/abi/uacce.js';
import { fail } from '../../errno.js';
import { DeviceContext } from '../../iommu/device-context.js';
import type { Machine } from '../../machine.js';
import { decimal, readOnly } from '../attributes.js';
import type { Caller, CharDevice, OpenFile } from '../char-device.js';
import type { UacceDeviceOptions } from '../options.js';
import { publishPciDevice } from '../pci.js';
import { UacceQueue } from './queue.js';

/** A device of the UACCE framework (drivers/misc/uacce/uacce.c): its node, its sysfs directory, its queues. */
export class UacceDevice implements CharDevice {
  readonly name: string;
  readonly path: string;
  readonly context: DeviceContext;
  readonly mode = 0o600;
  /** Bytes of the regions MMIO and DUS, by region number; 0: absent. */
  readonly regionSizes: readonly [number, number];
  readonly #machine: Machine;
  readonly #options: UacceDeviceOptions;
  readonly #queues = new Set<UacceQueue>();
  #lastId = -1;

  constructor(machine: Machine, options: UacceDeviceOptions, id: number) {
    this.#machine = machine;
    this.#options = options;
    this.name = `${options.name ?? 'hisi_zip'}-${id}`;
    this.path = `/dev/${this.name}`;
    this.context = new DeviceContext(options);
    this.regionSizes = [options.mmioSize ?? 0x2000, options.dusSize ?? 0x11000];
    this.#publish();
    machine.addNode(this);
  }

  /** Queues that may still be opened. */
  get availableInstances(): number {
    return this.#instances - this.#queues.size;
  }

  open(caller: Caller): OpenFile {
    const { sva, settings, injections } = this.#machine;
    if (injections.strikes('allocation-failure')) return fail('ENOMEM');
    const bond = this.#usesSva ? sva?.bind(this.context, caller.mm) : undefined;
    // get_queue comes after the bind; hisi_qm answers EBUSY when none is left.
    if (this.availableInstances === 0) {
      if (bond !== undefined) sva?.unbind(bond);
      return fail('EBUSY');
    }
    const queue = new UacceQueue({
      pasid: bond?.pasid,
      id: this.#nextId(),
      isHisi: this.#api.startsWith('hisi_qm'),
      regionSizes: this.regionSizes,
      putQ: settings.uaccePutQ,
      injections,
      release: () => {
        this.#queues.delete(queue);
        if (bond !== undefined) sva?.unbind(bond);
      },
    });
    this.#queues.add(queue);
    return queue;
  }

  /** uacce_remove(): the device goes while queues may be open; each becomes a zombie. Once it is gone, a no-op. */
  remove(): void {
    if (this.#machine.node(this.path) !== this) return;
    for (const queue of this.#queues) queue.becomeZombie();
    this.#machine.removeNode(this.path);
    this.#machine.sysfs.remove(`/sys/class/uacce/${this.name}`);
  }

  /** The number of a new queue: the next free one, as idr_alloc_cyclic() finds it. */
  #nextId(): number {
    const used = new Set([...this.#queues].map(({ id }) => id));
    let id = this.#lastId;
    do id = (id + 1) % this.#instances;
    while (used.has(id));
    this.#lastId = id;
    return id;
  }

  get #instances(): number {
    return this.#options.instances ?? 256;
  }

  get #api(): string {
    return this.#options.api ?? 'hisi_qm_v3';
  }

  get #usesSva(): boolean {
    return this.#options.sva ?? true;
  }

  #publish(): void {
    const { sysfs } = this.#machine;
    const parent = publishPciDevice(sysfs, this.#options, { vendor: 0x19e5, device: 0xa250 });
    const directory = `${parent}/uacce/${this.name}`;
    const algorithms = this.#options.algorithms ?? ['zlib', 'gzip'];
    sysfs.attributes(directory, {
      api: readOnly(() => this.#api),
      flags: decimal(() => (this.#usesSva ? UACCE_DEV_SVA : 0)),
      available_instances: decimal(() => this.availableInstances),
      algorithms: readOnly(() => algorithms.join('\n')),
    });
    const [mmio, dus] = this.regionSizes;
    if (mmio > 0)
      sysfs.attribute(
        `${directory}/region_mmio_size`,
        decimal(() => mmio),
      );
    if (dus > 0)
      sysfs.attribute(
        `${directory}/region_dus_size`,
        decimal(() => dus),
      );
    sysfs.link(`${directory}/device`, parent);
    sysfs.link(`/sys/class/uacce/${this.name}`, directory);
  }
}
