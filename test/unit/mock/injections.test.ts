import { createMockKernel } from 'intel-svm/mock';
import { describe, expect, it } from 'vitest';
import { Injections } from '../../../mock/injections.js';
import { DSA, machine } from './idxd-tools.js';

describe('inject', () => {
  it.each<[unknown[], string]>([
    [['allocation-failures'], 'ERR_INVALID_ARG_VALUE'],
    [[undefined], 'ERR_INVALID_ARG_VALUE'],
    [['queue-full', 0], 'ERR_OUT_OF_RANGE'],
    [['queue-full', -1], 'ERR_OUT_OF_RANGE'],
    [['queue-full', 1.5], 'ERR_OUT_OF_RANGE'],
    [['queue-full', NaN], 'ERR_OUT_OF_RANGE'],
    [['queue-full', '2'], 'ERR_OUT_OF_RANGE'],
    [['queue-full', { device: 'dsa0' }], 'ERR_INVALID_ARG_TYPE'],
    [['device-halt'], 'ERR_INVALID_ARG_TYPE'],
    [['device-halt', 1], 'ERR_INVALID_ARG_TYPE'],
    [['device-halt', null], 'ERR_INVALID_ARG_TYPE'],
    [['device-halt', { device: 'dsa7', recovery: 'flr' }], 'ERR_INVALID_ARG_VALUE'],
    [['device-halt', { device: 'hisi_zip-0', recovery: 'flr' }], 'ERR_INVALID_ARG_VALUE'],
    [['device-halt', { device: 'dsa0', recovery: 'hope' }], 'ERR_INVALID_ARG_VALUE'],
  ])('%j is refused with %s', (args, code) => {
    const kernel = createMockKernel({
      devices: [
        { type: 'dsa', bdf: '0000:6a:01.0' },
        { type: 'uacce', bdf: '0000:75:00.0' },
      ],
    });
    const inject = kernel.inject.bind(kernel);
    expect(() => Reflect.apply(inject, undefined, args)).toThrow(expect.objectContaining({ code }));
  });

  it('a fault strikes as often as it was asked to, or until it is stopped', () => {
    const injections = new Injections();
    const twice = injections.arm('queue-full', 2);
    expect([1, 2, 3].map(() => injections.strikes('queue-full'))).toEqual([true, true, false]);
    expect(twice.hits).toBe(2);
    const always = injections.arm('queue-full');
    expect([1, 2, 3].every(() => injections.strikes('queue-full'))).toBe(true);
    always.stop();
    expect(injections.strikes('queue-full')).toBe(false);
    expect(always.hits).toBe(3);
  });

  it.each([
    ['software-reset', 'enabled'],
    ['flr', 'enabled'],
    ['system-reset', 'disabled'],
  ] as const)('device-halt with %s: halted at once, in the end %s', (recovery, end) => {
    const kernel = machine();
    const state = (): string => kernel.self.sysfs.read(`${DSA}/state`);
    expect(state()).toBe('enabled');
    using halt = kernel.inject('device-halt', { device: 'dsa0', recovery });
    expect(halt).toMatchObject({ kind: 'device-halt', hits: 1 });
    expect(state()).toBe(recovery === 'system-reset' ? 'disabled' : 'halted');
    expect(kernel.inject('device-halt', { device: 'dsa0', recovery }).hits).toBe(0);
    kernel.clock.runUntilIdle();
    expect(state()).toBe(end);
  });
});
