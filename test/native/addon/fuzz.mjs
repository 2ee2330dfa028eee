/**
 * Calls every export of the addon, and every function that they return, with arguments of all sorts: those it takes, near
 * misses, and things that no caller should pass. Whatever they are, a call returns or throws as `Addon` of
 * lib/linux/loader.ts says, the process lives, and in the end nothing is left open.
 *
 *   node --expose-gc test/native/addon/fuzz.mjs ADDON.node [CALLS] [SEED]
 *
 * Prints a JSON summary; exit code 1 and the call on standard error when a call broke the contract. The same seed makes the
 * same calls up to what the kernel and the garbage collector decide.
 *
 * It is harmless by construction: it opens /dev/null, /dev/zero and a file of its own; addresses are of its own memory, or
 * of none; and no large range is populated.
 */

import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';

const [, , path = '', callCount = '1000000', seedText = '1'] = process.argv;
const calls = Number(callCount);
const addon = createRequire(import.meta.url)(path);

/** Calls between two turns of the event loop, where finalizers and the waiter's callbacks run. */
const CALLS_PER_TURN = 500;
const CALLS_PER_GC = 20_000;
/** Most live things of a kind. */
const MOST = 12;

const directory = mkdtempSync(join(tmpdir(), 'intel-svm-fuzz-'));
const regularFile = join(directory, 'file');
writeFileSync(regularFile, 'not a device');
process.on('exit', () => rmSync(directory, { recursive: true, force: true }));

// Chance, by mulberry32.

let state = Number(seedText) >>> 0;

function random() {
  state = (state + 0x6d2b79f5) | 0;
  let t = Math.imul(state ^ (state >>> 15), state | 1);
  t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
  return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
}

const below = (n) => Math.floor(random() * n);
const oneOf = (list) => list[below(list.length)];
const chance = (p) => random() < p;

// What is alive.

const fds = [];
const regions = [];
const submitters = [];
const pins = [];
const waiters = [];
/** @type {{ buffer: ArrayBuffer, address: bigint }[]} */
const allocations = [];
let wakes = 0;

/** Adds to a list, and drops one of it when it is full: the garbage collector's turn. */
function keep(list, item) {
  if (list.length >= MOST) list.splice(below(list.length), 1);
  list.push(item);
}

function remove(list, item) {
  const index = list.indexOf(item);
  if (index >= 0) list.splice(index, 1);
}

// What no caller should pass.

function boom() {
  throw new EvalError('a trap of the fuzz harness was sprung');
}

const trap = new Proxy(
  {},
  { get: boom, has: boom, ownKeys: boom, getPrototypeOf: boom, getOwnPropertyDescriptor: boom },
);

function revoked(target) {
  const { proxy, revoke } = Proxy.revocable(target, {});
  revoke();
  return proxy;
}

function detached(view) {
  structuredClone(view, { transfer: [view.buffer] });
  return view;
}

/** A view that a shrunk buffer has left out of bounds. */
function outOfBounds() {
  const buffer = new ArrayBuffer(64, { maxByteLength: 128 });
  const view = new Uint32Array(buffer, 32, 4);
  buffer.resize(16);
  return view;
}

function detachedByGrowth() {
  const wasm = new WebAssembly.Memory({ initial: 1, maximum: 3 });
  const view = new Uint8Array(wasm.buffer);
  wasm.grow(1);
  return view;
}

/** A typed array whose every public property lies. */
function liar() {
  const view = new Uint8Array(8);
  for (const name of ['buffer', 'byteLength', 'byteOffset', 'length', 'constructor']) {
    Object.defineProperty(view, name, { get: boom });
  }
  return view;
}

class ResizableLiar extends ArrayBuffer {
  get resizable() {
    return boom();
  }
}

const NUMBERS = [
  0, -0, 1, 2, 3, 7, 8, 63, 64, 65, 100, 4095, 4096, 4097, 65536, -1, -64, -4096, 0.5, 1.5, -0.5, NaN, Infinity,
  -Infinity, 2 ** 31 - 1, 2 ** 31, -(2 ** 31), 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1, 2 ** 53, -(2 ** 53), 2 ** 63, 2 ** 64,
  1e300, -1e300, 5e-324,
]; // prettier-ignore
const BIGINTS = [0n, 1n, -1n, 64n, 4096n, 2n ** 63n, 2n ** 64n - 1n, 2n ** 64n, -(2n ** 64n), 2n ** 300n];
const STRINGS = ['', '0', '1', '/dev/null', '/dev/zero', 'x\0y', '/\0', '\ud800', '\u{1f600}', 'y'.repeat(10_000), '/'];
const WELL_KNOWN = [undefined, null, true, false, Symbol('s'), Symbol.iterator];

