import { describe, expect, it } from 'vitest';
import { SvmError, bindMm, unbindMm, type BindOptions, type SvmDevice } from 'intel-svm';
import type { Counters, Semantics } from 'intel-svm/mock';
import { ERRNO, type ErrnoName } from '../../lib/abi/errno.js';
import type { Backend, DeviceState, Feature, Machine, MachineOptions, Process } from './backend.js';

/** What a program holds: the part of the counters that must be zero when it has cleaned up. */
const HELD = ['pasids', 'bindings', 'openFiles', 'deviceMappings', 'pinnedBuffers', 'allocations'] as const;
export type Held = Pick<Counters, (typeof HELD)[number]>;

export interface CaseOptions {
  readonly needs?: readonly Feature[];
  /** The case's own machine: needs 'machine-options'. */
  readonly machine?: MachineOptions;
}

type Body = (world: World) => void | Promise<void>;

/** Registers one case. Its title names the fact and where it stands in the list of facts. */
export type Register = (title: string, options: CaseOptions, body: Body) => void;

/** A group of cases about one subject. */
export interface Subject {
  readonly title: string;
  /** The semantics that the facts belong to. Absent: they hold under both. */
  readonly semantics?: Semantics;
  /** What every case of the subject needs, beside its own. */
  readonly needs?: readonly Feature[];
  register(test: Register, backend: Backend): void;
}

interface Bound {
  readonly device: SvmDevice;
  readonly pasid: number;
  readonly mm: object;
}

interface Snapshot {
  readonly held: Partial<Held>;
  readonly devices: readonly DeviceState[];
}

/** What a refused call may have changed all the same, because the kernel does. */
export interface Leaves {
  /** PASID, ATS and PRI of the device. */
  readonly enabled?: SvmDevice;
  /** Numbers allocated. */
  readonly pasids?: number;
}

/** One case's machine, its processes and what they bound. */
export class World {
  readonly backend: Backend;
  readonly machine: Machine;
  readonly self: Process;
  readonly #processes: Process[];
  readonly #bound: Bound[] = [];

  constructor(backend: Backend, machine: Machine) {
    this.backend = backend;
    this.machine = machine;
    this.self = machine.self;
    this.#processes = [machine.self];
  }

  has(feature: Feature): boolean {
    return this.backend.features.has(feature);
  }

  /** The device nodes as `process` (default: this one) sees them. The case fails where there are fewer than it uses. */
  devices(process: Process = this.self): [SvmDevice, SvmDevice, ...SvmDevice[]] {
    const [first, second, ...more] = process.devices();
    if (first === undefined || second === undefined) throw new Error('the machine has fewer than two device nodes');
    return [first, second, ...more];
  }

  spawn(): Process {
    return this.#known(this.machine.spawn());
  }

  fork(process: Process): Process {
    return this.#known(process.fork());
  }

  kernelThread(): Process {
    return this.#known(this.machine.kernelThread());
  }

  /** `bindMm`, undone at the end of the case unless the case does it. */
  bind(device: SvmDevice, options: BindOptions = {}): number {
    const pasid = bindMm(device, options);
    this.#bound.push({ device, pasid, mm: device.kernel.mm });
    return pasid;
  }

  /** `unbindMm` of what `bind` bound. */
  unbind(device: SvmDevice, pasid: number): void {
    unbindMm(device, pasid);
    const index = this.#bound.findLastIndex((bound) => bound.device.path === device.path && bound.pasid === pasid);
    expect(index, 'an unbind succeeded that no bind stands behind').not.toBe(-1);
    this.#bound.splice(index, 1);
  }

  /** What is held now; empty on a backend that does not tell. */
  held(): Partial<Held> {
    if (!this.has('counters')) return {};
    const counters = this.machine.counters();
    return Object.fromEntries(HELD.map((name) => [name, counters[name]]));
  }

  /** Checks some of what is held, where the backend tells. */
  expectHeld(expected: Partial<Held>): void {
    if (this.has('counters')) expect(this.held()).toMatchObject(expected);
  }

