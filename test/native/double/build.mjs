/**
 * Builds libfake_devices.so (fake_devices.h) into build-double/, if a source is newer than what is there, and prints its
 * path.
 *
 *   node test/native/double/build.mjs [--sanitize=address,undefined | --sanitize=thread]
 */

import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, renameSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const root = fileURLToPath(new URL('../../..', import.meta.url)).replace(/\/$/, '');
const here = join(root, 'test/native/double');
const shim = join(root, 'native/shim');

const { values: options } = parseArgs({ options: { sanitize: { type: 'string' } } });

const directory = join(root, 'build-double', options.sanitize?.replaceAll(',', '-') ?? 'plain');
const output = join(directory, 'libfake_devices.so');

/**
 * @param {string} folder
 * @param {RegExp} pattern
 * @returns {string[]}
 */
function files(folder, pattern) {
  return readdirSync(folder)
    .filter((name) => pattern.test(name))
    .map((name) => join(folder, name));
}

const sources = [
  ...files(here, /(?<!_test)\.c$/),
  // What a driver does for a faulting device, and the names of errors.
  join(shim, 'memory.c'),
  join(shim, 'errno_name.c'),
];

/** @returns {boolean} */
function isUpToDate() {
  if (!existsSync(output)) return false;
  const inputs = [...sources, ...files(here, /\.(?:h|mjs)$/), ...files(shim, /\.h$/)];
  return inputs.every((file) => statSync(file).mtimeMs < statSync(output).mtimeMs);
}

/** @returns {boolean} whether it was built */
function build() {
  mkdirSync(directory, { recursive: true });
  // Several test files may build it at once: each by itself, and the last one stays.
  const own = `${output}.${process.pid}`;
  const flags = ['-std=c11', '-Wall', '-Wextra', '-Werror', '-pedantic', '-fPIC', '-fvisibility=hidden', '-pthread'];
  const variant = options.sanitize === undefined ? ['-O2', '-g'] : [`-fsanitize=${options.sanitize}`, '-O1', '-g'];
  const args = [...flags, ...variant, '-I', shim, '-shared', '-o', own, ...sources];
  const [command = 'cc', ...leading] = (process.env['CC'] ?? 'cc').split(/\s+/);
  const { status, error } = spawnSync(command, [...leading, ...args], { stdio: ['ignore', 2, 2] });
  if (error !== undefined) console.error(error.message);
  if (status !== 0) return false;
  renameSync(own, output);
  return true;
}

if (isUpToDate() || build()) {
  console.log(output);
} else {
  process.exitCode = 1;
}