/** Each makes a value anew, as some are used up. */
const ODDITIES = [
  () => ({}),
  () => [],
  () => Object.freeze([1, 2, 3]),
  () => Object.create(null),
  () => trap,
  () => revoked({}),
  () => revoked(() => {}),
  () => revoked(new Uint8Array(8)),
  () => new Proxy(new Uint8Array(64), {}),
  () => new Proxy(new ArrayBuffer(64), { get: boom }),
  () => new Proxy(() => {}, { apply: boom, get: boom }),
  () => ({ valueOf: boom, toString: boom, [Symbol.toPrimitive]: boom }),
  () => ({ valueOf: () => 64, toString: () => '/dev/null' }),
  () => ({ buffer: new ArrayBuffer(64), byteOffset: 0, byteLength: 64 }),
  () => Object.setPrototypeOf({}, Uint8Array.prototype),
  () => Object.create(oneOf(regions) ?? null),
  () => Object(1),
  () => Object('/dev/null'),
  () => Object(1n),
  () => new Date(NaN),
  () => /x/,
  () => new Map(),
  () => new WeakRef({}),
  () => Promise.resolve(1),
  () => new Error('x'),
  () => () => {},
  () => ResizableLiar,
  () => async () => {},
  () => boom,
  () => globalThis,
  () => addon,
  () => new Uint8Array(0),
  () => new Uint8Array(64),
  () => new Uint8Array(4096),
  () => Buffer.alloc(128),
  () => Buffer.from('pooled'),
  () => new Float64Array(8),
  () => new BigInt64Array(8),
  () => new Int16Array(3),
  () => new DataView(new ArrayBuffer(64), 3, 7),
  () => new ArrayBuffer(0),
  () => new ArrayBuffer(4096),
  () => new SharedArrayBuffer(64),
  () => new Uint8Array(new SharedArrayBuffer(64)),
  () => new DataView(new SharedArrayBuffer(64)),
  () => new SharedArrayBuffer(64, { maxByteLength: 128 }),
  () => new Uint8Array(new SharedArrayBuffer(64, { maxByteLength: 128 })),
  () => new ArrayBuffer(64, { maxByteLength: 128 }),
  () => new Uint8Array(new ArrayBuffer(64, { maxByteLength: 128 })),
  () => outOfBounds(),
  () => detached(new Uint8Array(64)),
  () => detached(new Uint8Array(64)).buffer,
  () => detached(new DataView(new ArrayBuffer(64))),
  () => detachedByGrowth(),
  () => new WebAssembly.Memory({ initial: 1 }).buffer,
  () => liar(),
  () => new ResizableLiar(64),
  () => new Uint8Array(new ResizableLiar(64)),
  () => Object.freeze(new DataView(new ArrayBuffer(8))),
];

function handle() {
  return oneOf([
    () => oneOf(fds),
    () => oneOf(regions),
    () => oneOf(submitters),
    () => oneOf(pins),
    () => oneOf(waiters),
    () => oneOf(waiters)?.completed,
    () => oneOf(allocations)?.buffer,
  ])();
}

/** @returns {unknown} anything */
function evil() {
  return oneOf([
    () => oneOf(NUMBERS),
    () => oneOf(NUMBERS),
    () => oneOf(BIGINTS),
    () => oneOf(STRINGS),
    () => oneOf(WELL_KNOWN),
    () => oneOf(ODDITIES)(),
    () => oneOf(ODDITIES)(),
    handle,
  ])();
}

// What the exports take.

const fd = () => oneOf(fds) ?? below(30);
const region = () => oneOf(regions);
const flag = () => chance(0.5);
const instruction = () => below(2);
const smallSize = () => oneOf([1, 64, 100, 4096, 4097, 8192, below(65_536)]);
const events = () => below(0x8000);
/** Requests of UACCE, of the hisi_qm driver, of a terminal, and of none. */
const request = () => oneOf([0x5700, 0x5701, 0xc004480a, 0xc010480b, 0x5401, 0x541b, 0x40085700, 0xffffffff, 0]);

