/**
 * The tables of lib/abi against the kernel's own headers: a C program is written from the tables, compiled and run, and
 * what it prints is compared with them.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, type TestContext } from 'vitest';
import { CMD_STATUSES, CMD_STATUS_SOFTERR_MASK } from '../../lib/abi/cmd-status.js';
import { COMPLETION_STATUSES, STATUS_MASK, STATUS_WRITE_FAULT } from '../../lib/abi/completion-status.js';
import { DESC_FLAG } from '../../lib/abi/descriptor-flags.js';
import { DSA_COMPLETION, DSA_DESCRIPTOR, DSA_OPCODE } from '../../lib/abi/dsa.js';
import { ERRNO } from '../../lib/abi/errno.js';
import { IAX_COMPLETION, IAX_DESCRIPTOR, IAX_OPCODE } from '../../lib/abi/iax.js';
import type { Field, Layout } from '../../lib/abi/layout.js';
import {
  HISI_QM_API,
  HISI_QP_CTX,
  HISI_QP_INFO,
  UACCE_CMD_PUT_Q,
  UACCE_CMD_QM_SET_QP_CTX,
  UACCE_CMD_QM_SET_QP_INFO,
  UACCE_CMD_START_Q,
  UACCE_DEV_SVA,
  UACCE_REGION,
} from '../../lib/abi/uacce.js';

const HEADERS = [
  'linux/version.h',
  'linux/idxd.h',
  'misc/uacce/uacce.h',
  'misc/uacce/hisi_qm.h',
  'asm-generic/errno.h',
] as const;

/** The oldest header that must have every name of the tables which is not in one of the next two lists. */
const OLDEST = [6, 1] as const;
/** The newest header that was read: up to here the tables must have every name of the header. */
const NEWEST = [7, 2] as const;

/** Names that came after v6.1; a header of v6.12 must have them. */
const SINCE_6_12: ReadonlySet<string> = new Set([
  'DSA_OPCODE_TRANSL_FETCH',
  'DSA_OPCODE_DIX_GEN',
  'DSA_COMP_DRAIN_EVL',
  'DSA_COMP_BATCH_EVL_ERR',
  'IDXD_SCMD_DEV_EVL_ERR',
  'IDXD_SCMD_WQ_NO_DRV_NAME',
  'dsa_hw_desc.pattern_lower',
  'dsa_hw_desc.pattern_upper',
  'dsa_hw_desc.transl_fetch_addr',
  'dsa_hw_desc.transl_fetch_res',
  'dsa_hw_desc.region_size',
  'dsa_hw_desc.region_stride',
  'dsa_hw_desc.dix_gen_res',
  'dsa_hw_desc.dix_gen_res2',
  'dsa_hw_desc.dest_dif_flags',
  'dsa_hw_desc.dif_flags',
  'dsa_hw_desc.ref_tag_seed',
  'dsa_hw_desc.app_tag_mask',
  'dsa_hw_desc.app_tag_seed',
  'dsa_completion_record.fault_info',
  'dsa_completion_record.descs_completed',
  'dsa_completion_record.dix_gen_res',
  'dsa_completion_record.dix_ref_tag',
  'dsa_completion_record.dix_app_tag_mask',
  'dsa_completion_record.dix_app_tag',
  'iax_completion_record.fault_info',
]);

/** Names that a header of any version may lack, and why the tables have them nevertheless. */
const NOT_IN_EVERY_HEADER: Readonly<Record<string, string>> = {
  IAX_COMP_PAGE_FAULT_NOBOF: 'the device reports it, the enum does not have it',
  ENOTSUPP: 'internal to the kernel',
  HISI_QM_API_VER5_BASE: 'came with a queue manager newer than v6.12',
};

/** Names of the headers that the tables leave out. */
const NOT_IN_TABLES: ReadonlySet<string> = new Set([
  // Their extent differs between versions.
  'dsa_completion_record.rsvd',
  'iax_completion_record.rsvd',
  // A number of bits, of no use without the driver.
  'IDXD_SCMD_SOFTERR_SHIFT',
]);

