import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { connect } from 'intel-svm';
import { createMockKernel, type MockKernel, type MockKernelOptions } from 'intel-svm/mock';
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest';
import { runDemo } from '../../../examples/demo/run.js';

const KIB = 2 ** 10;
const MIB = 2 ** 20;
/** Memory that is not the file. Held here: a buffer that is collected is unmapped. */
const ELSEWHERE = Buffer.allocUnsafeSlow(16 * KIB).fill(1);
const DSA = { type: 'dsa', bdf: '0000:6a:01.0' } as const;

interface Outcome {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

interface Report {
  readonly ok: boolean;
  readonly backend: string;
  readonly reason: string;
  readonly bindsBy: string;
  readonly queue: { readonly mode: string; readonly submissionMode: string };
  readonly files: readonly {
    readonly path: string;
    readonly bytes: number;
    readonly descriptors: number;
    readonly resumed: number;
    readonly copyIsEqual: boolean;
    readonly crc: { readonly device: number; readonly node: number };
    readonly pageRequests: Requests;
  }[];
  readonly badAddress: {
    readonly address: string;
    readonly faultAddress: string;
    readonly symbol: string;
    readonly faultCallbacks: Requests;
  };
  readonly pasid: Record<string, unknown>;
}

interface Requests {
  readonly count: number;
  readonly first: readonly { readonly address: string; readonly rights: string; readonly response: number }[];
}

let folder: string;
/** A file of random bytes, over two pages. */
let file: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'intel-svm-demo-'));
  file = write('file.bin', randomBytes(10_000));
});
afterAll(() => rmSync(folder, { recursive: true }));

function write(name: string, bytes: Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return path;
}

/** Runs the demo with the package's own `connect`. */
async function demo(
  argv: readonly string[],
  env: NodeJS.ProcessEnv = { INTEL_SVM_BACKEND: 'mock' },
  connectTo: typeof connect = connect,
): Promise<Outcome> {
  vi.stubEnv('INTEL_SVM_BACKEND', env['INTEL_SVM_BACKEND']);
  onTestFinished(() => void vi.unstubAllEnvs());
  const [stdout, stderr] = [new PassThrough(), new PassThrough()];
  const output = Promise.all([text(stdout), text(stderr)]);
  const status = await runDemo(argv, { stdout, stderr, env, connect: connectTo });
  stdout.end();
  stderr.end();
  const [out, err] = await output;
  return { status, stdout: out, stderr: err };
}

/** Runs it on a machine of the test's, and makes sure that nothing is left behind there. */
async function demoOn(machine: MockKernel, argv: readonly string[]): Promise<Outcome> {
  const outcome = await demo(argv, {}, () => connect({ kernel: machine.self }));
  expect(machine.counters()).toMatchObject({
    pasids: machine.settings.semantics === 'legacy' ? 0 : 1,
    bindings: 0,
    openFiles: 0,
    deviceMappings: 0,
    pinnedBuffers: 0,
    allocations: 0,
    staleTranslations: 0,
    dmaFaults: 0,
  });
  return outcome;
}

async function reportOn(options: MockKernelOptions, ...files: readonly string[]): Promise<Report> {
  const { status, stdout, stderr } = await demoOn(createMockKernel(options), ['--json', ...files]);
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  const report: Report = JSON.parse(stdout);
  expect(report.ok).toBe(true);
  for (const { copyIsEqual, crc } of report.files) expect([copyIsEqual, crc.device]).toEqual([true, crc.node]);
  return report;
}

