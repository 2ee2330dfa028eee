/**
 * What a program does with a device, from open to the end, each in a process of its own: the first half is work, the second
 * the ways in which an environment can end while a device is at it. The device is that of test/native/double, preloaded.
 *
 *   INTEL_SVM_FAKE_DEV=... INTEL_SVM_FAKE_CTL=... LD_PRELOAD=libfake_devices.so \
 *     node --expose-gc scenarios.mjs ADDON.node SCENARIO OTHER.node
 *
 * OTHER is a copy of the addon, which makes it another addon. scenarios.test.ts has the settings of each scenario's devices. Exit code 0, and nothing on standard error, when all went
 * as it should.
 */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { setImmediate as turn, setTimeout as delay } from 'node:timers/promises';
import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads';

const [, , addonPath = '', scenario = '', otherPath = ''] = process.argv;
const controlFile = process.env['INTEL_SVM_FAKE_CTL'] ?? '';
const addon = createRequire(import.meta.url)(addonPath);

const MOVDIR64B = 0;
const ENQCMD = 1;
const DESCRIPTOR = 64;
const RECORD = 64;
/** Opcode MEMMOVE; flags CRAV and RCR (DSA specification, 5.1). */
const MEMMOVE = (0x3 << 24) | 0x4 | 0x8;
const OPERAND = 4096;
/** Requests of misc/uacce/uacce.h and misc/uacce/hisi_qm.h. */
const START_Q = 0x5700;
const PUT_Q = 0x5701;
const SET_QP_CTX = 0xc004480a;
const SET_QP_INFO = 0xc010480b;

// The device.

/** What it has counted. */
function report(path) {
  const line = readFileSync(controlFile, 'utf8')
    .split('\n')
    .find((it) => it.startsWith(`${path} `));
  return Object.fromEntries(
    line
      .split(' ')
      .slice(1)
      .map((pair) => pair.split('=')),
  );
}

/** All that was accepted is done, nothing faulted, and nobody holds the device. */
function assertDrained(path, accepted) {
  const { files, mappings, in_flight, completed, faults, error, dropped, lost, ...rest } = report(path);
  const state = { files, mappings, in_flight, completed, faults, error, dropped, lost };
  const clean = { files: '0', mappings: '0', in_flight: '0', faults: '0', error: '0', dropped: '0', lost: '0' };
  assert.deepEqual(
    { ...state, accepted: rest.accepted },
    { ...clean, completed: `${accepted}`, accepted: `${accepted}` },
  );
}

/** A work queue in use: a ring, and copies from one operand to others, half of them in the addon's memory. */
class Queue {
  constructor(path, slots, makeForeign = (length) => new Uint8Array(length)) {
    this.slots = slots;
    this.fd = addon.open(path);
    this.ring = addon.alloc(slots * (DESCRIPTOR + RECORD), true, false);
    this.descriptors = new Uint8Array(this.ring, 0, slots * DESCRIPTOR);
    this.records = new Uint8Array(this.ring, slots * DESCRIPTOR);
    this.source = new Uint8Array(OPERAND).map((_, index) => index * 3 + 1);
    // Large enough that their memory is unmapped when they are collected.
    this.own = new Uint8Array(addon.alloc(slots * OPERAND, true, false));
    this.foreign = makeForeign(slots * OPERAND);
    const [ring, source, foreign, own] = [this.ring, this.source, this.foreign, this.own].map((it) =>
      addon.addressOf(it),
    );
    const view = new DataView(this.ring);
    for (let slot = 0; slot < slots; slot += 1) {
      const base = slot * DESCRIPTOR;
      view.setUint32(base + 4, MEMMOVE, true);
      view.setBigUint64(base + 8, ring + BigInt(slots * DESCRIPTOR + slot * RECORD), true);
      view.setBigUint64(base + 16, source, true);
      view.setBigUint64(base + 24, (slot % 2 === 0 ? foreign : own) + BigInt(slot * OPERAND), true);
      view.setUint32(base + 32, OPERAND, true);
    }
  }

