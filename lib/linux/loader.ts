/**
 * Finds and loads the addon, or says precisely why there is none. Nothing here throws: a program on the mock must not
 * notice that the addon is missing, and `connect` and the doctor quote the reason.
 */

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { CpuFeatures } from '../kernel.js';

/**
 * What the CPU reports in CPUID leaf 7 (Intel SDM vol. 2A, CPUID). Under a hypervisor it is the hypervisor's answer,
 * which may hide what the CPU executes.
 */
export interface AddonCpuFeatures extends CpuFeatures {
  /** The instruction set that the addon was compiled for, as in `process.arch`. */
  readonly arch: string;
  /** CLDEMOTE. */
  readonly cldemote: boolean;
  /** Direct store of 4 or 8 bytes. */
  readonly movdiri: boolean;
}

/** The exports of the addon (native/addon/addon.h). Each thread that loads it gets its own. */
export interface Addon {
  /** Version of the package that the addon was built from. */
  readonly version: string;
  /** Version of Node-API that it was compiled for. */
  readonly napiVersion: number;
  /** Throws a system error (`code`, `errno`, `syscall` 'cpuid'): ENOSYS on a CPU without CPUID. */
  cpuFeatures(): AddonCpuFeatures;
}

/** The addon and the file it came from; or why there is none, and one sentence about what to do. */
export type AddonLoad =
  | { readonly addon: Addon; readonly path: string }
  | { readonly addon: undefined; readonly reason: string; readonly hint: string };

/** Where and on what to load. Each defaults to this package in this process. */
export interface LoadOptions {
  /** The package's root folder. */
  readonly root?: string;
  /** As `process.platform`. */
  readonly platform?: string;
  /** As `process.arch`. */
  readonly arch?: string;
  /** Loads a `.node` file. */
  readonly open?: (path: string) => unknown;
}

const PACKAGE_NAME = 'intel-svm';
const ARCHITECTURES: readonly string[] = ['x64', 'arm64'];
const MOCK_HINT = "use the mock kernel: connect({ backend: 'mock' }) or INTEL_SVM_BACKEND=mock";

const nodeRequire = createRequire(import.meta.url);
let loaded: AddonLoad | undefined;

/**
 * Loads the addon: build/Release of the package first, then its prebuilds (node-gyp-build's order; its variable
 * INTEL_SVM_PREBUILD names another folder to look in). Without `options` the answer is kept: one attempt per thread.
 */
export function loadAddon(options?: LoadOptions): AddonLoad {
  if (options !== undefined) return attempt(options);
  loaded ??= attempt({});
  return loaded;
}

function attempt(options: LoadOptions): AddonLoad {
  const { platform = process.platform, arch = process.arch, open = nodeRequire } = options;
  if (platform !== 'linux') {
    return missing(`the real backend needs Linux, and this is ${platform}`, MOCK_HINT);
  }
  if (!ARCHITECTURES.includes(arch)) {
    return missing(`the real backend exists for ${ARCHITECTURES.join(' and ')}, and this is ${arch}`, MOCK_HINT);
  }

  const root = options.root ?? findRoot(dirname(fileURLToPath(import.meta.url)));
  if (root === undefined) {
    return missing(
      `the folder of the package ${PACKAGE_NAME} is not above ${fileURLToPath(import.meta.url)}`,
      `if the program is bundled, leave ${PACKAGE_NAME} out of the bundle`,
    );
  }
  const build = `run in ${root}: node native/build.mjs`;

  let resolver: { resolve(directory: string): string };
  try {
    resolver = nodeRequire('node-gyp-build');
  } catch (error) {
    return missing(`the dependency node-gyp-build cannot be loaded: ${messageOf(error)}`, 'run: npm install');
  }

  let path: string;
  try {
    path = resolver.resolve(root);
  } catch {
    return notBuilt(root, `${platform}-${arch}`, build);
  }

  let addon: unknown;
  try {
    addon = open(path);
  } catch (error) {
    return missing(`${path} cannot be loaded: ${messageOf(error)}`, `build it on this machine, ${build}`);
  }
  if (!isAddon(addon)) {
    return missing(`${path} is not the addon of ${PACKAGE_NAME}`, `remove it, then ${build}`);
  }
  const version = readRecord(join(root, 'package.json'))['version'];
  if (addon.version !== version) {
    return missing(
      `${path} was built from version ${addon.version}, and the package is ${String(version)}`,
      `build it again, ${build}`,
    );
  }
  return { addon, path };
}

/** native/build.mjs leaves a note where it could not build. */
function notBuilt(root: string, target: string, build: string): AddonLoad {
  const place = process.env['INTEL_SVM_PREBUILD'] ?? root;
  const { reason, remedy } = readRecord(join(place, 'build/native-unavailable.json'));
  if (typeof reason === 'string' && typeof remedy === 'string') {
    return missing(`the addon is not built: ${reason}`, `${remedy}, then ${build}`);
  }
  return missing(`there is no addon for ${target} in build/Release or prebuilds of ${place}`, build);
}

function missing(reason: string, hint: string): AddonLoad {
  return { addon: undefined, reason, hint };
}

/** The nearest folder upwards whose package.json is this package's: two above lib/linux, three above dist/lib/linux. */
function findRoot(start: string): string | undefined {
  for (let folder = start; ; folder = dirname(folder)) {
    if (readRecord(join(folder, 'package.json'))['name'] === PACKAGE_NAME) return folder;
    if (folder === dirname(folder)) return undefined;
  }
}

/** The members of a JSON file that holds an object; none where it is missing or holds something else. */
function readRecord(file: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(readFileSync(file, 'utf8'));
    return isRecord(value) ? value : {};
  } catch {
    return {};
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

function isAddon(value: unknown): value is Addon {
  return (
    isRecord(value) &&
    typeof value['version'] === 'string' &&
    typeof value['napiVersion'] === 'number' &&
    typeof value['cpuFeatures'] === 'function'
  );
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
