import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import {
  SvmError,
  WorkQueue,
  type BackendChoice,
  type Connection,
  type ConnectOptions,
  type SvmDevice,
} from 'intel-svm';
import { useBadAddress } from './bad-address.js';
import { FaultLog } from './fault-log.js';
import { runFile, type FileReport } from './file-job.js';
import { InputError, InputFile } from './input-file.js';
import { OperationError } from './operations.js';
import { endPasidLife } from './pasid-life.js';
import { Printer, toJson, type DemoReport, type Scene } from './report.js';

const USAGE = `Usage: npm run demo -- [FILE...] [--json] [--backend auto|linux|mock]

Has an accelerator copy each FILE and compute its CRC-32C in shared virtual memory,
and compares both with what Node computes. Default: a file of this package.

  --json              print one JSON document instead of the report
  --backend BACKEND   auto (default): the accelerator of this machine, else the mock kernel;
                      linux: the accelerator or nothing; mock: the mock kernel.
                      Default: the environment variable INTEL_SVM_BACKEND, else auto.
  --help              print this and stop

Exit status: 0 all is equal, 1 something differs or the device failed, 2 wrong use or unreadable file.
`;

const BACKENDS: readonly BackendChoice[] = ['auto', 'linux', 'mock'];

/** What the demo takes from its surroundings. */
export interface DemoIo {
  readonly stdout: NodeJS.WritableStream;
  readonly stderr: NodeJS.WritableStream;
  readonly env: NodeJS.ProcessEnv;
  /** `connect` of the package, or one that brings another machine. */
  readonly connect: (options: ConnectOptions) => Promise<Connection>;
}

/** The command line was not understood. */
class UsageError extends Error {}

/** @returns the exit status, as `--help` explains it */
export async function runDemo(argv: readonly string[], io: DemoIo): Promise<number> {
  try {
    const { help, json, backend, paths } = parse(argv, io.env);
    if (help) {
      io.stdout.write(USAGE);
      return 0;
    }
    const files = await openAll(paths);
    try {
      const connection = await io.connect(backend === undefined ? {} : { backend });
      const report = await work(connection, files, json ? undefined : new Printer(io.stdout), io.stderr);
      if (json) io.stdout.write(`${toJson(report)}\n`);
      return report.ok ? 0 : 1;
    } finally {
      await Promise.all(files.map((file) => file.close()));
    }
  } catch (error) {
    return explain(error, io.stderr);
  }
}

function parse(
  argv: readonly string[],
  env: NodeJS.ProcessEnv,
): { help: boolean; json: boolean; backend: BackendChoice | undefined; paths: string[] } {
  const { values, positionals } = parseArgs({
    args: [...argv],
    allowPositionals: true,
    options: { json: { type: 'boolean' }, backend: { type: 'string' }, help: { type: 'boolean', short: 'h' } },
  });
  const backend = BACKENDS.find((name) => name === values.backend);
  if (values.backend !== undefined && backend === undefined) {
    throw new UsageError(`--backend must be ${BACKENDS.join(', ')}, not '${values.backend}'`);
  }
  const { help = false, json = false } = values;
  // Left to `connect` where the environment names one, so that the reason it gives is the true one.
  const fallback = env['INTEL_SVM_BACKEND'] ? undefined : 'auto';
  // npm runs scripts in the package's folder; names are meant from where the user stands.
  const base = env['npm_lifecycle_event'] === 'demo' ? (env['INIT_CWD'] ?? '.') : '.';
  const paths = positionals.length > 0 ? positionals.map((path) => resolve(base, path)) : [defaultFile()];
  return { help, json, backend: backend ?? fallback, paths };
}

function defaultFile(): string {
  const root = dirname(createRequire(import.meta.url).resolve('intel-svm/package.json'));
  return join(root, 'lib/kernel.ts');
}

async function openAll(paths: readonly string[]): Promise<InputFile[]> {
  const files: InputFile[] = [];
  try {
    for (const path of paths) files.push(await InputFile.open(path));
    return files;
  } catch (error) {
    await Promise.all(files.map((file) => file.close()));
    throw error;
  }
}

/** The whole job: bind, one queue for all files, a bad address, and the end of the PASID. */
async function work(
  connection: Connection,
  files: readonly InputFile[],
  printer: Printer | undefined,
  terminal: NodeJS.WritableStream,
): Promise<DemoReport> {
  const device = firstDsaQueue(connection);
  const faults = new FaultLog();
  using binding = device.bind({ ops: faults.ops });
  const queue = new WorkQueue(device, { ops: faults.ops });
  let scene: Scene;
  const reports: FileReport[] = [];
  let badAddress;
  try {
    scene = sceneOf(connection, queue);
    printer?.scene(scene);
    for (const file of files) {
      const report = await runFile(queue, file, faults, terminal);
      reports.push(report);
      printer?.file(report, scene);
    }
    badAddress = await useBadAddress(queue, faults);
    printer?.badAddress(badAddress);
  } finally {
    await queue.close();
  }
  const pasid = endPasidLife(binding, faults.ops);
  printer?.pasid(pasid);
  const ok = reports.every(({ copyIsEqual, crc }) => copyIsEqual && crc.device === crc.node);
  printer?.result(ok);
  return { ok, ...scene, files: reports, badAddress, pasid };
}

function firstDsaQueue(connection: Connection): SvmDevice {
  const device = connection.devices().find(({ type }) => type === 'dsa');
  if (device !== undefined) return device;
  throw new SvmError('ENODEV', {
    syscall: 'devices',
    hint: 'This machine has no enabled DSA work queue of type "user": configure one, e.g. with accel-config.',
  });
}

function sceneOf({ backend, reason, kernel }: Connection, queue: WorkQueue): Scene {
  const { path, accelerator, bdf, numaNode } = queue.device;
  const { mode, size, maxTransferSize, blockOnFault, submissionMode } = queue;
  return {
    backend,
    reason,
    bindsBy: kernel.svm === undefined ? 'open' : 'intel_svm_bind_mm',
    device: { path, accelerator, bdf, numaNode },
    queue: { mode, size, maxTransferSize, blockOnFault, submissionMode },
  };
}

/** Says what is wrong, where it is one of the things that may go wrong. @returns the exit status */
function explain(error: unknown, stderr: NodeJS.WritableStream): number {
  if (!(error instanceof Error)) throw error;
  const code = 'code' in error ? String(error.code) : '';
  if (error instanceof InputError) {
    stderr.write(`demo: ${error.message}\n`);
    return 2;
  }
  if (error instanceof UsageError || code.startsWith('ERR_PARSE_ARGS_') || code === 'ERR_INVALID_ARG_VALUE') {
    stderr.write(`demo: ${error.message}\nRun with --help for the options.\n`);
    return 2;
  }
  if (error instanceof SvmError || error instanceof OperationError) {
    stderr.write(`demo: ${error.message}\n`);
    if ('hint' in error && error.hint !== undefined) stderr.write(`demo: ${error.hint}\n`);
    return 1;
  }
  throw error;
}
