import { describe, expect, it } from 'vitest';
import { Errno } from '../../../mock/errno.js';
import { AddressSpace, type MmNotifier } from '../../../mock/mm/address-space.js';
import { BufferMap } from '../../../mock/mm/buffers.js';
import { OwnedMemory } from '../../../mock/mm/memory.js';
import { PAGE_SIZE, pageNumber } from '../../../mock/mm/page.js';
import { Random } from '../../../mock/random.js';
import { caught } from '../../conformance/world.js';

const KIB = 1024;
const STACK = 132 * KIB;
const STACK_LIMIT = 8 * KIB * KIB;
const GUARD_GAP = KIB * KIB;

const newSpace = (seed = 1): AddressSpace => new AddressSpace(new Random(seed));
const memory = (pages: number): OwnedMemory => new OwnedMemory(new Uint8Array(pages * PAGE_SIZE));
/** The errno that a call is refused with. */
function refusal(call: () => unknown): string {
  const error = caught(call);
  return error instanceof Errno ? error.code : String(error);
}

/** Ranges in pages from `base` on, with their rights. */
function layout(mm: AddressSpace, base: number): [first: number, end: number, protection: string][] {
  const inPages = (address: number): number => (address - base) / PAGE_SIZE;
  return [...mm.vmas]
    .filter(({ end }) => end > base && end <= base + 100 * PAGE_SIZE)
    .map(({ start, end, protection }) => [inPages(start), inPages(end), protection]);
}

const stackStart = (mm: AddressSpace): number => mm.vmas.lookup(mm.stack.top - 1)?.start ?? 0;

const recorder = (): { notifier: MmNotifier; events: string[] } => {
  const events: string[] = [];
  return {
    events,
    notifier: {
      invalidateRange: (first, last) => void events.push(`${first}..${last}`),
      release: () => void events.push('release'),
    },
  };
};

const operand = (buffer: ArrayBufferLike, byteOffset = 0) => ({
  buffer,
  byteOffset,
  byteLength: buffer.byteLength - byteOffset,
});

const addresses = (seed: number): number[] => {
  const mm = newSpace(seed);
  return [mm.map(memory(1), 1), mm.map(memory(2), 5000), mm.stack.top];
};

