import * as fc from 'fast-check';
import { bindMm, isPasidValid, probe, unbindMm, type SvmDevOps, type SvmDevice } from 'intel-svm';
import { createMockKernel, type MockDeviceOptions, type MockKernel, type MockProcess } from 'intel-svm/mock';
import { at, outcomeOf, stateOfMock, type Model, type Outcome, type State, type Subject } from './run.js';

/** A node of the machine. */
export interface Node {
  /** Width of the PASID capability, bits; 0: none. */
  readonly width: number;
  /** Files that may be open: a dedicated IDXD queue refuses the second before it binds, UACCE after. */
  readonly kind: 'dedicated' | 'shared' | 'uacce';
  /** For UACCE: its queues. */
  readonly queues?: number;
}

/** One call. `process` counts over all processes that ever ran, round and round; `ops` 0 is NULL. */
export type Call =
  | { readonly do: 'bind'; readonly process: number; readonly device: number; readonly ops: number }
  | { readonly do: 'unbind' | 'valid'; readonly process: number; readonly device: number; readonly pasid: number }
  | { readonly do: 'probe' | 'open'; readonly process: number; readonly device: number }
  | { readonly do: 'close'; readonly process: number; readonly fd: number }
  | { readonly do: 'exit' | 'exec' | 'fork' | 'spawn'; readonly process: number };

/** A call, or the unbind or close of something that the process holds. */
export type Action = Call | { readonly do: 'give back'; readonly process: number; readonly pick: number };

const MOST_PROCESSES = 6;
const FIRST_FD = 3;

export function actions(nodes: readonly Node[]): fc.Arbitrary<Action> {
  const process = fc.nat(MOST_PROCESSES - 1);
  const device = fc.nat(nodes.length - 1);
  const pasid = fc.integer({ min: 0, max: MOST_PROCESSES });
  const fd = fc.integer({ min: FIRST_FD - 1, max: FIRST_FD + 5 });
  return fc.oneof(
    { weight: 10, arbitrary: fc.record({ do: fc.constant('bind' as const), process, device, ops: fc.nat(2) }) },
    { weight: 6, arbitrary: fc.record({ do: fc.constant('give back' as const), process, pick: fc.nat(20) }) },
    { weight: 3, arbitrary: fc.record({ do: fc.constant('unbind' as const), process, device, pasid }) },
    { weight: 3, arbitrary: fc.record({ do: fc.constant('valid' as const), process, device, pasid }) },
    { weight: 5, arbitrary: fc.record({ do: fc.constantFrom('probe' as const, 'open' as const), process, device }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('close' as const), process, fd }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constantFrom('exit' as const, 'exec' as const), process }) },
    { weight: 3, arbitrary: fc.record({ do: fc.constantFrom('fork' as const, 'spawn' as const), process }) },
  );
}

interface Mm {
  alive: boolean;
  pasid: number | undefined;
}

interface File {
  readonly device: number;
  /** The opener's address space, which the bond belongs to. */
  readonly mm: Mm;
}

interface ModelProcess {
  alive: boolean;
  mm: Mm;
  fds: Map<number, File>;
  /** What the library holds for this address space, by device. */
  bindings: Map<number, { readonly fd: number; readonly ops: number; users: number }>;
}

const newMm = (): Mm => ({ alive: true, pasid: undefined });
const newProcess = (): ModelProcess => ({ alive: true, mm: newMm(), fds: new Map(), bindings: new Map() });

/** Bind in open, from the list of facts (sections 3.1, 3.2, 4.1, 6), and the library's counts over it. */
export class ModernModel implements Model<Action, Call> {
  readonly #nodes: readonly Node[];
  readonly #processes: ModelProcess[] = [newProcess()];
  readonly #enabled: boolean[];
  /** Address spaces whose number has not been freed. */
  readonly #numbered = new Set<Mm>();

  constructor(nodes: readonly Node[]) {
    this.#nodes = nodes;
    this.#enabled = nodes.map(() => false);
  }

