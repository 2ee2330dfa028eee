import { DSA_DESCRIPTOR_SIZE } from '../lib/abi/dsa.js';
import { SvmError, invalidState, outOfRange } from '../lib/errors.js';
import type {
  AllocOptions,
  CpuFeatures,
  DeviceMapping,
  DeviceNode,
  DmaBuffer,
  Kernel,
  MemoryView,
  Pin,
  Protection,
  Submit,
  SubmitInstruction,
  SvmCalls,
  SvmDevOps,
  Sysfs,
} from '../lib/kernel.js';
import { operand, type Operand } from '../lib/operand.js';
import { discoverDevices } from '../lib/svm/discovery.js';
import type { SvmDevice } from '../lib/svm/device.js';
import type { Caller, CharDevice, MappedRegion, OpenFile, PortalStore } from './devices/char-device.js';
import type { Holdings } from './counters.js';
import { Errno, fail } from './errno.js';
import type { DeviceContext } from './iommu/device-context.js';
import type { Machine } from './machine.js';
import { AddressSpace } from './mm/address-space.js';
import { BufferMap } from './mm/buffers.js';
import { OwnedMemory } from './mm/memory.js';
import { PAGE_SIZE, pageAlign } from './mm/page.js';
import type { LegacySvm } from './svm/legacy.js';

/** RLIMIT_NOFILE, Linux's default soft limit. */
const MAX_FILES = 1024;
const FIRST_FD = 3;

/** An open file: `struct file`. Descriptors (after fork, of several processes) and mappings share it. */
interface FileDescription {
  readonly file: OpenFile;
  readonly path: string;
  references: number;
}

/** A pin, with the reference that keeps its memory: mappings hold buffers weakly. */
interface HeldPin extends Pin {
  readonly buffer: ArrayBufferLike;
}

/** Whose `alloc` a buffer came from. */
const owners = new WeakMap<ArrayBufferLike, MockProcess>();

interface MappingState {
  readonly description: FileDescription;
  readonly region: MappedRegion;
}

/** A process of the fake Linux: its address space, its descriptors, its rights; and the kernel as it sees it. */
export class MockProcess implements Kernel {
  readonly backend = 'mock';
  readonly pid: number;
  readonly pageSize = PAGE_SIZE;
  readonly cpu: CpuFeatures;
  readonly sysfs: Sysfs;
  readonly svm: SvmCalls | undefined;
  /** User id; 0 may write sysfs. */
  uid: number;
  /** CAP_SYS_RAWIO in the initial user namespace. */
  capSysRawio: boolean;
  readonly #machine: Machine;
  readonly #holdings: Holdings;
  readonly #kernelThread: boolean;
  #mm: AddressSpace;
  #buffers: BufferMap;
  #alive = true;
  readonly #files = new Map<number, FileDescription>();
  readonly #mappings = new Map<DeviceMapping, MappingState>();
  readonly #allocations = new Map<DmaBuffer, number>();
  readonly #pins = new Set<HeldPin>();
  /** Rings that a portal reads from, as long as it is mapped. */
  readonly #rings = new Map<DeviceMapping, DmaBuffer[]>();

  /** Made by `MockKernel.spawn` and `fork`. */
  constructor(
    machine: Machine,
    holdings: Holdings,
    options: {
      uid: number;
      capSysRawio: boolean;
      kernelThread?: boolean;
      /** A forked address space, and where the parent's buffers lie in it. */
      forked?: { readonly mm: AddressSpace; readonly buffers: BufferMap };
    },
  ) {
    this.#machine = machine;
    this.#holdings = holdings;
    this.pid = machine.nextPid();
    this.cpu = machine.settings.cpu;
    this.uid = options.uid;
    this.capSysRawio = options.capSysRawio;
    this.#kernelThread = options.kernelThread ?? false;
    this.#mm = options.forked?.mm ?? new AddressSpace(machine.random);
    this.#buffers = new BufferMap(this.#mm, options.forked?.buffers);
    this.sysfs = this.#sysfs();
    if (machine.svm !== undefined) this.svm = this.#svmCalls(machine.svm);
  }

  /** Whether the process runs: false after `exit`. */
  get alive(): boolean {
    return this.#alive;
  }

  get mm(): AddressSpace {
    return this.#call('getmm', undefined, () => this.#mm);
  }

  /** The accelerators that this process finds, one per character device, in the order of their names. */
  devices(): SvmDevice[] {
    return discoverDevices(this);
  }

  // Life