/** The declaration of a layout, without its accessors. */
type Declaration = Pick<Layout, 'name' | 'size' | 'fields'>;

const LAYOUTS: readonly Declaration[] = [
  DSA_DESCRIPTOR,
  DSA_COMPLETION,
  IAX_DESCRIPTOR,
  IAX_COMPLETION,
  HISI_QP_CTX,
  HISI_QP_INFO,
];

/** One statement about the headers. */
interface Claim {
  readonly group: string;
  /** The C name that it is about; `struct.member` for a member. */
  readonly name: string;
  readonly what: string;
  /** A C expression, and what it must be: an integer, or a string. */
  readonly c: string;
  readonly value: string;
}

const claim = (group: string, name: string, what: string, c: string, value: number | string): Claim => ({
  group,
  name,
  what,
  c,
  value: String(value),
});

const constant = (group: string, name: string, value: number | string): Claim => claim(group, name, name, name, value);

const constants = (group: string, prefix: string, table: Readonly<Record<string, number>>): Claim[] =>
  Object.entries(table).map(([name, value]) => constant(group, `${prefix}${name}`, value));

/** A bit-field has no offset in C: all its bits are set, and the word of the struct that then changes is read. */
function fieldClaims(layout: Declaration, field: Field): Claim[] {
  const { member, offset, size } = field;
  if (member === undefined) return [];
  const struct = `struct ${layout.name}`;
  const name = `${layout.name}.${member}`;
  if (field.kind === 'number' && field.mask !== 256 ** size - 1) {
    const allOnes = (field.mask << field.shift) >>> 0;
    return [
      claim(
        'bit-fields',
        name,
        name,
        `({ ${struct} s; memset(&s, 0, sizeof s); s.${member} -= 1; word(&s, ${offset}); })`,
        allOnes,
      ),
    ];
  }
  return [
    claim('offsets', name, `offsetof ${name}`, `offsetof(${struct}, ${member})`, offset),
    claim('sizes of members', name, `sizeof ${name}`, `sizeof(((${struct} *)0)->${member})`, size),
  ];
}

const CLAIMS: readonly Claim[] = [
  ...LAYOUTS.map(({ name, size }) => claim('sizes of structs', name, `sizeof ${name}`, `sizeof(struct ${name})`, size)),
  ...LAYOUTS.flatMap((layout) => Object.values(layout.fields).flatMap((field) => fieldClaims(layout, field))),
  ...constants('opcodes', 'DSA_OPCODE_', DSA_OPCODE),
  ...constants('opcodes', 'IAX_OPCODE_', IAX_OPCODE),
  ...constants('descriptor flags', 'IDXD_OP_FLAG_', DESC_FLAG),
  ...COMPLETION_STATUSES.flatMap(({ appliesTo, symbol, code }) =>
    appliesTo.map((device) => constant('completion status', `${device.toUpperCase()}_COMP_${symbol}`, code)),
  ),
  constant('completion status', 'DSA_COMP_STATUS_MASK', STATUS_MASK),
  constant('completion status', 'DSA_COMP_STATUS_WRITE', STATUS_WRITE_FAULT),
  ...CMD_STATUSES.filter(({ source }) => source === 'driver').map(({ symbol, value }) =>
    constant('command status', `IDXD_SCMD_${symbol}`, value),
  ),
  constant('command status', 'IDXD_SCMD_SOFTERR_MASK', CMD_STATUS_SOFTERR_MASK),
  ...constants('uacce', 'UACCE_CMD_', {
    START_Q: UACCE_CMD_START_Q,
    PUT_Q: UACCE_CMD_PUT_Q,
    QM_SET_QP_CTX: UACCE_CMD_QM_SET_QP_CTX,
    QM_SET_QP_INFO: UACCE_CMD_QM_SET_QP_INFO,
  }),
  ...constants('uacce', 'UACCE_QFRT_', UACCE_REGION),
  constant('uacce', 'UACCE_DEV_SVA', UACCE_DEV_SVA),
  ...Object.entries(HISI_QM_API).map(([name, api]) => constant('uacce', `HISI_QM_API_${name}_BASE`, api)),
  ...constants('errno', '', ERRNO),
];

