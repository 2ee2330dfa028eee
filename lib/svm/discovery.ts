import type { Kernel } from '../kernel.js';
import { listIfPresent, readIfPresent, realpathIfPresent } from '../sysfs.js';
import { SvmDevice, type DeviceInfo } from './device.js';

const DSA_BUS = '/sys/bus/dsa/devices';
const UACCE_CLASS = '/sys/class/uacce';

/** Devices are interned, so that two listings give the same objects. */
const known = new WeakMap<Kernel, Map<string, SvmDevice>>();

/**
 * The accelerators that a process can bind: enabled IDXD work queues of type "user", and UACCE devices, from sysfs alone.
 * @returns one device per node: IDXD by device and queue number, then UACCE by number
 */
export function discoverDevices(kernel: Kernel): SvmDevice[] {
  const interned = known.get(kernel) ?? new Map<string, SvmDevice>();
  known.set(kernel, interned);
  return [...idxdQueues(kernel), ...uacceDevices(kernel)].map((info) => {
    const before = interned.get(info.path);
    // A device that went and came back elsewhere is another device.
    const device = before !== undefined && before.sysfs === info.sysfs ? before : new SvmDevice(kernel, info);
    interned.set(info.path, device);
    return device;
  });
}

function idxdQueues(kernel: Kernel): DeviceInfo[] {
  const found: { info: DeviceInfo; order: number[] }[] = [];
  for (const name of listIfPresent(kernel, DSA_BUS)) {
    const numbers = /^wq(\d+)\.(\d+)$/.exec(name);
    if (numbers === null) continue;
    const sysfs = realpathIfPresent(kernel, `${DSA_BUS}/${name}`);
    // Queues come and go while they are looked at.
    const attribute = (file: string): string | undefined => readIfPresent(kernel, `${sysfs}/${file}`);
    if (sysfs === undefined || attribute('state') !== 'enabled' || attribute('type') !== 'user') continue;
    // .../0000:6a:01.0/dsa0/wq0.0
    const [bdf, accelerator = ''] = sysfs.split('/').slice(-3);
    const type = accelerator.startsWith('iax') ? 'iax' : 'dsa';
    const numaNode = Number(readIfPresent(kernel, `${DSA_BUS}/${accelerator}/numa_node`) ?? -1);
    found.push({
      info: { path: `/dev/${type}/${name}`, name, type, accelerator, sysfs, bdf, numaNode },
      order: [Number(numbers[1]), Number(numbers[2])],
    });
  }
  return byOrder(found);
}

function uacceDevices(kernel: Kernel): DeviceInfo[] {
  const found: { info: DeviceInfo; order: number[] }[] = [];
  for (const name of listIfPresent(kernel, UACCE_CLASS)) {
    const number = /-(\d+)$/.exec(name);
    if (number === null) continue;
    const sysfs = realpathIfPresent(kernel, `${UACCE_CLASS}/${name}`);
    if (sysfs === undefined) continue;
    const parent = realpathIfPresent(kernel, `${sysfs}/device`) ?? '';
    const bdf = /[\da-f]{4}:[\da-f]{2}:[\da-f]{2}\.[0-7]$/.exec(parent)?.[0];
    const numaNode = Number(readIfPresent(kernel, `${parent}/numa_node`) ?? -1);
    found.push({
      info: { path: `/dev/${name}`, name, type: 'uacce', accelerator: name, sysfs, bdf, numaNode },
      order: [Number(number[1])],
    });
  }
  return byOrder(found);
}

const compareNumbers = (a: number[], b: number[]): number => (a[0] ?? 0) - (b[0] ?? 0) || (a[1] ?? 0) - (b[1] ?? 0);

function byOrder(found: { info: DeviceInfo; order: number[] }[]): DeviceInfo[] {
  return found.toSorted((a, b) => compareNumbers(a.order, b.order)).map(({ info }) => info);
}
