/** native/build.mjs on copies of the package, so that the checkout's own build stays as it is. */

import { appendFileSync, existsSync, mkdirSync, readdirSync, readFileSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, test, vi } from 'vitest';
import { loadAddon, type AddonLoad } from '../../lib/linux/loader.js';
import { CC, CXX, missingTool, packageCopy, pathWithOnlyNode, ROOT, run, type Run } from './tools.js';

const BUILD_TIMEOUT = 180_000;
const noCompiler = process.platform === 'linux' ? missingTool(CC, CXX, 'make', 'python3') : 'the addon is for Linux';
const noCMake = noCompiler ?? missingTool('cmake');

const sources = readFileSync(join(ROOT, 'native/sources.txt'), 'utf8').trim().split('\n');

/** Warnings are errors here; a stranger's compiler, which may warn of more, must not fail for that. */
const STRICT = { ...process.env, CFLAGS: '-Werror', CXXFLAGS: '-Werror' };

function build(root: string, args: readonly string[], env: NodeJS.ProcessEnv = STRICT): Run {
  return run(process.execPath, [join(root, 'native/build.mjs'), ...args], env);
}

/** An environment without compilers, make and Python. */
function nodeOnly(): NodeJS.ProcessEnv {
  return { PATH: pathWithOnlyNode() };
}

/** The sources that a builder compiled, by the object files it left. */
function compiled(directory: string, suffix: RegExp): string[] {
  return readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.o'))
    .map((file) => file.replace(suffix, ''))
    .toSorted();
}

function reasonOf(load: AddonLoad): string {
  return load.addon === undefined ? load.reason : `loaded ${load.path}`;
}

/** Evaluates an expression on the addon, in a child: a process keeps the first file that it loads from a path. */
function evaluate(path: string, expression: string): unknown {
  const program = `const addon = require(process.argv[1]); process.stdout.write(JSON.stringify(${expression}));`;
  const value: unknown = JSON.parse(run(process.execPath, ['-e', program, path]).stdout);
  return value;
}

beforeEach(() => {
  vi.stubEnv('INTEL_SVM_PREBUILD', undefined);
  return () => vi.unstubAllEnvs();
});

test('every source file of native/ is on the list', () => {
  const files = readdirSync(join(ROOT, 'native'), { recursive: true, encoding: 'utf8' });
  const expected = files.filter((file) => /\.(?:c|cc)$/.test(file)).map((file) => `native/${file}`);
  expect(sources.toSorted()).toEqual(expected.toSorted());
});

describe('without a compiler', () => {
  const line =
    /^native: not built, only the mock kernel is available: no C compiler .+; no C\+\+ compiler .+; no make .+; no Python 3 .+; install .+, then run in .+: node native\/build\.mjs\n$/;

  test('--if-possible says in one line what is missing, and succeeds', () => {
    const root = packageCopy();
    const { status, stdout, stderr } = build(root, ['--if-possible'], nodeOnly());
    expect(stdout).toMatch(line);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  });

  test('the loader repeats it', () => {
    const root = packageCopy();
    build(root, ['--if-possible'], nodeOnly());
    expect(loadAddon({ root, platform: 'linux', arch: 'x64' })).toEqual({
      addon: undefined,
      reason: expect.stringMatching(/^the addon is not built: no C compiler on PATH \(tried cc, gcc, clang\); /),
      hint: expect.stringMatching(/apt install g\+\+ make python3.+, then run in .+: node native\/build\.mjs$/),
    });
  });

  test('without --if-possible it fails with the same line', () => {
    const { status, stdout } = build(packageCopy(), [], nodeOnly());
    expect(stdout).toMatch(line);
    expect(status).toBe(1);
  });

  test('a compiler that does not work is as good as none', () => {
    const env = { ...nodeOnly(), CC: `${process.execPath} --no-such-flag`, CXX: '/nowhere/c++' };
    const { status, stdout } = build(packageCopy(), ['--if-possible'], env);
    expect(stdout).toMatch(
      /C compiler \S+ --no-such-flag does not work: \S.*; no C\+\+ compiler on PATH \(tried \/nowhere\/c\+\+\)/,
    );
    expect(status).toBe(0);
  });

  test('--cmake leaves no reason for the loader, which does not look for that build', () => {
    const root = packageCopy();
    expect(build(root, ['--cmake', '--if-possible'], nodeOnly()).stdout).toMatch(/no CMake .+; no make or ninja /);
    expect(reasonOf(loadAddon({ root, platform: 'linux', arch: 'x64' }))).toMatch(/^there is no addon/);
  });

  test('an unknown option is refused', () => {
    expect(build(packageCopy(), ['--fast'], nodeOnly())).toMatchObject({ status: 1, stdout: '' });
  });
});

