import { copyFileSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import ts from 'typescript';
import { beforeEach, describe, expect, test, vi, type TestContext } from 'vitest';
import { loadAddon, type AddonLoad } from '../../lib/linux/loader.js';
import { ROOT, run, temporaryDirectory, type Run } from './tools.js';

const LINUX = { platform: 'linux', arch: 'x64' } as const;
const version = '1.2.3';

/** A package root with the given files. */
function packageRoot(files: Readonly<Record<string, string>> = {}): string {
  const root = temporaryDirectory();
  for (const [name, text] of Object.entries({
    'package.json': JSON.stringify({ name: 'intel-svm', version }),
    ...files,
  })) {
    mkdirSync(dirname(join(root, name)), { recursive: true });
    writeFileSync(join(root, name), text);
  }
  return root;
}

/** What stands in for the exports of an addon. */
const fakeAddon = (fakeVersion: string) => ({ version: fakeVersion, napiVersion: 8, cpuFeatures: () => ({}) });

function refusal(load: AddonLoad): { readonly reason: string; readonly hint: string } {
  if (load.addon !== undefined) throw new Error(`loaded ${load.path}`);
  return load;
}

/** The loader as a build writes it. */
function compiledLoader(): string {
  const source = readFileSync(join(ROOT, 'lib/linux/loader.ts'), 'utf8');
  return ts.transpileModule(source, {
    compilerOptions: { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext },
  }).outputText;
}

/** What a fresh process gets from a compiled loader, with nothing injected but the machine. */
function loadElsewhere(loader: string): Run {
  const program = `const { loadAddon } = await import(${JSON.stringify(pathToFileURL(loader).href)});
    process.stdout.write(loadAddon(${JSON.stringify(LINUX)}).reason);`;
  return run(process.execPath, ['--input-type=module', '-e', program]);
}

/** The file that a fake is loaded from, below the root. */
function opened(root: string): string {
  const load = loadAddon({ root, open: () => fakeAddon(version), ...LINUX });
  if (load.addon === undefined) throw new Error(load.reason);
  return load.path.slice(root.length + 1);
}

function brokenLink(): never {
  throw new Error("version `GLIBC_2.99' not found");
}

/** argv: the addon, and how a worker ends. Prints the version that each of 3 times 4 workers saw. */
const FOUR_WORKERS = `
  const { Worker } = require('node:worker_threads');
  const { once } = require('node:events');
  const [path, ending] = process.argv.slice(1);

  const code = \`
    const { parentPort, workerData: { path, ending } } = require('node:worker_threads');
    const addon = require(path);
    const call = () => { try { addon.cpuFeatures(); } catch (error) { if (error.code !== 'ENOSYS') throw error; } };
    for (let i = 0; i < 1000; i++) call();
    parentPort.postMessage(addon.version);
    if (ending === 'process.exit') process.exit(0);
    if (ending === 'terminate') setInterval(call, 1);
  \`;

  const life = async () => {
    const worker = new Worker(code, { eval: true, workerData: { path, ending } });
    const exit = once(worker, 'exit');
    const [version] = await once(worker, 'message');
    if (ending === 'terminate') await worker.terminate();
    await exit;
    process.stdout.write(version + ' ');
  };
  (async () => {
    for (let round = 0; round < 3; round++) await Promise.all([life(), life(), life(), life()]);
    require(path);
  })();
`;

const checkout = loadAddon();

/** The addon of this checkout. Skips the test where there is none. */
function builtAddon(ctx: TestContext): Extract<AddonLoad, { readonly path: string }> {
  return checkout.addon === undefined ? ctx.skip(checkout.reason) : checkout;
}

// The fixtures below are package roots; a folder chosen from outside would be taken in their place.
beforeEach(() => {
  vi.stubEnv('INTEL_SVM_PREBUILD', undefined);
  return () => vi.unstubAllEnvs();
});

describe('why there is no addon', () => {
  test('another operating system', () => {
    const { reason, hint } = refusal(loadAddon({ platform: 'darwin' }));
    expect(reason).toBe('the real backend needs Linux, and this is darwin');
    expect(hint).toContain('INTEL_SVM_BACKEND=mock');
  });

  test('another instruction set', () => {
    const { reason, hint } = refusal(loadAddon({ platform: 'linux', arch: 's390x' }));
    expect(reason).toBe('the real backend exists for x64 and arm64, and this is s390x');
    expect(hint).toContain('INTEL_SVM_BACKEND=mock');
  });

  test('nothing was built and nothing says why', () => {
    const root = packageRoot();
    expect(refusal(loadAddon({ root, ...LINUX }))).toEqual({
      addon: undefined,
      reason: `there is no addon for linux-x64 in build/Release or prebuilds of ${root}`,
      hint: `run in ${root}: node native/build.mjs`,
    });
  });

  test('the build left its reason', () => {
    const note = { reason: 'no C++ compiler on PATH', remedy: 'install g++' };
    const root = packageRoot({ 'build/native-unavailable.json': JSON.stringify(note) });
    expect(refusal(loadAddon({ root, ...LINUX }))).toEqual({
      addon: undefined,
      reason: 'the addon is not built: no C++ compiler on PATH',
      hint: `install g++, then run in ${root}: node native/build.mjs`,
    });
  });

  test.each(['', 'null', '[]', '{"reason": 1}', '{"reason": "half a'])('a spoilt note is as none: %j', (text) => {
    const root = packageRoot({ 'build/native-unavailable.json': text });
    expect(refusal(loadAddon({ root, ...LINUX })).reason).toMatch(/^there is no addon for linux-x64/);
  });

  test('the folder does not exist', () => {
    const root = join(temporaryDirectory(), 'gone');
    expect(refusal(loadAddon({ root, ...LINUX })).reason).toMatch(/^there is no addon/);
  });

  test('the file is not a shared object', () => {
    const root = packageRoot({ 'build/Release/intel_svm.node': 'not ELF at all' });
    const { reason, hint } = refusal(loadAddon({ root, ...LINUX }));
    expect(reason).toMatch(/build\/Release\/intel_svm\.node cannot be loaded: .+/);
    expect(hint).toBe(`build it on this machine, run in ${root}: node native/build.mjs`);
  });

  test('what loading throws is quoted, whatever it is', () => {
    const root = packageRoot({ 'build/Release/intel_svm.node': '' });
    expect(refusal(loadAddon({ root, open: brokenLink, ...LINUX })).reason).toContain("GLIBC_2.99' not found");
  });

  test.each([undefined, null, 7, {}, { version }, { version, napiVersion: 8 }])(
    'the file is another addon: %j',
    (it) => {
      const root = packageRoot({ 'build/Release/other.node': '' });
      expect(refusal(loadAddon({ root, open: () => it, ...LINUX })).reason).toMatch(
        /other\.node is not the addon of intel-svm$/,
      );
    },
  );

  test('it was built from another version', () => {
    const root = packageRoot({ 'build/Release/intel_svm.node': '' });
    const { reason, hint } = refusal(loadAddon({ root, open: () => fakeAddon('1.2.2'), ...LINUX }));
    expect(reason).toMatch(/was built from version 1\.2\.2, and the package is 1\.2\.3$/);
    expect(hint).toBe(`build it again, run in ${root}: node native/build.mjs`);
  });

  test('the real addon under the name of another version', (ctx) => {
    const { addon, path } = builtAddon(ctx);
    const root = packageRoot();
    mkdirSync(join(root, 'build/Release'), { recursive: true });
    copyFileSync(path, join(root, 'build/Release/intel_svm.node'));
    expect(refusal(loadAddon({ root })).reason).toContain(`was built from version ${addon.version}`);
  });
});

describe('where the addon is looked for', () => {
  const prebuild = `prebuilds/${process.platform}-${process.arch}/intel-svm.node`;

  test('build/Release before prebuilds', () => {
    expect(opened(packageRoot({ 'build/Release/intel_svm.node': '', [prebuild]: '' }))).toBe(
      'build/Release/intel_svm.node',
    );
  });

  test('prebuilds where nothing is built', () => {
    expect(opened(packageRoot({ [prebuild]: '' }))).toBe(prebuild);
  });

  test('a folder that INTEL_SVM_PREBUILD names, before both', () => {
    const other = packageRoot({ 'build/Release/intel_svm.node': '' });
    const root = packageRoot({ 'build/Release/intel_svm.node': '' });
    vi.stubEnv('INTEL_SVM_PREBUILD', other);
    expect(loadAddon({ root, open: () => fakeAddon(version), ...LINUX })).toMatchObject({
      path: join(other, 'build/Release/intel_svm.node'),
    });
  });

  test('nothing in that folder', () => {
    const other = temporaryDirectory();
    vi.stubEnv('INTEL_SVM_PREBUILD', other);
    expect(refusal(loadAddon({ root: packageRoot(), ...LINUX })).reason).toMatch(new RegExp(`prebuilds of ${other}$`));
  });

  test.each(['lib/linux', 'dist/lib/linux'])(
    'the package root is found from %s, past foreign package.json files',
    (folder) => {
      const root = packageRoot({
        'package.json': JSON.stringify({ name: 'intel-svm', version, type: 'module' }),
        [`${folder}/loader.js`]: compiledLoader(),
        [`${dirname(folder)}/package.json`]: '{ "name": "other", "type": "module" }',
      });
      symlinkSync(join(ROOT, 'node_modules'), join(root, 'node_modules'));
      expect(loadElsewhere(join(root, folder, 'loader.js'))).toEqual({
        status: 0,
        stdout: `there is no addon for linux-x64 in build/Release or prebuilds of ${root}`,
        stderr: '',
      });
    },
  );

  test('outside the package it says so', () => {
    const bundle = join(
      packageRoot({ 'package.json': '{ "name": "program" }', 'bundle.mjs': compiledLoader() }),
      'bundle.mjs',
    );
    expect(loadElsewhere(bundle).stdout).toBe(`the folder of the package intel-svm is not above ${bundle}`);
  });

  test('without its dependencies it says so', () => {
    const root = packageRoot({ 'loader.mjs': compiledLoader() });
    expect(loadElsewhere(join(root, 'loader.mjs')).stdout).toMatch(/^the dependency node-gyp-build cannot be loaded: /);
  });
});

describe('the addon', () => {
  test('one attempt per thread', () => {
    expect(loadAddon()).toBe(checkout);
  });

  test('says what it was built from and for', (ctx) => {
    const { addon } = builtAddon(ctx);
    const manifest: unknown = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
    expect(manifest).toMatchObject({ version: addon.version, binary: { napi_versions: [addon.napiVersion] } });
  });

  test('CPU features agree with /proc/cpuinfo', (ctx) => {
    const { addon } = builtAddon(ctx);
    ctx.skip(process.arch !== 'x64', `CPUID is of x86, and this is ${process.arch}`);
    const flags = new Set(/^flags\s*:(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1]?.trim().split(' '));
    // The kernel takes enqcmd, waitpkg and la57 out of its list where it does not let them be used; these it leaves.
    expect(addon.cpuFeatures()).toEqual({
      arch: 'x64',
      movdir64b: flags.has('movdir64b'),
      movdiri: flags.has('movdiri'),
      cldemote: flags.has('cldemote'),
      enqcmd: expect.any(Boolean),
      waitpkg: expect.any(Boolean),
      la57: expect.any(Boolean),
    });
  });

  // In a child: what goes wrong in teardown ends the process.
  test.for(['terminate', 'process.exit', 'return'])('four workers load it at once and end by %s', (ending, ctx) => {
    const { addon, path } = builtAddon(ctx);
    const { status, stdout, stderr } = run(process.execPath, ['-e', FOUR_WORKERS, path, ending]);
    expect({ status, stdout, stderr }).toEqual({ status: 0, stdout: `${addon.version} `.repeat(12), stderr: '' });
  });
});
