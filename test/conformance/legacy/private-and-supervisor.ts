import { expect } from 'vitest';
import { SVM_FLAG_PRIVATE_PASID, SVM_FLAG_SUPERVISOR_MODE, isPasidValid, probe, available } from 'intel-svm';
import type { Subject } from '../suite.js';

const PRIVATE = { flags: SVM_FLAG_PRIVATE_PASID };
const SUPERVISOR = { flags: SVM_FLAG_SUPERVISOR_MODE };
const BOTH = { flags: SVM_FLAG_PRIVATE_PASID | SVM_FLAG_SUPERVISOR_MODE };

const NO_SRS = { iommu: { srs: false } };

/** The flags of a bind (intel-svm.c, intel_svm_bind_mm). */
export const privateAndSupervisor: Subject = {
  title: 'PRIVATE_PASID and SUPERVISOR_MODE',
  semantics: 'legacy',
  needs: ['processes', 'counters', 'device-state'],
  register(test) {
    test('1.1: PRIVATE_PASID gives a new number every time, even for the same device and ops', {}, (world) => {
      const [device] = world.devices();
      const ops = { faultCb: null };
      const pasids = [1, 2, 3].map(() => world.bind(device, { ...PRIVATE, ops }));
      expect(new Set(pasids).size).toBe(3);
      world.expectHeld({ pasids: 3, bindings: 3 });
    });

    test('1.1: a private bind does not look for the shared PASID', {}, (world) => {
      const [device] = world.devices();
      const shared = world.bind(device);
      expect(world.bind(device, PRIVATE)).not.toBe(shared);
    });

    test('1.1: a private PASID is never found by a later bind', {}, (world) => {
      const [device] = world.devices();
      const own = world.bind(device, PRIVATE);
      const shared = world.bind(device);
      expect(shared).not.toBe(own);
      expect(world.bind(device)).toBe(shared);
      world.expectHeld({ pasids: 2, bindings: 3 });
    });

    test('1.1: private binds know no EBUSY: other ops on the same device are another PASID', {}, (world) => {
      const [device] = world.devices();
      world.bind(device, { ops: { faultCb: null } });
      world.bind(device, { ...PRIVATE, ops: { faultCb: null } });
      world.bind(device, { ...PRIVATE, ops: null });
      world.expectHeld({ pasids: 3, bindings: 3 });
    });

    test('1.1: a private PASID on one device is not joined by a second one', {}, (world) => {
      const [first, second] = world.devices();
      const own = world.bind(first, PRIVATE);
      expect(world.bind(second, PRIVATE)).not.toBe(own);
      world.refused('EINVAL', () => world.unbind(second, own));
    });

    test('1.3: a private PASID is unbound as any other, and only it', {}, (world) => {
      const [device] = world.devices();
      const shared = world.bind(device);
      const own = world.bind(device, PRIVATE);
      world.unbind(device, own);
      world.refused('EINVAL', () => isPasidValid(device, own));
      expect(isPasidValid(device, shared)).toBe(true);
      world.refused('EINVAL', () => world.unbind(device, own));
    });

    test('1.4: a private PASID is valid while its owner lives', {}, (world) => {
      const [device, second] = world.devices();
      const own = world.bind(device, PRIVATE);
      expect(isPasidValid(device, own)).toBe(true);
      expect(isPasidValid(second, own)).toBe(true);
    });

    test('1.1: the flags of later binds are not compared: user after private, private after user', {}, (world) => {
      const [device] = world.devices();
      const own = world.bind(device, PRIVATE);
      const shared = world.bind(device);
      world.bind(device, PRIVATE);
      expect(world.bind(device)).toBe(shared);
      expect(own).not.toBe(shared);
      world.expectHeld({ pasids: 3, bindings: 4 });
    });

    test('1.1: SUPERVISOR_MODE is another PASID than the process’s own', {}, (world) => {
      const [device] = world.devices();
      const user = world.bind(device);
      const supervisor = world.bind(device, SUPERVISOR);
      expect(supervisor).not.toBe(user);
      expect(world.bind(device)).toBe(user);
    });

    test('1.1: supervisor binds of one process share their PASID', {}, (world) => {
      const [device] = world.devices();
      const pasid = world.bind(device, SUPERVISOR);
      expect(world.bind(device, SUPERVISOR)).toBe(pasid);
      world.expectHeld({ pasids: 1, bindings: 2 });
    });

    test('1.1: one supervisor PASID per system: another process shares it', {}, (world) => {
      const [device] = world.devices();
      const [theirs] = world.devices(world.spawn());
      expect(world.bind(theirs, SUPERVISOR)).toBe(world.bind(device, SUPERVISOR));
      world.expectHeld({ pasids: 1, bindings: 2 });
    });

    test('1.1: … and another device joins it', {}, (world) => {
      const [first, second] = world.devices();
      const pasid = world.bind(first, SUPERVISOR);
      expect(world.bind(second, SUPERVISOR)).toBe(pasid);
      expect(world.machine.deviceState(second).pasidTable).toEqual([pasid]);
    });

    test('1.1/6b: supervisor binds of two processes with different ops on one device → EBUSY', {}, (world) => {
      const [device] = world.devices();
      const [theirs] = world.devices(world.spawn());
      world.bind(device, { ...SUPERVISOR, ops: { faultCb: null } });
      world.refused('EBUSY', () => world.bind(theirs, { ...SUPERVISOR, ops: { faultCb: null } }));
    });

    test('1.1/6b: supervisor and user binds are different PASIDs, so their ops may differ', {}, (world) => {
      const [device] = world.devices();
      world.bind(device, { ops: { faultCb: null } });
      world.bind(device, { ...SUPERVISOR, ops: { faultCb: null } });
      world.expectHeld({ pasids: 2, bindings: 2 });
    });

    test('1.1: the supervisor PASID is independent of process life: it survives its binder', {}, (world) => {
      const [device] = world.devices();
      const process = world.spawn();
      const [theirs] = world.devices(process);
      const pasid = world.bind(theirs, SUPERVISOR);
      process.exit();
      expect(isPasidValid(device, pasid)).toBe(true);
      expect(world.machine.deviceState(device).pasidTable).toEqual([pasid]);
      expect(world.bind(device, SUPERVISOR)).toBe(pasid);
    });

    test('1.4: the supervisor PASID is valid for everybody', {}, (world) => {
      const [device] = world.devices();
      const pasid = world.bind(device, SUPERVISOR);
      for (const node of world.devices(world.spawn())) expect(isPasidValid(node, pasid)).toBe(true);
    });

    test('1.1: the supervisor PASID is counted per device over all processes', {}, (world) => {
      const [device] = world.devices();
      const [theirs] = world.devices(world.spawn());
      const pasid = world.bind(device, SUPERVISOR);
      world.bind(theirs, SUPERVISOR);
      world.unbind(device, pasid);
      expect(isPasidValid(device, pasid)).toBe(true);
      world.unbind(theirs, pasid);
      world.refused('EINVAL', () => isPasidValid(device, pasid));
    });

    test('1.1: PRIVATE and SUPERVISOR may be combined: a supervisor PASID of one’s own', {}, (world) => {
      const [device] = world.devices();
      const shared = world.bind(device, SUPERVISOR);
      const own = world.bind(device, BOTH);
      const another = world.bind(device, BOTH);
      expect(new Set([shared, own, another]).size).toBe(3);
      expect(world.bind(device, SUPERVISOR)).toBe(shared);
      expect(isPasidValid(device, own)).toBe(true);
    });

    test('1.1: a private supervisor PASID is not the one that others find', {}, (world) => {
      const [device] = world.devices();
      const [theirs] = world.devices(world.spawn());
      const own = world.bind(device, BOTH);
      expect(world.bind(theirs, SUPERVISOR)).not.toBe(own);
    });

    test(
      '1.1/4: SUPERVISOR_MODE on an IOMMU without SRS → EINVAL, before PASID is switched on',
      { machine: NO_SRS },
      (world) => {
        const [device] = world.devices();
        expect(world.refused('EINVAL', () => world.bind(device, SUPERVISOR))).toMatchObject({
          syscall: 'bind_mm',
          path: device.path,
        });
      },
    );

    test('1.1/4: with PRIVATE_PASID as well → EINVAL all the same', { machine: NO_SRS }, (world) => {
      const [device] = world.devices();
      world.refused('EINVAL', () => world.bind(device, BOTH));
    });

    test('1.1/4: the probe checks SRS too', { machine: NO_SRS }, (world) => {
      const [device] = world.devices();
      world.refused('EINVAL', () => probe(device, SUPERVISOR));
    });

    test('1.1/4: without SRS user binds and available() work as ever', { machine: NO_SRS }, (world) => {
      const [device] = world.devices();
      expect(available(device)).toBe(true);
      world.bind(device);
      world.bind(device, PRIVATE);
      world.expectHeld({ pasids: 2, bindings: 2 });
    });

    test('1.1/5: a user-mode bind of a kernel thread is BUG(), not an errno', {}, (world) => {
      const [device] = world.devices(world.kernelThread());
      world.crashes(() => world.bind(device));
    });

    test('1.1/5: … with PRIVATE_PASID too', {}, (world) => {
      const [device] = world.devices(world.kernelThread());
      world.crashes(() => world.bind(device, PRIVATE));
    });

    test('1.1/5: a kernel thread may bind in supervisor mode, and probe: neither looks at its mm', {}, (world) => {
      const [device] = world.devices(world.kernelThread());
      probe(device);
      const pasid = world.bind(device, SUPERVISOR);
      expect(isPasidValid(device, pasid)).toBe(true);
      world.unbind(device, pasid);
      expect(world.held()).toMatchObject({ pasids: 0, bindings: 0 });
      expect(world.bind(device, BOTH)).toBeGreaterThan(0);
    });
  },
};
