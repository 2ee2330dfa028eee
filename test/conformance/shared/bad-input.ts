import { expect } from 'vitest';
import {
  SVM_FLAG_PRIVATE_PASID,
  SVM_FLAG_SUPERVISOR_MODE,
  available,
  bindMm,
  hardwarePasid,
  isPasidValid,
  probe,
  unbindMm,
} from 'intel-svm';
import type { MemoryView } from '../../../lib/kernel.js';
import type { Subject } from '../suite.js';

const show = (value: unknown): string =>
  typeof value === 'string'
    ? `'${value}'`
    : typeof value === 'object' && value !== null
      ? JSON.stringify(value)
      : String(value);

/** Calls with arguments that the compiler would refuse. */
const misuse = (target: (...values: never[]) => unknown, ...values: unknown[]): unknown =>
  Reflect.apply(target, undefined, values);

const NO_DEVICES = [undefined, null, 0, '/dev/dsa/wq0.0', {}, []];
const NO_OPTIONS = [null, 0, 'ops', true];
const NO_FLAGS_BY_TYPE = ['1', null, true, 1n, {}];
const UNKNOWN_FLAGS = [4, 8, SVM_FLAG_PRIVATE_PASID | 4, -1, 1.5, Number.NaN, 2 ** 31, 2 ** 32 + 1];
const NO_OPS = [0, 'ops', true, () => undefined];
const NO_CALLBACKS = [0, 'faultCb', {}, true];
const NO_PASIDS_BY_TYPE = [undefined, null, '1', 1n, {}];
const PASIDS_OUT_OF_RANGE = [1.5, Number.NaN, Infinity, 2 ** 31, -(2 ** 31) - 1];

const transferred = (): ArrayBuffer => {
  const buffer = new ArrayBuffer(64);
  structuredClone(buffer, { transfer: [buffer] });
  return buffer;
};

function detachedView(): Uint8Array {
  const view = new Uint8Array(64);
  structuredClone(view.buffer, { transfer: [view.buffer] });
  return view;
}

/** lib.es2024 declares these constructors' second parameter; the package's target does not. */
function resizable(): ArrayBuffer {
  const buffer: unknown = Reflect.construct(ArrayBuffer, [64, { maxByteLength: 128 }]);
  return buffer instanceof ArrayBuffer ? buffer : new ArrayBuffer(0);
}

function growable(): SharedArrayBuffer {
  const buffer: unknown = Reflect.construct(SharedArrayBuffer, [64, { maxByteLength: 128 }]);
  return buffer instanceof SharedArrayBuffer ? buffer : new SharedArrayBuffer(0);
}

const UNSTEADY: readonly [string, () => MemoryView][] = [
  ['a detached ArrayBuffer', transferred],
  ['a view of a detached ArrayBuffer', detachedView],
  ['a resizable ArrayBuffer', resizable],
  ['a view of a resizable ArrayBuffer', () => new Uint8Array(resizable())],
  ['a growable SharedArrayBuffer', growable],
];

