import { inspect } from 'node:util';
import * as v from 'valibot';
import { invalidArgType, invalidArgValue, outOfRange } from '../lib/errors.js';

// The message of each schema is what the value must be: `refusal` makes Node's sentence of it.

export const boolean = v.boolean('a boolean');
export const string = v.string('a string');
/** A number of any kind: for what is checked closer where its limits are known. */
export const number = v.number('a number');

/** An integer in `least` .. `most`. */
export const integer = (least: number, most = Number.MAX_SAFE_INTEGER) => {
  const range =
    most === Number.MAX_SAFE_INTEGER ? `an integer from ${least} on` : `an integer from ${least} to ${most}`;
  return v.pipe(v.number(range), v.integer(range), v.minValue(least, range), v.maxValue(most, range));
};

export const oneOf = <const T extends readonly (string | number)[]>(...values: T) =>
  v.picklist(values, `one of ${values.map((value) => inspect(value)).join(', ')}`);

/** A flag that may be left out. */
export const flag = (fallback: boolean) => v.optional(boolean, fallback);

export const list = <S extends v.GenericSchema>(item: S) => v.array(item, 'an array');

/**
 * The options as a schema describes them, defaults filled in. An explicit `undefined` is an option left out.
 * @throws TypeError `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`, RangeError `ERR_OUT_OF_RANGE`, with the option's path
 */
export function parse<S extends v.GenericSchema>(schema: S, options: unknown): v.InferOutput<S> {
  const result = v.safeParse(schema, options, { abortEarly: true });
  if (!result.success) throw refusal(result.issues[0]);
  return result.output;
}

function refusal({ type, kind, expected, received, message, input, path }: v.BaseIssue<unknown>): Error {
  const keys = (path ?? []).map(({ key }) => (typeof key === 'number' ? `[${key}]` : `.${String(key)}`));
  const name = keys.join('').slice(1) || 'options';
  if (expected === 'never') return invalidArgValue(name, 'is not an option');
  if (type === 'strict_object') return invalidArgType(name, expected === 'Object' ? 'an object' : 'given', input);
  const chosen = type === 'picklist' || (type === 'variant' && expected !== 'Object');
  if (chosen || (kind === 'validation' && typeof input === 'string')) {
    return invalidArgValue(name, `must be ${message}. Received ${inspect(input)}`);
  }
  if (kind === 'validation' || received === 'NaN') return outOfRange(name, message, input);
  return invalidArgType(name, message, input);
}
