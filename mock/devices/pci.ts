import { invalidArgValue, outOfRange } from '../../lib/errors.js';
import type { Attribute, SysfsTree } from '../sysfs/tree.js';
import type { PciDeviceOptions } from './options.js';

const BDF = /^[\da-f]{4}:[\da-f]{2}:[01][\da-f]\.[0-7]$/;

const hex = (value: number): Attribute => ({
  mode: 0o444,
  show: () => `0x${value.toString(16).padStart(4, '0')}`,
});

/** Refuses what no PCI device can be. @throws TypeError `ERR_INVALID_ARG_VALUE`, RangeError `ERR_OUT_OF_RANGE` */
export function checkPciOptions({ bdf, pasidBits }: PciDeviceOptions): void {
  if (typeof bdf !== 'string' || !BDF.test(bdf)) {
    throw invalidArgValue('bdf', `must be a PCI address such as '0000:6a:01.0'. Received ${JSON.stringify(bdf)}`);
  }
  if (pasidBits !== undefined && (!Number.isInteger(pasidBits) || pasidBits < 0 || pasidBits > 20)) {
    throw outOfRange('pasidBits', 'an integer from 0 to 20', pasidBits);
  }
}

/**
 * The device's directory below /sys/devices, and its link on the PCI bus.
 * @returns the directory
 */
export function publishPciDevice(
  tree: SysfsTree,
  options: PciDeviceOptions,
  ids: { readonly vendor: number; readonly device: number },
): string {
  const directory = `/sys/devices/pci${options.bdf.slice(0, 7)}/${options.bdf}`;
  tree.attributes(directory, {
    vendor: hex(ids.vendor),
    device: hex(ids.device),
    numa_node: { mode: 0o444, show: () => String(options.numaNode ?? -1) },
  });
  tree.link(`/sys/bus/pci/devices/${options.bdf}`, directory);
  return directory;
}
