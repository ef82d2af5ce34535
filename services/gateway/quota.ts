import { DomainError } from '../../lib/errors.ts';

export interface QuotaOptions {
  /** Pictures a second and client, on average; 0 is no quota. */
  readonly perSecond: number;
  /** Pictures that a client may send at once after a rest. */
  readonly burst: number;
}

interface Bucket {
  tokens: number;
  atMs: number;
}

/** Clients whose buckets are remembered; those that rested longest are forgotten first. */
const maxClients = 10_000;

/** One token bucket a client, filled at an even rate. */
export class Quota {
  readonly #options: QuotaOptions;
  readonly #now: () => number;
  /** In the order of their last use. */
  readonly #buckets = new Map<string, Bucket>();

  constructor(options: QuotaOptions, now: () => number = () => performance.now()) {
    this.#options = options;
    this.#now = now;
  }

  /** Throws RESOURCE_EXHAUSTED, with `retryAfterMs`, where the client has used its share up. */
  take(client: string, count = 1): void {
    const { perSecond, burst } = this.#options;
    if (perSecond === 0) return;
    const atMs = this.#now();
    const bucket = this.#buckets.get(client);
    const gained = bucket === undefined ? burst : ((atMs - bucket.atMs) * perSecond) / 1000;
    const tokens = Math.min(burst, (bucket?.tokens ?? 0) + gained);
    // A request of more pictures than a burst passes when the bucket is full, and leaves a debt.
    const enough = tokens >= Math.min(count, burst);
    this.#buckets.delete(client);
    this.#buckets.set(client, { tokens: enough ? tokens - count : tokens, atMs });
    if (this.#buckets.size > maxClients) {
      this.#buckets.delete(this.#buckets.keys().next().value!);
    }
    if (enough) return;
    const retryAfterMs = Math.ceil(((Math.min(count, burst) - tokens) / perSecond) * 1000);
    const message = `the quota of ${perSecond * 60} pictures a minute is used up; try again in ${retryAfterMs} ms`;
    const metadata = { retryAfterMs: `${retryAfterMs}` };
    throw new DomainError('RESOURCE_EXHAUSTED', 'QUOTA_EXCEEDED', message, { metadata });
  }
}
