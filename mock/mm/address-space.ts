import type { Protection } from '../../lib/kernel.js';
import { fail } from '../errno.js';
import type { Random } from '../random.js';
import { LazyMemory, type Memory } from './memory.js';
import { PAGE_SIZE, Page, pageAlign, pageNumber } from './page.js';
import { VmaSet, type Residency, type Vma } from './vma.js';

/** Where a stack starts and how far it may grow: RLIMIT_STACK and stack_guard_gap, Linux defaults, bytes. */
const STACK_BYTES = 132 * 1024;
const STACK_LIMIT = 8 * 1024 * 1024;
const STACK_GUARD_GAP = 256 * PAGE_SIZE;

/** The mmap area: below it nothing is ever mapped, so that address 0 and its kin always fault. */
const MMAP_BASE = 0x7000_0000_0000;
const MMAP_END = 0x7fe0_0000_0000;

/** mmu notifier: who must know when translations of an address space die. */
export interface MmNotifier {
  /**
   * Translations of the pages `first` .. `last` (page numbers) must not be used any more.
   * @param collected the garbage collector freed the memory, not the program
   */
  invalidateRange(first: number, last: number, collected: boolean): void;
  /** The last user is gone: exit_mmap() is about to tear the page tables down. */
  release(): void;
}

/** What is asked of a page. */
export interface Access {
  readonly write: boolean;
  readonly execute?: boolean;
}

/** `struct mm_struct`: the VMAs and page table of one process or several threads. */
export class AddressSpace {
  readonly vmas = new VmaSet();
  stack: { readonly top: number };
  /** mm_users: threads that run in it. At zero the mappings go. */
  users = 1;
  /** LAM: pointers of this address space may carry tags in their upper bits. */
  lam = false;
  /** arch_prctl(ARCH_FORCE_TAGGED_SVA): the process promises not to give tagged pointers to a device. */
  forceTaggedSva = false;
  /** Called when mm_count reaches zero: the structure itself is freed. */
  onFree: (() => void) | undefined;
  /** mm_count: references to the structure, which do not keep the mappings. */
  #count = 1;
  readonly #pages = new Map<number, Page>();
  readonly #notifiers = new Set<MmNotifier>();
  #next: number;

  constructor(random: Random) {
    this.#next = MMAP_BASE + random.below(2 ** 30) * PAGE_SIZE;
    const top = 0x7ffc_0000_0000 + random.below(2 ** 20) * PAGE_SIZE;
    this.stack = { top };
    this.vmas.insert({
      start: top - pageAlign(STACK_BYTES),
      end: top,
      protection: 'read-write',
      executable: false,
      // The stack may grow to its limit; its memory is made once, so that growth moves nothing.
      memory: new LazyMemory(STACK_LIMIT),
      offset: STACK_LIMIT - pageAlign(STACK_BYTES),
      growsDown: true,
      residency: 'by-content',
      copyOnWrite: false,
    });
  }

  /** Addresses from here on were never mapped by `map`. */
  get nextAddress(): number {
    return this.#next;
  }

  /** mmgrab(). */
  grab(): void {
    this.#count += 1;
  }

