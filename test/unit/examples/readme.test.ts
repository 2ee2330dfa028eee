import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test, vi } from 'vitest';
import { resolveOptions } from '../../../mock/options.js';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
const read = (path: string): string => readFileSync(join(ROOT, path), 'utf8');

const readme = read('README.md');
const manifest: {
  readonly version: string;
  readonly scripts: Readonly<Record<string, string>>;
  readonly dependencies: Readonly<Record<string, string>>;
  readonly devDependencies: Readonly<Record<string, string>>;
} = JSON.parse(read('package.json'));
const blocks = (language: string): string[] =>
  [...readme.matchAll(new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\`$`, 'gms'))].map((match) => match[1] ?? '');

/** The lines from a heading to the next. */
function section(heading: string): string {
  const from = readme.indexOf(`\n${heading}\n`);
  if (from < 0) throw new Error(`README.md has no heading '${heading}'`);
  const to = readme.indexOf('\n#', from + heading.length + 1);
  return readme.slice(from, to);
}

describe('examples', () => {
  const examples = readdirSync(join(ROOT, 'examples')).filter((name) => name.endsWith('.ts'));

  test('every block of TypeScript is a file of examples/, which is compiled, linted and run', () => {
    const sources = examples.map((name) => read(`examples/${name}`));
    expect(blocks('ts')).toHaveLength(2);
    for (const block of blocks('ts')) expect(sources).toContain(block);
  });

  test('usage.ts binds, and has a copy made', async () => {
    vi.stubEnv('INTEL_SVM_BACKEND', 'mock');
    const log = vi.spyOn(console, 'log').mockImplementation(() => undefined);
    await import('../../../examples/usage.js');
    expect(log).toHaveBeenLastCalledWith('status 1, equal: true');
    vi.restoreAllMocks();
    vi.unstubAllEnvs();
  });

  test('machines.ts prints what its comments say', async () => {
    const log = vi.spyOn(console, 'log').mockImplementation(() => undefined);
    await import('../../../examples/machines.js');
    expect(log.mock.calls).toEqual([[false], ['ENOSPC', 1], [0]]);
    vi.restoreAllMocks();
  });
});

describe('tables', () => {
  test('every switch is an option of the mock', () => {
    const settings: Readonly<Record<string, unknown>> = { ...resolveOptions({}) };
    const named = [...section('### Its switches').matchAll(/`([a-zA-Z]+)(?:\.([a-zA-Z0-9]+))?`/g)];
    const devices = read('mock/devices/options.ts');
    const missing = named.filter(([, group = '', name]) => {
      if (name === undefined)
        return !(
          group in settings ||
          devices.includes(` readonly ${group}`) ||
          group === 'legacy' ||
          group === 'modern'
        );
      return !Object.keys(settings[group] ?? {}).includes(name);
    });
    expect(missing.map(([text]) => text)).toEqual([]);
  });

  test('every option of the mock is in the table', () => {
    const settings = resolveOptions({});
    const table = section('### Its switches');
    for (const group of ['svm', 'quirks', 'idxd', 'config', 'caller', 'cpu', 'iommu'] as const) {
      for (const name of Object.keys(settings[group])) expect(table).toContain(`\`${group}.${name}\``);
    }
  });

  test('every dependency has its reason', () => {
    const { dependencies, devDependencies } = manifest;
    const rows = [...section('### Dependencies').matchAll(/^\| (.+?) \| \S/gm)].flatMap((match) =>
      (match[1] ?? '').split(', '),
    );
    const packages = rows.filter((name) => name !== 'package' && name !== 'for development');
    expect(packages.toSorted()).toEqual(Object.keys({ ...dependencies, ...devDependencies }).toSorted());
  });

  test('every kind of fault is named, and every folder is there', () => {
    const kinds = [...read('mock/injections.ts').matchAll(/'([a-z]+-[a-z-]+)'/g)].map((match) => match[1]);
    expect(kinds.length).toBeGreaterThan(0);
    for (const kind of kinds) expect(section('## The mock')).toContain(kind);
    const folders = [...section('## The source').matchAll(/^\| `([\w.]+)\/` \|/gm)].map((match) => match[1] ?? '');
    expect(folders.filter((folder) => !existsSync(join(ROOT, folder)))).toEqual([]);
  });

  test('every command is a script of the package', () => {
    const { scripts, version } = manifest;
    const named = [...readme.matchAll(/npm run (?:--silent )?([\w:]+)/g)].map((match) => match[1] ?? '');
    expect(named.filter((name) => !(name in scripts))).toEqual([]);
    expect(readme).toContain(`intel-svm-${version}.tgz`);
    expect(blocks('sh').slice(0, 2)).toEqual(['npm ci && npm run demo\n', 'npm test\n']);
  });
});