describe('mmap, munmap, mprotect', () => {
  it('addresses are page-aligned, in the mmap area of 47 bits, and never used twice', () => {
    const mm = newSpace();
    const seen = new Set<number>();
    for (let times = 0; times < 100; times += 1) {
      const address = mm.map(memory(1), PAGE_SIZE);
      expect(address % PAGE_SIZE).toBe(0);
      expect(address).toBeGreaterThanOrEqual(0x7000_0000_0000);
      expect(address).toBeLessThan(2 ** 47);
      expect(seen.has(address)).toBe(false);
      seen.add(address);
      mm.unmap(address, PAGE_SIZE);
    }
  });

  it('the same seed gives the same addresses, another seed others', () => {
    expect(addresses(5)).toEqual(addresses(5));
    expect(addresses(5)).not.toEqual(addresses(6));
  });

  it('a page stays free behind each mapping: running off its end faults', () => {
    const mm = newSpace();
    const first = mm.map(memory(1), PAGE_SIZE);
    mm.map(memory(1), PAGE_SIZE);
    mm.touch(first, PAGE_SIZE, true);
    expect(refusal(() => mm.touch(first, PAGE_SIZE + 1, false))).toBe('EFAULT');
  });

  it('munmap in the middle splits a mapping; both ends keep their bytes', () => {
    const mm = newSpace();
    const base = mm.map(memory(5), 5 * PAGE_SIZE);
    mm.write(
      base,
      Uint8Array.from({ length: 5 * PAGE_SIZE }, (_, index) => index / PAGE_SIZE + 1),
    );
    mm.unmap(base + 2 * PAGE_SIZE, PAGE_SIZE);
    expect(layout(mm, base)).toEqual([
      [0, 2, 'read-write'],
      [3, 5, 'read-write'],
    ]);
    expect([
      ...mm.read(base + PAGE_SIZE, 1),
      ...mm.read(base + 3 * PAGE_SIZE, 1),
      ...mm.read(base + 4 * PAGE_SIZE, 1),
    ]).toEqual([2, 4, 5]);
    expect(refusal(() => mm.read(base + 2 * PAGE_SIZE, 1))).toBe('EFAULT');
  });

  it('munmap over several mappings and the holes between them', () => {
    const mm = newSpace();
    const base = mm.map(memory(2), 2 * PAGE_SIZE);
    mm.map(memory(2), 2 * PAGE_SIZE);
    mm.map(memory(2), 2 * PAGE_SIZE);
    mm.unmap(base + PAGE_SIZE, 6 * PAGE_SIZE);
    expect(layout(mm, base)).toEqual([
      [0, 1, 'read-write'],
      [7, 8, 'read-write'],
    ]);
  });

  it('munmap of what is not mapped is no error; of a crooked address EINVAL', () => {
    const mm = newSpace();
    const before = mm.vmas.size;
    mm.unmap(0x1000, PAGE_SIZE);
    expect(mm.vmas.size).toBe(before);
    expect(refusal(() => mm.unmap(0x1001, PAGE_SIZE))).toBe('EINVAL');
    expect(refusal(() => mm.unmap(0x1000, 0))).toBe('EINVAL');
  });

  it('mprotect of a part splits, and each part has its rights', () => {
    const mm = newSpace();
    const base = mm.map(memory(4), 4 * PAGE_SIZE);
    mm.protect(base + PAGE_SIZE, PAGE_SIZE, 'read');
    mm.protect(base + 3 * PAGE_SIZE, PAGE_SIZE, 'none');
    expect(layout(mm, base)).toEqual([
      [0, 1, 'read-write'],
      [1, 2, 'read'],
      [2, 3, 'read-write'],
      [3, 4, 'none'],
    ]);
    mm.touch(base, PAGE_SIZE, true);
    mm.touch(base + PAGE_SIZE, PAGE_SIZE, false);
    expect(refusal(() => mm.touch(base + PAGE_SIZE, 1, true))).toBe('EFAULT');
    mm.touch(base + 2 * PAGE_SIZE, PAGE_SIZE, true);
    expect(refusal(() => mm.touch(base + 3 * PAGE_SIZE, 1, false))).toBe('EFAULT');
  });

  it('mprotect over parts of different rights makes them alike', () => {
    const mm = newSpace();
    const base = mm.map(memory(3), 3 * PAGE_SIZE);
    mm.protect(base + PAGE_SIZE, PAGE_SIZE, 'none');
    mm.protect(base, 3 * PAGE_SIZE, 'read-write');
    mm.touch(base, 3 * PAGE_SIZE, true);
    expect(layout(mm, base).every(([, , protection]) => protection === 'read-write')).toBe(true);
  });

  it('mprotect of a range with a hole is ENOMEM and changes nothing', () => {
    const mm = newSpace();
    const base = mm.map(memory(3), 3 * PAGE_SIZE);
    mm.unmap(base + PAGE_SIZE, PAGE_SIZE);
    expect(refusal(() => mm.protect(base, 3 * PAGE_SIZE, 'read'))).toBe('ENOMEM');
    expect(refusal(() => mm.protect(base + 1, PAGE_SIZE, 'read'))).toBe('EINVAL');
    mm.touch(base, 1, true);
  });

  it('contents survive mprotect to nothing and back', () => {
    const mm = newSpace();
    const base = mm.map(memory(1), PAGE_SIZE);
    mm.write(base + 10, Uint8Array.of(1, 2, 3));
    mm.protect(base, PAGE_SIZE, 'none');
    expect(mm.walk(pageNumber(base))).toBeUndefined();
    mm.protect(base, PAGE_SIZE, 'read');
    expect([...mm.read(base + 10, 3)]).toEqual([1, 2, 3]);
  });

  it('mprotect to nothing keeps page table entries: a page of zeros that was there is there again', () => {
    const mm = newSpace();
    const base = mm.map(memory(2), 2 * PAGE_SIZE);
    mm.touch(base, 1, true);
    const page = mm.walk(pageNumber(base));
    mm.protect(base, 2 * PAGE_SIZE, 'none');
    expect(page?.present).toBe(false);
    expect(mm.walk(pageNumber(base))).toBeUndefined();
    mm.protect(base, 2 * PAGE_SIZE, 'read-write');
    expect(mm.walk(pageNumber(base))).toMatchObject({ present: true, writable: true });
    expect(mm.walk(pageNumber(base) + 1)).toBeUndefined();
  });

  it('a child of memory without rights has none either; with rights again, the first write of each faults', () => {
    const mm = newSpace();
    const base = mm.map(memory(1), PAGE_SIZE);
    mm.touch(base, 1, true);
    mm.protect(base, PAGE_SIZE, 'none');
    const child = newSpace();
    mm.fork(child);
    expect(child.walk(pageNumber(base))).toBeUndefined();
    for (const space of [mm, child]) {
      space.protect(base, PAGE_SIZE, 'read-write');
      expect(space.walk(pageNumber(base))).toMatchObject({ present: true, writable: false });
    }
  });

  it('fork hands on tagged pointers and the promise about them', () => {
    const mm = newSpace();
    mm.lam = true;
    mm.forceTaggedSva = true;
    const child = newSpace();
    mm.fork(child);
    expect(child).toMatchObject({ lam: true, forceTaggedSva: true });
  });

  it('reads and writes cross pages', () => {
    const mm = newSpace();
    const base = mm.map(memory(3), 3 * PAGE_SIZE);
    const bytes = Uint8Array.from({ length: 2 * PAGE_SIZE }, (_, index) => index * 31);
    mm.write(base + 100, bytes);
    expect(mm.read(base + 100, bytes.length)).toEqual(bytes);
  });

  it('a write that runs into a fault has written what came before', () => {
    const mm = newSpace();
    const base = mm.map(memory(2), 2 * PAGE_SIZE);
    mm.protect(base + PAGE_SIZE, PAGE_SIZE, 'read');
    expect(refusal(() => mm.write(base + PAGE_SIZE - 2, Uint8Array.of(1, 2, 3, 4)))).toBe('EFAULT');
    expect([...mm.read(base + PAGE_SIZE - 2, 4)]).toEqual([1, 2, 0, 0]);
  });
});