  /** _exit(2): the address space goes first (mmu notifiers clear its PASID entries), then the files. */
  exit(): void {
    this.#call('exit', undefined, () => {
      this.#leaveAddressSpace();
      for (const fd of this.#files.keys()) this.#closeFile(fd);
      this.#alive = false;
    });
  }

  /** execve(2): a new address space; every file was opened with O_CLOEXEC. Same pid. */
  exec(): void {
    this.#call('execve', undefined, () => {
      this.#leaveAddressSpace();
      for (const fd of this.#files.keys()) this.#closeFile(fd);
      this.#mm = new AddressSpace(this.#machine.random);
      this.#buffers = new BufferMap(this.#mm);
    });
  }

  /**
   * fork(2): a child with a copy of the address space and the same open files. Device mappings are not inherited
   * (VM_DONTCOPY), nor is a PASID: that belongs to the address space.
   */
  fork(): MockProcess {
    return this.#call('fork', undefined, () => {
      const mm = new AddressSpace(this.#machine.random);
      this.#mm.fork(mm);
      const child = new MockProcess(this.#machine, this.#holdings, {
        uid: this.uid,
        capSysRawio: this.capSysRawio,
        forked: { mm, buffers: this.#buffers },
      });
      for (const [fd, description] of this.#files) {
        description.references += 1;
        child.#files.set(fd, description);
      }
      return child;
    });
  }

  /** arch_prctl(ARCH_ENABLE_TAGGED_ADDR): linear address masking. EINVAL once the address space has a PASID. */
  enableLam(): void {
    this.#call('arch_prctl', undefined, () => {
      const { sva } = this.#machine;
      if (sva?.pasidOf(this.#mm) !== undefined && !this.#mm.forceTaggedSva) fail('EINVAL');
      this.#mm.lam = true;
    });
  }

  /** arch_prctl(ARCH_FORCE_TAGGED_SVA): the process takes care of its tags itself. */
  forceTaggedSva(): void {
    this.#call('arch_prctl', undefined, () => {
      this.#mm.forceTaggedSva = true;
    });
  }

  // Files

  open(path: string): number {
    return this.#call('open', path, () => {
      const device = this.#device(path);
      if (this.#files.size >= MAX_FILES - FIRST_FD) return fail('EMFILE');
      const description = { file: device.open(this.#caller()), path, references: 1 };
      this.#holdings.openFiles += 1;
      let fd = FIRST_FD;
      while (this.#files.has(fd)) fd += 1;
      this.#files.set(fd, description);
      return fd;
    });
  }

  close(fd: number): void {
    this.#onFile('close', fd, () => this.#closeFile(fd));
  }

  ioctl(fd: number, request: number, argument?: Uint8Array): number {
    return this.#onFile('ioctl', fd, ({ file }) => {
      return file.ioctl === undefined ? fail('ENOTTY') : file.ioctl(this.#caller(), request, argument);
    });
  }

  mmap(fd: number, length: number, offset = 0): DeviceMapping {
    return this.#onFile('mmap', fd, (description) => {
      if (!(length > 0) || offset % PAGE_SIZE !== 0) return fail('EINVAL');
      const { file } = description;
      const region = file.mmap === undefined ? fail('ENODEV') : file.mmap(this.#caller(), pageAlign(length), offset);
      const mapping: DeviceMapping = { fd, length, offset };
      description.references += 1;
      this.#mappings.set(mapping, { description, region });
      this.#holdings.deviceMappings += 1;
      return mapping;
    });
  }

  munmap(mapping: DeviceMapping): void {
    this.#call('munmap', undefined, () => this.#unmapDevice(mapping));
  }

  write(fd: number, bytes: Uint8Array): number {
    return this.#onFile('write', fd, ({ file }) => {
      return file.write === undefined ? fail('EINVAL') : file.write(this.#caller(), bytes);
    });
  }

  poll(fd: number, events: number): number {
    return this.#onFile('poll', fd, ({ file }) => file.poll?.(this.#caller(), events) ?? 0);
  }

  submitter(portal: DeviceMapping, instruction: SubmitInstruction, ring: DmaBuffer): Submit {
    const { path, takes } = this.#call('submit', undefined, () => {
      const mapping = this.#mappings.get(portal) ?? fail('EINVAL');
      const takesDescriptor = mapping.region.store?.bind(mapping.region) ?? fail('EINVAL');
      if (!this.cpu[instruction]) fail('ENOSYS');
      const rings = this.#rings.get(portal) ?? [];
      this.#rings.set(portal, rings);
      if (!rings.includes(ring)) rings.push(ring);
      return { path: mapping.description.path, takes: takesDescriptor };
    });
    const slots = Math.floor(ring.byteLength / DSA_DESCRIPTOR_SIZE);
    return (first, count = 1) => {
      if (!Number.isInteger(first) || first < 0 || first >= slots) {
        throw outOfRange('slot', `an integer from 0 to ${slots - 1}`, first);
      }
      if (!Number.isInteger(count) || count < 1 || first + count > slots) {
        throw outOfRange('count', `an integer from 1 to ${slots - first}`, count);
      }
      if (!this.#mappings.has(portal)) throw invalidState(`the portal of '${path}' is unmapped`);
      return this.#call('submit', path, () => this.#store(takes, instruction, ring, first, count));
    };
  }

  // Memory

  alloc(byteLength: number, options: AllocOptions = {}): DmaBuffer {
    return this.#call('mmap', undefined, () => {
      if (this.#machine.injections.strikes('allocation-failure')) return fail('ENOMEM');
      if (!Number.isInteger(byteLength) || byteLength <= 0) return fail('EINVAL');
      const memory = allocate(pageAlign(byteLength));
      const address = this.#mm.map(new OwnedMemory(memory), byteLength);
      if (options.populate ?? true) this.#mm.touch(address, byteLength, true);
      this.#buffers.place(memory.buffer, address);
      const buffer = { bytes: memory.subarray(0, byteLength), address: BigInt(address), byteLength };
      this.#allocations.set(buffer, address);
      owners.set(memory.buffer, this);
      this.#holdings.allocations += 1;
      return buffer;
    });
  }

  free(buffer: DmaBuffer): void {
    this.#call('munmap', undefined, () => {
      const address = this.#allocations.get(buffer) ?? fail('EINVAL');
      if (this.#isHeld(buffer)) return fail('EBUSY');
      this.#mm.unmap(address, buffer.byteLength);
      return this.#forget(buffer);
    });
  }

  protect(buffer: DmaBuffer, protection: Protection): void {
    this.#call('mprotect', undefined, () => {
      const address = this.#allocations.get(buffer) ?? fail('EINVAL');
      this.#mm.protect(address, buffer.byteLength, protection);
    });
  }

  addressOf(view: MemoryView): bigint {
    return this.#call('addressof', undefined, () => BigInt(this.#locate(operand(view, 'view'))));
  }

  pin(view: MemoryView): Pin {
    const memory = operand(view, 'view');
    return this.#call('pin', undefined, () => {
      const pin: HeldPin = {
        address: BigInt(this.#locate(memory)),
        byteLength: memory.byteLength,
        buffer: memory.buffer,
        release: (): void => {
          if (this.#pins.delete(pin)) this.#holdings.pinnedBuffers -= 1;
        },
      };
      this.#pins.add(pin);
      this.#holdings.pinnedBuffers += 1;
      return pin;
    });
  }

  touch(address: bigint, byteLength: number, access: 'read' | 'write'): void {
    this.#call('touch', undefined, () => this.#mm.touch(Number(address), byteLength, access === 'write'));
  }

  // What only this backend offers: a look into memory that JavaScript has no view of

  /** Copies bytes out of the process's memory, as its CPU reads them. EFAULT where the range is not readable. */
  peek(address: bigint, byteLength: number): Uint8Array {
    return this.#call('peek', undefined, () => this.#mm.read(Number(address), byteLength));
  }

  /** Writes into the process's memory, as its CPU does. EFAULT where the range is not writable. */
  poke(address: bigint, bytes: Uint8Array): void {
    this.#call('poke', undefined, () => this.#mm.write(Number(address), bytes));
  }

  /** Takes the pages of a range out of memory but keeps the mapping, as reclaim does: the next access faults. */
  evict(view: MemoryView): void {
    const memory = operand(view, 'view');
    this.#call('madvise', undefined, () => {
      const first = Math.floor(this.#locate(memory) / PAGE_SIZE) * PAGE_SIZE;
      this.#mm.evict(first, this.#locate(memory) + memory.byteLength - first);
    });
  }

  // Time and SVM

  pasid(fd: number): number | undefined {
    return this.#onFile('pasid', fd, ({ file }) => file.pasid);
  }

  pause(): void {
    this.#machine.clock.step();
  }

  turn(): Promise<void> {
    return new Promise((resolve) => {
      setImmediate(() => {
        this.#machine.clock.step();
        resolve();
      });
    });
  }

  #store(store: PortalStore, instruction: SubmitInstruction, ring: DmaBuffer, first: number, count: number): number {
    for (let taken = 0; taken < count; taken += 1) {
      const start = (first + taken) * DSA_DESCRIPTOR_SIZE;
      const descriptor = ring.bytes.subarray(start, start + DSA_DESCRIPTOR_SIZE);
      if (!store(this.#caller(), instruction, descriptor)) return taken;
    }
    return count;
  }

  #svmCalls(svm: LegacySvm): SvmCalls {
    return {
      bindMm: <D extends DeviceNode>(dev: D, flags: number, ops: SvmDevOps<D> | null) =>
        this.#call('bind_mm', dev.path, () =>
          svm.bindMm(this.#context(dev), this.#kernelThread ? undefined : this.#mm, flags, ops, (...request) =>
            ops?.faultCb?.(dev, ...request),
          ),
        ),
      probe: (dev, flags) => this.#call('bind_mm', dev.path, () => svm.probe(this.#context(dev), flags)),
      unbindMm: (dev, pasid) => this.#call('unbind_mm', dev.path, () => svm.unbindMm(this.#context(dev), pasid)),
      isPasidValid: (dev, pasid) =>
        this.#call('is_pasid_valid', dev.path, () => svm.isPasidValid(this.#context(dev), pasid)),
    };
  }

  #sysfs(): Sysfs {
    const tree = this.#machine.sysfs;
    return {
      read: (path) => this.#call('read', path, () => tree.read(path, this.uid)),
      list: (path) => this.#call('scandir', path, () => tree.list(path)),
      write: (path, text) => this.#call('write', path, () => tree.write(path, text, this.uid)),
      realpath: (path) => this.#call('realpath', path, () => tree.realpath(path)),
    };
  }

  #caller(): Caller {
    return { pid: this.pid, uid: this.uid, capSysRawio: this.capSysRawio, mm: this.#mm };
  }

  /** `struct device`: it is there whether or not its node is, and no permission guards it. */
  #context({ path }: DeviceNode): DeviceContext {
    return this.#machine.context(path) ?? fail('ENODEV');
  }

  #device(path: string): CharDevice {
    const device = this.#machine.node(path) ?? fail('ENOENT');
    if (this.uid !== 0 && (device.mode & 0o006) !== 0o006) fail('EACCES');
    return device;
  }

  /** The boundary of the kernel: an errno becomes an error that names the call. A process that is gone calls nothing. */
  #call<T>(syscall: string, path: string | undefined, body: () => T): T {
    if (!this.#alive) {
      throw new SvmError('ESRCH', { syscall, path, hint: `Process ${this.pid} has exited.` });
    }
    try {
      return body();
    } catch (error) {
      if (error instanceof Errno) throw new SvmError(error.code, { syscall, path });
      throw error;
    }
  }

  #onFile<T>(syscall: string, fd: number, body: (description: FileDescription) => T): T {
    const description = this.#files.get(fd);
    return this.#call(syscall, description?.path, () => body(description ?? fail('EBADF')));
  }

  #closeFile(fd: number): void {
    const description = this.#files.get(fd) ?? fail('EBADF');
    this.#files.delete(fd);
    this.#put(description);
  }

  #put(description: FileDescription): void {
    description.references -= 1;
    if (description.references > 0) return;
    this.#holdings.openFiles -= 1;
    description.file.release();
  }

  #unmapDevice(mapping: DeviceMapping): void {
    const { description, region } = this.#mappings.get(mapping) ?? fail('EINVAL');
    this.#mappings.delete(mapping);
    this.#rings.delete(mapping);
    this.#holdings.deviceMappings -= 1;
    region.unmap?.();
    this.#put(description);
  }

  /** An operand's address. Memory that another process allocated is none of this one's, unless fork handed it down. */
  #locate(memory: Operand): number {
    const owner = owners.get(memory.buffer);
    const foreign = owner !== undefined && owner !== this && this.#buffers.find(memory) === undefined;
    return foreign ? fail('EFAULT') : this.#buffers.addressOf(memory);
  }

  #isHeld(buffer: DmaBuffer): boolean {
    for (const pin of this.#pins) if (pin.buffer === buffer.bytes.buffer) return true;
    for (const rings of this.#rings.values()) if (rings.includes(buffer)) return true;
    return false;
  }

  #forget(buffer: DmaBuffer): void {
    this.#allocations.delete(buffer);
    this.#holdings.allocations -= 1;
    structuredClone(buffer.bytes.buffer, { transfer: [buffer.bytes.buffer] });
  }

  #leaveAddressSpace(): void {
    this.#mm.exit();
    for (const mapping of this.#mappings.keys()) this.#unmapDevice(mapping);
    for (const buffer of this.#allocations.keys()) this.#forget(buffer);
    for (const pin of this.#pins) pin.release();
  }
}

/** Memory for an allocation: what does not fit is out of memory, not an exception of the language. */
function allocate(byteLength: number): Uint8Array<ArrayBuffer> {
  try {
    return new Uint8Array(byteLength);
  } catch (error) {
    return error instanceof RangeError ? fail('ENOMEM') : fail('EINVAL');
  }
}
