import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { Roots } from 'intel-svm';

/** A machine's /dev, /sys and /proc in a temporary folder. */
export class FixtureRoots implements Disposable {
  readonly roots: Roots;
  readonly #folder = mkdtempSync(join(tmpdir(), 'intel-svm-roots-'));

  constructor() {
    this.roots = {
      dev: join(this.#folder, 'dev'),
      sys: join(this.#folder, 'sys'),
      proc: join(this.#folder, 'proc'),
    };
    for (const place of Object.values(this.roots)) mkdirSync(place);
  }

  /** Writes a file, given by its usual name: '/sys/bus/dsa/devices/dsa0/state'. */
  file(path: string, text: string): void {
    const place = join(this.#folder, path);
    mkdirSync(dirname(place), { recursive: true });
    writeFileSync(place, text);
  }

  /** Makes a symbolic link to a file of the fixture, both given by their usual names. */
  link(path: string, target: string): void {
    this.#link(path, join(this.#folder, target));
  }

  /** Makes a device node that is a device of this machine, such as '/dev/null'. */
  node(path: string, device: string): void {
    this.#link(path, device);
  }

  /** An enabled user work queue of a DSA. */
  workQueue(name: string, attributes: Readonly<Record<string, string>> = {}): void {
    const accelerator = `dsa${name.slice(2).split('.')[0]}`;
    const directory = `/sys/devices/pci0000:6a/0000:6a:01.0/${accelerator}`;
    const defaults = {
      state: 'enabled',
      type: 'user',
      mode: 'dedicated',
      size: '16',
      max_transfer_size: '2097152',
      block_on_fault: '0',
    };
    for (const [attribute, text] of Object.entries({ ...defaults, ...attributes })) {
      this.file(`${directory}/${name}/${attribute}`, `${text}\n`);
    }
    this.file(`${directory}/numa_node`, '1\n');
    this.link(`/sys/bus/dsa/devices/${name}`, `${directory}/${name}`);
    try {
      this.link(`/sys/bus/dsa/devices/${accelerator}`, directory);
    } catch (error) {
      // A second queue of the same device.
      if (!(error instanceof Error) || !('code' in error) || error.code !== 'EEXIST') throw error;
    }
  }

  #link(path: string, target: string): void {
    const place = join(this.#folder, path);
    mkdirSync(dirname(place), { recursive: true });
    symlinkSync(target, place);
  }

  [Symbol.dispose](): void {
    rmSync(this.#folder, { recursive: true });
  }
}
