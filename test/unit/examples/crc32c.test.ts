import { expect, test } from 'vitest';
import { crc32c } from '../../../examples/demo/crc32c.js';

// RFC 3720, appendix B.4, and the check value of the catalogue of CRC algorithms.
test.each([
  ['32 zeros', Buffer.alloc(32, 0), 0x8a91_36aa],
  ['32 ones', Buffer.alloc(32, 0xff), 0x62a8_ab43],
  ['32 ascending', Buffer.from(Array.from({ length: 32 }, (_, index) => index)), 0x46dd_794e],
  ['123456789', Buffer.from('123456789'), 0xe306_9283],
  ['nothing', Buffer.alloc(0), 0],
])('CRC-32C of %s', (_name, bytes, expected) => {
  expect(crc32c(bytes)).toBe(expected);
});

test('a CRC goes on where the one before ended', () => {
  expect(crc32c(Buffer.from('56789'), crc32c(Buffer.from('1234')))).toBe(0xe306_9283);
});