describe('pages', () => {
  it('fresh memory is not present until it is touched', () => {
    const mm = newSpace();
    const base = mm.map(memory(2), 2 * PAGE_SIZE);
    expect(mm.walk(pageNumber(base))).toBeUndefined();
    mm.touch(base, 1, false);
    expect(mm.walk(pageNumber(base))).toMatchObject({ present: true });
    expect(mm.walk(pageNumber(base) + 1)).toBeUndefined();
  });

  it('a byte other than zero can only have come from the CPU: its page is present', () => {
    const mm = newSpace();
    const bytes = new Uint8Array(2 * PAGE_SIZE);
    const base = mm.map(new OwnedMemory(bytes), bytes.length);
    bytes[PAGE_SIZE + 7] = 1;
    expect(mm.walk(pageNumber(base))).toBeUndefined();
    expect(mm.walk(pageNumber(base) + 1)).toMatchObject({ present: true, writable: true });
  });

  it('evicted pages keep their contents and fault again', () => {
    const mm = newSpace();
    const base = mm.map(memory(1), PAGE_SIZE);
    mm.write(base, Uint8Array.of(9));
    const page = mm.walk(pageNumber(base));
    mm.evict(base, PAGE_SIZE);
    expect(page?.present).toBe(false);
    expect(mm.walk(pageNumber(base))).toBeUndefined();
    expect([...mm.read(base, 1)]).toEqual([9]);
    expect(mm.walk(pageNumber(base))).toMatchObject({ present: true });
  });

  it('an unmapped page says so to whoever cached it', () => {
    const mm = newSpace();
    const base = mm.map(memory(1), PAGE_SIZE);
    mm.touch(base, 1, true);
    const page = mm.walk(pageNumber(base));
    mm.unmap(base, PAGE_SIZE);
    expect(page?.present).toBe(false);
  });
});

describe('the stack', () => {
  it('is mapped, and grows for the CPU page by page or by leaps', () => {
    const mm = newSpace();
    expect(mm.stack.top - stackStart(mm)).toBe(STACK);
    const below = stackStart(mm) - 3 * PAGE_SIZE;
    mm.write(below, Uint8Array.of(7));
    expect(stackStart(mm)).toBe(below);
    expect([...mm.read(below, 1)]).toEqual([7]);
  });

  it('keeps its contents when it grows', () => {
    const mm = newSpace();
    const at = stackStart(mm);
    mm.write(at, Uint8Array.of(1, 2, 3));
    mm.write(at - 10 * PAGE_SIZE, Uint8Array.of(4));
    expect([...mm.read(at, 3)]).toEqual([1, 2, 3]);
  });

  it('does not grow when nobody asks for it', () => {
    const mm = newSpace();
    expect(mm.findVma(stackStart(mm) - 1, false)).toBeUndefined();
    expect(mm.findVma(stackStart(mm) - 1, true)).toMatchObject({ growsDown: true });
  });

  it('ends at its limit', () => {
    const mm = newSpace();
    const limit = mm.stack.top - STACK_LIMIT;
    expect(refusal(() => mm.touch(limit - 1, 1, true))).toBe('EFAULT');
    expect(mm.stack.top - stackStart(mm)).toBe(STACK);
    mm.touch(limit, 1, true);
    expect(stackStart(mm)).toBe(limit);
  });

  it('keeps a gap of 256 pages to what is mapped below it', () => {
    const mm = newSpace();
    const neighbour = { start: stackStart(mm) - 2 * GUARD_GAP, end: stackStart(mm) - 2 * GUARD_GAP + PAGE_SIZE };
    mm.vmas.insert({
      ...neighbour,
      protection: 'read-write',
      executable: false,
      memory: memory(1),
      offset: 0,
      growsDown: false,
      residency: 'by-content',
      copyOnWrite: false,
    });
    expect(refusal(() => mm.touch(neighbour.end + GUARD_GAP - 1, 1, true))).toBe('EFAULT');
    mm.touch(neighbour.end + GUARD_GAP, 1, true);
    expect(stackStart(mm)).toBe(neighbour.end + GUARD_GAP);
  });
});

