/** A `RangeError` in Node's form (code `ERR_OUT_OF_RANGE`): a number that does not fit where it should be stored. */
export function outOfRange(name: string, range: string, received: unknown): RangeError {
  const error = new RangeError(
    `The value of "${name}" is out of range. It must be ${range}. Received ${String(received)}`,
  );
  return Object.assign(error, { code: 'ERR_OUT_OF_RANGE' });
}

/** A `TypeError` in Node's form (code `ERR_INVALID_ARG_VALUE`): a text or list that does not have the expected form. */
export function malformed(name: string, expected: string, received: string): TypeError {
  const error = new TypeError(`The "${name}" argument must be ${expected}. Received ${JSON.stringify(received)}`);
  return Object.assign(error, { code: 'ERR_INVALID_ARG_VALUE' });
}