  /** mmdrop(). */
  drop(): void {
    this.#count -= 1;
    if (this.#count === 0) this.onFree?.();
  }

  /** mmput() by the last thread: notifiers first, then the page tables, then the structure's own reference. */
  exit(): void {
    this.users = 0;
    for (const notifier of this.#notifiers) notifier.release();
    this.#unmapPages(0, Number.MAX_SAFE_INTEGER);
    this.vmas.remove(0, Number.MAX_SAFE_INTEGER);
    this.drop();
  }

  /** mmu_notifier_register(). It takes a reference on the structure. */
  register(notifier: MmNotifier): void {
    this.grab();
    this.#notifiers.add(notifier);
  }

  unregister(notifier: MmNotifier): void {
    if (this.#notifiers.delete(notifier)) this.drop();
  }

  /**
   * Maps memory at addresses of the kernel's choice. Addresses are not used twice, so a stale pointer stays wrong.
   * @param offset of the first mapped page in `memory`, bytes
   * @returns the first address
   */
  map(
    memory: Memory,
    byteLength: number,
    options: { protection?: Protection; executable?: boolean; offset?: number; residency?: Residency } = {},
  ): number {
    const length = pageAlign(byteLength);
    if (this.#next + length > MMAP_END) return fail('ENOMEM');
    const start = this.#next;
    // One page stays free between mappings: running off the end of a buffer faults.
    this.#next += length + PAGE_SIZE;
    this.vmas.insert({
      start,
      end: start + length,
      protection: options.protection ?? 'read-write',
      executable: options.executable ?? false,
      memory,
      offset: options.offset ?? 0,
      growsDown: false,
      residency: options.residency ?? 'by-content',
      copyOnWrite: false,
    });
    return start;
  }

  /**
   * munmap(2): the page table entries go, and everyone who cached them is told. Holes are allowed.
   * @param collected the garbage collector freed the memory, not the program
   */
  unmap(start: number, byteLength: number, collected = false): void {
    if (start % PAGE_SIZE !== 0 || byteLength <= 0) fail('EINVAL');
    const end = start + pageAlign(byteLength);
    this.vmas.remove(start, end);
    this.#unmapPages(start, end);
    this.#invalidate(start, end, collected);
  }

  /** mprotect(2). ENOMEM where part of the range is not mapped. Page table entries stay, also where they grant nothing. */
  protect(start: number, byteLength: number, protection: Protection): void {
    if (start % PAGE_SIZE !== 0) fail('EINVAL');
    const end = start + pageAlign(byteLength);
    this.#requireMapped(start, end);
    for (const vma of this.vmas.remove(start, end)) {
      this.vmas.insert({ ...vma, protection });
      this.#eachPage(vma.start, vma.end, (page) => {
        if (protection !== 'read-write') page.writable = false;
        else if (!page.present) page.writable = !vma.copyOnWrite;
        page.present = protection !== 'none';
      });
    }
    this.#invalidate(start, end);
  }

  /** Drops pages but keeps the mapping, as reclaim does: the next access faults. Contents stay. */
  evict(start: number, byteLength: number): void {
    const end = start + pageAlign(byteLength);
    for (const vma of this.vmas.remove(start, end)) this.vmas.insert({ ...vma, residency: 'by-fault' });
    this.#unmapPages(start, end);
    this.#invalidate(start, end);
  }

  /** What a page walk finds: the entry for a page, if it is present. */
  walk(page: number): Page | undefined {
    const entry = this.#pages.get(page);
    if (entry !== undefined) return entry.present ? entry : undefined;
    const vma = this.vmas.lookup(page * PAGE_SIZE);
    if (vma === undefined || vma.protection === 'none') return undefined;
    const present = vma.residency === 'resident' || (vma.residency === 'by-content' && holdsData(vma, page));
    return present ? this.#install(vma, page, vma.protection === 'read-write' && !vma.copyOnWrite) : undefined;
  }

  /**
   * The VMA that holds an address.
   * @param grow extend a stack down to it where it may: find_extend_vma()
   */
  findVma(address: number, grow: boolean): Vma | undefined {
    const vma = this.vmas.find(address);
    if (vma === undefined || vma.start <= address) return vma;
    return grow && vma.growsDown ? this.#growStack(vma, address) : undefined;
  }

  /**
   * handle_mm_fault(): brings a page in.
   * @returns false where the VMA does not grant the access
   */
  handleFault(vma: Vma, address: number, write: boolean): boolean {
    if (vma.protection === 'none' || (write && vma.protection !== 'read-write')) return false;
    const number = pageNumber(address);
    const entry = this.#pages.get(number);
    if (entry === undefined) {
      this.#install(vma, number, vma.protection === 'read-write' && (write || !vma.copyOnWrite));
    } else if (write && !entry.writable) {
      // The relative has had its own copy since the fork: breaking the sharing is a change of rights.
      entry.writable = true;
      this.#invalidate(address, address + 1);
    }
    return true;
  }

  /** The CPU's own access to every page of a range. EFAULT where one of them is not mapped so. */
  touch(start: number, byteLength: number, write: boolean): void {
    for (let number = pageNumber(start); number <= pageNumber(start + Math.max(byteLength, 1) - 1); number += 1) {
      const address = Math.max(number * PAGE_SIZE, start);
      const vma = this.findVma(address, true);
      if (vma === undefined || !this.handleFault(vma, address, write)) fail('EFAULT');
    }
  }

  /** Copies bytes out, as the CPU reads them. EFAULT where the range is not readable. */
  read(start: number, byteLength: number): Uint8Array {
    const copy = new Uint8Array(byteLength);
    this.#eachPiece(start, byteLength, false, (bytes, done) => copy.set(bytes, done));
    return copy;
  }

  /** Writes bytes, as the CPU does. EFAULT where the range is not writable; bytes before the fault are written. */
  write(start: number, source: Uint8Array): void {
    this.#eachPiece(start, source.length, true, (bytes, done) => bytes.set(source.subarray(done, done + bytes.length)));
  }

  /**
   * dup_mmap(): the child sees the same bytes at the same addresses. Present pages become read-only on both sides, so
   * that the next write of either (the device's included) faults. LAM and its promise are inherited, a PASID is not.
   */
  fork(child: AddressSpace): void {
    child.vmas.remove(0, Number.MAX_SAFE_INTEGER);
    child.#next = this.#next;
    child.stack = this.stack;
    child.lam = this.lam;
    child.forceTaggedSva = this.forceTaggedSva;
    const copies = new Map<Memory, Memory>();
    const before = [...this.vmas];
    for (const vma of before) {
      const copy = copies.get(vma.memory) ?? vma.memory.copy();
      copies.set(vma.memory, copy);
      child.vmas.insert({ ...vma, memory: copy, copyOnWrite: true });
      this.vmas.remove(vma.start, vma.end);
      this.vmas.insert({ ...vma, copyOnWrite: true });
    }
    for (const [number, page] of this.#pages) {
      page.writable = false;
      const vma = child.vmas.lookup(number * PAGE_SIZE);
      if (vma !== undefined) child.#install(vma, number, false).present = page.present;
    }
    this.#invalidate(0, Number.MAX_SAFE_INTEGER);
  }

  #install(vma: Vma, number: number, writable: boolean): Page {
    const page = new Page(vma.memory, vma.offset + (number * PAGE_SIZE - vma.start), writable);
    this.#pages.set(number, page);
    return page;
  }

  #growStack(vma: Vma, address: number): Vma | undefined {
    const start = pageNumber(address) * PAGE_SIZE;
    if (this.stack.top - start > STACK_LIMIT) return undefined;
    const below = this.vmas.previous(address);
    if (below !== undefined && start - below.end < STACK_GUARD_GAP) return undefined;
    this.vmas.remove(vma.start, vma.end);
    const grown = { ...vma, start, offset: vma.offset - (vma.start - start) };
    this.vmas.insert(grown);
    return grown;
  }