describe('fork', () => {
  it('the child has the same bytes at the same addresses, and each its own from then on', () => {
    const parent = newSpace();
    const base = parent.map(memory(2), 2 * PAGE_SIZE);
    parent.write(base, Uint8Array.of(1, 2));
    const child = newSpace(2);
    parent.fork(child);
    expect([...child.read(base, 2)]).toEqual([1, 2]);
    child.write(base, Uint8Array.of(3));
    parent.write(base + 1, Uint8Array.of(4));
    expect([...parent.read(base, 2)]).toEqual([1, 4]);
    expect([...child.read(base, 2)]).toEqual([3, 2]);
  });

  it('present pages become read-only on both sides until the next write', () => {
    const parent = newSpace();
    const base = parent.map(memory(1), PAGE_SIZE);
    parent.write(base, Uint8Array.of(1));
    const child = newSpace(2);
    parent.fork(child);
    for (const mm of [parent, child]) {
      expect(mm.walk(pageNumber(base))).toMatchObject({ present: true, writable: false });
      mm.touch(base, 1, false);
      expect(mm.walk(pageNumber(base))).toMatchObject({ writable: false });
      mm.touch(base, 1, true);
      expect(mm.walk(pageNumber(base))).toMatchObject({ writable: true });
    }
  });

  it('parts of one mapping stay parts of one copy', () => {
    const parent = newSpace();
    const base = parent.map(memory(3), 3 * PAGE_SIZE);
    parent.write(base, new Uint8Array(3 * PAGE_SIZE).fill(5));
    parent.protect(base + PAGE_SIZE, PAGE_SIZE, 'read');
    const child = newSpace(2);
    parent.fork(child);
    expect(layout(child, base)).toEqual(layout(parent, base));
    expect(child.read(base, 3 * PAGE_SIZE)).toEqual(new Uint8Array(3 * PAGE_SIZE).fill(5));
    expect(refusal(() => child.touch(base + PAGE_SIZE, 1, true))).toBe('EFAULT');
  });

  it('the stack is copied too, grown or not', () => {
    const parent = newSpace();
    const at = parent.stack.top - STACK - PAGE_SIZE;
    parent.write(at, Uint8Array.of(6));
    const child = newSpace(2);
    parent.fork(child);
    expect([...child.read(at, 1)]).toEqual([6]);
    child.write(at - PAGE_SIZE, Uint8Array.of(7));
    expect(parent.vmas.lookup(at - PAGE_SIZE)).toBeUndefined();
  });

  it('the child’s own mappings do not collide with the inherited ones', () => {
    const parent = newSpace();
    const base = parent.map(memory(1), PAGE_SIZE);
    const child = newSpace(2);
    parent.fork(child);
    expect(child.map(memory(1), PAGE_SIZE)).toBeGreaterThan(base);
  });
});

