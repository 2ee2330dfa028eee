import type { Attribute, SysfsTree } from '../sysfs/tree.js';
import type { PciDeviceOptions } from './options.js';

const hex = (value: number): Attribute => ({
  mode: 0o444,
  show: () => `0x${value.toString(16).padStart(4, '0')}`,
});

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
