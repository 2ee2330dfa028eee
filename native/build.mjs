/**
 * Builds the addon from native/sources.txt, and only when a source is newer than what is built.
 *
 *   node native/build.mjs [--cmake] [--debug] [--sanitize=KIND] [--if-possible] [--warn-only]
 *
 * (default)      node-gyp, into build/Release, where the loader looks first.
 * --cmake        cmake-js, into build-cmake/build/Release. To run on that build, set INTEL_SVM_PREBUILD to the absolute
 *                path of build-cmake.
 * --debug        unoptimised, into Debug instead of Release. Removes the Release build, which would be loaded before it.
 * --sanitize     address,undefined or thread: cmake-js with GCC's sanitizers, into build-asan or build-tsan, to be used as
 *                build-cmake is. Only for a Node that is started with the sanitizer's runtime in LD_PRELOAD.
 * --if-possible  Where this machine has no compiler, make or Python: says so in one line and succeeds.
 * --warn-only    Where it has them and the build fails: prints what the compiler said and succeeds.
 *
 * `npm test` passes the first of these, `prepare` both. A missing tool is no fault: the mock needs no addon, so an
 * install must succeed. A build that fails on a machine equipped for it is a fault, and `npm test` is red; but an
 * install must not die of it, as the machine may be a stranger's, with a compiler that we have never seen. (Packages
 * installed from a registry run none of this: there is no install script.)
 *
 * Either way the reason is left in build/native-unavailable.json, and the loader repeats it.
 *
 * The network is used in one case: node-gyp downloads the headers of a Node that has none beside it.
 */

import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, isAbsolute, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

/**
 * Why there can be no build here, and what would change that.
 * @typedef {{ reason: string, remedy: string }} Obstacle
 *
 * @typedef {{ CC: string, CXX: string }} Compilers
 *
 * The Node programs to run, one after the other.
 * @typedef {{ steps: string[][], compilers: Compilers }} Plan
 */

const root = fileURLToPath(new URL('..', import.meta.url)).replace(/\/$/, '');
const require = createRequire(import.meta.url);
const nodePrefix = dirname(dirname(process.execPath));

const { values: options } = parseArgs({
  options: {
    cmake: { type: 'boolean', default: false },
    debug: { type: 'boolean', default: false },
    sanitize: { type: 'string' },
    'if-possible': { type: 'boolean', default: false },
    'warn-only': { type: 'boolean', default: false },
  },
});

/** What differs between the sanitizers: the folder, the runtime's file, and what lets a Node that has none load the addon. */
const SANITIZERS = {
  'address,undefined': { directory: 'build-asan', library: 'libasan.so', env: { ASAN_OPTIONS: 'detect_leaks=0' } },
  thread: { directory: 'build-tsan', library: 'libtsan.so', env: { TSAN_OPTIONS: 'ignore_noninstrumented_modules=1' } },
};
const sanitizer = Object.entries(SANITIZERS).find(([name]) => name === options.sanitize)?.[1];
if (options.sanitize !== undefined && sanitizer === undefined) {
  throw new TypeError(`--sanitize is ${Object.keys(SANITIZERS).join(' or ')}, not ${options.sanitize}`);
}

const cmake = options.cmake || sanitizer !== undefined;
const configuration = options.debug ? 'Debug' : 'Release';
const outDir = join(root, cmake ? `${sanitizer?.directory ?? 'build-cmake'}/build` : 'build');
const output = join(outDir, configuration, 'intel_svm.node');
const recordFile = join(root, 'build/native-unavailable.json');

/** @param {string} line */
function say(line) {
  console.log(`native: ${line}`);
}

/**
 * Milliseconds of the newest change among the files that the addon is made of.
 * @returns {number}
 */
function newestInput() {
  const native = readdirSync(join(root, 'native'), { recursive: true, encoding: 'utf8' });
  const files = [
    join(root, cmake ? 'CMakeLists.txt' : 'binding.gyp'),
    join(root, 'package.json'),
    ...native.map((file) => join(root, 'native', file)),
    ...[resolve('node-addon-api/package.json')].filter((file) => file !== undefined),
  ];
  return Math.max(...files.map((file) => statSync(file).mtimeMs));
}

/**
 * @param {string} specifier
 * @returns {string | undefined} the file, or nothing where the package is not installed
 */
function resolve(specifier) {
  try {
    return require.resolve(specifier);
  } catch {
    return undefined;
  }
}

/**
 * The first command that does `args` on `input`, or why none does.
 * @param {string} what
 * @param {readonly (string | undefined)[]} commands each with its own leading arguments, as CC and CXX may have
 * @param {readonly string[]} args
 * @param {string} [input]
 * @returns {{ command: string } | { missing: string }}
 */
