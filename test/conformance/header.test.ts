/** The header's functions by their public names, in the words of the project's description. */
import { describe, expect, it } from 'vitest';
import {
  SVM_FLAG_PRIVATE_PASID,
  SVM_FLAG_SUPERVISOR_MODE,
  SVM_REQ_EXEC,
  SVM_REQ_PRIV,
  SVM_REQ_READ,
  SVM_REQ_WRITE,
  SvmDevice,
  SvmError,
  available,
  bindMm,
  connect,
  devices,
  hardwarePasid,
  isPasidValid,
  probe,
  unbindMm,
  type SvmDevOps,
} from 'intel-svm';
import { createMockKernel, type MockKernel } from 'intel-svm/mock';
import { NOTHING_HELD, caught } from './world.js';

const machine = (): MockKernel =>
  createMockKernel({
    semantics: 'legacy',
    iommu: { pasidBits: 20, srs: true },
    devices: [
      { type: 'dsa', bdf: '0000:6a:01.0', pasidBits: 20, workQueues: [{ mode: 'dedicated', size: 16 }] },
      { type: 'dsa', bdf: '0000:6f:01.0', pasidBits: 4, workQueues: [{ mode: 'shared', size: 16 }] },
    ],
  });

function two(found: SvmDevice[]): [SvmDevice, SvmDevice] {
  const [a, b] = found;
  if (a === undefined || b === undefined) throw new Error('two devices were asked for');
  return [a, b];
}

describe('the calls of the header', () => {
  it('bind, valid, unbind, available, probe on two devices', () => {
    const kernel = machine();
    const [a, b] = two(kernel.self.devices());
    const calls: unknown[] = [];
    const ops: SvmDevOps = {
      faultCb(dev, pasid, address, priv, rwxp, response) {
        calls.push([dev, pasid, address, priv, rwxp, response]);
      },
    };
    const pasid = bindMm(a, { ops });
    expect(pasid).toBe(1);
    expect(isPasidValid(a, pasid)).toBe(true);
    expect(isPasidValid(b, pasid)).toBe(true);
    expect(hardwarePasid(a, pasid)).toBe(pasid);
    expect(unbindMm(a, pasid)).toBeUndefined();
    expect(available(b)).toBe(true);
    expect(probe(b)).toBeUndefined();
    expect(calls).toEqual([]);
    expect(kernel.counters()).toMatchObject(NOTHING_HELD);
  });

  it('devices(): one SvmDevice per character device, as that process sees it', () => {
    const kernel = machine();
    const mine = kernel.self.devices();
    const theirs = kernel.spawn().devices();
    expect(mine).toHaveLength(2);
    expect(mine.every((device) => device instanceof SvmDevice)).toBe(true);
    expect(mine.map(({ path, type, accelerator, bdf }) => ({ path, type, accelerator, bdf }))).toEqual([
      { path: '/dev/dsa/wq0.0', type: 'dsa', accelerator: 'dsa0', bdf: '0000:6a:01.0' },
      { path: '/dev/dsa/wq1.0', type: 'dsa', accelerator: 'dsa1', bdf: '0000:6f:01.0' },
    ]);
    expect(theirs.map(({ path }) => path)).toEqual(mine.map(({ path }) => path));
    expect(theirs[0]).not.toBe(mine[0]);
  });

  it('other processes: devices(), fork(), exec(), exit()', () => {
    const kernel = machine();
    const [a] = two(kernel.self.devices());
    const other = kernel.spawn();
    const [theirs] = two(other.devices());
    const pasid = bindMm(a);
    const otherPasid = bindMm(theirs);
    const [childs] = two(other.fork().devices());
    const childPasid = bindMm(childs);
    expect([pasid, otherPasid, childPasid]).toEqual([1, 2, 3]);
    other.exec();
    expect(isPasidValid(a, otherPasid)).toBe(false);
    const execPasid = bindMm(theirs);
    other.exit();
    expect(isPasidValid(a, execPasid)).toBe(false);
    for (const each of [pasid, otherPasid, childPasid, execPasid]) unbindMm(a, each);
    expect(kernel.counters()).toMatchObject(NOTHING_HELD);
  });

  it('flags: private and supervisor PASIDs', () => {
    const kernel = machine();
    const [a, b] = two(kernel.self.devices());
    const bound = [
      bindMm(a),
      bindMm(a, { flags: SVM_FLAG_PRIVATE_PASID }),
      bindMm(a, { flags: SVM_FLAG_SUPERVISOR_MODE }),
      bindMm(a, { flags: SVM_FLAG_PRIVATE_PASID | SVM_FLAG_SUPERVISOR_MODE }),
    ];
    expect(bound).toEqual([1, 2, 3, 4]);
    expect(bindMm(b, { flags: SVM_FLAG_SUPERVISOR_MODE })).toBe(3);
    for (const pasid of bound) unbindMm(a, pasid);
    unbindMm(b, 3);
    expect(kernel.counters()).toMatchObject(NOTHING_HELD);
  });

  it('errors: code, negative errno', () => {
    const kernel = machine();
    const [a, b] = two(kernel.self.devices());
    const pasid = bindMm(a, { ops: {} });
    expect(caught(() => bindMm(a, { ops: {} }))).toMatchObject({ code: 'EBUSY', errno: -16 });
    expect(caught(() => unbindMm(b, pasid))).toMatchObject({ code: 'EINVAL', errno: -22 });
    const numbers = Array.from({ length: 13 }, () => bindMm(b, { flags: SVM_FLAG_PRIVATE_PASID }));
    expect(numbers.at(-1)).toBe(14);
    const full = caught(() => bindMm(b, { flags: SVM_FLAG_PRIVATE_PASID }));
    expect(full).toBeInstanceOf(SvmError);
    expect(full).toMatchObject({ code: 'ENOSPC', errno: -28, syscall: 'bind_mm', path: b.path });
    for (const each of numbers) unbindMm(b, each);
    unbindMm(a, pasid);
    expect(kernel.counters()).toMatchObject(NOTHING_HELD);
  });

  it('constants have the values of the header', () => {
    expect([SVM_FLAG_PRIVATE_PASID, SVM_FLAG_SUPERVISOR_MODE]).toEqual([1, 2]);
    expect([SVM_REQ_PRIV, SVM_REQ_EXEC, SVM_REQ_WRITE, SVM_REQ_READ]).toEqual([1, 2, 4, 8]);
  });

  it('connect({ backend: "mock" }) gives the same machine, and says that it is the mock', async () => {
    const connection = await connect({ backend: 'mock', mock: { semantics: 'legacy' } });
    expect(connection.backend).toBe('mock');
    expect(connection.reason).toContain('caller');
    const [a] = two(connection.devices());
    const pasid = bindMm(a);
    expect(isPasidValid(a, pasid)).toBe(true);
    unbindMm(a, pasid);
  });

  it('devices({ kernel }) takes a process of the mock', async () => {
    const kernel = machine();
    expect(await devices({ kernel: kernel.self })).toEqual(kernel.self.devices());
  });
});
