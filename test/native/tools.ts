/** What the native tests share: the checkout, temporary copies of it, and what this machine can compile with. */

import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { onTestFinished } from 'vitest';

/** Root of the checkout. */
export const ROOT = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '');

/** Strict C11, and whatever looks odd is an error. */
export const C_FLAGS: readonly string[] = ['-std=c11', '-Wall', '-Wextra', '-Werror', '-pedantic'];

/** Commands as native/build.mjs chooses them. */
export const CC = process.env['CC'] ?? 'cc';
export const CXX = process.env['CXX'] ?? 'c++';

/** The first of these commands that is missing here, as the reason for a skip. */
export function missingTool(...commands: readonly string[]): string | undefined {
  const missing = commands.find((command) => spawnSync(command, ['--version']).status !== 0);
  return missing === undefined ? undefined : `${missing} is not on PATH`;
}

/** A directory that goes with the test. */
export function temporaryDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'intel-svm-'));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** A PATH on which there is Node and nothing else. */
export function pathWithOnlyNode(): string {
  const directory = temporaryDirectory();
  symlinkSync(process.execPath, join(directory, 'node'));
  return directory;
}

/** The part of the package that the addon is built from, with the dependencies of the checkout and nothing built. */
export function packageCopy(): string {
  const directory = temporaryDirectory();
  for (const name of ['native', 'binding.gyp', 'CMakeLists.txt', 'package.json']) {
    cpSync(join(ROOT, name), join(directory, name), { recursive: true });
  }
  symlinkSync(join(ROOT, 'node_modules'), join(directory, 'node_modules'));
  return directory;
}

/** How a child ended and what it said. */
export interface Run {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a program to its end. */
export function run(command: string, args: readonly string[], env: NodeJS.ProcessEnv = process.env): Run {
  const { status, stdout, stderr, error } = spawnSync(command, args, { encoding: 'utf8', env });
  if (error !== undefined) throw error;
  return { status, stdout, stderr };
}