function findTool(what, commands, args, input = '') {
  const candidates = commands.flatMap((command) => command?.trim() || []);
  let missing = `no ${what} on PATH (tried ${candidates.join(', ')})`;
  for (const command of candidates) {
    const [file = '', ...leading] = command.split(/\s+/);
    const trial = spawnSync(file, [...leading, ...args], { input, encoding: 'utf8' });
    if (trial.status === 0) return { command };
    if (trial.error === undefined) missing = `${what} ${command} does not work: ${firstLine(trial.stderr)}`;
  }
  return { missing };
}

/** @param {string} text */
function firstLine(text) {
  return text.trim().split('\n')[0] ?? '';
}

/**
 * Where node-gyp is: a dependency in a checkout, else the one inside npm.
 * @returns {string | undefined}
 */
function findNodeGyp() {
  const inNpm = join(nodePrefix, 'lib/node_modules/npm/node_modules/node-gyp/bin/node-gyp.js');
  return [resolve('node-gyp/bin/node-gyp.js'), process.env['npm_config_node_gyp'], inNpm].find(
    (file) => file !== undefined && existsSync(file),
  );
}

/**
 * The commands of a build, or what keeps this machine from one.
 * @returns {Plan | Obstacle}
 */
function plan() {
  if (process.platform !== 'linux' || !['x64', 'arm64'].includes(process.arch)) {
    return {
      reason: `the addon is for Linux on x64 and arm64, and this is ${process.platform} on ${process.arch}`,
      remedy: 'use the mock kernel here',
    };
  }

  const env = process.env;
  const cc = findTool(
    'C compiler',
    env['CC'] ? [env['CC']] : ['cc', 'gcc', 'clang'],
    ['-std=c11', '-fsyntax-only', '-x', 'c', '-'],
    '#include <errno.h>\n',
  );
  const cxx = findTool(
    'C++ compiler',
    env['CXX'] ? [env['CXX']] : ['c++', 'g++', 'clang++'],
    ['-std=c++17', '-fsyntax-only', '-x', 'c++', '-'],
    '#include <string_view>\n',
  );
  const builders = cmake
    ? [findTool('CMake', ['cmake'], ['--version']), findTool('make or ninja', ['make', 'ninja'], ['--version'])]
    : [
        findTool('make', [env['MAKE'] ?? 'make'], ['--version']),
        findTool(
          'Python 3',
          [env['NODE_GYP_FORCE_PYTHON'], env['npm_config_python'], env['PYTHON'], 'python3', 'python'],
          ['-c', 'import sys; sys.exit(sys.version_info < (3, 6))'],
        ),
      ];
  // binding.gyp asks it for the list of sources.
  const node = findTool('node', ['node'], ['--version']);
  const missing = [cc, cxx, ...builders, node].flatMap((tool) => ('missing' in tool ? [tool.missing] : []));
  if ('missing' in cc || 'missing' in cxx || missing.length > 0) {
    const packages = cmake ? 'g++ cmake ninja-build' : 'g++ make python3';
    return { reason: missing.join('; '), remedy: `install what is missing (Debian: apt install ${packages})` };
  }

  const compilers = { CC: cc.command, CXX: cxx.command };
  if (sanitizer !== undefined && sanitizerRuntime(compilers) === undefined) {
    return {
      reason: `${compilers.CC} has no ${sanitizer.library}`,
      remedy: 'use GCC with its sanitizers (Debian: apt install gcc g++)',
    };
  }
  const builder = cmake ? resolve('cmake-js/bin/cmake-js') : findNodeGyp();
  if (builder === undefined || resolve('node-addon-api/package.json') === undefined) {
    return {
      reason: `${cmake ? 'cmake-js' : 'node-gyp'} or node-addon-api is not installed`,
      remedy: 'install the development dependencies (npm ci)',
    };
  }
  return cmake ? { compilers, steps: cmakeSteps(builder) } : nodeGypSteps(builder, compilers);
}

/**
 * The sanitizer's shared object, which a Node that loads the addon preloads.
 * @param {Compilers} compilers
 * @returns {string | undefined}
 */
function sanitizerRuntime({ CC }) {
  const [file = '', ...leading] = CC.split(/\s+/);
  const args = [...leading, `-print-file-name=${sanitizer?.library}`];
  const path = spawnSync(file, args, { encoding: 'utf8' }).stdout?.trim() ?? '';
  // GCC repeats the name of a file that it does not have.
  return isAbsolute(path) && existsSync(path) ? path : undefined;
}

/**
 * @param {string} cmakeJs
 * @returns {string[][]}
 */
