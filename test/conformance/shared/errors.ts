import { expect } from 'vitest';
import { SvmError, isPasidValid, unbindMm } from 'intel-svm';
import type { Subject } from '../suite.js';

/** The shape of errors: Node's system errors, with a remedy. */
export const errors: Subject = {
  title: 'errors',
  register(test) {
    test(
      'EBUSY: code, negative errno, call, path, a hint that says what to do, a message with all of it',
      {},
      (world) => {
        const [device] = world.devices();
        world.bind(device, { ops: {} });
        const error = world.refused('EBUSY', () => world.bind(device, { ops: {} }));
        expect(error).toBeInstanceOf(Error);
        expect(error).toMatchObject({
          name: 'SvmError',
          code: 'EBUSY',
          errno: -16,
          syscall: 'bind_mm',
          path: device.path,
          hint: expect.stringContaining('unbind first'),
          message: `EBUSY: device or resource busy, bind_mm '${device.path}'`,
        });
      },
    );

    test('EINVAL of unbind: the call by its name in the header, and a hint', {}, (world) => {
      const [device] = world.devices();
      expect(world.refused('EINVAL', () => unbindMm(device, 77))).toMatchObject({
        errno: -22,
        syscall: 'unbind_mm',
        path: device.path,
        hint: expect.stringContaining('not bound on this device'),
      });
    });

    test('EINVAL of is_pasid_valid: the call by its name in the header, and a hint', {}, (world) => {
      const [device] = world.devices();
      expect(world.refused('EINVAL', () => isPasidValid(device, 77))).toMatchObject({
        errno: -22,
        syscall: 'is_pasid_valid',
        path: device.path,
        hint: expect.stringContaining('allocated nowhere'),
      });
    });

    test('ENOENT of open: no such node', {}, (world) => {
      expect(world.refused('ENOENT', () => world.self.open('/dev/dsa/wq77.7'))).toMatchObject({
        errno: -2,
        syscall: 'open',
        path: '/dev/dsa/wq77.7',
        hint: expect.stringContaining('not enabled'),
      });
    });

    test('the stack names the caller, so a log line is enough to find it', {}, (world) => {
      const [device] = world.devices();
      const error = world.refused('EINVAL', () => unbindMm(device, 77));
      expect(error.stack).toContain('errors.ts');
      expect(String(error)).toMatch(/^SvmError: EINVAL: /);
      expect(error).toBeInstanceOf(SvmError);
    });
  },
};
