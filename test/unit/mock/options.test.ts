import { createMockKernel } from 'intel-svm/mock';
import { describe, expect, it } from 'vitest';
import { resolveOptions } from '../../../mock/options.js';
import { caught } from '../../conformance/world.js';

const bdf = '0000:6a:01.0';
const dsa = { type: 'dsa', bdf };
const uacce = { type: 'uacce', bdf };

/** Calls as a program without types does. */
const make = (options: unknown): unknown => Reflect.apply(createMockKernel, undefined, [options]);
const resolve = (options: unknown): unknown => Reflect.apply(resolveOptions, undefined, [options]);

describe('options that make no sense', () => {
  const TYPE = 'ERR_INVALID_ARG_TYPE';
  const VALUE = 'ERR_INVALID_ARG_VALUE';
  const RANGE = 'ERR_OUT_OF_RANGE';

  it.each<[path: string, options: unknown, code: string]>([
    ['options', null, TYPE],
    ['options', 'legacy', TYPE],
    ['iommu', { iommu: null }, TYPE],
    ['iommu', { iommu: true }, TYPE],
    ['iommu.srs', { iommu: { srs: 1 } }, TYPE],
    ['iommu.pasidbits', { iommu: { pasidbits: 4 } }, VALUE],
    ['iommu.pasidBits', { iommu: { pasidBits: '4' } }, TYPE],
    ['iommu.pasidBits', { iommu: { pasidBits: 0 } }, RANGE],
    ['iommu.pasidBits', { iommu: { pasidBits: 21 } }, RANGE],
    ['iommu.pasidBits', { iommu: { pasidBits: 4.5 } }, RANGE],
    ['semantic', { semantic: 'modern' }, VALUE],
    ['semantics', { semantics: 'Modern' }, VALUE],
    ['clock', { clock: 'wall' }, VALUE],
    ['seed', { seed: NaN }, RANGE],
    ['seed', { seed: 0.5 }, RANGE],
    ['seed', { seed: '1' }, TYPE],
    ['cpu.la57', { cpu: { la57: 'yes' } }, TYPE],
    ['config.iommuSVA', { config: { iommuSVA: true } }, VALUE],
    ['svm.pasidTooLarge', { svm: { pasidTooLarge: 'EINVAL' } }, VALUE],
    ['svm.pageRequestOverflow', { semantics: 'modern', svm: { pageRequestOverflow: 'ignored' } }, VALUE],
    ['svm.allocationEnd', { svm: { allocationEnd: 0 } }, VALUE],
    ['svm.pageRequestRing', { svm: { pageRequestRing: 0 } }, RANGE],
    ['quirks.secondDevice', { quirks: { secondDevice: true } }, VALUE],
    ['idxd.pasidEnabledAt', { idxd: { pasidEnabledAt: 'close' } }, VALUE],
    ['idxd.mmCheck', { idxd: { mmCheck: null } }, TYPE],
    ['uaccePutQ', { uaccePutQ: 'started' }, VALUE],
    ['caller.uid', { caller: { uid: -1 } }, RANGE],
    ['caller.capSysRawio', { caller: { capSysRawio: 0 } }, TYPE],
    ['devices', { devices: {} }, TYPE],
    ['devices[0]', { devices: [null] }, TYPE],
    ['devices[0].type', { devices: [{ bdf }] }, VALUE],
    ['devices[1].type', { devices: [dsa, { ...dsa, type: 'qat' }] }, VALUE],
    ['devices[0].bdf', { devices: [{ type: 'dsa' }] }, TYPE],
    ['devices[0].bdf', { devices: [{ ...dsa, bdf: '6a:01.0' }] }, VALUE],
    ['devices[0].pasidBits', { devices: [{ ...uacce, pasidBits: 21 }] }, RANGE],
    ['devices[0].numaNode', { devices: [{ ...uacce, numaNode: -2 }] }, RANGE],
    ['devices[0].ats', { devices: [{ ...dsa, ats: 1 }] }, TYPE],
    ['devices[0].name', { devices: [{ ...dsa, name: 'zip' }] }, VALUE],
    ['devices[0].name', { devices: [{ ...uacce, name: 'hisi/zip' }] }, VALUE],
    ['devices[0].instances', { devices: [{ ...uacce, instances: -1 }] }, RANGE],
    ['devices[0].mmioSize', { devices: [{ ...uacce, mmioSize: 1.5 }] }, RANGE],
    ['devices[0].dusSize', { devices: [{ ...uacce, dusSize: -4096 }] }, RANGE],
    ['devices[0].algorithms[1]', { devices: [{ ...uacce, algorithms: ['zlib', 7] }] }, TYPE],
    ['devices[0].workQueues', { devices: [{ ...dsa, workQueues: 1 }] }, TYPE],
    ['devices[0].workQueues[0]', { devices: [{ ...dsa, workQueues: [null] }] }, TYPE],
    ['devices[0].workQueues[0].mode', { devices: [{ ...dsa, workQueues: [{ mode: 'both', size: 1 }] }] }, VALUE],
    ['devices[0].workQueues[0].size', { devices: [{ ...dsa, workQueues: [{ mode: 'shared' }] }] }, TYPE],
  ])('%s: %j', (path, options, code) => {
    const error = caught(() => make(options));
    expect(error).toMatchObject({ code });
    expect(error).toBeInstanceOf(code === RANGE ? RangeError : TypeError);
    expect(String(error)).toContain(`"${path}"`);
  });

  it('the message says what the option must be, and what it was', () => {
    expect(() => make({ iommu: { pasidBits: 21 } })).toThrow(
      'The value of "iommu.pasidBits" is out of range. It must be an integer from 1 to 20. Received 21',
    );
    expect(() => make({ clock: 'wall' })).toThrow(
      `The "clock" argument must be one of 'virtual', 'manual', 'real'. Received 'wall'`,
    );
    expect(() => make({ cpu: { la57: 1 } })).toThrow(
      'The "cpu.la57" argument must be a boolean. Received type number (1)',
    );
  });
});