describe('report', () => {
  test('says where it ran, what the device did, and that it is right', async () => {
    const { status, stdout, stderr } = await demo([file]);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(stdout).toMatch(/backend +mock: no hardware/);
    expect(stdout).toMatch(/because +asked for by INTEL_SVM_BACKEND/);
    expect(stdout).toMatch(/device +\/dev\/dsa\/wq0\.0 \(dsa0 at 0000:6a:01\.0\)/);
    expect(stdout).toMatch(/size +10,000 bytes/);
    expect(stdout).toMatch(/page requests +3\n( +0x[\da-f]+000 -w-- success\n){3}/);
    expect(stdout).toMatch(/copy +equal to the file/);
    expect(stdout).toMatch(/CRC-32C +(0x[\da-f]{8}) by the device, \1 by Node/);
    expect(stdout).toMatch(/status +0x04 PAGE_FAULT_IR: /);
    expect(stdout).toMatch(/fault callback +1\n +0x[\da-f]+000 r--- refused \(1\)/);
    expect(stdout).toMatch(/after unbind +EINVAL/);
    expect(stdout).toMatch(/bound again +1, the same number/);
    expect(stdout.endsWith('\nThe device did what Node computes.\n')).toBe(true);
  });

  test('without a file: one of the package', async () => {
    const { status, stdout } = await demo([]);
    expect(status).toBe(0);
    expect(stdout).toContain('lib/kernel.ts');
  });

  test('auto is the default', async () => {
    const asked = vi.fn<typeof connect>(() => connect({ backend: 'mock' }));
    expect((await demo([file], {}, asked)).status).toBe(0);
    expect(asked).toHaveBeenCalledExactlyOnceWith({ backend: 'auto' });
  });

  test('--json is one document with everything', async () => {
    const report = await reportOn({}, file);
    expect(report).toMatchObject({
      backend: 'mock',
      bindsBy: 'intel_svm_bind_mm',
      device: { path: '/dev/dsa/wq0.0', accelerator: 'dsa0', bdf: '0000:6a:01.0' },
      queue: { mode: 'dedicated', submissionMode: 'movdir64b', blockOnFault: true },
      files: [{ path: file, bytes: 10_000, descriptors: 2, resumed: 0, pageRequests: { count: 3 } }],
      pasid: { pasid: 1, hardwarePasid: 1, whileBound: 'valid', afterUnbind: 'EINVAL', boundAgain: 1 },
    });
    const { address, faultAddress, symbol, faultCallbacks } = report.badAddress;
    expect(symbol).toBe('PAGE_FAULT_IR');
    expect(faultAddress).toBe(address);
    expect(faultCallbacks).toEqual({ count: 1, first: [{ address, rights: 'r---', response: 1 }] });
  });
});

describe('files', () => {
  test('several, among them an empty one', async () => {
    const empty = write('empty', Buffer.alloc(0));
    const { files } = await reportOn({}, empty, file, empty);
    expect(files.map(({ bytes }) => bytes)).toEqual([0, 10_000, 0]);
    expect(files[0]).toMatchObject({ descriptors: 0, pageRequests: { count: 0 }, crc: { device: 0, node: 0 } });
  });

  test('one that is longer than what is in memory at a time', async () => {
    const long = write('long', Buffer.concat([randomBytes(MIB), Buffer.alloc(8 * MIB), randomBytes(5)]));
    const { files } = await reportOn({}, long);
    // 9 MiB and 5 bytes in descriptors of at most 2 MiB: 4 + 1 in two windows, each moved and summed.
    expect(files[0]).toMatchObject({ bytes: 9 * MIB + 5, descriptors: 10 });
  });

  test('a name is meant from where npm was run', async () => {
    const env = { INTEL_SVM_BACKEND: 'mock', npm_lifecycle_event: 'demo', INIT_CWD: folder };
    const { status, stdout } = await demo(['file.bin'], env);
    expect(status).toBe(0);
    expect(stdout).toContain(`\n${file}\n`);
  });

  test.each([
    ['a missing one', 'missing', 'no such file or directory'],
    ['a directory', 'directory', 'is a directory'],
    ['a device', '/dev/null', 'is not a regular file'],
  ])('%s is refused before anything runs', async (_name, path, message) => {
    mkdirSync(join(folder, 'directory'), { recursive: true });
    const full = path.startsWith('/') ? path : join(folder, path);
    const { status, stdout, stderr } = await demo([file, full]);
    expect({ status, stdout, stderr }).toEqual({ status: 2, stdout: '', stderr: `demo: ${full}: ${message}\n` });
  });
});

describe('kernels and queues', () => {
  test('a kernel that binds in open(2) reports no page requests', async () => {
    const report = await reportOn({ semantics: 'modern' }, file);
    expect(report).toMatchObject({ bindsBy: 'open', files: [{ pageRequests: { count: 0 } }] });
    // The completion record tells of the bad address all the same.
    expect(report.badAddress.faultCallbacks.count).toBe(1);
    const { stdout } = await demoOn(createMockKernel({ semantics: 'modern' }), [file]);
    expect(stdout).toMatch(/page requests +this kernel serves them and reports none/);
  });

  test.each(['legacy', 'modern'] as const)('a queue that does not block on faults (%s)', async (semantics) => {
    const devices = [{ ...DSA, workQueues: [{ mode: 'dedicated', size: 4 }] }] as const;
    const { files, badAddress } = await reportOn({ semantics, devices }, file);
    // Each fresh page of the destination stops the move once.
    expect(files[0]).toMatchObject({ descriptors: 5, resumed: 3 });
    expect(badAddress.symbol).toBe('PAGE_FAULT_NOBOF');
    const { stdout } = await demoOn(createMockKernel({ semantics, devices }), [file]);
    expect(stdout).toMatch(/descriptors +5, 3 of them to resume after a page fault/);
  });

  test('a shared queue, and pieces of its own size', async () => {
    const workQueues = [{ mode: 'shared', size: 2, blockOnFault: true, maxTransferSize: 64 * KIB }] as const;
    const long = write('one-mib', randomBytes(MIB));
    const { queue, files } = await reportOn({ devices: [{ ...DSA, workQueues }] }, long);
    expect(queue).toMatchObject({ mode: 'shared', submissionMode: 'enqcmd' });
    expect(files[0]?.descriptors).toBe(2 * 16);
  });

  test('without the right to map the portal', async () => {
    const { queue } = await reportOn({ semantics: 'modern', caller: { capSysRawio: false } }, file);
    expect(queue.submissionMode).toBe('write');
  });
});