  map() {
    this.region = addon.mmap(this.fd, 4096, 0);
    return this.region;
  }

  /** Submits everything by write(2), which has no limit of in-flight descriptors here. */
  writeAll() {
    assert.equal(addon.write(this.fd, this.descriptors), this.descriptors.length);
  }

  status(slot) {
    return Atomics.load(this.records, slot * RECORD);
  }

  clear(slot) {
    Atomics.store(this.records, slot * RECORD, 0);
  }

  target(slot) {
    const operands = slot % 2 === 0 ? this.foreign : this.own;
    return operands.subarray(slot * OPERAND, (slot + 1) * OPERAND);
  }

  assertCopied(slot) {
    assert.equal(this.status(slot), 1);
    assert.equal(Buffer.compare(this.target(slot), this.source), 0);
  }

  watch(onSlot) {
    this.waiter = addon.createWaiter(this.records, RECORD, (count) => {
      for (const slot of this.waiter.completed.slice(0, count)) onSlot?.(slot);
    });
    return this.waiter;
  }

  /** Holds the memory, whatever becomes of the queue. */
  pin() {
    return [this.ring, this.source, this.foreign, this.own].map((memory) => addon.pin(memory));
  }
}

const PATH = '/fake/dsa/wq0.0';
const IN_FLIGHT = 1_000;

/** Queues that JavaScript refers to as long as their environment lives. */
const queues = [];

/** A queue with a thousand operations in flight. */
function busyQueue(path = PATH, makeForeign) {
  const queue = new Queue(path, IN_FLIGHT, makeForeign);
  queues.push(queue);
  queue.writeAll();
  // The report waits for devices that are draining, which others may be.
  if (path === PATH) assert.notEqual(report(path).in_flight, '0');
  return queue;
}

function assertRefused(code, call) {
  assert.throws(call, { code });
}

// Work.

