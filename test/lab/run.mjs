/**
 * Runs the conformance suite on real Linux kernels in a virtual machine.
 *
 *   INTEL_SVM_LAB=path/to/run.sh node test/lab/run.mjs [--jobs N] [--reports DIRECTORY] [NAME...]
 *
 * INTEL_SVM_LAB names the launcher: a program that boots a machine with a DSA device, shows the current folder in it, and
 * runs a command there. Each machine below is booted once. Without the launcher nothing is run, and that is said.
 * --reports keeps what vitest's JSON reporter wrote in each, as lab-NAME.json.
 * Exit status: 0 when every test of every machine passed, 1 otherwise.
 */
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

/** The machines: launcher options, and what stands before the test command in the guest. */
const MACHINES = [
  { name: 'plain', about: 'dedicated and shared queue', options: ['-w', 'd:16 s:16'] },
  { name: 'block-on-fault', about: 'queues that block on faults, page requests', options: ['-w', 'd:16:1 s:16:1'] },
  { name: 'no-pri', about: 'device without page requests', options: ['-w', 'd:16 s:16', '-d', 'pri=off'] },
  { name: 'event-log', about: 'DSA 2.0 with event log', options: ['-w', 'd:16 s:16', '-d', 'version=0x200,evl=on'] },
  {
    name: 'unprivileged',
    about: 'user without CAP_SYS_RAWIO',
    options: ['-w', 'd:16 s:16'],
    before: 'chmod 666 /dev/dsa/* && exec setpriv --reuid 65534 --regid 65534 --clear-groups',
  },
  { name: 'stable', about: 'kernel that refuses SVA on x86', options: ['-k', 'stable', '-w', 'd:16 s:16'] },
];

/** Emulated processors are slow: a whole run, and one test, in milliseconds. */
const RUN_TIMEOUT = 15 * 60_000;
const TEST_TIMEOUT = 120_000;

const BOOT_ATTEMPTS = 3;
/** The launcher's own status for a guest that ended without running the command to its end. */
const NO_STATUS_FROM_GUEST = 125;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { jobs: { type: 'string', default: '2' }, reports: { type: 'string' } },
});
const launcher = process.env['INTEL_SVM_LAB'];
const machines = MACHINES.filter(({ name }) => positionals.length === 0 || positionals.includes(name));
const unknown = positionals.filter((name) => !MACHINES.some((machine) => machine.name === name));

if (unknown.length > 0) {
  console.error(`no such machine: ${unknown.join(', ')}. There are: ${MACHINES.map(({ name }) => name).join(', ')}`);
  process.exit(1);
}
if (!launcher || !existsSync(launcher)) {
  const why = launcher ? `INTEL_SVM_LAB names ${launcher}, which does not exist` : 'INTEL_SVM_LAB is not set';
  console.log(`lab: skipped, ${machines.length} machines: ${why}`);
  keepReport('skipped', emptyReport({ numPendingTests: machines.length }));
  finish([{ passed: 0, failed: 0, skipped: machines.length }]);
}

const waiting = [...machines];
const results = [];
const workers = Array.from({ length: Math.max(1, Number(values.jobs)) }, async () => {
  for (let machine = waiting.shift(); machine !== undefined; machine = waiting.shift())
    results.push(await run(machine));
});
await Promise.all(workers);
finish(results);

/**
 * Boots one machine, runs the suite in it, and prints what came of it. On a loaded host the emulated timer may be so late
 * that the guest's kernel gives up while it boots: a machine that never ran the command is booted again.
 */
async function run(machine) {
  for (let attempt = 1; ; attempt += 1) {
    const result = await boot(machine);
    if (!result.neverStarted || attempt === BOOT_ATTEMPTS) return result;
    console.log(`lab ${machine.name}: the machine did not come up, attempt ${attempt} of ${BOOT_ATTEMPTS}`);
  }
}

async function boot({ name, about, options, before = 'exec' }) {
  const out = mkdtempSync(join(tmpdir(), 'intel-svm-lab-'));
  const started = Date.now();
  try {
    const vitest = `node node_modules/vitest/vitest.mjs run --configLoader runner test/conformance/linux.test.ts --testTimeout ${TEST_TIMEOUT} --reporter json --outputFile`;
    // The guest's user may not write to the shared folder: the report is made in /tmp and copied by the shell, as root.
    const report = '/tmp/report.json';
    const command = `(${before} ${vitest} ${report}); status=$?; cp ${report} /mnt/out/; exit $status`;
    const { status, output } = await launch([
      ...options,
      '-m',
      '3000',
      '-t',
      '900',
      '-o',
      out,
      '--',
      'sh',
      '-c',
      command,
    ]);
    const tests = testsOf(join(out, 'report.json'));
    const count = (state) => tests.filter((test) => test.status === state).length;
    const counts = {
      name,
      passed: count('passed'),
      failed: count('failed'),
      skipped: count('pending') + count('skipped'),
    };
    const broken = status !== 0 && counts.failed === 0;
    const neverStarted = status === NO_STATUS_FROM_GUEST && tests.length === 0;
    const seconds = Math.round((Date.now() - started) / 1000);
    console.log(
      `lab ${name} (${about}): ${broken ? `broken, status ${status}; ` : ''}${totals(counts)} [${seconds} s]`,
    );
    for (const test of tests.filter(({ status: state }) => state === 'failed')) {
      console.log(
        `  failed: ${test.fullName}\n    ${test.failureMessages.join('\n').split('\n').slice(0, 6).join('\n    ')}`,
      );
    }
    if (broken) console.log(output.split('\n').slice(-40).join('\n'));
    keepReport(name, tests.length === 0 ? emptyReport({ numFailedTests: 1 }) : readFileSync(join(out, 'report.json')));
    return { ...counts, failed: counts.failed + (broken || tests.length === 0 ? 1 : 0), neverStarted };
  } finally {
    rmSync(out, { recursive: true, force: true });
  }
}

function launch(args) {
  return new Promise((resolve) => {
    let output = '';
    const child = spawn(launcher, args, { stdio: ['ignore', 'pipe', 'pipe'], timeout: RUN_TIMEOUT });
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (text) => (output += text));
    child.on('error', (error) => resolve({ status: -1, output: `${output}\n${error.message}` }));
    child.on('close', (status) => resolve({ status: status ?? -1, output }));
  });
}

function testsOf(report) {
  if (!existsSync(report)) return [];
  return JSON.parse(readFileSync(report, 'utf8')).testResults.flatMap(({ assertionResults }) => assertionResults);
}

/** The part of a report that says how many tests there were, for a machine that made none. */
function emptyReport(counts) {
  const none = { numPassedTests: 0, numFailedTests: 0, numPendingTests: 0, numTodoTests: 0, testResults: [] };
  return JSON.stringify({ ...none, ...counts });
}

function keepReport(name, report) {
  if (values.reports !== undefined) writeFileSync(join(values.reports, `lab-${name}.json`), report);
}

function totals({ passed, failed, skipped }) {
  return `${passed} passed, ${failed} failed, ${skipped} skipped`;
}

function finish(counts) {
  const sum = (key) => counts.reduce((total, count) => total + count[key], 0);
  const total = { passed: sum('passed'), failed: sum('failed'), skipped: sum('skipped') };
  console.log(`lab: ${totals(total)}`);
  process.exit(total.failed === 0 ? 0 : 1);
}
