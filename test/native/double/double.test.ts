/**
 * The test doubles themselves: each program `NAME_test.c` of this folder is compiled with the double and the shim, and
 * run, plainly and under the sanitizers. It prints the checks that failed.
 */

import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { ADDON_INSTRUCTION, loadAddon } from '../../../lib/linux/loader.js';
import { compile, missingSanitizer, objectOf, SANITIZERS } from '../c-programs.js';
import { ROOT, run, temporaryDirectory, type Run } from '../tools.js';
import { fakeDevicesEnv, fakeDevicesLibrary, missingForFakeDevices } from './fake-devices.js';

const HERE = join(ROOT, 'test/native/double');
const SHIM = join(ROOT, 'native/shim');
const SHIM_TESTS = join(ROOT, 'test/native/shim');
const TIMEOUT = 180_000;

const names = readdirSync(HERE).filter((name) => name.endsWith('.c'));
const programs = names.filter((name) => name.endsWith('_test.c'));
/** What is linked into the tests; the fake devices stand in front of the C library and are a library by themselves. */
const parts = names.filter((name) => !programs.includes(name) && !name.startsWith('fake_'));
const shimSources = readFileSync(join(ROOT, 'native/sources.txt'), 'utf8')
  .trim()
  .split('\n')
  .filter((source) => source.startsWith('native/shim/'));

const obstacle = missingForFakeDevices();
const load = loadAddon();
const noAddon = obstacle ?? (load.addon === undefined ? load.reason : undefined);
const addonPath = load.addon === undefined ? '' : load.path;

/** Compiles the program, links it with what it is about, and runs it. */
function compileAndRun(program: string, flags: readonly string[], sanitizer?: string): Run {
  const executable = join(temporaryDirectory(), 'test');
  const include = ['-I', SHIM, '-I', SHIM_TESTS, '-I', HERE];
  const shim = shimSources.map((source) => join(ROOT, source));
  if (!program.startsWith('fake_')) {
    const sources = [...shim, ...parts.map((part) => join(HERE, part))];
    compile([
      ...flags,
      ...include,
      '-o',
      executable,
      join(HERE, program),
      objectOf('double', sources, [...flags, ...include]),
    ]);
    return run(executable, []);
  }
  const library = fakeDevicesLibrary(sanitizer);
  const link = [library, `-Wl,-rpath=${dirname(library)}`];
  compile([...flags, ...include, '-o', executable, join(HERE, program), objectOf('shim', shim, flags), ...link]);
  const control = '/nowhere/control';
  const devices = '/nowhere/dsa/wq0.0; /nowhere/hisi_zip-0, type=uacce';
  return run(executable, [control], { ...process.env, INTEL_SVM_FAKE_DEV: devices, INTEL_SVM_FAKE_CTL: control });
}

describe('the test doubles', () => {
  test.for(programs)('%s', { timeout: TIMEOUT }, (program, ctx) => {
    ctx.skip(obstacle !== undefined, obstacle);
    expect(compileAndRun(program, ['-O2'])).toMatchObject({ status: 0, stderr: '' });
  });
});

describe.each(SANITIZERS)('the test doubles under -fsanitize=$name', (sanitizer) => {
  const noSanitizer = obstacle ?? missingSanitizer(sanitizer);

  test.for(programs)('%s', { timeout: TIMEOUT }, (program, ctx) => {
    ctx.skip(noSanitizer !== undefined, noSanitizer);
    expect(compileAndRun(program, sanitizer.flags, sanitizer.name)).toMatchObject({ status: 0, stderr: '' });
  });
});

/** Runs a script in which `fs`, `device` and `control` are at hand. What it prints as JSON is the result. */
function runScript(devices: string, script: string): Run {
  const directory = temporaryDirectory();
  const device = join(directory, 'wq0.0');
  const control = join(directory, 'control');
  const program = `const fs = require('node:fs');
    const [device, control] = process.argv.slice(1);
    const code = (call) => { try { return call(); } catch (error) { return error.code; } };
    ${script}`;
  const env = fakeDevicesEnv(devices.replaceAll('DEVICE', device), control);
  return run(process.execPath, ['-e', program, device, control], env);
}

