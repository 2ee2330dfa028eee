import { expect } from 'vitest';
import type { SvmDevice } from 'intel-svm';
import type { InjectionKind } from 'intel-svm/mock';
import type { ErrnoName } from '../../lib/abi/errno.js';
import type { Feature, MachineOptions, Process } from './backend.js';
import { uacce, type PciOptions } from './machines.js';
import type { Register } from './suite.js';
import type { World } from './world.js';

/** What a condition can be put on. */
export interface Scene {
  readonly world: World;
  /** Who will bind the target. */
  readonly caller: Process;
  /** A device that every number fits. */
  readonly wide: SvmDevice;
  /** The device whose bind is refused. */
  readonly target: SvmDevice;
}

/** A row of a table of checks: the condition that the check looks for, and what it answers. */
export interface Check {
  /** As in the table of facts. */
  readonly row: string;
  readonly what: string;
  readonly code: ErrnoName | 'BUG';
  /** The machine that has the condition, beside the target device. */
  readonly machine?: Omit<MachineOptions, 'devices'>;
  /** What the target device has of the condition. */
  readonly target?: PciOptions;
  readonly inject?: InjectionKind;
  readonly flags?: number;
  readonly kernelThread?: boolean;
  /** Brings the condition about, before the injections and the bind. */
  readonly before?: (scene: Scene) => void;
  /** Rows whose condition cannot hold together with this one's. */
  readonly excludes?: readonly string[];
  /** The kernel has done this by the time it comes to the check. */
  readonly after?: { readonly enabled?: boolean; readonly pasids?: number };
}

/**
 * Two conditions hold, the earlier check answers. A pair is left out where nobody could tell which check it was: the same
 * errno, no injected fault that would have struck, no change made in between.
 */
function distinguishable(first: Check, second: Check): boolean {
  return (
    first.code !== second.code ||
    second.inject !== undefined ||
    first.after?.enabled !== second.after?.enabled ||
    (first.after?.pasids ?? 0) !== (second.after?.pasids ?? 0)
  );
}

const compatible = (first: Check, second: Check): boolean =>
  !(first.excludes ?? []).includes(second.row) && !(second.excludes ?? []).includes(first.row);

/** Registers a case for every single check, and for every pair of checks whose conditions can hold together. */
export function testOrder(
  test: Register,
  table: string,
  checks: readonly Check[],
  bind: (scene: Scene, flags: number) => void,
): void {
  for (const [index, check] of checks.entries()) {
    define(test, `${table} row ${check.row}: ${check.what} → ${check.code}`, check, undefined, bind);
    for (const later of checks.slice(index + 1)) {
      if (!compatible(check, later) || !distinguishable(check, later)) continue;
      const title = `${table} order: row ${check.row} (${check.what}, ${check.code}) before row ${later.row} (${later.what}, ${later.code})`;
      define(test, title, check, later, bind);
    }
  }
}

function define(
  test: Register,
  title: string,
  first: Check,
  second: Check | undefined,
  bind: (scene: Scene, flags: number) => void,
): void {
  const needs: Feature[] = ['processes', 'counters', 'device-state'];
  if (first.inject !== undefined || second?.inject !== undefined) needs.push('injection');
  test(title, { needs, machine: machineOf(first, second) }, (world) => {
    const caller = first.kernelThread || second?.kernelThread ? world.kernelThread() : world.spawn();
    const [wide, target] = world.devices(caller);
    const scene = { world, caller, wide, target };
    second?.before?.(scene);
    first.before?.(scene);
    const injections = [first, second].map((check) =>
      check?.inject === undefined ? undefined : world.machine.inject(check.inject),
    );
    const call = (): void => bind(scene, (first.flags ?? 0) | (second?.flags ?? 0));
    const { enabled = false, pasids = 0 } = first.after ?? {};
    if (first.code === 'BUG') world.crashes(call);
    else world.refused(first.code, call, { ...(enabled && { enabled: target }), pasids });
    const { pasidEnabled } = world.machine.deviceState(target);
    expect(pasidEnabled || !enabled, 'the checks before it have enabled PASID').toBe(true);
    // The check that answered was reached once, the later one never.
    expect(injections.map((injection) => injection?.hits ?? 0)).toEqual([first.inject === undefined ? 0 : 1, 0]);
    for (const injection of injections) injection?.stop();
  });
}

function machineOf(first: Check, second: Check | undefined): MachineOptions {
  const a = first.machine ?? {};
  const b = second?.machine ?? {};
  return {
    ...b,
    ...a,
    iommu: { ...b.iommu, ...a.iommu },
    config: { ...b.config, ...a.config },
    svm: { ...b.svm, ...a.svm },
    devices: [uacce(0), uacce(1, { ...second?.target, ...first.target })],
  };
}