const GROUPS: readonly string[] = [...new Set(CLAIMS.map(({ group }) => group))];

/** The headers as the compiler sees them. */
interface Headers {
  /** Version of the kernel that they come from. */
  readonly version: readonly [number, number];
  /** Every name that the tables could have: constants, and `struct.member`. */
  readonly names: ReadonlySet<string>;
}

/** The constants that the tables are about. */
const CONSTANT = /^(?:(?:DSA_OPCODE|IAX_OPCODE|DSA_COMP|IAX_COMP|IDXD_SCMD|IDXD_OP_FLAG|UACCE|HISI_QM)_|E[A-Z\d]+$)/;

const includes = HEADERS.map((header) => `#include <${header}>`).join('\n');

const preprocess = (source: string, ...options: readonly string[]): string =>
  execFileSync('cc', ['-E', '-P', '-x', 'c', ...options, '-'], { input: source, encoding: 'utf8', maxBuffer: 2 ** 24 });

/** Why the headers cannot be compared here; `undefined` if they can. */
function obstacle(): string | undefined {
  if (spawnSync('cc', ['--version']).status !== 0) return 'no C compiler: cc is not on PATH';
  for (const header of HEADERS) {
    const { status } = spawnSync('cc', ['-fsyntax-only', '-x', 'c', '-'], { input: `#include <${header}>\n` });
    if (status !== 0) return `<${header}> is missing: install the kernel headers (Debian: linux-libc-dev)`;
  }
  return undefined;
}

/** The text between the braces of a struct; empty where it is not defined. */
function bodyOf(text: string, struct: string): string {
  const opening = new RegExp(`\\bstruct\\s+${struct}\\s*\\{`).exec(text);
  if (opening === null) return '';
  const start = opening.index + opening[0].length;
  let end = start;
  for (let depth = 1; depth > 0 && end < text.length; end += 1) {
    if (text[end] === '{') depth += 1;
    if (text[end] === '}') depth -= 1;
  }
  return text.slice(start, end - 1);
}

const firsts = (text: string, pattern: RegExp): string[] => [...text.matchAll(pattern)].map((match) => match[1] ?? '');

function readHeaders(): Headers {
  const code = Number(/^(\d+)$/m.exec(preprocess('#include <linux/version.h>\nLINUX_VERSION_CODE\n'))?.[1]);
  const text = preprocess(includes);
  const macros = firsts(preprocess(includes, '-dM'), /^#define (\w+) /gm);
  const enumerators = firsts(text, /\benum\s+\w+\s*\{([^}]*)\}/g).flatMap((body) =>
    firsts(body, /(\w+)\s*(?:=[^,]*)?(?:,|$)/g),
  );
  const members = LAYOUTS.flatMap(({ name }) =>
    firsts(bodyOf(text, name), /(\w+)\s*(?:\[\d+\]|:\s*\d+)?\s*;/g).map((member) => `${name}.${member}`),
  );
  const structs = LAYOUTS.map(({ name }) => name).filter((name) => bodyOf(text, name) !== '');
  return {
    version: [code >> 16, (code >> 8) & 0xff],
    names: new Set([...macros, ...enumerators].filter((name) => CONSTANT.test(name)).concat(structs, members)),
  };
}

