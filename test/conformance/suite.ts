import { describe, expect, it } from 'vitest';
import type { Semantics } from 'intel-svm/mock';
import type { Backend, Feature, MachineOptions } from './backend.js';
import { NOTHING_HELD, World } from './world.js';

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
  register(test: Register): void;
}

/**
 * Runs every subject that is the backend's. A case whose needs are not met is skipped, and says why. At the end of each,
 * when everything bound is unbound and every process has exited, the machine must hold nothing.
 */
export function runSuite(backend: Backend, subjects: readonly Subject[]): void {
  const own = subjects.filter(({ semantics = backend.semantics }) => semantics === backend.semantics);
  describe.for(own.map((subject) => [backend.name, subject.title, subject] as const))('%s: %s', ([, , subject]) => {
    it.for(casesOf(subject))('%s', async ([, needs, options, body], context) => {
      const missing = needs.find((feature) => !backend.features.has(feature));
      if (missing !== undefined) context.skip(`${backend.name} lacks '${missing}'`);
      const world = new World(backend, backend.machine({ options, needs }));
      try {
        await body(world);
      } catch (error) {
        world.abandon();
        throw error;
      }
      world.finish();
      expect({ ...NOTHING_HELD, ...world.held() }, 'what is still held at the end').toEqual(NOTHING_HELD);
    });
  });
}

type Case = readonly [title: string, needs: readonly Feature[], options: MachineOptions | undefined, body: Body];

function casesOf(subject: Subject): Case[] {
  const cases: Case[] = [];
  subject.register((title, { needs = [], machine }, body) => {
    const all = [...(subject.needs ?? []), ...needs];
    if (machine !== undefined) all.push('machine-options');
    cases.push([title, all, machine, body]);
  });
  return cases;
}
