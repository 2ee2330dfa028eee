/** The harness of fuzz.mjs, for a while, in a process that may crash. */

import { join } from 'node:path';
import { expect, test } from 'vitest';
import { loadAddon } from '../../../lib/linux/loader.js';
import { ROOT, run } from '../tools.js';

const HARNESS = join(ROOT, 'test/native/addon/fuzz.mjs');
const CALLS = Number(process.env['INTEL_SVM_FUZZ_CALLS'] ?? 100_000);

/** About 10 000 calls in a second, fewer under a sanitizer. */
const TIMEOUT = 30_000 + CALLS;

test('no call crashes, leaks, or throws what it should not', { timeout: TIMEOUT }, (ctx) => {
  const load = loadAddon();
  const path = load.addon === undefined ? ctx.skip(load.reason) : load.path;
  const seed = String(Date.now() % 1_000_000);
  const { status, stdout, stderr } = run(process.execPath, ['--expose-gc', HARNESS, path, String(CALLS), seed]);
  expect({ status, stderr, seed }).toEqual({ status: 0, stderr: '', seed });
  const summary: unknown = JSON.parse(stdout);
  // It got somewhere: every function succeeded at times.
  expect(summary).toMatchObject({ calls: CALLS, left: { files: 0, regions: 0 } });
  expect(summary).toHaveProperty('successes.submitter');
  expect(summary).toHaveProperty('successes.watch');
  expect(summary).toHaveProperty('wakes', expect.any(Number));
});