  get state(): State {
    const files = [...this.#files()];
    const tables = this.#nodes.map((_, device) => {
      const bound = files.filter(({ device: on, mm }) => on === device && mm.alive);
      return [...new Set(bound.map(({ mm }) => mm.pasid ?? 0))].toSorted((a, b) => a - b);
    });
    const { length } = files;
    return { pasids: this.#numbered.size, bindings: length, openFiles: length, tables, enabled: [...this.#enabled] };
  }

  concrete(action: Action): Call | undefined {
    const { bindings, fds, mm } = this.#process(action.process);
    // The library's own descriptors are not the program's to close.
    const ours = new Set([...bindings.values()].map(({ fd }) => fd));
    switch (action.do) {
      case 'give back': {
        const { process, pick } = action;
        const unbinds = [...bindings.keys()].map((device) => ({
          do: 'unbind' as const,
          process,
          device,
          pasid: mm.pasid ?? 0,
        }));
        const closes = [...fds.keys()]
          .filter((fd) => !ours.has(fd))
          .map((fd) => ({ do: 'close' as const, process, fd }));
        const held = [...unbinds, ...closes];
        return held[pick % held.length];
      }
      case 'spawn':
      case 'fork':
        return this.#processes.length === MOST_PROCESSES ? undefined : action;
      case 'close':
        return ours.has(action.fd) ? undefined : action;
      case 'bind':
      case 'unbind':
      case 'valid':
      case 'probe':
      case 'open':
      case 'exit':
      case 'exec':
      default:
        return action;
    }
  }

  apply(call: Call): Outcome {
    if (call.do === 'spawn') return this.#start(newProcess());
    const process = this.#process(call.process);
    if (!process.alive) return 'ESRCH';
    switch (call.do) {
      case 'bind':
        return this.#bind(process, call.device, call.ops);
      case 'unbind':
        return this.#unbind(process, call.device, call.pasid);
      case 'valid':
        return process.bindings.size > 0 && process.mm.pasid === call.pasid ? true : 'EINVAL';
      case 'probe':
        return this.#probe(process, call.device);
      case 'open':
        return this.#open(process, call.device);
      case 'close':
        return this.#close(process, call.fd);
      case 'fork':
        return this.#start({ ...newProcess(), fds: new Map(process.fds) });
      case 'exit':
      case 'exec':
      default:
        process.mm.alive = false;
        Object.assign(process, { ...newProcess(), alive: call.do === 'exec' });
        this.#freeNumbers();
        return 'done';
    }
  }

  clear(): void {
    for (const process of this.#processes) {
      process.mm.alive = false;
      process.fds = new Map();
    }
    this.#freeNumbers();
  }

  #process(number: number): ModelProcess {
    return at(this.#processes, number % this.#processes.length);
  }