  #eachPage(start: number, end: number, visit: (page: Page, number: number) => void): void {
    const first = pageNumber(start);
    const last = Math.ceil(end / PAGE_SIZE);
    if (last - first > this.#pages.size) {
      for (const [number, page] of this.#pages) if (number >= first && number < last) visit(page, number);
      return;
    }
    for (let number = first; number < last; number += 1) {
      const page = this.#pages.get(number);
      if (page !== undefined) visit(page, number);
    }
  }

  #unmapPages(start: number, end: number): void {
    this.#eachPage(start, end, (page, number) => {
      page.present = false;
      this.#pages.delete(number);
    });
  }

  #invalidate(start: number, end: number, collected = false): void {
    const last = Math.ceil(end / PAGE_SIZE) - 1;
    for (const notifier of this.#notifiers) notifier.invalidateRange(pageNumber(start), last, collected);
  }

  #requireMapped(start: number, end: number): void {
    for (let address = start; address < end;) {
      const vma = this.vmas.lookup(address);
      if (vma === undefined) return fail('ENOMEM');
      address = vma.end;
    }
  }

  #eachPiece(
    start: number,
    byteLength: number,
    write: boolean,
    visit: (bytes: Uint8Array, done: number) => void,
  ): void {
    for (let done = 0; done < byteLength;) {
      const address = start + done;
      this.touch(address, 1, write);
      const piece = this.walk(pageNumber(address))?.piece(address % PAGE_SIZE, byteLength - done);
      if (piece === undefined) return fail('EFAULT');
      visit(piece.bytes.subarray(piece.at, piece.at + piece.length), done);
      done += piece.length;
    }
  }
}

function holdsData(vma: Vma, number: number): boolean {
  const bytes = vma.memory.bytes();
  if (bytes === undefined) return false;
  const at = vma.offset + (number * PAGE_SIZE - vma.start);
  return bytes.subarray(Math.max(at, 0), Math.max(at + PAGE_SIZE, 0)).some((byte) => byte !== 0);
}
