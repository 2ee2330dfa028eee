/**
 * The fake devices (fake_devices.h) for tests that run Node on them.
 *
 *   const child = run(process.execPath, [script], fakeDevicesEnv('/tmp/x/dev/dsa/wq0.0,mode=shared', '/tmp/x/ctl'));
 */

import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { CC, missingTool, ROOT, run } from '../tools.js';

const HEADER = '#include <linux/idxd.h>\n';

/** Why the fake devices cannot be built here; `undefined` if they can. */
export function missingForFakeDevices(): string | undefined {
  if (process.platform !== 'linux' || process.arch !== 'x64') return 'the fake devices are for Linux on x86-64';
  const noCompiler = missingTool(CC);
  if (noCompiler !== undefined) return noCompiler;
  const { status } = spawnSync(CC, ['-fsyntax-only', '-x', 'c', '-'], { input: HEADER });
  return status === 0 ? undefined : '<linux/idxd.h> is missing: install the kernel headers (Debian: linux-libc-dev)';
}

/**
 * Builds libfake_devices.so if it is older than its sources.
 *
 * @param sanitizer value of -fsanitize, if the program that it is loaded into is built with that
 * @returns its absolute path
 */
export function fakeDevicesLibrary(sanitizer?: string): string {
  const options = sanitizer === undefined ? [] : [`--sanitize=${sanitizer}`];
  const { status, stdout, stderr } = run(process.execPath, [join(ROOT, 'test/native/double/build.mjs'), ...options]);
  if (status !== 0) throw new Error(stderr);
  return stdout.trim();
}

/**
 * The environment of a child process that has the fake devices.
 *
 * @param devices commands that make them
 * @param control path of the control file, which need not exist
 */
export function fakeDevicesEnv(devices: string, control: string): NodeJS.ProcessEnv {
  return {
    ...process.env,
    LD_PRELOAD: fakeDevicesLibrary(),
    INTEL_SVM_FAKE_DEV: devices,
    INTEL_SVM_FAKE_CTL: control,
  };
}