describe('with a compiler', () => {
  test('node-gyp: builds all sources without a warning, then only what changed', { timeout: BUILD_TIMEOUT }, (ctx) => {
    ctx.skip(noCompiler !== undefined, noCompiler);
    const root = packageCopy();
    const output = join(root, 'build/Release/intel_svm.node');

    // A first attempt without a compiler leaves its note; success takes it away.
    build(root, ['--if-possible'], nodeOnly());
    const first = build(root, []);
    expect(first).toMatchObject({ status: 0, stderr: '' });
    expect(first.stdout).toMatch(/^native: build\/Release\/intel_svm\.node built in [\d.]+ s by node-gyp\n$/);
    expect(compiled(join(root, 'build/Release/obj.target/intel_svm'), /\.o$/)).toEqual(
      sources.map((source) => source.replace(/\.cc?$/, '')).toSorted(),
    );
    expect(existsSync(join(root, 'build/native-unavailable.json'))).toBe(false);
    expect(reasonOf(loadAddon({ root }))).toBe(`loaded ${output}`);

    // Nothing changed: nothing is asked of a compiler.
    const fresh = { status: 0, stdout: 'native: build/Release/intel_svm.node is up to date\n', stderr: '' };
    expect(build(root, [])).toEqual(fresh);
    expect(build(root, [], nodeOnly())).toEqual(fresh);

    // Something changed and there is no compiler: the old one stays, and that is said.
    const manifest = join(root, 'package.json');
    writeFileSync(manifest, readFileSync(manifest, 'utf8').replace(/"version": "[^"]+"/, '"version": "99.0.0-next.1"'));
    const stale = build(root, ['--if-possible'], nodeOnly());
    expect(stale.stdout).toMatch(/is older than its sources and stays as it is: no C compiler .+\n$/);
    expect(stale.status).toBe(0);
    expect(build(root, [], nodeOnly()).status).toBe(1);
    expect(reasonOf(loadAddon({ root }))).toMatch(/and the package is 99\.0\.0-next\.1$/);

    // A shim that refuses, as on a CPU without CPUID: an error in the shape of Node's own.
    const shim = join(root, 'native/shim/cpu_features.c');
    writeFileSync(shim, readFileSync(shim, 'utf8').replace('return 0;', 'return -ENOSYS;'));
    expect(build(root, [])).toMatchObject({ status: 0, stderr: '' });
    expect(evaluate(output, 'addon.version')).toBe('99.0.0-next.1');
    const thrown = '(() => { try { addon.cpuFeatures(); } catch (e) { return { text: e.message, ...e }; } })()';
    expect(evaluate(output, thrown)).toEqual({
      text: 'ENOSYS: Function not implemented, cpuid',
      code: 'ENOSYS',
      errno: -38,
      syscall: 'cpuid',
    });
  });

  test('a build that fails is loud, and fatal unless --warn-only', { timeout: BUILD_TIMEOUT }, (ctx) => {
    ctx.skip(noCompiler !== undefined, noCompiler);
    const root = packageCopy();
    const output = join(root, 'build/Release/intel_svm.node');

    // A source that is missing from the list: it compiles and links, and must not pass for built.
    const list = sources.filter((source) => source !== 'native/shim/errno_name.c');
    writeFileSync(join(root, 'native/sources.txt'), list.join('\n'));
    const fatal = build(root, ['--if-possible']);
    expect(fatal.stderr).toMatch(/undefined symbol: svm_errno_\w+[^]+native: BUILD FAILED/);
    expect(fatal.status).toBe(1);
    expect(reasonOf(loadAddon({ root }))).toMatch(/^the addon is not built: its build failed with .+ on Node \d/);

    // An addon that its sources do not say is not left to be loaded.
    appendFileSync(join(root, 'native/shim/cpu_features.c'), '#error "broken on purpose"\n');
    writeFileSync(output, '');
    utimesSync(output, 0, 0);
    const loud = build(root, ['--if-possible', '--warn-only']);
    expect(loud.stderr).toMatch(/cpu_features\.c.*broken on purpose[^]+native: BUILD FAILED/);
    expect(loud.status).toBe(0);
    expect(existsSync(output)).toBe(false);
  });

  test('cmake-js: the same sources, beside the build of node-gyp', { timeout: BUILD_TIMEOUT }, (ctx) => {
    ctx.skip(noCMake !== undefined, noCMake);
    const root = packageCopy();
    const { status, stdout, stderr } = build(root, ['--cmake']);
    expect(stdout).toMatch(/^native: build-cmake\/build\/Release\/intel_svm\.node built in [\d.]+ s by cmake-js\n$/);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(compiled(join(root, 'build-cmake/build/CMakeFiles/intel_svm.dir'), /\.o$/)).toEqual(sources.toSorted());
    expect(existsSync(join(root, 'build'))).toBe(false);

    // As the documentation says to run on it.
    vi.stubEnv('INTEL_SVM_PREBUILD', join(root, 'build-cmake'));
    const load = loadAddon({ root });
    expect(reasonOf(load)).toBe(`loaded ${join(root, 'build-cmake/build/Release/intel_svm.node')}`);
    expect(load.addon?.napiVersion).toBe(8);
    expect(build(root, ['--cmake']).stdout).toMatch(/is up to date\n$/);
  });

  test('--debug takes the place of the Release build', { timeout: BUILD_TIMEOUT }, (ctx) => {
    ctx.skip(noCompiler !== undefined, noCompiler);
    const root = packageCopy();
    mkdirSync(join(root, 'build/Release'), { recursive: true });
    writeFileSync(join(root, 'build/Release/intel_svm.node'), '');
    expect(build(root, ['--debug'])).toMatchObject({ status: 0, stderr: '' });
    expect(reasonOf(loadAddon({ root }))).toBe(`loaded ${join(root, 'build/Debug/intel_svm.node')}`);
  });
});