  /**
   * Makes a call that the kernel must refuse, and checks that nothing changed.
   * @returns the error
   */
  refused(code: ErrnoName, call: () => unknown, leaves: Leaves = {}): SvmError {
    const before = this.#snapshot(leaves);
    const error = caught(call);
    expect(error).toBeInstanceOf(SvmError);
    expect(error).toMatchObject({ code, errno: -ERRNO[code] });
    expect(this.#snapshot(leaves)).toEqual({
      ...before,
      held: { ...before.held, ...(before.held.pasids !== undefined && { pasids: before.held.pasids + (leaves.pasids ?? 0) }) },
    });
    return error as SvmError;
  }

  /** Makes a call that is refused as the caller's mistake, before any kernel sees it; nothing changes. */
  misused(kind: new (message: string) => Error, code: string, call: () => unknown): void {
    const before = this.#snapshot({});
    const error = caught(call);
    expect(error).toBeInstanceOf(kind);
    expect(error).not.toBeInstanceOf(SvmError);
    expect(error).toMatchObject({ code });
    expect(this.#snapshot({})).toEqual(before);
  }

  /** The kernel would have crashed in this call; nothing changes. */
  crashes(call: () => unknown): void {
    const before = this.#snapshot({});
    expect(caught(call)).toMatchObject({ name: 'KernelBug', code: 'ERR_KERNEL_BUG' });
    expect(this.#snapshot({})).toEqual(before);
  }

  /** Unbinds what is left, ends every process, and checks that the machine holds nothing. */
  finish(): void {
    this.machine.settle();
    for (const { device, pasid, mm } of this.#bound.toReversed()) this.#undo(device, pasid, mm);
    if (!this.has('processes')) {
      this.#expectNothingHeld();
      return;
    }
    for (const process of this.#processes) if (process.alive) process.exit();
    this.machine.settle();
    this.#expectNothingHeld();
  }

  /** Gives back what can be, for the cases that follow on the same machine: this one has failed already. */
  abandon(): void {
    for (const { device, pasid, mm } of this.#bound.toReversed()) {
      try {
        this.#undo(device, pasid, mm);
      } catch {
        // What the case broke is its own failure to report.
      }
    }
  }

  #undo(device: SvmDevice, pasid: number, mm: object): void {
    // Kernels that bind in open have let go of everything when the address space went.
    const process = this.#processes.find((candidate) => candidate === device.kernel);
    const present = !this.has('processes') || (process?.alive === true && process.mm === mm);
    if (this.backend.semantics === 'modern') {
      if (present) unbindMm(device, pasid);
      return;
    }
    // intel_svm_unbind_mm does not look at its caller: anybody may clean up.
    const janitor = present ? device.kernel : this.spawn();
    const node = this.devices(janitor as Process).find(({ path }) => path === device.path);
    if (node === undefined) throw new Error(`${device.path} has gone`);
    unbindMm(node, pasid);
  }

  #expectNothingHeld(): void {
    const nothing = Object.fromEntries(HELD.map((name) => [name, 0]));
    // Without processes to end, an address space keeps its PASID.
    if (this.has('counters')) expect(this.held(), 'what is still held at the end').toEqual(nothing);
  }

  #snapshot({ enabled }: Leaves): Snapshot {
    const observer = this.has('device-state') ? this.#processes.find(({ alive }) => alive) : undefined;
    const devices = (observer?.devices() ?? []).map((device) => {
      const state = this.machine.deviceState(device);
      return device.bdf === enabled?.bdf && enabled !== undefined
        ? { ...state, pasidEnabled: true, atsEnabled: true, priEnabled: true }
        : state;
    });
    return { held: this.held(), devices };
  }

  #known(process: Process): Process {
    this.#processes.push(process);
    return process;
  }
}

/** What a call throws. */
export function caught(call: () => unknown): unknown {
  try {
    call();
  } catch (error) {
    return error;
  }
  return expect.fail('the call succeeded');
}

/** Runs every subject that is the backend's. A case whose needs are not met is skipped, and says why. */
export function runSuite(backend: Backend, subjects: readonly Subject[]): void {
  describe(backend.name, () => {
    for (const subject of subjects) {
      if (subject.semantics !== undefined && subject.semantics !== backend.semantics) continue;
      describe(subject.title, () => {
        subject.register((title, options, body) => {
          runCase(backend, title, { ...options, needs: [...(subject.needs ?? []), ...(options.needs ?? [])] }, body);
        }, backend);
      });
    }
  });
}

function runCase(backend: Backend, title: string, options: CaseOptions, body: Body): void {
  const needs: Feature[] = [...(options.needs ?? [])];
  if (options.machine !== undefined) needs.push('machine-options');
  it(title, async (context) => {
    const missing = needs.find((feature) => !backend.features.has(feature));
    if (missing !== undefined) return context.skip(`${backend.name} lacks '${missing}'`);
    const world = new World(backend, backend.machine({ options: options.machine, needs }));
    try {
      await body(world);
    } catch (error) {
      world.abandon();
      throw error;
    }
    world.finish();
  });
}
