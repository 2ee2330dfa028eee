/**
 * CRC-32C (Castagnoli, RFC 3720 appendix B.4), least significant bit first: polynomial 0x1EDC6F41, reflected 0x82F63B78.
 * Eight tables take eight bytes per step: table k gives the effect of a byte that k more zero bytes follow.
 */
const POLYNOMIAL = 0x82f63b78;
const SLICES = 8;
const TABLES = new Uint32Array(256 * SLICES);

for (let byte = 0; byte < 256; byte += 1) {
  let remainder = byte;
  for (let bit = 0; bit < 8; bit += 1) remainder = (remainder >>> 1) ^ (remainder & 1 ? POLYNOMIAL : 0);
  TABLES[byte] = remainder;
}
for (let index = 256; index < TABLES.length; index += 1) {
  const shorter = TABLES[index - 256] ?? 0;
  TABLES[index] = (shorter >>> 8) ^ (TABLES[shorter & 0xff] ?? 0);
}

const table = (slice: number, byte: number): number => TABLES[slice * 256 + byte] ?? 0;

/**
 * Takes bytes into the shift register. The register is the bare remainder: the inversions before and after are the
 * caller's.
 * @returns the register, an unsigned 32-bit number
 */
export function crc32c(register: number, bytes: Uint8Array, start: number, length: number): number {
  let crc = register;
  let at = start;
  const end = start + length;
  for (; at + SLICES <= end; at += SLICES) {
    crc ^= word(bytes, at);
    const high = word(bytes, at + 4);
    crc =
      table(7, crc & 0xff) ^
      table(6, (crc >>> 8) & 0xff) ^
      table(5, (crc >>> 16) & 0xff) ^
      table(4, crc >>> 24) ^
      table(3, high & 0xff) ^
      table(2, (high >>> 8) & 0xff) ^
      table(1, (high >>> 16) & 0xff) ^
      table(0, high >>> 24);
  }
  for (; at < end; at += 1) crc = (crc >>> 8) ^ table(0, (crc ^ (bytes[at] ?? 0)) & 0xff);
  return crc >>> 0;
}

/** The bits of a 32-bit number in reverse order. */
export function reverse32(value: number): number {
  let bits = value;
  bits = ((bits >>> 1) & 0x55555555) | ((bits & 0x55555555) << 1);
  bits = ((bits >>> 2) & 0x33333333) | ((bits & 0x33333333) << 2);
  bits = ((bits >>> 4) & 0x0f0f0f0f) | ((bits & 0x0f0f0f0f) << 4);
  bits = ((bits >>> 8) & 0x00ff00ff) | ((bits & 0x00ff00ff) << 8);
  return ((bits >>> 16) | (bits << 16)) >>> 0;
}

function word(bytes: Uint8Array, at: number): number {
  return (bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8) | ((bytes[at + 2] ?? 0) << 16) | ((bytes[at + 3] ?? 0) << 24);
}
