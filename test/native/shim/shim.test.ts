/**
 * The shim without Node: each program `NAME_test.c` of this folder is compiled together with the shim as strict C11, and
 * run. It prints the checks that failed.
 */

import { readdirSync, readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { C_FLAGS, CC, missingTool, ROOT, run, temporaryDirectory, type Run } from '../tools.js';

const HERE = join(ROOT, 'test/native/shim');
const SHIM = join(ROOT, 'native/shim');

const sources = readFileSync(join(ROOT, 'native/sources.txt'), 'utf8').trim().split('\n');
const shimSources = sources.filter((source) => source.startsWith('native/shim/'));
const programs = readdirSync(HERE).filter((name) => name.endsWith('_test.c'));
const noCompiler = missingTool(CC);

/** Compiles the program with the whole shim and runs it. */
function compileAndRun(program: string): Run {
  const executable = join(temporaryDirectory(), 'test');
  const inputs = [join(HERE, program), ...shimSources.map((source) => join(ROOT, source))];
  const compilation = run(CC, [...C_FLAGS, '-I', SHIM, '-o', executable, ...inputs]);
  expect(compilation).toEqual({ status: 0, stdout: '', stderr: '' });
  return run(executable, []);
}

describe('the shim in plain C11', () => {
  test.for(programs)('%s', (program, ctx) => {
    ctx.skip(noCompiler !== undefined, noCompiler);
    expect(compileAndRun(program)).toMatchObject({ status: 0, stderr: '' });
  });

  test('errno names are those of Node, by number', (ctx) => {
    ctx.skip(noCompiler !== undefined, noCompiler);
    const lines = compileAndRun('errno_name_test.c').stdout.trim().split('\n');
    const names = new Map(lines.map((line) => line.split(' ')).map(([number, name]) => [Number(number), name]));
    expect(names.get(524)).toBe('ENOTSUPP');

    // Node has two names for some numbers: then either will do.
    const nodes = new Map<number, string[]>();
    for (const [name, number] of Object.entries(constants.errno)) {
      nodes.set(number, [...(nodes.get(number) ?? []), name]);
    }
    expect([...nodes].filter(([number, either]) => !either.includes(names.get(number) ?? ''))).toEqual([]);
  });

  test('every file of the folder is built', () => {
    const files = readdirSync(SHIM).filter((name) => name.endsWith('.c'));
    expect(shimSources).toEqual(files.toSorted().map((name) => `native/shim/${name}`));
  });
});