const WORK = {
  /** A dedicated queue through its portal: every slot again and again, as they complete. */
  async movdir64b() {
    const queue = new Queue(PATH, 64);
    const submit = addon.createSubmitter(queue.map(), MOVDIR64B, queue.descriptors);
    const total = 20_000;
    let submitted = 64;
    let completed = 0;
    await new Promise((resolve, reject) => {
      const waiter = queue.watch((slot) => {
        try {
          queue.assertCopied(slot);
          completed += 1;
          if (completed === total) resolve();
          if (submitted >= total) return;
          submitted += 1;
          queue.target(slot).fill(0);
          queue.clear(slot);
          submit(slot);
          waiter.watch(slot);
        } catch (error) {
          reject(error);
        }
      });
      assert.equal(submit(0, 64), 64);
      waiter.watch(0, 64);
    });
    queue.waiter.close();
    addon.munmap(queue.region);
    addon.close(queue.fd);
    assertDrained(PATH, total);
  },

  /** A shared queue that is full says so; the rest is taken later. */
  async enqcmd() {
    const queue = new Queue(PATH, 16);
    const region = queue.map();
    if (!addon.executes(ENQCMD)) throw new Error('ENQCMD is not even emulated');
    const submit = addon.createSubmitter(region, ENQCMD, queue.descriptors);
    assert.equal(submit(0, 16), 4);
    assert.equal(submit(4), 0);
    let next = 4;
    while (next < 16) {
      next += submit(next, 16 - next);
      await turn();
    }
    // A PASID in the descriptor is the CPU's to refuse: the addon does.
    new DataView(queue.ring).setUint32(3 * DESCRIPTOR, 5, true);
    assertRefused('EINVAL', () => submit(3));
    while (report(PATH).in_flight !== '0') await turn();
    for (let slot = 0; slot < 16; slot += 1) queue.assertCopied(slot);
    assert.equal(submit(0, 16), 3);
    addon.munmap(region);
    addon.close(queue.fd);
    assertDrained(PATH, 19);
  },

  /** write(2): refused once, then taken in parts. */
  async write() {
    const queue = new Queue(PATH, 8);
    assertRefused('EAGAIN', () => addon.write(queue.fd, queue.descriptors));
    assert.equal(addon.write(queue.fd, queue.descriptors), 3 * DESCRIPTOR);
    assert.equal(addon.write(queue.fd, queue.descriptors.subarray(3 * DESCRIPTOR)), 3 * DESCRIPTOR);
    addon.close(queue.fd);
    for (const slot of [0, 1, 2, 3, 4, 5]) queue.assertCopied(slot);
    assertDrained(PATH, 6);
  },

  /** What a driver refuses, each call once. */
  async errors() {
    for (const code of ['EPERM', 'EBUSY', 'ENXIO', 'ENODEV', 'ENOMEM', 'EOPNOTSUPP']) {
      const path = `/fake/dsa/${code}`;
      assertRefused(code, () => addon.open(path));
      const fd = addon.open(path);
      assertRefused(code, () => addon.mmap(fd, 4096, 0));
      assertRefused(code, () => addon.write(fd, new Uint8Array(64)));
      assertRefused(code, () => addon.ioctl(fd, 0));
      assertRefused('EBUSY', () => addon.open(path));
      addon.munmap(addon.mmap(fd, 4096, 0));
      addon.close(fd);
      assert.equal(report(path).files, '0');
    }
  },

  /** The status byte of a fault on a write has bit 7 set; it completes all the same. */
  async fault() {
    const queue = new Queue(PATH, 2);
    const submit = addon.createSubmitter(queue.map(), MOVDIR64B, queue.descriptors);
    addon.protect(queue.own.buffer, 1);
    const done = new Promise((resolve) => {
      queue.watch(resolve).watch(1);
    });
    submit(1);
    assert.equal(await done, 1);
    assert.equal(queue.status(1), 0x83);
    const fault = new DataView(queue.ring).getBigUint64(2 * DESCRIPTOR + RECORD + 8, true);
    assert.equal(fault, addon.addressOf(queue.own) + 4096n);
    queue.waiter.close();
    assert.equal(report(PATH).faults, '1');
  },

  /** UACCE: the ioctls of the framework and of hisi_qm, which give data back, and the regions. */
  async uacce() {
    const path = '/fake/hisi_zip-0';
    const fd = addon.open(path);
    const second = addon.open(path);
    const context = Uint16Array.of(0xffff, 2);
    assert.equal(addon.ioctl(second, SET_QP_CTX, context), 0);
    assert.deepEqual([...context], [1, 2]);
    addon.close(second);
    const info = new DataView(new ArrayBuffer(16));
    assert.equal(addon.ioctl(fd, SET_QP_INFO, info), 0);
    assert.deepEqual([info.getUint32(0, true), info.getUint16(4, true), info.getUint16(6, true)], [128, 512, 256]);
    const region = addon.mmap(fd, 4096, 0);
    assert.equal(addon.ioctl(fd, START_Q), 0);
    assertRefused('EINVAL', () => addon.ioctl(fd, START_Q));
    assert.equal(addon.poll(fd, 1), 1);
    assert.equal(addon.ioctl(fd, PUT_Q), 0);
    assertRefused('EINVAL', () => addon.ioctl(fd, 0x1234));
    addon.munmap(region);
    addon.close(fd);
    assert.equal(report(path).files, '0');
  },
};

// Ends.

/** Runs the worker half of a scenario, and waits until it is gone. */
async function runWorker(name, path = PATH) {
  const worker = new Worker(new URL(import.meta.url), { argv: [addonPath, name, otherPath], workerData: { path } });
  worker.on('error', ({ message }) => assert.equal(message, 'thrown on purpose'));
  // events.once would reject at the error.
  const exit = new Promise((resolve) => {
    worker.once('exit', resolve);
  });
  const ready = new Promise((resolve) => {
    worker.once('message', resolve);
  });
  return { worker, exit, ready };
}

