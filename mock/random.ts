/** A seeded source of numbers (splitmix32): the same seed gives the same machine, run after run. */
export class Random {
  #state: number;

  /** @param seed any integer; its low 32 bits count */
  constructor(seed: number) {
    this.#state = seed | 0;
  }

  /** @returns an integer in 0 .. 2^32 - 1 */
  u32(): number {
    this.#state = (this.#state + 0x9e3779b9) | 0;
    let mixed = this.#state ^ (this.#state >>> 16);
    mixed = Math.imul(mixed, 0x21f0aaad);
    mixed ^= mixed >>> 15;
    mixed = Math.imul(mixed, 0x735a2d97);
    return (mixed ^ (mixed >>> 15)) >>> 0;
  }

  /** @returns an integer in 0 .. bound - 1 */
  below(bound: number): number {
    return Math.floor((this.u32() / 2 ** 32) * bound);
  }
}
