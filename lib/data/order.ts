import { hash } from 'node:crypto';

/**
 * Shuffles by SHA-256 of (seed, purpose, key): the order depends on the keys alone, not on the order
 * they came in, any language reproduces it, and the first n of a shuffle are a random subset that
 * grows with n instead of changing.
 */
export function shuffled<T>(
  items: readonly T[],
  key: (item: T) => string,
  seed: number,
  purpose: string,
): T[] {
  return items
    .map((item) => ({ item, rank: hash('sha256', `${seed}\n${purpose}\n${key(item)}`) }))
    .sort((a, b) => (a.rank < b.rank ? -1 : 1))
    .map(({ item }) => item);
}