/** Misuse by the caller: refused with Node's codes before any kernel is asked. */
export const badInput: Subject = {
  title: 'bad input',
  register(test) {
    for (const value of NO_DEVICES) {
      test(`${show(value)} is no device: ERR_INVALID_ARG_TYPE from all six functions`, {}, (world) => {
        for (const function_ of [bindMm, unbindMm, isPasidValid, available, probe, hardwarePasid]) {
          world.misused(TypeError, 'ERR_INVALID_ARG_TYPE', () => misuse(function_, value, 1));
        }
      });
    }

    for (const value of NO_OPTIONS) {
      test(`${show(value)} is no options object: ERR_INVALID_ARG_TYPE`, {}, (world) => {
        const [device] = world.devices();
        world.misused(TypeError, 'ERR_INVALID_ARG_TYPE', () => misuse(bindMm, device, value));
        world.misused(TypeError, 'ERR_INVALID_ARG_TYPE', () => misuse(probe, device, value));
        world.misused(TypeError, 'ERR_INVALID_ARG_TYPE', () => misuse((options: never) => device.bind(options), value));
      });
    }

    for (const value of NO_FLAGS_BY_TYPE) {
      test(`flags ${show(value)}: ERR_INVALID_ARG_TYPE`, {}, (world) => {
        const [device] = world.devices();
        world.misused(TypeError, 'ERR_INVALID_ARG_TYPE', () => misuse(bindMm, device, { flags: value }));
        world.misused(TypeError, 'ERR_INVALID_ARG_TYPE', () => misuse(probe, device, { flags: value }));
      });
    }

    for (const flags of UNKNOWN_FLAGS) {
      test(`flags ${flags}, which the header does not define: ERR_OUT_OF_RANGE`, {}, (world) => {
        const [device] = world.devices();
        world.misused(RangeError, 'ERR_OUT_OF_RANGE', () => bindMm(device, { flags }));
        world.misused(RangeError, 'ERR_OUT_OF_RANGE', () => probe(device, { flags }));
      });
    }

    test('a wrong flag on a bound device changes nothing: misuse is refused before the kernel looks', {}, (world) => {
      const [device] = world.devices();
      const pasid = world.bind(device);
      world.misused(RangeError, 'ERR_OUT_OF_RANGE', () => bindMm(device, { flags: SVM_FLAG_SUPERVISOR_MODE | 0x10 }));
      expect(isPasidValid(device, pasid)).toBe(true);
    });

    for (const value of NO_OPS) {
      test(`ops ${show(value)}: ERR_INVALID_ARG_TYPE`, {}, (world) => {
        const [device] = world.devices();
        world.misused(TypeError, 'ERR_INVALID_ARG_TYPE', () => misuse(bindMm, device, { ops: value }));
      });
    }

    for (const value of NO_CALLBACKS) {
      test(`ops with faultCb ${show(value)}: ERR_INVALID_ARG_TYPE`, {}, (world) => {
        const [device] = world.devices();
        world.misused(TypeError, 'ERR_INVALID_ARG_TYPE', () => misuse(bindMm, device, { ops: { faultCb: value } }));
      });
    }

    test('ops without a callback, or with a null one, are ops', {}, (world) => {
      const [first, second] = world.devices();
      world.bind(first, { ops: {} });
      world.bind(second, { ops: { faultCb: null } });
      world.expectHeld({ bindings: 2 });
    });

    for (const value of NO_PASIDS_BY_TYPE) {
      test(`PASID ${show(value)}: ERR_INVALID_ARG_TYPE`, {}, (world) => {
        const [device] = world.devices();
        world.bind(device);
        for (const call of [unbindMm, isPasidValid, hardwarePasid]) {
          world.misused(TypeError, 'ERR_INVALID_ARG_TYPE', () => misuse(call, device, value));
        }
      });
    }

    for (const pasid of PASIDS_OUT_OF_RANGE) {
      test(`PASID ${pasid}, which is no int: ERR_OUT_OF_RANGE`, {}, (world) => {
        const [device] = world.devices();
        world.bind(device);
        for (const call of [unbindMm, isPasidValid, hardwarePasid]) {
          world.misused(RangeError, 'ERR_OUT_OF_RANGE', () => call(device, pasid));
        }
      });
    }

    for (const [what, make] of UNSTEADY) {
      test(`${what} is no memory for a device: ERR_INVALID_ARG_VALUE`, {}, (world) => {
        const view = make();
        world.misused(TypeError, 'ERR_INVALID_ARG_VALUE', () => world.self.addressOf(view));
        world.misused(TypeError, 'ERR_INVALID_ARG_VALUE', () => world.self.pin(view));
      });
    }

    for (const value of [null, undefined, 'text', 64, [1, 2, 3], {}]) {
      test(`${show(value)} is no memory: ERR_INVALID_ARG_TYPE`, {}, (world) => {
        const { self } = world;
        world.misused(TypeError, 'ERR_INVALID_ARG_TYPE', () => misuse((view: never) => self.addressOf(view), value));
        world.misused(TypeError, 'ERR_INVALID_ARG_TYPE', () => misuse((view: never) => self.pin(view), value));
      });
    }
  },
};
