import { expect } from 'vitest';
import { SvmBinding, isPasidValid } from 'intel-svm';
import type { Subject } from '../suite.js';
import { caught } from '../world.js';

/** The binding as a resource: `using binding = device.bind()`. */
export const resource: Subject = {
  title: 'SvmBinding',
  register(test) {
    test('a binding is one reference of a bind', {}, (world) => {
      const [device] = world.devices();
      const binding = device.bind();
      expect(binding).toBeInstanceOf(SvmBinding);
      expect(binding).toMatchObject({ device, bound: true, valid: true });
      world.expectHeld({ bindings: 1 });
      binding.unbind();
      world.expectHeld({ bindings: 0 });
    });

    test('disposed means unbound', {}, (world) => {
      const [device] = world.devices();
      let pasid: number;
      {
        using binding = device.bind();
        pasid = binding.pasid;
        expect(isPasidValid(device, pasid)).toBe(true);
      }
      world.refused('EINVAL', () => isPasidValid(device, pasid));
      world.expectHeld({ bindings: 0 });
    });

    test('an exception that leaves the block unbinds too', {}, (world) => {
      const [device] = world.devices();
      const failure = caught(() => {
        using binding = device.bind();
        throw new Error(`held ${binding.pasid}`);
      });
      expect(failure).toMatchObject({ message: expect.stringMatching(/^held \d+$/) });
      world.expectHeld({ bindings: 0 });
    });

    test('unbind() twice is misuse: the second reference is somebody else’s', {}, (world) => {
      const [device] = world.devices();
      using other = device.bind();
      const binding = device.bind();
      binding.unbind();
      world.misused(Error, 'ERR_INVALID_STATE', () => binding.unbind());
      expect(other.valid).toBe(true);
      world.expectHeld({ bindings: 1 });
    });

    test('dispose after unbind() does nothing', {}, (world) => {
      const [device] = world.devices();
      using other = device.bind();
      const binding = device.bind();
      binding.unbind();
      binding[Symbol.dispose]();
      binding[Symbol.dispose]();
      expect(other.valid).toBe(true);
      world.expectHeld({ bindings: 1 });
    });

    test('an unbound binding is neither bound nor valid, also while others hold the PASID', {}, (world) => {
      const [device] = world.devices();
      using other = device.bind();
      const binding = device.bind();
      binding.unbind();
      expect(binding).toMatchObject({ bound: false, valid: false, pasid: other.pasid });
    });

    test('bindings of one process share their PASID, across devices', {}, (world) => {
      const [first, second] = world.devices();
      using one = first.bind();
      using two = second.bind();
      using three = first.bind();
      expect(two.pasid).toBe(one.pasid);
      expect(three.pasid).toBe(one.pasid);
      world.expectHeld({ pasids: 1 });
    });

    test('1.1/6b: a binding with other ops → EBUSY, and nothing to dispose', {}, (world) => {
      const [device] = world.devices();
      using binding = device.bind({ ops: { faultCb: null } });
      world.refused('EBUSY', () => device.bind({ ops: { faultCb: null } }));
      expect(binding.valid).toBe(true);
    });

    test('1.3: when somebody else unbound it, unbind() → EINVAL', {}, (world) => {
      const [device] = world.devices();
      const pasid = world.bind(device);
      const binding = device.bind();
      world.unbind(device, pasid);
      binding.unbind();
      world.refused('EINVAL', () => world.unbind(device, pasid));
    });
  },
};