describe('notifiers and life', () => {
  it('munmap, mprotect, eviction and fork tell which pages', () => {
    const mm = newSpace();
    const base = mm.map(memory(4), 4 * PAGE_SIZE);
    const { notifier, events } = recorder();
    mm.register(notifier);
    const first = pageNumber(base);
    mm.protect(base, PAGE_SIZE, 'read');
    mm.evict(base + PAGE_SIZE, PAGE_SIZE);
    mm.unmap(base + 2 * PAGE_SIZE, 2 * PAGE_SIZE);
    expect(events).toEqual([`${first}..${first}`, `${first + 1}..${first + 1}`, `${first + 2}..${first + 3}`]);
    mm.fork(newSpace(2));
    expect(events).toHaveLength(4);
  });

  it('breaking copy-on-write tells the page', () => {
    const mm = newSpace();
    const base = mm.map(memory(1), PAGE_SIZE);
    mm.write(base, Uint8Array.of(1));
    mm.fork(newSpace(2));
    const { notifier, events } = recorder();
    mm.register(notifier);
    mm.touch(base, 1, false);
    expect(events).toEqual([]);
    mm.touch(base, 1, true);
    expect(events).toEqual([`${pageNumber(base)}..${pageNumber(base)}`]);
  });

  it('exit: release comes while the pages are still there, then they go', () => {
    const mm = newSpace();
    const base = mm.map(memory(1), PAGE_SIZE);
    mm.touch(base, 1, true);
    const page = mm.walk(pageNumber(base));
    const seen: unknown[] = [];
    mm.register({ invalidateRange: () => undefined, release: () => void seen.push([mm.users, page?.present]) });
    mm.exit();
    expect(seen).toEqual([[0, true]]);
    expect(page?.present).toBe(false);
    expect(mm.vmas.size).toBe(0);
  });

  it('a registered notifier keeps the structure (mm_count), not the mappings (mm_users)', () => {
    const mm = newSpace();
    const freed: string[] = [];
    mm.onFree = () => void freed.push('freed');
    const { notifier } = recorder();
    mm.register(notifier);
    mm.exit();
    expect(mm.users).toBe(0);
    expect(freed).toEqual([]);
    mm.unregister(notifier);
    mm.unregister(notifier);
    expect(freed).toEqual(['freed']);
  });

  it('an unregistered notifier is told nothing', () => {
    const mm = newSpace();
    const base = mm.map(memory(1), PAGE_SIZE);
    const { notifier, events } = recorder();
    mm.register(notifier);
    mm.unregister(notifier);
    mm.unmap(base, PAGE_SIZE);
    mm.exit();
    expect(events).toEqual([]);
  });
});

describe('BufferMap', () => {
  it('gives a buffer one address, 16-byte aligned as malloc does, with views at their offsets', () => {
    const buffers = new BufferMap(newSpace());
    const buffer = new ArrayBuffer(100);
    const address = buffers.addressOf(operand(buffer));
    expect(address % 16).toBe(0);
    expect(address % PAGE_SIZE).not.toBe(0);
    expect(buffers.addressOf(operand(buffer))).toBe(address);
    expect(buffers.addressOf(operand(buffer, 33))).toBe(address + 33);
    expect(buffers.addressOf(operand(new ArrayBuffer(100)))).not.toBe(address);
  });

  it('the CPU reads and writes the buffer’s own bytes', () => {
    const mm = newSpace();
    const buffers = new BufferMap(mm);
    const bytes = new Uint8Array(10_000);
    bytes[5000] = 77;
    const address = buffers.addressOf(operand(bytes.buffer));
    expect([...mm.read(address + 5000, 1)]).toEqual([77]);
    mm.write(address + 4090, Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8, 9, 10));
    expect([...bytes.subarray(4090, 4100)]).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  });

  it('a small buffer is resident, the zeroed pages of a large one are not', () => {
    const mm = newSpace();
    const buffers = new BufferMap(mm);
    const small = buffers.addressOf(operand(new ArrayBuffer(8192)));
    const large = buffers.addressOf(operand(new ArrayBuffer(1024 * KIB)));
    expect(mm.walk(pageNumber(small))).toMatchObject({ present: true });
    expect(mm.walk(pageNumber(large) + 10)).toBeUndefined();
  });

  it('what shares a page with the buffer is not the buffer: the header before it, the rest behind it', () => {
    const mm = newSpace();
    const buffers = new BufferMap(mm);
    const bytes = new Uint8Array(64);
    const address = buffers.addressOf(operand(bytes.buffer));
    mm.write(address - 16, new Uint8Array(16).fill(1));
    mm.write(address + 64, new Uint8Array(16).fill(2));
    expect(bytes.every((byte) => byte === 0)).toBe(true);
    expect([...mm.read(address - 1, 1), ...mm.read(address + 64, 1)]).toEqual([1, 2]);
  });

  it('memory whose buffer was transferred away faults', () => {
    const mm = newSpace();
    const buffers = new BufferMap(mm);
    const bytes = new Uint8Array(64).fill(1);
    const address = buffers.addressOf(operand(bytes.buffer));
    structuredClone(bytes.buffer, { transfer: [bytes.buffer] });
    expect(refusal(() => mm.read(address, 1))).toBe('EFAULT');
  });
});
