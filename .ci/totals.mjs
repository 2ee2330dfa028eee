/**
 * Totals of test runs, from the files of vitest's JSON reporter.
 *
 *   node .ci/totals.mjs DIRECTORY             a line for each report in it, and their sum as the last line
 *   node .ci/totals.mjs --some-skipped FILE   fails unless some tests of a run passed and some were skipped
 */
import { readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { parseArgs } from 'node:util';

/** @param {string} file */
function totals(file) {
  const report = JSON.parse(readFileSync(file, 'utf8'));
  // A file that cannot even be loaded has no tests; it counts as one that failed.
  const broken = report.testResults.filter(
    ({ status, assertionResults }) => status === 'failed' && assertionResults.every((test) => test.status !== 'failed'),
  );
  return {
    passed: report.numPassedTests,
    failed: report.numFailedTests + broken.length,
    skipped: report.numPendingTests + report.numTodoTests,
  };
}

const format = ({ passed, failed, skipped }) => `${passed} passed, ${failed} failed, ${skipped} skipped`;

const { values, positionals } = parseArgs({
  options: { 'some-skipped': { type: 'boolean', default: false } },
  allowPositionals: true,
});
const [place] = positionals;

if (values['some-skipped']) {
  const run = totals(place);
  console.log(format(run));
  if (run.passed === 0 || run.skipped === 0) process.exitCode = 1;
} else {
  const sum = { passed: 0, failed: 0, skipped: 0 };
  for (const name of readdirSync(place).toSorted()) {
    const run = totals(join(place, name));
    console.log(`${basename(name, '.json')}: ${format(run)}`);
    for (const key of Object.keys(sum)) sum[key] += run[key];
  }
  console.log(format(sum));
}
