import * as fc from 'fast-check';
import { bindMm, isPasidValid, probe, unbindMm, type SvmDevOps, type SvmDevice } from 'intel-svm';
import { createMockKernel, type MockKernel, type MockProcess } from 'intel-svm/mock';
import { at, outcomeOf, stateOfMock, type Model, type Outcome, type State, type Subject } from './run.js';

/** The machine of the comparison. */
export interface Hardware {
  /** Width of each device's PASID capability, bits; 0: none, -1: no IOMMU. */
  readonly widths: readonly number[];
  readonly srs: boolean;
  /** -2 in v5.1, -1 in 5.4.y. */
  readonly allocationEnd: -1 | -2;
}

/** One call. `process` counts over all processes that ever ran, round and round; `ops` 0 is NULL. */
export type Call =
  | {
      readonly do: 'bind';
      readonly process: number;
      readonly device: number;
      readonly flags: number;
      readonly ops: number;
    }
  | { readonly do: 'unbind' | 'valid'; readonly process: number; readonly device: number; readonly pasid: number }
  | { readonly do: 'probe'; readonly process: number; readonly device: number; readonly flags: number }
  | { readonly do: 'exit' | 'exec' | 'fork' | 'spawn' | 'thread'; readonly process: number };

/** A call, or one about something that is bound. */
export type Action =
  | Call
  | { readonly do: 'pick'; readonly call: 'unbind' | 'valid'; readonly process: number; readonly pick: number };

const PRIVATE = 1;
const SUPERVISOR = 2;
const MOST_PROCESSES = 6;
const KINDS_OF_OPS = 3;

export function actions({ widths }: Hardware): fc.Arbitrary<Action> {
  const process = fc.nat(MOST_PROCESSES - 1);
  const device = fc.nat(widths.length - 1);
  // Half of the binds are plain ones, so that references and different ops meet.
  const flags = fc.oneof(fc.constant(0), fc.nat(PRIVATE | SUPERVISOR));
  const pasid = fc.oneof(
    { weight: 9, arbitrary: fc.integer({ min: 1, max: 9 }) },
    { weight: 1, arbitrary: fc.constantFrom(-1, 0, 2 ** 20) },
  );
  const ops = fc.nat(KINDS_OF_OPS - 1);
  const picked = fc.constant('pick' as const);
  const pick = fc.nat(20);
  return fc.oneof(
    { weight: 12, arbitrary: fc.record({ do: fc.constant('bind' as const), process, device, flags, ops }) },
    { weight: 6, arbitrary: fc.record({ do: picked, call: fc.constant('unbind' as const), process, pick }) },
    { weight: 2, arbitrary: fc.record({ do: picked, call: fc.constant('valid' as const), process, pick }) },
    { weight: 3, arbitrary: fc.record({ do: fc.constant('unbind' as const), process, device, pasid }) },
    { weight: 3, arbitrary: fc.record({ do: fc.constant('valid' as const), process, device, pasid }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('probe' as const), process, device, flags }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constantFrom('exit' as const, 'exec' as const), process }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constantFrom('fork' as const, 'spawn' as const), process }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('thread' as const), process }) },
  );
}

interface Mm {
  alive: boolean;
}

interface Binding {
  /** `undefined`: the supervisor's. */
  readonly owner: Mm | undefined;
  readonly isPrivate: boolean;
  /** By device: how many binds, and with which ops. */
  readonly on: Map<number, { users: number; ops: number }>;
}

/** intel-svm.h of v5.1 in a page, from the list of facts: sections 1.1 to 1.5. */
export class LegacyModel implements Model<Action, Call> {
  readonly #hardware: Hardware;
  /** A kernel thread has no mm. */
  readonly #processes: { alive: boolean; mm: Mm | undefined }[] = [{ alive: true, mm: { alive: true } }];
  readonly #bindings = new Map<number, Binding>();
  readonly #enabled: boolean[];

