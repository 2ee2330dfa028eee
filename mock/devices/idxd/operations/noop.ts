import type { Operation } from './operation.js';

export const noop: Operation = {
  flags: 0,
  mayBlock: false,
  transfers: false,
  reservedFrom: 40,
  run: () => 'done',
};