/** Compiles and runs a program that prints one line for each claim. */
function evaluate(claims: readonly Claim[], directory: string): string[] {
  const statements = claims.map(({ c, value }) =>
    /^\d+$/.test(value) ? `  printf("%lld\\n", (long long)(${c}));` : `  printf("%s\\n", ${c});`,
  );
  const source = join(directory, 'abi.c');
  const program = join(directory, 'abi');
  writeFileSync(
    source,
    `#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
${includes}
#define BIT(n) (1UL << (n))
static uint32_t word(const void *base, size_t offset) {
  uint32_t value;
  memcpy(&value, (const char *)base + offset, sizeof value);
  return value;
}
int main(void) {
${statements.join('\n')}
  return 0;
}
`,
  );
  execFileSync('cc', ['-std=gnu11', '-Wall', '-Werror', '-Wno-unused-function', '-o', program, source]);
  return execFileSync(program, { encoding: 'utf8' }).trimEnd().split('\n');
}

const isBefore = ([major, minor]: readonly [number, number], other: readonly [number, number]): boolean =>
  major < other[0] || (major === other[0] && minor < other[1]);

describe('lib/abi against the kernel headers', () => {
  let reason: string | undefined;
  let headers: Headers = { version: [0, 0], names: new Set() };
  const actual = new Map<Claim, string>();
  let directory: string | undefined;

  beforeAll(() => {
    reason = obstacle();
    if (reason !== undefined) return;
    headers = readHeaders();
    const version = headers.version.join('.');
    if (isBefore(headers.version, OLDEST)) {
      reason = `the kernel headers are of v${version}, the tables need those of v${OLDEST.join('.')} or later`;
      return;
    }
    const present = CLAIMS.filter(({ name }) => headers.names.has(name));
    directory = mkdtempSync(join(tmpdir(), 'intel-svm-abi-'));
    for (const [index, line] of evaluate(present, directory).entries()) {
      const about = present[index];
      if (about !== undefined) actual.set(about, line);
    }
    const lacking = new Set(CLAIMS.map(({ name }) => name).filter((name) => !headers.names.has(name)));
    console.info(
      `kernel headers v${version}: ${actual.size} of ${CLAIMS.length} facts compared; the headers lack ${lacking.size} names: ${[...lacking].join(' ')}`,
    );
  });

  afterAll(() => {
    if (directory !== undefined) rmSync(directory, { recursive: true });
    if (reason !== undefined) console.info(`not compared: ${reason}`);
  });

  const needsHeaders = (context: TestContext): void => context.skip(reason !== undefined, reason);

  it.for(GROUPS)('%s', (group, context) => {
    needsHeaders(context);
    const compared = CLAIMS.filter((about) => about.group === group && actual.has(about));
    expect(compared).not.toHaveLength(0);
    expect(Object.fromEntries(compared.map((about) => [about.what, actual.get(about)]))).toEqual(
      Object.fromEntries(compared.map((about) => [about.what, about.value])),
    );
  });

  it('the headers have every name that they should have', (context) => {
    needsHeaders(context);
    const mayLack = new Set(Object.keys(NOT_IN_EVERY_HEADER));
    if (isBefore(headers.version, [6, 12])) for (const name of SINCE_6_12) mayLack.add(name);
    const missing = CLAIMS.map(({ name }) => name).filter((name) => !headers.names.has(name) && !mayLack.has(name));
    expect(missing).toEqual([]);
  });

  it('the tables have every name of the headers', (context) => {
    needsHeaders(context);
    context.skip(isBefore(NEWEST, headers.version), `headers newer than v${NEWEST.join('.')} may have more names`);
    const ours = new Set(CLAIMS.map(({ name }) => name));
    const unknown = [...headers.names].filter((name) => !ours.has(name) && !NOT_IN_TABLES.has(name));
    expect(unknown).toEqual([]);
  });

  it('the lists of exceptions name only what the tables have', () => {
    const ours = new Set(CLAIMS.map(({ name }) => name));
    expect([...SINCE_6_12, ...Object.keys(NOT_IN_EVERY_HEADER)].filter((name) => !ours.has(name))).toEqual([]);
  });
});
