/**
 * Seeded random numbers for the phantom. A stream is forked by name, so that drawing one more nodule
 * moves neither the ribs nor the noise: the same study with and without a finding differs only there.
 */
export class Random {
  readonly #key: number;
  #a: number;
  #b: number;
  #c: number;
  #counter = 1;

  private constructor(key: number) {
    this.#key = key;
    this.#a = mix(key ^ 0x9e3779b9);
    this.#b = mix(this.#a ^ 0x85ebca6b);
    this.#c = mix(this.#b ^ 0xc2b2ae35);
    for (let round = 0; round < 12; round += 1) this.uint32();
  }

  /** The stream of study `index` under `seed`. */
  static of(seed: number, index: number): Random {
    return new Random(mix(mix(seed >>> 0) ^ Math.imul(index + 1, 0x9e3779b1)));
  }

  /** An independent stream; the same name gives the same stream, whatever was drawn before. */
  fork(name: string): Random {
    let hash = 0x811c9dc5;
    for (let i = 0; i < name.length; i += 1) {
      hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193);
    }
    return new Random(mix(this.#key ^ hash));
  }

  /** sfc32 (Chris Doty-Humphrey, PractRand): 32 random bits. */
  uint32(): number {
    const result = (this.#a + this.#b + this.#counter) | 0;
    this.#counter = (this.#counter + 1) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = ((this.#c << 21) | (this.#c >>> 11)) + result;
    return result >>> 0;
  }

  /** Uniform in [low, high). */
  uniform(low = 0, high = 1): number {
    return low + (high - low) * (this.uint32() / 2 ** 32);
  }

  /** Normal, truncated at two and a half standard deviations, so that no patient is implausible. */
  normal(mean = 0, deviation = 1): number {
    const radius = Math.sqrt(-2 * Math.log(1 - this.uniform()));
    const z = radius * Math.cos(2 * Math.PI * this.uniform());
    return mean + deviation * Math.max(-2.5, Math.min(2.5, z));
  }

  chance(probability: number): boolean {
    return this.uniform() < probability;
  }

  /** An integer in [low, high], both included. */
  integer(low: number, high: number): number {
    return low + Math.floor(this.uniform(0, high - low + 1));
  }

  pick<T>(items: readonly T[]): T {
    return items[this.integer(0, items.length - 1)] as T;
  }

  /** A new array in random order (Fisher-Yates). */
  shuffle<T>(items: readonly T[]): T[] {
    const out = [...items];
    for (let i = out.length - 1; i > 0; i -= 1) {
      const j = this.integer(0, i);
      [out[i], out[j]] = [out[j] as T, out[i] as T];
    }
    return out;
  }
}

/** The finalizer of MurmurHash3: every bit of the key reaches every bit of the result. */
function mix(key: number): number {
  let h = key | 0;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return h ^ (h >>> 16);
}
