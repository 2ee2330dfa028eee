/**
 * The shim without Node: each program `NAME_test.c` of this folder is compiled together with the shim as strict C11, and
 * run, plainly and under the sanitizers. It prints the checks that failed.
 */

import { readdirSync, readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { C_FLAGS, CC, missingTool, ROOT, run, temporaryDirectory, type Run } from '../tools.js';
import { compile, missingSanitizer, objectOf, SANITIZERS } from '../c-programs.js';

const HERE = join(ROOT, 'test/native/shim');
const SHIM = join(ROOT, 'native/shim');
const CROSS_CC = 'aarch64-linux-gnu-gcc';
const TIMEOUT = 60_000;

const sources = readFileSync(join(ROOT, 'native/sources.txt'), 'utf8').trim().split('\n');
const shimSources = sources.filter((source) => source.startsWith('native/shim/'));
const programs = readdirSync(HERE).filter((name) => name.endsWith('_test.c'));
const noCompiler = missingTool(CC);

/** The whole shim. */
const shimObject = (flags: readonly string[]): string =>
  objectOf(
    'shim',
    shimSources.map((source) => join(ROOT, source)),
    flags,
  );

/** Compiles the program, links it with the shim and runs it. */
function compileAndRun(program: string, flags: readonly string[] = []): Run {
  const executable = join(temporaryDirectory(), 'test');
  compile([...flags, '-I', SHIM, '-o', executable, join(HERE, program), shimObject(flags)]);
  return run(executable, []);
}

/** The instructions of a source file of the shim, as objdump reads the object file: mnemonic and operands. */
function disassembly(source: string): string[] {
  const object = join(temporaryDirectory(), 'object.o');
  compile(['-O2', '-c', '-o', object, join(SHIM, source)]);
  const { stdout } = run('objdump', ['--disassemble', '--no-show-raw-insn', object]);
  return [...stdout.matchAll(/^\s+[\da-f]+:\s+(\S.*?)\s*$/gm)].map(([, text = '']) => text.replaceAll(/\s+/g, ' '));
}

describe('the shim in plain C11', () => {
  test.for(programs)('%s', { timeout: TIMEOUT }, (program, ctx) => {
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

describe.each(SANITIZERS)('the shim under -fsanitize=$name', (sanitizer) => {
  const noSanitizer = missingSanitizer(sanitizer);

  test.for(programs)('%s', { timeout: TIMEOUT }, (program, ctx) => {
    ctx.skip(noSanitizer !== undefined, noSanitizer);
    expect(compileAndRun(program, sanitizer.flags)).toMatchObject({ status: 0, stderr: '' });
  });
});

describe('instructions spelt out in bytes are read back by the disassembler', () => {
  const obstacle = process.arch === 'x64' ? (noCompiler ?? missingTool('objdump')) : 'they are of x86-64';

  // ENQCMDS (F3) would be the kernel's.
  test('stores to a portal', (ctx) => {
    ctx.skip(obstacle !== undefined, obstacle);
    const stores = disassembly('portal.c').filter((text) => /^(?:movdir|enqcmd)/.test(text));
    expect(stores.toSorted()).toEqual(['enqcmd (%rdx),%rax', 'movdir64b (%rdx),%rax']);
  });

  test('a fence stands before each of them', (ctx) => {
    ctx.skip(obstacle !== undefined, obstacle);
    const order = disassembly('portal.c').filter((text) => /^(?:movdir|enqcmd|sfence)/.test(text));
    expect(order.map((text) => text.split(' ')[0])).toEqual(['sfence', 'movdir64b', 'sfence', 'enqcmd']);
  });

  test('waits', (ctx) => {
    ctx.skip(obstacle !== undefined, obstacle);
    const waits = disassembly('waiter.c').filter((text) => /^(?:umonitor|umwait|tpause)/.test(text));
    expect(new Set(waits)).toEqual(new Set(['umonitor %rax', 'umwait %ecx', 'tpause %ecx']));
  });
});

describe('on an architecture without portals', () => {
  const obstacle = missingTool(CROSS_CC);

  test('everything compiles for aarch64', { timeout: TIMEOUT }, (ctx) => {
    ctx.skip(obstacle !== undefined, obstacle);
    const inputs = [...shimSources, ...programs.map((program) => `test/native/shim/${program}`)];
    const directory = temporaryDirectory();
    for (const [index, input] of inputs.entries()) {
      const output = join(directory, `${index}.o`);
      const flags = [...C_FLAGS, '-O2', '-I', SHIM, '-c', '-o', output];
      expect(run(CROSS_CC, [...flags, join(ROOT, input)])).toEqual({ status: 0, stdout: '', stderr: '' });
    }
  });
});
