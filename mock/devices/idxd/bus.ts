import { fail, Errno } from '../../errno.js';
import type { Machine } from '../../machine.js';
import type { Attribute } from '../../sysfs/tree.js';
import type { IdxdDeviceOptions } from '../options.js';
import { IdxdDevice } from './device.js';
import { probeDevice, probeQueue, removeDevice, removeQueue } from './driver.js';
import { Ids } from './ids.js';
import { parseBool } from './parse.js';
import type { WorkQueue } from './work-queue.js';

const BUS = '/sys/bus/dsa';
const MODULE_PARAMETERS = '/sys/module/idxd/parameters';

/** Dynamic major numbers as a machine without other such drivers gives them out. */
const MAJORS = { dsa: 243, iax: 242 } as const;

/** How a module parameter shows a flag. */
const yesOrNo = (value: boolean): string => (value ? 'Y' : 'N');

type DriverName = 'idxd' | 'user';

/** What a driver can be attached to: an accelerator or a work queue. */
type Target =
  | { readonly driver: 'idxd'; readonly device: IdxdDevice }
  | { readonly driver: 'user'; readonly device: IdxdDevice; readonly queue: WorkQueue };

/** The loaded idxd module: its bus "dsa", its drivers' bind and unbind files, and the numbers that all its devices share. */
export class IdxdBus {
  readonly machine: Machine;
  readonly fileIds = new Ids();
  readonly majors = MAJORS;
  readonly minors = { dsa: new Ids(), iax: new Ids() } as const;
  /** Module parameter `tc_override`. */
  tcOverride: boolean;
  readonly #targets = new Map<string, Target>();
  #devices = 0;

  constructor(machine: Machine) {
    this.machine = machine;
    this.tcOverride = machine.settings.idxd.tcOverride;
  }

  /** The module refuses to load on a CPU without MOVDIR64B (idxd_init_module). */
  get loaded(): boolean {
    return this.machine.settings.cpu.movdir64b;
  }

  /**
   * Puts a device into the machine: configured, published, and bound to its drivers as far as the options say and the
   * machine lets it.
   * @throws TypeError `ERR_INVALID_ARG_VALUE` or RangeError `ERR_OUT_OF_RANGE` where no device can be so
   */
  add(options: IdxdDeviceOptions): IdxdDevice {
    const device = new IdxdDevice(this, options, this.#devices);
    this.#devices += 1;
    if (!this.loaded) return device;
    if (this.#targets.size === 0) this.#publishModule();
    this.#targets.set(device.name, { driver: 'idxd', device });
    for (const queue of device.workQueues) this.#targets.set(queue.name, { driver: 'user', device, queue });
    device.bringUp(options);
    return device;
  }

  /** Makes a device of the bus appear in sysfs. */
  publish(name: string, directory: string, attributes: Readonly<Record<string, Attribute>>): void {
    const { sysfs } = this.machine;
    sysfs.attributes(directory, attributes);
    sysfs.link(`${BUS}/devices/${name}`, directory);
  }

  /** Takes it out again. */
  unpublish(name: string, directory: string): void {
    const { sysfs } = this.machine;
    // The link first: without its target it could not be found any more.
    for (const path of [`${BUS}/devices/${name}`, directory]) if (sysfs.exists(path)) sysfs.remove(path);
  }

  /** device_driver_attach(): the probe's errno where it fails, EBUSY where a driver is attached. */
  attach(name: string): void {
    const target = this.#targets.get(name) ?? fail('ENODEV');
    const { device } = target;
    const subject = target.driver === 'idxd' ? device : target.queue;
    if (subject.bound) fail('EBUSY');
    if (target.driver === 'idxd') probeDevice(device);
    else probeQueue(device, target.queue);
    subject.bound = true;
    const { sysfs } = this.machine;
    sysfs.link(`${BUS}/drivers/${target.driver}/${name}`, sysfs.realpath(`${BUS}/devices/${name}`));
    sysfs.link(`${sysfs.realpath(`${BUS}/devices/${name}`)}/driver`, `${BUS}/drivers/${target.driver}`);
  }

  /** device_release_driver(). */
  detach(name: string): void {
    const target = this.#targets.get(name);
    const subject = target?.driver === 'user' ? target.queue : target?.device;
    if (target === undefined || subject === undefined || !subject.bound) return fail('ENODEV');
    const { sysfs } = this.machine;
    sysfs.remove(`${sysfs.realpath(`${BUS}/devices/${name}`)}/driver`);
    sysfs.remove(`${BUS}/drivers/${target.driver}/${name}`);
    subject.bound = false;
    if (target.driver === 'idxd') removeDevice(target.device);
    else removeQueue(target.device, target.queue);
  }

  /** As `attach`, for the machine's own start: what Linux refuses stays unbound, and cmd_status says why. */
  tryAttach(name: string): void {
    try {
      this.attach(name);
    } catch (error) {
      if (!(error instanceof Errno)) throw error;
    }
  }

  #publishModule(): void {
    const { sysfs, settings } = this.machine;
    let { sva } = settings.idxd;
    sysfs.attributes(MODULE_PARAMETERS, {
      // Looked at when a device is probed: a change does nothing to those that are there.
      sva: { mode: 0o644, show: () => yesOrNo(sva), store: (value) => void (sva = parseBool(value)) },
      tc_override: {
        mode: 0o644,
        show: () => yesOrNo(this.tcOverride),
        store: (value) => void (this.tcOverride = parseBool(value)),
      },
    });
    sysfs.directory(`${BUS}/devices`);
    for (const driver of ['idxd', 'user'] as const) {
      sysfs.attributes(`${BUS}/drivers/${driver}`, {
        bind: { mode: 0o200, store: (name) => this.#command(driver, name, (target) => this.attach(target)) },
        unbind: { mode: 0o200, store: (name) => this.#command(driver, name, (target) => this.detach(target)) },
      });
    }
  }

  /** ENODEV for a name that is not on the bus, and for one of the other driver's kind. */
  #command(driver: DriverName, name: string, run: (name: string) => void): void {
    if (this.#targets.get(name)?.driver !== driver) fail('ENODEV');
    run(name);
  }
}
