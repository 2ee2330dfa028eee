import type { SvmDevice } from 'intel-svm';
import type { DeviceContext } from '../../mock/iommu/device-context.js';
import type { DeviceState } from './backend.js';

/** The PCI device of the mock behind a node. */
export function contextOf(hardware: readonly { readonly context: DeviceContext }[], device: SvmDevice): DeviceContext {
  const found = hardware.find(({ context }) => context.bdf === device.bdf);
  if (found === undefined) throw new Error(`no hardware at ${device.bdf}`);
  return found.context;
}

/** What the mock's IOMMU holds for a device. */
export function stateOf({ pasidEnabled, atsEnabled, priEnabled, pasidTable }: DeviceContext): DeviceState {
  return { pasidEnabled, atsEnabled, priEnabled, pasidTable: [...pasidTable.keys()].toSorted((a, b) => a - b) };
}
