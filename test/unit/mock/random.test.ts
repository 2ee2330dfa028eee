import { describe, expect, it } from 'vitest';
import { Random } from '../../../mock/random.js';

const draw = (random: Random, count: number): number[] => Array.from({ length: count }, () => random.u32());

describe('Random', () => {
  it('gives the same numbers for the same seed', () => {
    expect(draw(new Random(42), 100)).toEqual(draw(new Random(42), 100));
  });

  it('gives other numbers for another seed', () => {
    const first = new Set(draw(new Random(1), 100));
    expect(draw(new Random(2), 100).filter((value) => first.has(value))).toEqual([]);
  });

  it('counts the low 32 bits of the seed', () => {
    expect(draw(new Random(2 ** 32 + 5), 3)).toEqual(draw(new Random(5), 3));
    expect(draw(new Random(-1), 3)).toEqual(draw(new Random(2 ** 32 - 1), 3));
  });

  it('u32() stays in 0 .. 2^32 - 1 and uses all of it', () => {
    const values = draw(new Random(7), 10_000);
    expect(values.every((value) => Number.isInteger(value) && value >= 0 && value < 2 ** 32)).toBe(true);
    for (let bit = 0; bit < 32; bit += 1) {
      const set = values.filter((value) => Math.floor(value / 2 ** bit) % 2 === 1).length;
      expect(set).toBeGreaterThan(4_700);
      expect(set).toBeLessThan(5_300);
    }
  });

  it('below(n) gives each of 0 .. n - 1, and nothing else', () => {
    const random = new Random(3);
    const counts = new Map<number, number>();
    for (let times = 0; times < 6_000; times += 1) {
      const value = random.below(6);
      counts.set(value, (counts.get(value) ?? 0) + 1);
    }
    expect([...counts.keys()].toSorted((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5]);
    expect(Math.min(...counts.values())).toBeGreaterThan(850);
  });

  it('below(1) is 0', () => {
    expect(new Random(9).below(1)).toBe(0);
  });
});
