import assert from 'node:assert/strict';
import { SvmError, bindMm, unbindMm, type BindOptions, type SvmDevice } from 'intel-svm';
import type { Counters } from 'intel-svm/mock';
import { ERRNO, type ErrnoName } from '../../lib/abi/errno.js';
import type { Backend, DeviceState, Feature, Machine, Process } from './backend.js';

/** What a program holds: the part of the counters that must be zero when it has cleaned up. */
const HELD = ['pasids', 'bindings', 'openFiles', 'deviceMappings', 'pinnedBuffers', 'allocations'] as const;
export type Held = Pick<Counters, (typeof HELD)[number]>;

export const NOTHING_HELD: Held = {
  pasids: 0,
  bindings: 0,
  openFiles: 0,
  deviceMappings: 0,
  pinnedBuffers: 0,
  allocations: 0,
};

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

  /** The device nodes as `process` (default: this one) sees them. The case fails where there are fewer than two. */
  devices(process: Process = this.self): [SvmDevice, SvmDevice, ...SvmDevice[]] {
    const [first, second, ...more] = process.devices();
    assert(first !== undefined && second !== undefined, 'the machine has fewer than two device nodes');
    return [first, second, ...more];
  }

  /** One of the device nodes. */
  device(index: number, process: Process = this.self): SvmDevice {
    const device = process.devices()[index];
    assert(device !== undefined, `the machine has no device node ${index}`);
    return device;
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
    assert.notEqual(index, -1, 'an unbind succeeded that no bind stands behind');
    this.#bound.splice(index, 1);
  }

  /** Takes back every bind of a device and PASID, and checks how many there were. */
  expectUsers(device: SvmDevice, pasid: number, expected: number): void {
    for (let users = 0; users < expected; users += 1) this.unbind(device, pasid);
    this.refused('EINVAL', () => unbindMm(device, pasid));
  }

  /** What is held now; empty on a backend that does not tell. */
  held(): Partial<Held> {
    if (!this.has('counters')) return {};
    const counters = this.machine.counters();
    return Object.fromEntries(HELD.map((name) => [name, counters[name]]));
  }

  /** Checks some of what is held, where the backend tells. */
  expectHeld(expected: Partial<Held>): void {
    if (!this.has('counters')) return;
    const held = this.held();
    assert.deepEqual({ ...held, ...expected }, held);
  }

  /**
   * Makes a call that the kernel must refuse, and checks that nothing changed.
   * @returns the error
   */
  refused(code: ErrnoName, call: () => unknown, leaves: Leaves = {}): SvmError {
    const { pasids = 0 } = leaves;
    const { held, devices } = this.#snapshot(leaves);
    const error = caught(call);
    assert(error instanceof SvmError, `expected ${code}, got ${String(error)}`);
    assert.deepEqual({ code: error.code, errno: error.errno }, { code, errno: -ERRNO[code] });
    const added = held.pasids === undefined ? {} : { pasids: held.pasids + pasids };
    assert.deepEqual(this.#snapshot(leaves), { held: { ...held, ...added }, devices });
    return error;
  }

  /** Makes a call that is refused as the caller's mistake, before any kernel sees it; nothing changes. */
  misused(kind: new (message: string) => Error, code: string, call: () => unknown): void {
    const before = this.#snapshot();
    const error = caught(call);
    assert(error instanceof kind, `expected a ${kind.name}, got ${String(error)}`);
    assert(!(error instanceof SvmError), 'misuse is no SvmError');
    assert.equal('code' in error && error.code, code);
    assert.deepEqual(this.#snapshot(), before);
  }

  /** The kernel would have crashed in this call; nothing changes. */
  crashes(call: () => unknown): void {
    const before = this.#snapshot();
    const error = caught(call);
    assert(error instanceof Error && 'code' in error, `expected a BUG, got ${String(error)}`);
    assert.equal(error.code, 'ERR_KERNEL_BUG');
    assert.deepEqual(this.#snapshot(), before);
  }

  /** Unbinds what is left and ends every process: what is held after it has leaked. */
  finish(): void {
    this.machine.settle();
    for (const bound of this.#bound.toReversed()) this.#undo(bound);
    if (this.has('processes')) for (const process of this.#processes) if (process.alive) process.exit();
    this.machine.settle();
  }

  /** Gives back what can be, for the cases that follow on the same machine: this one has failed already. */
  abandon(): void {
    for (const bound of this.#bound.toReversed()) {
      try {
        this.#undo(bound);
      } catch {
        // What the case broke is its own failure to report.
      }
    }
  }

  #undo({ device, pasid, mm }: Bound): void {
    const binder = this.#processes.find((process) => process === device.kernel);
    const present = binder !== undefined && (!this.has('processes') || binder.alive) && binder.mm === mm;
    if (present) unbindMm(device, pasid);
    // Kernels that bind in open let go of everything when the address space goes. Where they do not,
    // intel_svm_unbind_mm does not look at its caller: anybody may clean up.
    else if (this.backend.semantics === 'legacy') unbindMm(this.#sameNode(device, this.spawn()), pasid);
  }

  #sameNode({ path }: SvmDevice, process: Process): SvmDevice {
    const node = process.devices().find((device) => device.path === path);
    assert(node !== undefined, `${path} has gone`);
    return node;
  }

  #snapshot({ enabled }: Leaves = {}): Snapshot {
    const observer = this.has('device-state') ? this.#processes.find(({ alive }) => alive) : undefined;
    const devices = (observer?.devices() ?? []).map((device) => {
      const state = this.machine.deviceState(device);
      return enabled !== undefined && device.bdf === enabled.bdf
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
  return assert.fail('the call succeeded');
}