/** A worker leaves a thousand operations in flight and ends in its way. */
async function inWorker(name, end = async () => {}) {
  const { worker, exit, ready } = await runWorker(name);
  await ready;
  await end(worker);
  await exit;
  assertDrained(PATH, IN_FLIGHT);
}

const ENDS = {
  /** close blocks until the device is done: then everything is there. */
  async closeInFlight() {
    const queue = busyQueue();
    const pins = queue.pin();
    addon.close(queue.fd);
    for (let slot = 0; slot < IN_FLIGHT; slot += 1) queue.assertCopied(slot);
    assertDrained(PATH, IN_FLIGHT);
    assertRefused('EBUSY', () => addon.free(queue.ring));
    for (const pin of pins) addon.unpin(pin);
    addon.free(queue.ring);
  },

  /** While a region is mapped, close does not drain; munmap does. */
  async munmapInFlight() {
    const queue = new Queue(PATH, IN_FLIGHT);
    const region = queue.map();
    queue.writeAll();
    addon.close(queue.fd);
    assert.equal(report(PATH).files, '1');
    addon.munmap(region);
    for (let slot = 0; slot < IN_FLIGHT; slot += 1) queue.assertCopied(slot);
    assertDrained(PATH, IN_FLIGHT);
  },

  async doubleClose() {
    const queue = busyQueue();
    const region = queue.map();
    queue.watch().watch(0, IN_FLIGHT);
    assertRefused('EBUSY', () => addon.free(queue.ring));
    addon.munmap(region);
    assertRefused('EINVAL', () => addon.munmap(region));
    addon.close(queue.fd);
    assertRefused('EBADF', () => addon.close(queue.fd));
    queue.waiter.close();
    queue.waiter.close();
    addon.stop();
    addon.stop();
    addon.free(queue.ring);
    assertRefused('EINVAL', () => addon.free(queue.ring));
    assertDrained(PATH, IN_FLIGHT);
  },

  /** Pins are all that is left of the operands. */
  async gc() {
    (() => {
      const queue = new Queue(PATH, IN_FLIGHT);
      queue.map();
      queue.pin();
      queue.writeAll();
    })();
    for (let round = 0; round < 4; round += 1) {
      globalThis.gc();
      await turn();
    }
    assert.deepEqual([report(PATH).mappings, report(PATH).in_flight], ['0', `${IN_FLIGHT}`]);
    addon.stop();
    assertDrained(PATH, IN_FLIGHT);
  },

  /** process.exit() in the main thread runs no cleanup of addons: `stop` is for that. */
  async exit() {
    const queue = busyQueue();
    queue.map();
    queue.watch().watch(0, IN_FLIGHT);
    process.on('exit', () => {
      addon.stop();
      assertDrained(PATH, IN_FLIGHT);
    });
    process.exit(0);
  },

  /** ... from the callback of a waiter, while others are to be called. */
  async exitInCallback() {
    const queue = busyQueue();
    process.on('exit', () => {
      addon.stop();
      assertDrained(PATH, IN_FLIGHT);
    });
    for (let i = 0; i < 3; i += 1) queue.watch(() => process.exit(0)).watch(0, IN_FLIGHT);
  },

  /** Without `stop` the kernel cleans up; nothing crashes. */
  async exitUnstopped() {
    busyQueue().watch().watch(0, IN_FLIGHT);
    process.exit(0);
  },

  /** The main thread runs out of work: its cleanup hooks run. */
  async natural() {
    busyQueue().map();
  },

  async uncaught() {
    busyQueue().watch().watch(0, IN_FLIGHT);
    setImmediate(() => {
      throw new Error('thrown on purpose');
    });
  },

  workerReturns: () => inWorker('workerReturns'),
  workerExits: () => inWorker('workerExits'),
  workerExitsInCallback: () => inWorker('workerExitsInCallback'),
  workerThrows: () => inWorker('workerThrows'),
  workerWithForeignMemory: () => inWorker('workerWithForeignMemory', (worker) => worker.terminate()),
  workerTerminated: () => inWorker('workerTerminated', (worker) => worker.terminate()),
  workerTerminatedBusy: () => inWorker('workerTerminatedBusy', (worker) => worker.terminate()),

  /** Completions arrive and are resubmitted all the time, until the worker is terminated. */
  async workerFlood() {
    const { worker, exit, ready } = await runWorker('workerFlood');
    await ready;
    await delay(Math.random() * 20);
    await worker.terminate();
    await exit;
    const { files, in_flight, faults, error, accepted, completed } = report(PATH);
    assert.deepEqual({ files, in_flight, faults, error }, { files: '0', in_flight: '0', faults: '0', error: '0' });
    assert.equal(completed, accepted);
  },

  /** Four at once, each with a device, an addon and a thread of its own, while the main thread works too. */
  async fourWorkers() {
    const names = ['workerReturns', 'workerExits', 'workerThrows', 'workerTerminated'];
    const own = busyQueue('/fake/dsa/wq0.9');
    let left = IN_FLIGHT;
    const done = new Promise((resolve) => {
      own.watch(() => (left -= 1) || resolve()).watch(0, IN_FLIGHT);
    });
    await Promise.all(
      names.map(async (name, index) => {
        const path = `/fake/dsa/wq1.${index}`;
        const { worker, exit, ready } = await runWorker(name, path);
        await ready;
        if (name === 'workerTerminated') await worker.terminate();
        await exit;
        assertDrained(path, IN_FLIGHT);
      }),
    );
    await done;
    for (let slot = 0; slot < IN_FLIGHT; slot += 1) own.assertCopied(slot);
    own.waiter.close();
    addon.close(own.fd);
    assertDrained('/fake/dsa/wq0.9', IN_FLIGHT);
  },
};

