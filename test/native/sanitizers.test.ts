/**
 * The tests of the addon once more, on an addon and a software device that were built with GCC's sanitizers, in a Node
 * that has their runtime preloaded. What a sanitizer finds in any process, children and workers included, is a failure.
 *
 * Two builds and two runs take minutes: only where INTEL_SVM_SANITIZE is set.
 */

import { mkdirSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { SANITIZERS, missingSanitizer, type Sanitizer } from './c-programs.js';
import { fakeDevicesLibrary, missingForFakeDevices } from './double/fake-devices.js';
import { CC, ROOT, run, temporaryDirectory } from './tools.js';

const MINUTE = 60_000;

interface Runtime {
  /** Where native/build.mjs puts the addon. */
  readonly directory: string;
  readonly library: string;
  readonly variable: string;
  readonly options: string;
}

const RUNTIMES: Readonly<Record<Sanitizer['name'], Runtime>> = {
  'address,undefined': {
    directory: 'build-asan',
    library: 'libasan.so',
    variable: 'ASAN_OPTIONS',
    // Node itself leaves memory to the end of the process; the fuzz harness counts what the addon leaves.
    options: 'detect_leaks=0',
  },
  thread: {
    directory: 'build-tsan',
    library: 'libtsan.so',
    variable: 'TSAN_OPTIONS',
    // Node is not instrumented.
    options: 'ignore_noninstrumented_modules=1',
  },
};

/** The sanitizer's shared object. */
function runtimeLibrary(name: string): string {
  const [compiler = '', ...leading] = CC.split(/\s+/);
  return run(compiler, [...leading, `-print-file-name=${name}`]).stdout.trim();
}

test.for(SANITIZERS)('$name', { timeout: 15 * MINUTE }, (sanitizer, { skip }) => {
  skip(process.env['INTEL_SVM_SANITIZE'] === undefined, 'INTEL_SVM_SANITIZE is not set');
  const missing = missingSanitizer(sanitizer) ?? missingForFakeDevices();
  skip(missing !== undefined, missing);
  const { name } = sanitizer;
  const { directory, library, variable, options } = RUNTIMES[name];

  const build = run(process.execPath, [join(ROOT, 'native/build.mjs'), `--sanitize=${name}`]);
  expect(build).toMatchObject({ status: 0, stderr: '' });
  fakeDevicesLibrary(name);

  const reports = join(temporaryDirectory(), 'reports');
  mkdirSync(reports);
  const log = `log_path=${join(reports, 'report')}`;
  const vitest = join(ROOT, 'node_modules/vitest/vitest.mjs');
  const result = run(process.execPath, [vitest, 'run', 'test/native/addon', `--testTimeout=${MINUTE}`], {
    ...process.env,
    LD_PRELOAD: runtimeLibrary(library),
    INTEL_SVM_PREBUILD: join(ROOT, directory),
    INTEL_SVM_SANITIZER: name,
    INTEL_SVM_FUZZ_CALLS: '30000',
    [variable]: `${options}:${log}`,
    UBSAN_OPTIONS: `print_stacktrace=1:${log}`,
  });
  const found = readdirSync(reports).map((file) => readFileSync(join(reports, file), 'utf8'));
  expect({ ...result, found }).toMatchObject({ status: 0, found: [] });
});