function memory() {
  const { buffer } = oneOf(allocations) ?? {};
  if (buffer === undefined || chance(0.15)) return new Uint8Array(oneOf([0, 16, 64, 640, 16_384]));
  const offset = below(buffer.byteLength + 1);
  return oneOf([
    () => buffer,
    () => new Uint8Array(buffer),
    () => new Uint8Array(buffer, offset),
    () => new Uint8Array(buffer, offset, below(buffer.byteLength - offset + 1)),
    () => new DataView(buffer, offset),
  ])();
}

/** An address of the harness's own memory, with a length that reaches no other large mapping; or one where nothing can be. */
function range() {
  const own = oneOf(allocations);
  if (own !== undefined && chance(0.7)) return [own.address + BigInt(below(8192)), below(32_768)];
  return [oneOf(BIGINTS), oneOf(NUMBERS)];
}

/**
 * Exports by name: their arguments, and what to do with a result. An argument is replaced by anything at all, except for
 * those that `bounded` says must stay harmless.
 */
const TARGETS = {
  open: {
    args: () => [oneOf(['/dev/null', '/dev/zero', regularFile, directory, '/dev/none', '/dev/null/x'])],
    after: (result) => fds.push(result),
    full: () => fds.length >= MOST,
  },
  close: {
    args: () => [fd()],
    after: (_, [number]) => remove(fds, number),
    full: () => fds.length < MOST / 2,
  },
  ioctl: { args: () => [fd(), request(), chance(0.2) ? undefined : memory()] },
  write: { args: () => [fd(), memory()] },
  poll: { args: () => [fd(), events()] },
  mmap: {
    args: () => [fd(), oneOf([0, 1, 4096, 8192, 65_536, 2 ** 47, 2 ** 53 - 1]), oneOf([0, 4096, 1, 2 ** 52])],
    after: (result) => keep(regions, result),
  },
  munmap: {
    args: () => [region()],
    after: (_, [it]) => remove(regions, it),
    full: () => regions.length < MOST / 2,
  },
  executes: { args: () => [instruction()] },
  createSubmitter: {
    args: () => [region(), instruction(), memory()],
    after: (result) => keep(submitters, result),
  },
  alloc: {
    args: () => [smallSize(), flag(), flag()],
    bounded: ([length]) => typeof length !== 'number' || !(length > 65_536 && length <= 2 ** 32),
    after: (buffer) => keep(allocations, { buffer, address: addon.addressOf(buffer) }),
  },
  free: {
    args: () => [oneOf(allocations)?.buffer],
    full: () => allocations.length < MOST / 2,
    after: (_, [it]) => allocations.splice(allocations.findIndex(({ buffer }) => buffer === it) >>> 0, 1),
  },
  protect: { args: () => [oneOf(allocations)?.buffer, below(3)] },
  addressOf: { args: () => [memory()] },
  pin: { args: () => [memory()], after: (result) => pins.push(result), full: () => pins.length >= MOST },
  unpin: { args: () => [oneOf(pins)], after: (_, [number]) => remove(pins, number) },
  touch: {
    args: () => [...range(), flag()],
    bounded: ([address]) => typeof address !== 'bigint' || BIGINTS.includes(address),
  },
  peek: { args: () => range() },
  pause: { args: () => [] },
  cpuFeatures: { args: () => [] },
  createWaiter: {
    args: () => [memory(), oneOf([1, 8, 32, 64, 4096, 2 ** 53 - 1]), chance(0.05) ? boom : () => wakes++],
    after: (result) => waiters.push(result),
    full: () => waiters.length >= MOST,
  },
  stop: {
    args: () => [],
    after: () => [fds, regions, waiters].forEach((list) => list.splice(0)),
    full: () => chance(0.999),
  },
};

const count = () => oneOf([1, 1, 1, 2, 5, 64]);

/** One call: on what, with what. */
function choose() {
  const kind = random();
  if (kind < 0.15 && submitters.length > 0) {
    return { name: 'submitter', call: oneOf(submitters), args: spoil([below(oneOf([1, 10, 80])), count()]) };
  }
  if (kind < 0.3 && waiters.length > 0) {
    return { name: 'watch', call: oneOf(waiters).watch, args: spoil([below(oneOf([1, 10, 80])), count()]) };
  }
  if (kind < 0.31 && waiters.length > 0) {
    const [waiter] = waiters.splice(below(waiters.length), 1);
    return { name: 'waiter.close', call: waiter.close, args: spoil([]) };
  }
  const name = oneOf(Object.keys(TARGETS));
  const { args, bounded = () => true, after, full = () => false } = TARGETS[name];
  if (full()) return choose();
  const good = args();
  const spoilt = spoil(good);
  return { name, call: addon[name], args: bounded(spoilt) ? spoilt : good, after };
}

