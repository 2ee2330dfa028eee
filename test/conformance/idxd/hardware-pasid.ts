import { expect } from 'vitest';
import { findHardwarePasid, hardwarePasid } from 'intel-svm';
import { PASID_BITS, PASID_MAX } from '../../../lib/abi/svm.js';
import type { Subject } from '../suite.js';

/** Learning the number behind a handle: section 7. */
export const idxdHardwarePasid: Subject = {
  title: 'hardware PASID',
  semantics: 'modern',
  needs: ['accelerator'],
  register(test) {
    test('7: what the kernel does not tell is a handle outside the PASID space', {}, (world) => {
      const [device] = world.devices();
      const pasid = world.bind(device);
      expect(hardwarePasid(device, pasid)).toBe(world.has('hardware-pasid') ? pasid : undefined);
      expect(pasid > PASID_MAX).toBe(!world.has('hardware-pasid'));
      expect(pasid).toBeLessThan(2 ** (PASID_BITS + 11));
    });

    for (const queue of [0, 1] as const) {
      const title = `7: the errors register tells the PASID of a bad descriptor, ${['dedicated', 'shared'][queue]} queue`;
      test(title, {}, async (world) => {
        const device = world.devices()[queue];
        const pasid = world.bind(device);
        const sources = ['errors'] as const;
        const first = await findHardwarePasid(device, pasid, { sources });
        expect(first).toEqual({ pasid: expect.any(Number), source: 'errors' });
        expect(first?.pasid).toBeGreaterThan(0);
        expect(first?.pasid).toBeLessThanOrEqual(PASID_MAX);
        expect(first?.pasid).toBe(world.has('hardware-pasid') ? pasid : first?.pasid);
        // Once more: the error of before is not taken for the new one.
        expect(await findHardwarePasid(device, pasid, { sources })).toEqual(first);
      });
    }

    test('7: both queues of a process tell the same PASID', {}, async (world) => {
      const found = [];
      for (const device of world.devices().slice(0, 2)) {
        found.push(await findHardwarePasid(device, world.bind(device), { sources: ['errors'] }));
      }
      expect(found[0]).toEqual(found[1]);
    });

    test(
      '7: a traced page request tells the same PASID as the errors register',
      { needs: ['tracefs'] },
      async (world) => {
        const [device] = world.devices();
        const pasid = world.bind(device);
        const traced = await findHardwarePasid(device, pasid, { sources: ['tracefs'] });
        const provoked = await findHardwarePasid(device, pasid, { sources: ['errors'] });
        expect(traced).toEqual({ pasid: provoked?.pasid, source: 'tracefs' });
      },
    );

    test('7: a PASID that is not bound is EINVAL', {}, async (world) => {
      const [device] = world.devices();
      const pasid = world.bind(device);
      world.unbind(device, pasid);
      await expect(findHardwarePasid(device, pasid)).rejects.toMatchObject({ code: 'EINVAL' });
    });
  },
};
