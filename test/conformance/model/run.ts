import assert from 'node:assert/strict';
import fc from 'fast-check';
import { SvmError } from 'intel-svm';

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

/** Something that an action can be done to: the mock, or the model of it. */
export interface Subject<Action> {
  apply(action: Action): Outcome;
  readonly state: State;
  /** Gives back all that is held. */
  clear(): void;
}

/** Of a model: whether an action means anything in its state. Actions that do not are passed over, for both. */
export interface Model<Action> extends Subject<Action> {
  allows(action: Action): boolean;
}

export interface Run {
  readonly runs: number;
  readonly length: number;
}

/** Random sequences of actions on model and mock, side by side; a difference is shrunk to the fewest actions that show it. */
export function compare<Action>(
  action: fc.Arbitrary<Action>,
  machine: () => { readonly model: Model<Action>; readonly mock: Subject<Action> },
  { runs, length }: Run,
): void {
  const sequences = fc.array(action, { maxLength: length, size: 'max' });
  const property = fc.property(sequences, (actions) => {
    const { model, mock } = machine();
    for (const each of actions) {
      if (!model.allows(each)) continue;
      assert.deepEqual(mock.apply(each), model.apply(each), `outcome of ${JSON.stringify(each)}`);
      assert.deepEqual(mock.state, model.state, `state after ${JSON.stringify(each)}`);
    }
    mock.clear();
    model.clear();
    assert.deepEqual(mock.state, model.state, 'state at the end');
    const { pasids, bindings, openFiles } = mock.state;
    assert.deepEqual({ pasids, bindings, openFiles }, { pasids: 0, bindings: 0, openFiles: 0 });
  });
  fc.assert(property, { numRuns: runs });
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