function spoil(args) {
  if (chance(0.5)) return args;
  const spoilt = args.map((argument) => (chance(0.4) ? evil() : argument));
  if (chance(0.1)) spoilt.push(evil());
  if (chance(0.1)) spoilt.pop();
  return spoilt;
}

const CODED = /^ERR_(INVALID_ARG_TYPE|INVALID_ARG_VALUE|OUT_OF_RANGE|INVALID_STATE)$/;
const errors = new Map();
const successes = new Map();

/** Whether an error is one that the contract allows. */
function isAllowed(error) {
  if (!(error instanceof Error)) return false;
  const { code, errno, syscall } = error;
  errors.set(code, (errors.get(code) ?? 0) + 1);
  if (typeof errno === 'number') return errno < 0 && /^E[A-Z0-9]+$/.test(code) && typeof syscall === 'string';
  if (!CODED.test(code)) return false;
  if (code === 'ERR_OUT_OF_RANGE') return error instanceof RangeError;
  return code === 'ERR_INVALID_STATE' || error instanceof TypeError;
}

function describe(args) {
  return args.map((value) => {
    try {
      return typeof value === 'object' && value !== null ? Object.prototype.toString.call(value) : String(value);
    } catch {
      return 'something that cannot be described';
    }
  });
}

function callOnce() {
  const { name, call, args, after } = choose();
  try {
    // Neither `this` nor being called as a constructor makes a difference; but `new` hides a number.
    const constructed = name !== 'open' && name !== 'pin' && chance(0.02);
    const receiver = chance(0.05) ? oneOf([null, 1, trap, revoked({})]) : addon;
    const result = constructed ? Reflect.construct(call, args) : Reflect.apply(call, receiver, args);
    successes.set(name, (successes.get(name) ?? 0) + 1);
    after?.(result, args);
  } catch (error) {
    if (isAllowed(error)) return;
    console.error(`call ${done} of seed ${seedText}: ${name}(${describe(args).join(', ')}) threw`, error);
    process.exitCode = 1;
  }
}

/** JavaScript gives completions, where it may write. */
function complete() {
  for (const { buffer } of allocations) {
    if (buffer.byteLength === 0 || chance(0.5)) continue;
    try {
      addon.protect(buffer, 2);
    } catch {
      continue;
    }
    new Uint8Array(buffer).fill(below(2));
  }
}

/** What callbacks throw: the trap, functions that cannot be called, functions of the addon given as callbacks. */
let thrown = 0;
process.on('uncaughtException', (error) => {
  thrown += 1;
  if (error instanceof EvalError || /revoked|without 'new'/.test(error.message) || isAllowed(error)) return;
  console.error(error);
  process.exitCode = 1;
});

const openFiles = () => readdirSync('/proc/self/fd').length;
const mappings = () =>
  readFileSync('/proc/self/maps', 'utf8')
    .split('\n')
    .filter((line) => line.includes('/dev/zero'));
const residentMiB = () => Math.round(process.memoryUsage.rss() / 2 ** 20);

const filesBefore = openFiles();
const residentBefore = residentMiB();
const started = process.hrtime.bigint();
let done = 0;
while (done < calls && process.exitCode === undefined) {
  for (let i = 0; i < CALLS_PER_TURN && done < calls && process.exitCode === undefined; i += 1, done += 1) callOnce();
  complete();
  await turn();
  if (done % CALLS_PER_GC === 0) globalThis.gc?.();
}

addon.stop();
for (const number of pins) addon.unpin(number);
for (const { buffer } of allocations.splice(0)) if (buffer.byteLength > 0) addon.free(buffer);
const left = { files: openFiles() - filesBefore, regions: mappings().length };
if (left.files !== 0 || left.regions !== 0) process.exitCode = 1;
console.log(
  JSON.stringify({
    calls: done,
    seed: Number(seedText),
    seconds: Number((process.hrtime.bigint() - started) / 1_000_000n) / 1000,
    wakes,
    thrown,
    left,
    residentMiB: [residentBefore, residentMiB()],
    successes: Object.fromEntries(successes),
    errors: Object.fromEntries(errors),
  }),
);
