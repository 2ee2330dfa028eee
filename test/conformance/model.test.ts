import { describe, expect, it } from 'vitest';
import { LegacyMock, LegacyModel, actions as legacyActions, type Hardware } from './model/legacy.js';
import { ModernMock, ModernModel, actions as modernActions, type Node } from './model/modern.js';
import { compare } from './model/run.js';

const TIMEOUT = { timeout: 120_000 };

/** Narrow ones run out of numbers, 0 has no PASID capability, -1 no IOMMU. */
const LEGACY: readonly Hardware[] = [
  { widths: [20, 3, 0, 2], srs: true, allocationEnd: -2 },
  { widths: [2, 20, -1], srs: false, allocationEnd: -1 },
];

const UACCE: readonly Node[] = [
  { width: 20, kind: 'uacce', queues: 64 },
  { width: 2, kind: 'uacce', queues: 2 },
  { width: 0, kind: 'uacce', queues: 64 },
];

const IDXD: readonly Node[] = [
  { width: 20, kind: 'shared' },
  { width: 1, kind: 'shared' },
  { width: 3, kind: 'dedicated' },
];

describe('the mock against models of the facts', () => {
  it.for(LEGACY)('legacy: bind, unbind, validity, probe, exit, exec, fork: %o', TIMEOUT, (hardware) => {
    const machine = () => ({ model: new LegacyModel(hardware), mock: new LegacyMock(hardware) });
    expect(compare(legacyActions(hardware), machine, { runs: 700, length: 40 })).toBe(700);
  });

  it('modern, UACCE queues: bind, unbind, open, close, validity, probe, exit, exec, fork', TIMEOUT, () => {
    const machine = () => ({ model: new ModernModel(UACCE), mock: new ModernMock(UACCE) });
    expect(compare(modernActions(UACCE), machine, { runs: 500, length: 40 })).toBe(500);
  });

  it('modern, IDXD work queues: bind, unbind, open, close, validity, probe, exit, exec, fork', TIMEOUT, () => {
    const machine = () => ({ model: new ModernModel(IDXD), mock: new ModernMock(IDXD) });
    expect(compare(modernActions(IDXD), machine, { runs: 150, length: 40 })).toBe(150);
  });
});