  #start(process: ModelProcess): Outcome {
    this.#processes.push(process);
    return 'done';
  }

  /** Open files, however many descriptors each has. */
  #files(): Set<File> {
    return new Set(this.#processes.flatMap(({ fds }) => [...fds.values()]));
  }

  /** A number goes when its address space is dead and no file holds it. */
  #freeNumbers(): void {
    const held = new Set([...this.#files()].map(({ mm }) => mm));
    for (const mm of this.#numbered) if (!mm.alive && !held.has(mm)) this.#numbered.delete(mm);
  }

  #open(process: ModelProcess, device: number): Outcome {
    const { width, kind, queues = 0 } = at(this.#nodes, device);
    const clients = [...this.#files()].filter((file) => file.device === device).length;
    if (kind === 'dedicated' && clients > 0) return 'EBUSY';
    const pasid = this.#numberOf(process.mm, width);
    if (typeof pasid === 'string') return pasid;
    this.#enabled[device] = true;
    if (kind === 'uacce' && clients === queues) return 'EBUSY';
    let fd = FIRST_FD;
    while (process.fds.has(fd)) fd += 1;
    process.fds.set(fd, { device, mm: process.mm });
    return fd;
  }

  /** The address space's number, as a device of some width sees it. */
  #numberOf(mm: Mm, width: number): number | string {
    const numbers = width === 0 ? 0 : 2 ** width;
    if (mm.pasid !== undefined) return mm.pasid < numbers ? mm.pasid : 'EOVERFLOW';
    const taken = new Set([...this.#numbered].map(({ pasid }) => pasid));
    let pasid = 1;
    while (taken.has(pasid)) pasid += 1;
    if (pasid > numbers - 1) return 'ENOSPC';
    mm.pasid = pasid;
    this.#numbered.add(mm);
    return pasid;
  }

  #close(process: ModelProcess, fd: number): Outcome {
    if (!process.fds.delete(fd)) return 'EBADF';
    this.#freeNumbers();
    return 'done';
  }

  #bind(process: ModelProcess, device: number, ops: number): Outcome {
    const present = process.bindings.get(device);
    if (present !== undefined) {
      if (present.ops !== ops) return 'EBUSY';
      present.users += 1;
      return process.mm.pasid;
    }
    const fd = this.#open(process, device);
    if (typeof fd !== 'number') return fd;
    process.bindings.set(device, { fd, ops, users: 1 });
    return process.mm.pasid;
  }

  #unbind(process: ModelProcess, device: number, pasid: number): Outcome {
    const present = process.bindings.get(device);
    if (present === undefined || process.mm.pasid !== pasid) return 'EINVAL';
    present.users -= 1;
    if (present.users > 0) return 'done';
    process.bindings.delete(device);
    return this.#close(process, present.fd);
  }

  #probe(process: ModelProcess, device: number): Outcome {
    if (process.bindings.has(device)) return 'done';
    const fd = this.#open(process, device);
    return typeof fd === 'number' ? this.#close(process, fd) : fd;
  }
}

/** The mock, through the library. */
export class ModernMock implements Subject<Call> {
  readonly #kernel: MockKernel;
  readonly #processes: { readonly process: MockProcess; readonly devices: readonly SvmDevice[] }[] = [];
  readonly #ops: readonly (SvmDevOps | null)[] = [null, {}, {}];

  constructor(nodes: readonly Node[]) {
    this.#kernel = createMockKernel({ semantics: 'modern', clock: 'manual', devices: nodes.map(hardwareOf) });
    this.#add(this.#kernel.self);
  }

  get state(): State {
    return stateOfMock(this.#kernel);
  }

  apply(call: Call): Outcome {
    const { process, devices } = at(this.#processes, call.process % this.#processes.length);
    return outcomeOf(() => {
      switch (call.do) {
        case 'bind':
          return bindMm(at(devices, call.device), { ops: at(this.#ops, call.ops) });
        case 'unbind':
          return unbindMm(at(devices, call.device), call.pasid);
        case 'valid':
          return isPasidValid(at(devices, call.device), call.pasid);
        case 'probe':
          return probe(at(devices, call.device));
        case 'open':
          return process.open(at(devices, call.device).path);
        case 'close':
          return process.close(call.fd);
        case 'exit':
          return process.exit();
        case 'exec':
          return process.exec();
        case 'fork':
          return this.#add(process.fork());
        case 'spawn':
          return this.#add(this.#kernel.spawn());
      }
    });
  }

  clear(): void {
    for (const { process } of this.#processes) if (process.alive) process.exit();
  }

  #add(process: MockProcess): void {
    this.#processes.push({ process, devices: process.devices() });
  }
}

function hardwareOf({ width, kind, queues }: Node, index: number): MockDeviceOptions {
  const pci = { bdf: `0000:7${index}:00.0`, pasidBits: width };
  if (kind === 'uacce') return { ...pci, type: 'uacce', ...(queues !== undefined && { instances: queues }) };
  return { ...pci, type: 'dsa', workQueues: [{ mode: kind, size: 8 }] };
}
