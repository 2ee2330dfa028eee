import { describe, expect, it } from 'vitest';
import { Errno } from '../../../mock/errno.js';
import { SysfsTree } from '../../../mock/sysfs/tree.js';
import { caught } from '../../conformance/world.js';

const ROOT = 0;
const USER = 1000;

/** The errno that a call is refused with. */
function refusal(call: () => unknown): string {
  const error = caught(call);
  return error instanceof Errno ? error.code : String(error);
}

function tree(): { sysfs: SysfsTree; stored: string[] } {
  const sysfs = new SysfsTree();
  const stored: string[] = [];
  sysfs.attributes('/sys/devices/dsa0', {
    state: { mode: 0o444, show: () => 'enabled' },
    size: { mode: 0o644, show: () => '16', store: (text) => void stored.push(text) },
    bind: { mode: 0o200, store: (text) => void stored.push(text) },
    secret: { mode: 0o400, show: () => 'for root' },
  });
  sysfs.link('/sys/bus/dsa/devices/dsa0', '/sys/devices/dsa0');
  return { sysfs, stored };
}

describe('SysfsTree', () => {
  it('reads through links in any component of the path', () => {
    const { sysfs } = tree();
    sysfs.link('/sys/class/dsa', '/sys/bus/dsa');
    expect(sysfs.read('/sys/class/dsa/devices/dsa0/state', USER)).toBe('enabled');
    expect(sysfs.realpath('/sys/class/dsa/devices/dsa0/state')).toBe('/sys/devices/dsa0/state');
    expect(sysfs.realpath('/')).toBe('/');
  });

  it('lists names, sorted, links among them', () => {
    const { sysfs } = tree();
    expect(sysfs.list('/sys/devices/dsa0')).toEqual(['bind', 'secret', 'size', 'state']);
    expect(sysfs.list('/sys/bus/dsa/devices')).toEqual(['dsa0']);
    expect(sysfs.list('/sys/bus/dsa/devices/dsa0')).toEqual(sysfs.list('/sys/devices/dsa0'));
  });

  it('hands a write to the attribute without its final newline', () => {
    const { sysfs, stored } = tree();
    sysfs.write('/sys/devices/dsa0/size', '32\n', ROOT);
    sysfs.write('/sys/devices/dsa0/size', 'a\nb\n\n', ROOT);
    expect(stored).toEqual(['32', 'a\nb\n']);
  });

  it('honours the modes: root owns everything, others have the last digit', () => {
    const { sysfs, stored } = tree();
    expect(refusal(() => sysfs.write('/sys/devices/dsa0/size', '1', USER))).toBe('EACCES');
    expect(refusal(() => sysfs.write('/sys/devices/dsa0/state', '1', ROOT))).toBe('EACCES');
    expect(refusal(() => sysfs.read('/sys/devices/dsa0/bind', ROOT))).toBe('EACCES');
    expect(refusal(() => sysfs.read('/sys/devices/dsa0/secret', USER))).toBe('EACCES');
    expect(sysfs.read('/sys/devices/dsa0/secret', ROOT)).toBe('for root');
    expect(stored).toEqual([]);
  });

  it('answers as a file system does: ENOENT, ENOTDIR, EISDIR, ELOOP', () => {
    const { sysfs } = tree();
    for (const call of [
      () => sysfs.read('/sys/devices/dsa1/state', ROOT),
      () => sysfs.list('/sys/nothing'),
      () => sysfs.realpath('/sys/nothing'),
      () => sysfs.write('/sys/nothing', '', ROOT),
    ]) {
      expect(refusal(call)).toBe('ENOENT');
    }
    expect(refusal(() => sysfs.list('/sys/devices/dsa0/state'))).toBe('ENOTDIR');
    expect(refusal(() => sysfs.read('/sys/devices/dsa0/state/more', ROOT))).toBe('ENOTDIR');
    expect(refusal(() => sysfs.read('/sys/devices/dsa0', ROOT))).toBe('EISDIR');
    expect(refusal(() => sysfs.write('/sys/devices/dsa0', '', ROOT))).toBe('EISDIR');
    sysfs.link('/sys/a', '/sys/b');
    sysfs.link('/sys/b', '/sys/a');
    expect(refusal(() => sysfs.read('/sys/a', ROOT))).toBe('ELOOP');
  });

  it('a link to nothing does not exist', () => {
    const { sysfs } = tree();
    sysfs.link('/sys/dangling', '/sys/nothing');
    expect(sysfs.exists('/sys/dangling')).toBe(false);
    expect(sysfs.list('/sys')).toContain('dangling');
  });

  it('removes a directory with all it holds, and nothing twice', () => {
    const { sysfs } = tree();
    sysfs.remove('/sys/devices/dsa0');
    sysfs.remove('/sys/devices/dsa0');
    expect(sysfs.exists('/sys/devices/dsa0/state')).toBe(false);
    expect(sysfs.exists('/sys/devices')).toBe(true);
    expect(sysfs.exists('/sys/bus/dsa/devices/dsa0')).toBe(false);
  });

  it('removes a link, not what it points to', () => {
    const { sysfs } = tree();
    sysfs.remove('/sys/bus/dsa/devices/dsa0');
    expect(sysfs.exists('/sys/devices/dsa0/state')).toBe(true);
  });

  it('replaces an attribute, and refuses to make a directory of one', () => {
    const { sysfs } = tree();
    sysfs.attribute('/sys/devices/dsa0/state', { mode: 0o444, show: () => 'halted' });
    expect(sysfs.read('/sys/devices/dsa0/state', USER)).toBe('halted');
    expect(() => sysfs.directory('/sys/devices/dsa0/state/more')).toThrow(TypeError);
  });

  it('an empty directory exists', () => {
    const { sysfs } = tree();
    sysfs.directory('/sys/class/iommu');
    sysfs.directory('/sys/class/iommu');
    expect(sysfs.list('/sys/class/iommu')).toEqual([]);
  });

  it('ignores empty components and single dots', () => {
    const { sysfs } = tree();
    expect(sysfs.read('/sys//devices/./dsa0/state', USER)).toBe('enabled');
  });

  it('what show and store refuse reaches the caller', () => {
    const { sysfs } = tree();
    sysfs.attribute('/sys/failing', {
      mode: 0o644,
      show: () => {
        throw new Errno('ENXIO');
      },
      store: () => {
        throw new Errno('EPERM');
      },
    });
    expect(refusal(() => sysfs.read('/sys/failing', ROOT))).toBe('ENXIO');
    expect(refusal(() => sysfs.write('/sys/failing', '1', ROOT))).toBe('EPERM');
  });
});
