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
    .map((item) => ({ item, rank: rank(key(item), seed, purpose) }))
    .sort((a, b) => (a.rank < b.rank ? -1 : 1))
    .map(({ item }) => item);
}

/** A number in [0, 1) that depends on (seed, purpose, key) alone. */
export function fraction(key: string, seed: number, purpose: string): number {
  return Number.parseInt(rank(key, seed, purpose).slice(0, 12), 16) / 2 ** 48;
}

function rank(key: string, seed: number, purpose: string): string {
  return hash('sha256', `${seed}\n${purpose}\n${key}`);
}
