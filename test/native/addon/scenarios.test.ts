/** The scenarios of scenarios.mjs, each in a process with a software device (test/native/double/fake_devices.h) before libc. */

import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test, type TestContext } from 'vitest';
import { loadAddon } from '../../../lib/linux/loader.js';
import { fakeDevicesLibrary, missingForFakeDevices } from '../double/fake-devices.js';
import { ROOT, run, temporaryDirectory, type Run } from '../tools.js';

const PROGRAM = join(ROOT, 'test/native/addon/scenarios.mjs');

/** Times that each end is gone through; a leak or a race may show only then. */
const REPEAT = Number(process.env['INTEL_SVM_REPEAT'] ?? 1);
const TIMEOUT = 30_000 + REPEAT * 10_000;

/** The value of -fsanitize that the addon was built with, so that the device is, too. */
const SANITIZER = process.env['INTEL_SVM_SANITIZER'];

/** Long enough for a slow machine to submit a thousand operations and to leave. */
const LATENCY = '1s';

const QUEUE = '/fake/dsa/wq0.0';
const busy = (path: string, latency: string): string => `${path},mode=shared,size=1000,latency=${latency}`;
const BUSY = busy(QUEUE, LATENCY);
const refusing = (code: string): string =>
  `/fake/dsa/${code},open=${code}*1,mmap=${code}*1,write=${code}*1,ioctl=${code}*1`;

/** Work with a device, and the device. */
const WORK = {
  movdir64b: `${QUEUE},mode=dedicated,size=64`,
  enqcmd: `${QUEUE},mode=shared,size=4,latency=50ms`,
  write: `${QUEUE},mode=shared,size=64,retries=1,write_limit=3`,
  errors: ['EPERM', 'EBUSY', 'ENXIO', 'ENODEV', 'ENOMEM', 'EOPNOTSUPP'].map(refusing).join(';'),
  fault: `${QUEUE},mode=dedicated,size=16`,
  uacce: '/fake/hisi_zip-0,type=uacce,sqe_size=128,sq_depth=512,cq_depth=256,pending=1',
};

/** Ends with a thousand operations in flight. */
const ENDS = {
  closeInFlight: BUSY,
  munmapInFlight: BUSY,
  doubleClose: BUSY,
  gc: busy(QUEUE, '1s'),
  exit: BUSY,
  exitInCallback: BUSY,
  exitUnstopped: BUSY,
  natural: BUSY,
  uncaught: BUSY,
  workerReturns: BUSY,
  workerExits: BUSY,
  workerExitsInCallback: BUSY,
  workerThrows: BUSY,
  workerWithForeignMemory: BUSY,
  workerTerminated: BUSY,
  workerTerminatedBusy: BUSY,
  workerFlood: `${QUEUE},mode=shared,size=1000`,
  fourWorkers: ['wq0.9', 'wq1.0', 'wq1.1', 'wq1.2', 'wq1.3'].map((name) => busy(`/fake/dsa/${name}`, '4s')).join(';'),
};

const obstacle = missingForFakeDevices();
let library = '';

beforeAll(() => {
  if (obstacle === undefined) library = fakeDevicesLibrary(SANITIZER);
}, 120_000);

function runScenario(ctx: TestContext, name: string, devices: string): Run {
  const load = loadAddon();
  const addon = load.addon === undefined ? ctx.skip(load.reason) : load.path;
  ctx.skip(obstacle !== undefined, obstacle);
  const directory = temporaryDirectory();
  const other = join(directory, 'other.node');
  copyFileSync(addon, other);
  // A sanitizer's runtime must be the first.
  const preload = [process.env['LD_PRELOAD'], library].filter(Boolean).join(' ');
  return run(process.execPath, ['--expose-gc', PROGRAM, addon, name, other], {
    ...process.env,
    LD_PRELOAD: preload,
    INTEL_SVM_FAKE_DEV: devices,
    INTEL_SVM_FAKE_CTL: join(directory, 'control'),
  });
}

/** How a scenario ends that does as it should. */
function endOf(name: string): object {
  if (name !== 'uncaught') return { status: 0, stdout: '', stderr: '' };
  return { status: 1, stdout: '', stderr: expect.stringContaining('Error: thrown on purpose') };
}

describe('work', () => {
  test.for(Object.entries(WORK))('%s', { timeout: TIMEOUT }, ([name, devices], ctx) => {
    expect(runScenario(ctx, name, devices)).toEqual({ status: 0, stdout: '', stderr: '' });
  });
});

describe('ends', () => {
  test.for(Object.entries(ENDS))('%s', { timeout: TIMEOUT }, ([name, devices], ctx) => {
    for (let round = 0; round < REPEAT; round += 1) {
      expect({ round, ...runScenario(ctx, name, devices) }).toEqual({ round, ...endOf(name) });
    }
  });
});