describe('what goes wrong', () => {
  test('a copy that differs from the file', async () => {
    const machine = createMockKernel();
    vi.spyOn(machine.self, 'addressOf').mockReturnValueOnce(machine.self.addressOf(ELSEWHERE));
    const { status, stdout } = await demoOn(machine, [file]);
    expect(status).toBe(1);
    expect(stdout).toMatch(/copy +differs from the file/);
    expect(stdout.endsWith('\nThe device did NOT do what Node computes.\n')).toBe(true);
  });

  test('a CRC that differs', async () => {
    const machine = createMockKernel();
    const addressOf = machine.self.addressOf.bind(machine.self);
    const elsewhere = addressOf(ELSEWHERE);
    vi.spyOn(machine.self, 'addressOf').mockImplementationOnce(addressOf).mockReturnValueOnce(elsewhere);
    const { status, stdout } = await demoOn(machine, ['--json', file]);
    expect(status).toBe(1);
    expect(JSON.parse(stdout)).toMatchObject({ ok: false, files: [{ copyIsEqual: true }] });
  });

  test('a device that cannot do an operation: its status, and what to do', async () => {
    const machine = createMockKernel({
      devices: [{ ...DSA, operations: [0, 3], workQueues: [{ mode: 'dedicated', size: 4 }] }],
    });
    const { status, stderr } = await demoOn(machine, [file]);
    expect(status).toBe(1);
    expect(stderr).toMatch(/^demo: CRCGEN completed with BAD_OPCODE: .+\. .+\n$/);
  });

  test('a kernel that refuses the bind', async () => {
    const { status, stderr } = await demoOn(createMockKernel({ iommu: { enabled: false } }), [file]);
    expect(status).toBe(1);
    expect(stderr).toMatch(/^demo: EINVAL: .+bind_mm '\/dev\/dsa\/wq0\.0'\ndemo: .+intel_iommu=on,sm_on/);
  });

  test('a machine without a DSA queue', async () => {
    const machine = createMockKernel({
      devices: [{ type: 'iax', bdf: '0000:6a:02.0', workQueues: [{ mode: 'dedicated', size: 4 }] }],
    });
    const { status, stderr } = await demoOn(machine, [file]);
    expect(status).toBe(1);
    expect(stderr).toMatch(/^demo: ENODEV: .+\ndemo: .+ no enabled DSA work queue/);
  });

  test('no accelerator, and the mock not wanted', async () => {
    const { status, stdout, stderr } = await demo(['--backend', 'linux', file], {});
    expect({ status, stdout }).toEqual({ status: 1, stdout: '' });
    expect(stderr).toMatch(/^demo: ENODEV: .+, connect\ndemo: .+\n$/);
  });
});

describe('command line', () => {
  test('--help', async () => {
    const { status, stdout } = await demo(['--help', '/missing']);
    expect(status).toBe(0);
    expect(stdout).toMatch(/^Usage: npm run demo -- \[FILE\.\.\.\]/);
  });

  test.each([
    [['--fast'], /Unknown option '--fast'/],
    [['--backend'], /--backend/],
    [['--backend', 'windows'], /--backend must be auto, linux, mock, not 'windows'/],
  ])('%s', async (argv, message) => {
    const { status, stdout, stderr } = await demo(argv);
    expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
    expect(stderr).toMatch(message);
    expect(stderr).toMatch(/--help/);
  });

  test('an unknown backend in the environment', async () => {
    const { status, stderr } = await demo([file], { INTEL_SVM_BACKEND: 'windows' });
    expect(status).toBe(2);
    expect(stderr).toMatch(/INTEL_SVM_BACKEND.+'windows'/);
  });
});
