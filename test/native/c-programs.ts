/** C programs in native tests: compiling them, plainly and with the compiler's sanitizers. */

import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect } from 'vitest';
import { C_FLAGS, CC, missingTool, run } from './tools.js';

/** A build with checks in it. */
export interface Sanitizer {
  /** Value of -fsanitize. */
  readonly name: 'address,undefined' | 'thread';
  /** Flags for compiling and linking. */
  readonly flags: readonly string[];
}

export const SANITIZERS: readonly Sanitizer[] = [
  { name: 'address,undefined', flags: ['-fsanitize=address,undefined', '-fno-sanitize-recover=all', '-g', '-O1'] },
  { name: 'thread', flags: ['-fsanitize=thread', '-g', '-O1'] },
];

const objects = mkdtempSync(join(tmpdir(), 'intel-svm-'));
afterAll(() => rmSync(objects, { recursive: true, force: true }));

/** Runs the compiler as strict C11. A warning is a failure. */
export function compile(args: readonly string[]): void {
  expect(run(CC, [...C_FLAGS, '-pthread', ...args])).toEqual({ status: 0, stdout: '', stderr: '' });
}

/** Several sources in one object file, compiled once for each set of flags. */
export function objectOf(name: string, sources: readonly string[], flags: readonly string[]): string {
  const object = join(objects, `${name}${flags.join('').replaceAll('/', '_')}.o`);
  if (!existsSync(object)) compile(['-r', ...flags, '-o', object, ...sources]);
  return object;
}

/** Why programs cannot be built with the sanitizer or do not run here; `undefined` if they can and do. */
export function missingSanitizer({ name, flags }: Sanitizer): string | undefined {
  const noCompiler = missingTool(CC);
  if (noCompiler !== undefined) return noCompiler;
  const source = join(objects, 'empty.c');
  const program = join(objects, 'empty');
  writeFileSync(source, 'int main(void) { return 0; }\n');
  const compiled = run(CC, [...flags, '-o', program, source]).status === 0;
  if (compiled && run(program, []).status === 0) return undefined;
  return `programs built with -fsanitize=${name} do not ${compiled ? 'run' : 'link'} here`;
}
