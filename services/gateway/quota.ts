import { DomainError } from '../../lib/errors.ts';

export interface QuotaOptions {
  /** Images per second and client, on average; 0: no quota. */
  readonly perSecond: number;
  /** Images that a client may send at once after a pause. */
  readonly burst: number;
}

interface Bucket {
  tokens: number;
  atMs: number;
}

/** Clients with a bucket; beyond that the one that has been idle longest loses its bucket. */
const maxClients = 10_000;

/** One token bucket per client, filled at a constant rate. */
export class Quota {
  readonly #options: QuotaOptions;
  readonly #now: () => number;
  /** The least recently used first. */
  readonly #buckets = new Map<string, Bucket>();

  constructor(options: QuotaOptions, now: () => number = () => performance.now()) {
    this.#options = options;
    this.#now = now;
  }

  /** Takes `count` images. Throws RESOURCE_EXHAUSTED with `retryAfterMs` if the client's quota is exhausted. */
  take(client: string, count: number): void {
    const { perSecond, burst } = this.#options;
    if (perSecond === 0) return;
    const atMs = this.#now();
    const bucket = this.#buckets.get(client);
    const gained = bucket === undefined ? burst : ((atMs - bucket.atMs) * perSecond) / 1000;
    const tokens = Math.min(burst, (bucket?.tokens ?? 0) + gained);
    // A request of more images than a burst is admitted when the bucket is full, and leaves a debt.
    const enough = tokens >= Math.min(count, burst);
    this.#buckets.delete(client);
    this.#buckets.set(client, { tokens: enough ? tokens - count : tokens, atMs });
    if (this.#buckets.size > maxClients) {
      this.#buckets.delete(this.#buckets.keys().next().value!);
    }
    if (enough) return;
    const retryAfterMs = Math.ceil(((Math.min(count, burst) - tokens) / perSecond) * 1000);
    const message = `the quota of ${perSecond * 60} images a minute is exhausted; try again in ${retryAfterMs} ms`;
    const metadata = { retryAfterMs: `${retryAfterMs}` };
    throw new DomainError('RESOURCE_EXHAUSTED', 'QUOTA_EXCEEDED', message, { metadata });
  }
}