function cmakeSteps(cmakeJs) {
  const flags = ['--directory', root, '--out', outDir, '--config', configuration, '--log-level', 'warn'];
  if (options.sanitize !== undefined) flags.push(`--CDSANITIZE=${options.sanitize}`);
  return ['configure', 'build'].map((verb) => [cmakeJs, verb, ...flags]);
}

/**
 * node-gyp downloads the headers of Node, unless it is told where they are. They lie beside most Nodes.
 * @param {string} nodeGyp
 * @param {Compilers} compilers
 * @returns {Plan | Obstacle}
 */
function nodeGypSteps(nodeGyp, compilers) {
  const flags = [options.debug ? '--debug' : '--release'];
  if (process.env['npm_config_nodedir'] === undefined) {
    if (existsSync(join(nodePrefix, 'include/node/node_api.h'))) {
      flags.push(`--nodedir=${nodePrefix}`);
    } else {
      const fetched = run([nodeGyp, 'install', '--ensure'], compilers);
      if (fetched.status !== 0) {
        return {
          reason: `Node's headers are neither in ${nodePrefix}/include/node nor to be downloaded`,
          remedy: 'set npm_config_nodedir to the prefix of a Node that has include/node/node_api.h',
        };
      }
    }
  }
  return {
    compilers,
    steps: [
      [nodeGyp, 'configure', ...flags],
      [nodeGyp, 'build', ...flags, '--jobs=max'],
    ],
  };
}

/**
 * Runs a Node program in the package root.
 * @param {string[]} command
 * @param {Compilers} compilers
 * @param {NodeJS.ProcessEnv} [env]
 * @returns {{ status: number | null, text: string }}
 */
function run(command, compilers, env = {}) {
  const child = spawnSync(process.execPath, command, {
    cwd: root,
    env: { ...process.env, ...compilers, ...env },
    encoding: 'utf8',
    maxBuffer: 1 << 30,
  });
  return { status: child.status, text: `${child.stdout}${child.stderr}${child.error?.message ?? ''}` };
}

/**
 * Leaves the reason for the loader. A cmake-js build is not the loader's to find, so it leaves none.
 * @param {Obstacle} obstacle
 */
function record(obstacle) {
  if (cmake) return;
  mkdirSync(dirname(recordFile), { recursive: true });
  writeFileSync(recordFile, `${JSON.stringify(obstacle, undefined, 2)}\n`);
}

/**
 * @param {Plan} planned
 * @returns {string | undefined} the output of the step that failed
 */
function build({ steps, compilers }) {
  for (const command of steps) {
    const { status, text } = run(command, compilers);
    if (status !== 0) return text;
  }
  // In a process of its own. A source that is missing from the list shows only here.
  const preload = sanitizer && { ...sanitizer.env, LD_PRELOAD: sanitizerRuntime(compilers) };
  const { status, text } = run(['-e', 'require(process.argv[1])', output], compilers, preload);
  return status === 0 ? undefined : text;
}

/** @returns {boolean} whether the process may exit with 0 */
function main() {
  const name = relative(root, output);
  const flag = sanitizer === undefined ? (cmake ? ' --cmake' : '') : ` --sanitize=${options.sanitize}`;
  const again = `then run in ${root}: node native/build.mjs${flag}`;
  const built = existsSync(output);
  if (built && statSync(output).mtimeMs > newestInput()) {
    say(`${name} is up to date`);
    return true;
  }

  const started = new Date();
  const planned = plan();
  if ('reason' in planned) {
    if (built) {
      say(`${name} is older than its sources and stays as it is: ${planned.reason}; ${planned.remedy}, ${again}`);
    } else {
      record(planned);
      say(`not built, only the mock kernel is available: ${planned.reason}; ${planned.remedy}, ${again}`);
    }
    return options['if-possible'];
  }

  const failure = build(planned);
  if (failure !== undefined) {
    // What is left of an earlier build is not what the sources say.
    rmSync(output, { force: true });
    const obstacle = {
      reason: `its build failed with ${planned.compilers.CXX} on Node ${process.versions.node}`,
      remedy: 'read the messages of the compiler and mend what they name',
    };
    record(obstacle);
    console.error(`${failure}\nnative: BUILD FAILED (messages above): ${obstacle.remedy}, ${again}`);
    return options['warn-only'];
  }

  // The time at which the sources were read, not at which the linker finished: one may have changed in between.
  utimesSync(output, started, started);
  if (options.debug) rmSync(join(outDir, 'Release/intel_svm.node'), { force: true });
  if (!cmake) rmSync(recordFile, { force: true });
  const seconds = ((Date.now() - started.getTime()) / 1000).toFixed(1);
  say(`${name} built in ${seconds} s by ${cmake ? 'cmake-js' : 'node-gyp'}`);
  return true;
}

if (!main()) process.exitCode = 1;
