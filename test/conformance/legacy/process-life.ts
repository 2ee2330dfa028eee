import { expect } from 'vitest';
import { SVM_FLAG_PRIVATE_PASID, isPasidValid } from 'intel-svm';
import type { Subject } from '../suite.js';

const PRIVATE = { flags: SVM_FLAG_PRIVATE_PASID };

/** What becomes of bindings when their address space goes. */
export const processLife: Subject = {
  title: 'exit, exec, fork',
  semantics: 'legacy',
  needs: ['processes', 'counters', 'device-state'],
  register(test) {
    for (const end of ['exit', 'exec'] as const) {
      test(`1.5: ${end} clears the PASID entry of every device at once`, {}, (world) => {
        const process = world.spawn();
        const [first, second] = world.devices(process);
        const pasid = world.bind(first);
        world.bind(second);
        process[end]();
        const [mine, other] = world.devices();
        expect(world.machine.deviceState(mine).pasidTable).not.toContain(pasid);
        expect(world.machine.deviceState(other).pasidTable).not.toContain(pasid);
      });

      test(`1.5: after ${end} the PASID stays allocated, with its devices and references`, {}, (world) => {
        const process = world.spawn();
        const [first, second] = world.devices(process);
        world.bind(first);
        world.bind(first);
        world.bind(second);
        process[end]();
        expect(world.held()).toMatchObject({ pasids: 1, bindings: 3 });
      });

      test(`1.4: after ${end} the PASID is not valid, but not unknown either: 0`, {}, (world) => {
        const process = world.spawn();
        const [theirs] = world.devices(process);
        const pasid = world.bind(theirs);
        process[end]();
        for (const device of world.devices()) expect(isPasidValid(device, pasid)).toBe(false);
      });

      test(`1.5: after ${end} unbind still returns 0, reference by reference, and frees the number`, {}, (world) => {
        const process = world.spawn();
        const [theirs] = world.devices(process);
        const [device] = world.devices();
        const pasid = world.bind(theirs);
        world.bind(theirs);
        process[end]();
        world.unbind(device, pasid);
        expect(isPasidValid(device, pasid)).toBe(false);
        world.unbind(device, pasid);
        world.refused('EINVAL', () => isPasidValid(device, pasid));
        world.refused('EINVAL', () => world.unbind(device, pasid));
        expect(world.held()).toMatchObject({ pasids: 0, bindings: 0 });
      });

      test(`1.5: until somebody unbinds, the number is not given to others after ${end}`, {}, (world) => {
        const process = world.spawn();
        const [theirs] = world.devices(process);
        const [device] = world.devices();
        const pasid = world.bind(theirs);
        process[end]();
        const next = world.bind(device);
        expect(next).not.toBe(pasid);
        world.unbind(device, pasid);
        expect(world.bind(device, PRIVATE)).toBe(pasid);
      });

      test(`1.5: ${end} ends private PASIDs as well`, {}, (world) => {
        const process = world.spawn();
        const [theirs] = world.devices(process);
        const [device] = world.devices();
        const pasids = [world.bind(theirs, PRIVATE), world.bind(theirs, PRIVATE), world.bind(theirs)];
        process[end]();
        for (const pasid of pasids) expect(isPasidValid(device, pasid)).toBe(false);
        expect(world.machine.deviceState(device).pasidTable).toEqual([]);
        expect(world.held()).toMatchObject({ pasids: 3, bindings: 3 });
      });

      test(`1.5: ${end} of one process leaves the others’ PASIDs alone`, {}, (world) => {
        const process = world.spawn();
        const [theirs] = world.devices(process);
        const [device] = world.devices();
        world.bind(theirs);
        const pasid = world.bind(device);
        process[end]();
        expect(isPasidValid(device, pasid)).toBe(true);
        expect(world.machine.deviceState(device).pasidTable).toEqual([pasid]);
      });
    }

    test('1.1: a binding holds mm_count, not mm_users: it never keeps an address space alive', {}, (world) => {
      const process = world.spawn();
      const [theirs] = world.devices(process);
      const [device] = world.devices();
      const pasid = world.bind(theirs);
      for (let times = 0; times < 10; times += 1) world.bind(theirs);
      process.exit();
      expect(isPasidValid(device, pasid)).toBe(false);
    });

    test('1.5: after exec the process has another address space: its bind gets another PASID', {}, (world) => {
      const process = world.spawn();
      const [theirs] = world.devices(process);
      const before = world.bind(theirs);
      process.exec();
      const after = world.bind(theirs);
      expect(after).not.toBe(before);
      expect(isPasidValid(theirs, after)).toBe(true);
      expect(isPasidValid(theirs, before)).toBe(false);
      expect(world.machine.deviceState(theirs).pasidTable).toEqual([after]);
    });

    test('1.1/6b: after exec other ops are welcome: the old ones belong to the old address space', {}, (world) => {
      const process = world.spawn();
      const [theirs] = world.devices(process);
      world.bind(theirs, { ops: { faultCb: null } });
      process.exec();
      world.bind(theirs, { ops: { faultCb: null } });
      expect(world.held()).toMatchObject({ pasids: 2, bindings: 2 });
    });

    test('1.5: after exec the process itself may unbind what the old address space bound', {}, (world) => {
      const process = world.spawn();
      const [theirs] = world.devices(process);
      const before = world.bind(theirs);
      process.exec();
      world.unbind(theirs, before);
      expect(world.held()).toMatchObject({ pasids: 0, bindings: 0 });
    });

    test('1.5: a forked child has no binding: its bind gets another PASID', {}, (world) => {
      const [device] = world.devices();
      const pasid = world.bind(device);
      const [theirs] = world.devices(world.fork(world.self));
      expect(world.held()).toMatchObject({ pasids: 1, bindings: 1 });
      expect(world.bind(theirs)).not.toBe(pasid);
      expect(world.held()).toMatchObject({ pasids: 2, bindings: 2 });
    });

    test('1.1/6b: the child’s ops are not the parent’s', {}, (world) => {
      const [device] = world.devices();
      world.bind(device, { ops: { faultCb: null } });
      const [theirs] = world.devices(world.fork(world.self));
      world.bind(theirs, { ops: { faultCb: null } });
      expect(world.held()).toMatchObject({ pasids: 2, bindings: 2 });
    });

    test('1.5: the child’s exit leaves the parent’s binding alone', {}, (world) => {
      const [device] = world.devices();
      const pasid = world.bind(device);
      const child = world.fork(world.self);
      const [theirs] = world.devices(child);
      const childPasid = world.bind(theirs);
      child.exit();
      expect(isPasidValid(device, pasid)).toBe(true);
      expect(isPasidValid(device, childPasid)).toBe(false);
      expect(world.machine.deviceState(device).pasidTable).toEqual([pasid]);
    });

    test('1.5: the parent’s exit leaves the child’s binding alone', {}, (world) => {
      const parent = world.spawn();
      const [theirs] = world.devices(parent);
      const pasid = world.bind(theirs);
      const [childs] = world.devices(world.fork(parent));
      const childPasid = world.bind(childs);
      parent.exit();
      expect(isPasidValid(childs, childPasid)).toBe(true);
      expect(isPasidValid(childs, pasid)).toBe(false);
    });

    test('1.3: the child may unbind the parent’s PASID, as anybody may', {}, (world) => {
      const [device] = world.devices();
      const pasid = world.bind(device);
      const [theirs] = world.devices(world.fork(world.self));
      world.unbind(theirs, pasid);
      world.refused('EINVAL', () => isPasidValid(device, pasid));
    });
  },
};
