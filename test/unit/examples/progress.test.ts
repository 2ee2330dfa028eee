import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { describe, expect, test } from 'vitest';
import { startProgress } from '../../../examples/demo/progress.js';

const MIB = 2 ** 20;

/** What a file of `total` bytes leaves on a stream. */
async function written(options: { readonly isTTY: boolean; readonly total: number }): Promise<string> {
  const stream = Object.assign(new PassThrough(), { isTTY: options.isTTY, columns: 100 });
  const progress = startProgress(stream, 'long.bin', options.total);
  progress.update(options.total / 2);
  progress.update(options.total);
  progress.stop();
  stream.end();
  return text(stream);
}

describe('progress bar', () => {
  test('a long file on a terminal', async () => {
    const output = await written({ isTTY: true, total: 64 * MIB });
    expect(output).toContain('long.bin');
    expect(output).toContain('of 64 MiB');
  });

  test('nothing where stderr is no terminal', async () => {
    expect(await written({ isTTY: false, total: 64 * MIB })).toBe('');
  });

  test('nothing for a file that is done at once', async () => {
    expect(await written({ isTTY: true, total: 4096 })).toBe('');
  });
});
