import { inspect } from 'node:util';
import { describe, expect, it } from 'vitest';
import { SvmError } from 'intel-svm';
import { ERRNO } from '../../../lib/abi/errno.js';
import { invalidArgType, invalidArgValue, invalidState, outOfRange } from '../../../lib/errors.js';

describe('SvmError', () => {
  const error = new SvmError('EBUSY', { syscall: 'open', path: '/dev/dsa/wq0.0' });

  it('has the fields of a system error', () => {
    expect(error).toBeInstanceOf(Error);
    expect(error).toMatchObject({
      name: 'SvmError',
      code: 'EBUSY',
      errno: -ERRNO.EBUSY,
      syscall: 'open',
      path: '/dev/dsa/wq0.0',
    });
  });

  it('says in its message what failed and where', () => {
    expect(error.message).toMatch(/^EBUSY: .+, open '\/dev\/dsa\/wq0\.0'$/);
    expect(new SvmError('ENODEV', { syscall: 'connect' }).message).toMatch(/^ENODEV: .+, connect$/);
  });

  it('takes its hint from the table of the call, unless it is given one', () => {
    expect(error.hint).toMatch(/^A dedicated work queue takes one opener at a time/);
    expect(new SvmError('EBUSY', { syscall: 'open', hint: 'Wait.' }).hint).toBe('Wait.');
    expect(new SvmError('EXDEV', { syscall: 'open' }).hint).toBeUndefined();
  });

  it('shows its hint when it is printed', () => {
    expect(inspect(error)).toContain('hint: ');
  });

  it('keeps the cause', () => {
    const cause = new Error('below');
    expect(new SvmError('ENOMEM', { syscall: 'mmap', cause }).cause).toBe(cause);
  });
});

describe('argument errors', () => {
  it.each([
    [invalidArgType('dev', 'an SvmDevice', null), TypeError, 'ERR_INVALID_ARG_TYPE', 'Received null'],
    [invalidArgType('dev', 'an SvmDevice', undefined), TypeError, 'ERR_INVALID_ARG_TYPE', 'Received undefined'],
    [invalidArgType('dev', 'an SvmDevice', 'wq'), TypeError, 'ERR_INVALID_ARG_TYPE', "Received type string ('wq')"],
    [invalidArgType('dev', 'an SvmDevice', 3n), TypeError, 'ERR_INVALID_ARG_TYPE', 'Received type bigint (3n)'],
    [invalidArgType('dev', 'an SvmDevice', new Map()), TypeError, 'ERR_INVALID_ARG_TYPE', 'an instance of Map'],
    [
      invalidArgType('dev', 'a device', Object.create(null)),
      TypeError,
      'ERR_INVALID_ARG_TYPE',
      'an instance of Object',
    ],
    [invalidArgType('ops', 'an object', Math.max), TypeError, 'ERR_INVALID_ARG_TYPE', 'Received function max'],
    [invalidArgValue('view', 'is detached'), TypeError, 'ERR_INVALID_ARG_VALUE', 'The "view" argument is detached'],
    [outOfRange('flags', '0 to 3', 4), RangeError, 'ERR_OUT_OF_RANGE', 'Received 4'],
    [invalidState('closed'), Error, 'ERR_INVALID_STATE', 'Invalid state: closed'],
  ])('%s', (error, type, code, message) => {
    expect(error).toBeInstanceOf(type);
    expect(error).toHaveProperty('code', code);
    expect(error.message).toContain(message);
  });
});