  constructor(hardware: Hardware) {
    this.#hardware = hardware;
    this.#enabled = hardware.widths.map(() => false);
  }

  get state(): State {
    const tables = this.#hardware.widths.map((_, device) =>
      [...this.#bindings]
        .filter(([, { owner, on }]) => on.has(device) && owner?.alive !== false)
        .map(([pasid]) => pasid)
        .toSorted((a, b) => a - b),
    );
    let bindings = 0;
    for (const { on } of this.#bindings.values()) for (const { users } of on.values()) bindings += users;
    return { pasids: this.#bindings.size, bindings, openFiles: 0, tables, enabled: [...this.#enabled] };
  }

  concrete(action: Action): Call | undefined {
    const { mm } = this.#process(action.process);
    const full = this.#processes.length === MOST_PROCESSES;
    switch (action.do) {
      case 'pick': {
        const bound = [...this.#bindings].flatMap(([pasid, { on }]) =>
          [...on.keys()].map((device) => ({ pasid, device })),
        );
        const { call, process, pick } = action;
        return bound.length === 0 ? undefined : { do: call, process, ...at(bound, pick % bound.length) };
      }
      case 'spawn':
      case 'thread':
        return full ? undefined : action;
      case 'fork':
        return full || mm === undefined ? undefined : action;
      case 'exec':
        return mm === undefined ? undefined : action;
      case 'bind':
      case 'unbind':
      case 'valid':
      case 'probe':
      case 'exit':
      default:
        return action;
    }
  }

  apply(call: Call): Outcome {
    if (call.do === 'spawn') return this.#start({ alive: true });
    if (call.do === 'thread') return this.#start(undefined);
    const process = this.#process(call.process);
    if (!process.alive) return 'ESRCH';
    switch (call.do) {
      case 'bind':
        return this.#bind(process.mm, call.device, call.flags, call.ops);
      case 'unbind':
        return this.#unbind(call.device, call.pasid);
      case 'valid':
        return this.#valid(call.device, call.pasid);
      case 'probe':
        return this.#check(call.device, call.flags) ?? this.#enable(call.device);
      case 'fork':
        return this.#start({ alive: true });
      case 'exit':
      case 'exec':
      default:
        if (process.mm !== undefined) process.mm.alive = false;
        process.alive = call.do === 'exec';
        process.mm = { alive: true };
        return 'done';
    }
  }

  clear(): void {
    this.#bindings.clear();
  }

  #process(number: number): { alive: boolean; mm: Mm | undefined } {
    return at(this.#processes, number % this.#processes.length);
  }

  #start(mm: Mm | undefined): Outcome {
    this.#processes.push({ alive: true, mm });
    return 'done';
  }

  #width(device: number): number {
    return this.#hardware.widths[device] ?? 0;
  }

  /** Rows 1, 2 and 4. */
  #check(device: number, flags: number): Outcome {
    if (this.#width(device) <= 0) return 'EINVAL';
    return (flags & SUPERVISOR) !== 0 && !this.#hardware.srs ? 'EINVAL' : undefined;
  }