describe('defaults', () => {
  it('an explicit undefined is an option left out', () => {
    const absent = {
      semantics: undefined,
      seed: undefined,
      iommu: { pasidBits: undefined, srs: undefined, fiveLevel: undefined },
      cpu: { enqcmd: undefined },
      config: undefined,
      svm: { pageRequestRing: undefined, allocationEnd: undefined },
      idxd: { mmCheck: undefined },
      caller: { uid: undefined, capSysRawio: undefined },
      devices: undefined,
    };
    expect(resolve(absent)).toEqual(resolveOptions({}));
    expect(resolve({ ...absent, semantics: 'modern' })).toEqual(resolveOptions({ semantics: 'modern' }));
  });

  it('those of SVM follow the semantics, five levels the CPU, the capability the user', () => {
    expect(resolveOptions({}).svm).toMatchObject({ allocationEnd: -2, pageRequestRing: 128, stackGrowth: true });
    expect(resolveOptions({ semantics: 'modern', svm: { stackGrowth: true } }).svm).toMatchObject({
      allocationEnd: -1,
      pageRequestRing: 2048,
      stackGrowth: true,
    });
    expect(resolveOptions({ cpu: { la57: true } }).iommu.fiveLevel).toBe(true);
    expect(resolveOptions({ caller: { uid: 7 } }).caller).toEqual({ uid: 7, capSysRawio: false });
  });

  it('spawn: an explicit undefined is the machine’s default too', () => {
    const kernel = createMockKernel({ caller: { uid: 5, capSysRawio: true } });
    const rights = { uid: undefined, capSysRawio: undefined };
    expect(Reflect.apply(kernel.spawn.bind(kernel), undefined, [rights])).toMatchObject({ uid: 5, capSysRawio: true });
    expect(kernel.spawn({ uid: 0 })).toMatchObject({ uid: 0, capSysRawio: true });
    expect(kernel.spawn({ uid: 6 })).toMatchObject({ uid: 6, capSysRawio: false });
  });
});
