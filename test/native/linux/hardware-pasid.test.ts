import { describe, expect, test as base } from 'vitest';
import { bindMm, connect, findHardwarePasid, hardwarePasid, unbindMm, type SvmDevice } from 'intel-svm';
import { loadAddon } from '../../../lib/linux/loader.js';
import { FixtureRoots } from './fixture.js';

const TABLE = '/sys/kernel/debug/iommu/intel/dmar_translation_struct';

const hex = (value: number): string => `0x${value.toString(16).padStart(16, '0')}`;

/** A row as intel_iommu's debugfs prints it. PGTT, bits 8:6 of the last quadword: 1 first-level, 2 second-level. */
const row = (bdf: string, pasid: number, pgtt: 1 | 2): string => {
  const pair = `${hex(0)}:${hex(0x1063_3e001)}`;
  return `${bdf}\t${pair}\t${pair}\t${pasid}\t${hex(0x1037_fc000)}:${hex(0x81)}:${hex((pgtt << 6) | 1)}`;
};

interface Bound {
  fixture: FixtureRoots;
  device: SvmDevice;
  pasid: number;
}

/** Tests with a bound device whose node is /dev/zero; without the addon they are skipped, and say why. */
const test = base.extend<Bound>({
  fixture: async ({ onTestFinished }, use) => {
    const fixture = new FixtureRoots();
    onTestFinished(() => fixture[Symbol.dispose]());
    await use(fixture);
  },
  device: async ({ fixture, skip }, use) => {
    const load = loadAddon();
    if (load.addon === undefined) return skip(load.reason);
    fixture.workQueue('wq0.0');
    fixture.node('/dev/dsa/wq0.0', '/dev/zero');
    const [device] = (await connect({ backend: 'linux', roots: fixture.roots })).devices();
    if (device === undefined) throw new Error('the fixture has one queue');
    return use(device);
  },
  pasid: async ({ device }, use) => {
    const pasid = bindMm(device);
    await use(pasid);
    unbindMm(device, pasid);
  },
});

describe('the hardware PASID behind a handle', () => {
  test('is not known where nobody tells it', async ({ device, pasid }) => {
    expect(pasid).toBeGreaterThanOrEqual(2 ** 20);
    expect(hardwarePasid(device, pasid)).toBeUndefined();
    await expect(findHardwarePasid(device, pasid)).resolves.toBeUndefined();
  });

  test('is the only SVA entry of the device in debugfs', async ({ fixture, device, pasid }) => {
    fixture.file(
      TABLE,
      [
        'IOMMU dmar0: Root Table Address: 0x103027000',
        'B.D.F\tRoot_entry\t\t\t\tContext_entry\t\t\t\tPASID\tPASID_table_entry',
        row('6a:01.0', 0, 2),
        row('6a:01.0', 7, 1),
        row('6a:02.0', 9, 1),
      ].join('\n'),
    );
    await expect(findHardwarePasid(device, pasid)).resolves.toEqual({ pasid: 7, source: 'debugfs' });
  });

  test('is not guessed among several entries', async ({ fixture, device, pasid }) => {
    fixture.file(TABLE, [row('6a:01.0', 7, 1), row('6a:01.0', 8, 1)].join('\n'));
    await expect(findHardwarePasid(device, pasid)).resolves.toBeUndefined();
  });

  test('cannot be traced on a queue that does not block on faults', async ({ device, pasid }) => {
    await expect(findHardwarePasid(device, pasid, { sources: ['tracefs'] })).resolves.toBeUndefined();
  });
});