/** What happens in the worker. */
const WORKERS = {
  async workerReturns(path) {
    busyQueue(path).map();
    parentPort.postMessage('ready', []);
  },

  async workerExits(path) {
    busyQueue(path).watch().watch(0, IN_FLIGHT);
    parentPort.postMessage('ready', []);
    await turn();
    process.exit(0);
  },

  async workerExitsInCallback(path) {
    const queue = busyQueue(path);
    for (let i = 0; i < 3; i += 1) queue.watch(() => process.exit(0)).watch(0, IN_FLIGHT);
    parentPort.postMessage('ready', []);
  },

  async workerThrows(path) {
    busyQueue(path).watch().watch(0, IN_FLIGHT);
    parentPort.postMessage('ready', []);
    await turn();
    throw new Error('thrown on purpose');
  },

  async workerTerminated(path) {
    busyQueue(path).watch().watch(0, IN_FLIGHT);
    parentPort.postMessage('ready', []);
    await once(parentPort, 'message');
  },

  /** Operands in memory that another addon lent. It takes it back when the environment ends. */
  async workerWithForeignMemory(path) {
    const other = createRequire(import.meta.url)(otherPath);
    // Made last, so that it goes first.
    busyQueue(path, (length) => {
      const foreign = new Uint8Array(other.alloc(length, true, false));
      addon.pin(foreign);
      return foreign;
    });
    parentPort.postMessage('ready', []);
    await once(parentPort, 'message');
  },

  async workerTerminatedBusy(path) {
    const queue = busyQueue(path);
    queue.watch().watch(0, IN_FLIGHT);
    parentPort.postMessage('ready', []);
    for (;;) addon.pause();
  },

  async workerFlood(path) {
    const queue = new Queue(path, 64);
    const again = (slot) => {
      queue.clear(slot);
      queue.waiter.watch(slot);
      addon.write(queue.fd, queue.descriptors.subarray(slot * DESCRIPTOR, (slot + 1) * DESCRIPTOR));
    };
    queue.watch(again).watch(0, 64);
    queue.writeAll();
    parentPort.postMessage('ready', []);
    await once(parentPort, 'message');
  },
};

if (isMainThread) {
  await { ...WORK, ...ENDS }[scenario]();
} else {
  await WORKERS[scenario](workerData.path);
}
