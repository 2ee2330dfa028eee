import assert from 'node:assert/strict';
import * as fc from 'fast-check';
import { SvmError } from 'intel-svm';
import type { MockKernel } from 'intel-svm/mock';
import { stateOf } from '../device-context.js';

/** What a call gave: its value, or the code of its error. */
export type Outcome = number | boolean | string | undefined;

/** What a machine holds, as far as model and mock both tell. */
export interface State {
  /** Numbers allocated. */
  readonly pasids: number;
  readonly bindings: number;
  readonly openFiles: number;
  /** Numbers in each device's PASID table, ascending. */
  readonly tables: readonly (readonly number[])[];
  /** Which devices have PASID enabled. */
  readonly enabled: readonly boolean[];
}

/** The mock's side of `State`. */
export function stateOfMock(kernel: MockKernel): State {
  const { pasids, bindings, openFiles } = kernel.counters();
  const states = kernel.hardware.map(({ context }) => stateOf(context));
  return {
    pasids,
    bindings,
    openFiles,
    tables: states.map(({ pasidTable }) => pasidTable),
    enabled: states.map(({ pasidEnabled }) => pasidEnabled),
  };
}

/** What calls can be made on: the mock, or the model of it. */
export interface Subject<Call> {
  apply(call: Call): Outcome;
  readonly state: State;
  /** Gives back all that is held. */
  clear(): void;
}

/** Of a model: what an action means in its state. */
export interface Model<Action, Call> extends Subject<Call> {
  /** @returns the call with its numbers filled in; `undefined` where the action means nothing: it is passed over */
  concrete(action: Action): Call | undefined;
}

export interface Run {
  readonly runs: number;
  /** Most actions in a sequence. */
  readonly length: number;
}

/**
 * Random sequences of actions on model and mock, side by side; a difference is shrunk to the fewest actions that show it.
 * @returns the number of sequences that agreed
 */
export function compare<Action, Call>(
  action: fc.Arbitrary<Action>,
  machine: () => { readonly model: Model<Action, Call>; readonly mock: Subject<Call> },
  { runs, length }: Run,
): number {
  let agreed = 0;
  const property = fc.property(fc.array(action, { maxLength: length, size: 'max' }), (actions) => {
    const { model, mock } = machine();
    for (const each of actions) {
      const call = model.concrete(each);
      if (call === undefined) continue;
      assert.deepEqual(mock.apply(call), model.apply(call), `outcome of ${JSON.stringify(call)}`);
      assert.deepEqual(mock.state, model.state, `state after ${JSON.stringify(call)}`);
    }
    mock.clear();
    model.clear();
    assert.deepEqual(mock.state, model.state, 'state at the end');
    const { pasids, bindings, openFiles } = mock.state;
    assert.deepEqual({ pasids, bindings, openFiles }, { pasids: 0, bindings: 0, openFiles: 0 });
    agreed += 1;
  });
  fc.assert(property, { numRuns: runs });
  return agreed;
}

/** The outcome of a call of the library. */
export function outcomeOf(call: () => Outcome | void): Outcome {
  try {
    return call() ?? 'done';
  } catch (error) {
    if (error instanceof SvmError) return error.code;
    if (error instanceof Error && 'code' in error && error.code === 'ERR_KERNEL_BUG') return 'BUG';
    throw error;
  }
}

/** An item that is there. */
export function at<T>(list: readonly T[], index: number): T {
  const item = list[index];
  if (item === undefined) throw new RangeError(`no item ${index}`);
  return item;
}
