/** The compiler's sanitizers, for native tests. */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CC, missingTool, run } from './tools.js';

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

/** Why programs cannot be built with the sanitizer or do not run here; `undefined` if they can and do. */
export function missingSanitizer({ name, flags }: Sanitizer): string | undefined {
  const noCompiler = missingTool(CC);
  if (noCompiler !== undefined) return noCompiler;
  const directory = mkdtempSync(join(tmpdir(), 'intel-svm-'));
  try {
    const source = join(directory, 'empty.c');
    const program = join(directory, 'empty');
    writeFileSync(source, 'int main(void) { return 0; }\n');
    const compiled = run(CC, [...flags, '-o', program, source]).status === 0;
    if (compiled && run(program, []).status === 0) return undefined;
    return `programs built with -fsanitize=${name} do not ${compiled ? 'run' : 'link'} here`;
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
