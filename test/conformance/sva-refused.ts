import { expect } from 'vitest';
import { WorkQueue, available, bindMm, probe } from 'intel-svm';
import type { Subject } from './suite.js';

/** A kernel that enables everything and refuses the bind: the stable kernels of section 3. */
export const svaRefused: Subject = {
  title: 'SVA switched off on x86',
  semantics: 'modern',
  needs: ['sva-refused'],
  register(test) {
    test('3: a bind is EOPNOTSUPP, and the hint names kernels that work', {}, (world) => {
      for (const device of world.devices()) {
        const error = world.refused('EOPNOTSUPP', () => bindMm(device));
        expect(error).toMatchObject({ syscall: 'open', path: device.path });
        expect(error.hint).toMatch(/6\.18\.9, 6\.19/);
      }
    });

    test('3: a probe says the same, and intel_svm_available() is false', {}, (world) => {
      for (const device of world.devices()) {
        world.refused('EOPNOTSUPP', () => probe(device));
        expect(available(device)).toBe(false);
      }
    });

    test('3: the queue is enabled and pasid_enabled reads 1 all the same', {}, (world) => {
      const [{ kernel, sysfs, accelerator }] = world.devices();
      expect(kernel.sysfs.read(`${sysfs}/state`)).toBe('enabled');
      expect(kernel.sysfs.read(`/sys/bus/dsa/devices/${accelerator}/pasid_enabled`)).toBe('1');
    });

    test('3: a refused open leaves no client behind', {}, (world) => {
      const [device] = world.devices();
      world.refused('EOPNOTSUPP', () => new WorkQueue(device));
      expect(device.kernel.sysfs.read(`${device.sysfs}/clients`)).toBe('0');
    });
  },
};