  #enable(device: number): Outcome {
    this.#enabled[device] = true;
    return 'done';
  }

  #bind(mm: Mm | undefined, device: number, flags: number, ops: number): Outcome {
    const refused = this.#check(device, flags);
    if (refused !== undefined) return refused;
    const supervisor = (flags & SUPERVISOR) !== 0;
    if (!supervisor && mm === undefined) return 'BUG';
    const owner = supervisor ? undefined : mm;
    const isPrivate = (flags & PRIVATE) !== 0;

    for (const [pasid, binding] of this.#bindings) {
      if (isPrivate || binding.isPrivate || binding.owner !== owner) continue;
      if (pasid >= 2 ** this.#width(device)) return 'ENOSPC';
      const present = binding.on.get(device);
      if (present !== undefined && present.ops !== ops) return 'EBUSY';
      this.#enable(device);
      binding.on.set(device, { users: (present?.users ?? 0) + 1, ops });
      return pasid;
    }

    this.#enable(device);
    const last = 2 ** this.#width(device) + this.#hardware.allocationEnd;
    let pasid = 1;
    while (this.#bindings.has(pasid)) pasid += 1;
    if (pasid > last) return 'ENOSPC';
    this.#bindings.set(pasid, { owner, isPrivate, on: new Map([[device, { users: 1, ops }]]) });
    return pasid;
  }

  #unbind(device: number, pasid: number): Outcome {
    const binding = this.#bindings.get(pasid);
    const present = binding?.on.get(device);
    if (this.#width(device) < 0 || binding === undefined || present === undefined) return 'EINVAL';
    present.users -= 1;
    if (present.users === 0) binding.on.delete(device);
    if (binding.on.size === 0) this.#bindings.delete(pasid);
    return 'done';
  }

  #valid(device: number, pasid: number): Outcome {
    const binding = this.#bindings.get(pasid);
    if (this.#width(device) < 0 || binding === undefined) return 'EINVAL';
    return binding.owner?.alive !== false;
  }
}

/** The mock, through the library. */
export class LegacyMock implements Subject<Call> {
  readonly #kernel: MockKernel;
  readonly #processes: { readonly process: MockProcess; readonly devices: readonly SvmDevice[] }[] = [];
  readonly #bound: { readonly device: number; readonly pasid: number }[] = [];
  readonly #ops: readonly (SvmDevOps | null)[] = [null, {}, {}];

  constructor({ widths, srs, allocationEnd }: Hardware) {
    this.#kernel = createMockKernel({
      semantics: 'legacy',
      clock: 'manual',
      iommu: { srs },
      svm: { allocationEnd },
      devices: widths.map((bits, index) => ({
        type: 'uacce',
        bdf: `0000:7${index}:00.0`,
        iommu: bits >= 0,
        pasidBits: Math.max(bits, 0),
      })),
    });
    this.#add(this.#kernel.self);
  }

  get state(): State {
    return stateOfMock(this.#kernel);
  }

  apply(call: Call): Outcome {
    const { process, devices } = this.#process(call.process);
    return outcomeOf(() => {
      switch (call.do) {
        case 'bind':
          return this.#bind(at(devices, call.device), call);
        case 'unbind':
          return this.#unbind(at(devices, call.device), call);
        case 'valid':
          return isPasidValid(at(devices, call.device), call.pasid);
        case 'probe':
          return probe(at(devices, call.device), { flags: call.flags });
        case 'exit':
          return process.exit();
        case 'exec':
          return process.exec();
        case 'fork':
          return this.#add(process.fork());
        case 'spawn':
          return this.#add(this.#kernel.spawn());
        case 'thread':
          return this.#add(this.#kernel.kernelThread());
      }
    });
  }

  /** Anybody may unbind anything. */
  clear(): void {
    const janitor = this.#kernel.spawn().devices();
    for (const { device, pasid } of this.#bound) unbindMm(at(janitor, device), pasid);
  }

  #bind(device: SvmDevice, { device: index, flags, ops }: Action & { readonly do: 'bind' }): number {
    const pasid = bindMm(device, { flags, ops: at(this.#ops, ops) });
    this.#bound.push({ device: index, pasid });
    return pasid;
  }

  #unbind(device: SvmDevice, { device: index, pasid }: { readonly device: number; readonly pasid: number }): void {
    unbindMm(device, pasid);
    this.#bound.splice(
      this.#bound.findIndex((bound) => bound.device === index && bound.pasid === pasid),
      1,
    );
  }

  #add(process: MockProcess): void {
    this.#processes.push({ process, devices: process.devices() });
  }

  #process(number: number): { readonly process: MockProcess; readonly devices: readonly SvmDevice[] } {
    return at(this.#processes, number % this.#processes.length);
  }
}