describe('fake devices in front of Node', () => {
  test('open, write, close and the report', (ctx) => {
    ctx.skip(obstacle !== undefined, obstacle);
    const { status, stdout, stderr } = runScript(
      'DEVICE, mode=dedicated, size=8',
      `const fd = fs.openSync(device, 'r+');
       const results = [code(() => fs.openSync(device, 'r+')), fs.writeSync(fd, new Uint8Array(128)), fs.writeSync(fd, new Uint8Array(63))];
       fs.closeSync(fd);
       console.log(JSON.stringify({ results, report: fs.readFileSync(control, 'utf8'), exists: fs.existsSync(device) }));`,
    );
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(JSON.parse(stdout)).toMatchObject({
      results: ['EBUSY', 128, 0],
      report: expect.stringMatching(/wq0\.0 files=0 mappings=0 opens=1 writes=2 accepted=2 completed=2 /),
      exists: false,
    });
  });

  test('commands from the program itself', (ctx) => {
    ctx.skip(obstacle !== undefined, obstacle);
    const { status, stdout, stderr } = runScript(
      'DEVICE',
      `fs.writeFileSync(control, device + ', open=EACCES*1; ' + device + ', write=ENXIO');
       const results = [code(() => fs.openSync(device, 'r+'))];
       const fd = fs.openSync(device, 'r+');
       results.push(code(() => fs.writeSync(fd, new Uint8Array(64))), code(() => fs.writeFileSync(control, device + ', size=none')));
       console.log(JSON.stringify(results));`,
    );
    expect(stderr).toBe('fake_devices: size: bad value\n');
    expect(status).toBe(0);
    expect(JSON.parse(stdout)).toEqual(['EACCES', 'ENXIO', 'EINVAL']);
  });

  // Portal, instruction, device thread, completion byte: the whole way of the addon.
  test.for([
    ['dedicated', 'movdir64b'],
    ['shared', 'enqcmd'],
  ] as const)('the addon on a %s queue: %s', ([mode, instruction], ctx) => {
    ctx.skip(noAddon !== undefined, noAddon);
    const { status, stdout, stderr } = runScript(
      `DEVICE, mode=${mode}`,
      `const addon = require(${JSON.stringify(addonPath)});
         const fd = addon.open(device);
         const region = addon.mmap(fd, 4096, 0);
         const memory = addon.alloc(4096, true, false);
         const bytes = new Uint8Array(memory);
         const view = new DataView(memory);
         const address = addon.addressOf(memory);
         const submit = addon.createSubmitter(region, ${ADDON_INSTRUCTION[instruction]}, new Uint8Array(memory, 0, 64));
         view.setUint32(4, 0x0300000c, true); // MEMMOVE, CRAV | RCR
         view.setBigUint64(8, address + 64n, true);
         view.setBigUint64(16, address + 1024n, true);
         view.setBigUint64(24, address + 2048n, true);
         view.setUint32(32, 100, true);
         let statuses = 0;
         for (let round = 1; round <= 100; round += 1) {
           bytes[64] = 0;
           bytes.fill(round, 1024, 1124);
           while (submit(0, 1) === 0) addon.pause();
           while (Atomics.load(bytes, 64) === 0) addon.pause();
           statuses += bytes[64];
           if (bytes[2048 + 99] !== round) throw new Error('round ' + round);
         }
         addon.munmap(region);
         addon.close(fd);
         console.log(JSON.stringify({ statuses, report: fs.readFileSync(control, 'utf8') }));`,
    );
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(JSON.parse(stdout)).toMatchObject({
      statuses: 100,
      report: expect.stringMatching(/ files=0 mappings=0 opens=1 .* accepted=100 completed=100 /),
    });
  });

  test('commands of the environment that cannot be read end the process', (ctx) => {
    ctx.skip(obstacle !== undefined, obstacle);
    const { status, stderr } = runScript('DEVICE, colour=red', '');
    expect(stderr).toBe('fake_devices: unknown key: colour\n');
    expect(status).toBe(97);
  });
});
