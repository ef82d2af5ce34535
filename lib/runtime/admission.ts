import { DomainError, invalidArgument } from '../errors.ts';
import type { Priority, QueueObserver } from './request-queue.ts';

export interface AdmissionOptions {
  /** Requests admitted at a time, waiting and running. */
  readonly maxRequests: number;
  /** Their payload in bytes. A request larger than that is admitted while no other holds a byte. */
  readonly maxBytes: number;
  readonly observer?: QueueObserver;
}

interface Load {
  requests: number;
  bytes: number;
}

/** Bulk requests may hold this share of both limits, so that interactive ones always find room. */
const bulkShare = 0.5;
/** Weight of the newest measurement in the moving average. */
const newest = 0.2;
const retryAfterMs = { min: 50, max: 10_000 };

/** The semaphore in front of a service's queue: what exceeds its limits is refused at once. */
export class Admission {
  readonly #limit: Readonly<Load>;
  readonly #bulkLimit: Readonly<Load>;
  readonly #observer: QueueObserver;
  readonly #total: Load = { requests: 0, bytes: 0 };
  readonly #bulk: Load = { requests: 0, bytes: 0 };
  readonly #drained = Promise.withResolvers<void>();
  #closed = false;
  /** Moving average of what each admitted request adds to the wait of the next; 0 before the first. */
  #perRequestMs = 0;

  /** Throws INVALID_ARGUMENT naming the limit that admits nothing. */
  constructor({ maxRequests, maxBytes, observer = {} }: AdmissionOptions) {
    for (const [field, value] of Object.entries({ maxRequests, maxBytes })) {
      if (Number.isSafeInteger(value) && value > 0) continue;
      throw invalidArgument('QUEUE_LIMIT_INVALID', field, `got ${value}, expected an integer >= 1`);
    }
    this.#limit = { requests: maxRequests, bytes: maxBytes };
    this.#bulkLimit = {
      requests: Math.max(1, Math.floor(maxRequests * bulkShare)),
      bytes: maxBytes * bulkShare,
    };
    this.#observer = observer;
  }

  /** Admitted requests, waiting and running. */
  get requests(): number {
    return this.#total.requests;
  }

  /** Payload of the admitted requests in bytes. */
  get bytes(): number {
    return this.#total.bytes;
  }

  /**
   * A permit, to be disposed of when the request holds nothing any more. Throws RESOURCE_EXHAUSTED when
   * full, with `retryAfterMs` in its metadata; UNAVAILABLE once closed.
   */
  acquire(bytes: number, priority: Priority): Disposable {
    if (this.#closed) {
      this.#observer.onReject?.('closed');
      throw new DomainError('UNAVAILABLE', 'QUEUE_CLOSED', 'the service is shutting down');
    }
    const loads = priority === 'bulk' ? [this.#total, this.#bulk] : [this.#total];
    if (!fits(this.#total, bytes, this.#limit)) throw this.#full();
    if (priority === 'bulk' && !fits(this.#bulk, bytes, this.#bulkLimit)) throw this.#full();
    for (const load of loads) {
      load.requests += 1;
      load.bytes += bytes;
    }
    const position = this.requests;
    const startMs = performance.now();
    let held = true;
    return {
      [Symbol.dispose]: () => {
        if (!held) return;
        held = false;
        for (const load of loads) {
          load.requests -= 1;
          load.bytes -= bytes;
        }
        this.#measure((performance.now() - startMs) / position);
        if (this.#closed && this.requests === 0) this.#drained.resolve();
      },
    };
  }

  /** Refuses new requests and waits until the admitted ones have ended. */
  close(): Promise<void> {
    this.#closed = true;
    if (this.requests === 0) this.#drained.resolve();
    return this.#drained.promise;
  }

  /** Little's law: who comes as the n-th and stays for t sees requests end every t / n. */
  #measure(perRequestMs: number): void {
    const weight = this.#perRequestMs === 0 ? 1 : newest;
    this.#perRequestMs += weight * (perRequestMs - this.#perRequestMs);
  }

  #full(): DomainError {
    this.#observer.onReject?.('queue_full');
    const { requests, bytes } = this.#limit;
    const drainMs = Math.round(this.#perRequestMs * this.requests);
    const waitMs = Math.min(retryAfterMs.max, Math.max(retryAfterMs.min, drainMs));
    const message =
      `the queue is full (${this.requests} of ${requests} requests, ${this.bytes} of ${bytes} ` +
      `bytes); retry after ${waitMs} ms`;
    const metadata = { retryAfterMs: `${waitMs}` };
    return new DomainError('RESOURCE_EXHAUSTED', 'QUEUE_FULL', message, { metadata });
  }
}

const fits = (held: Load, bytes: number, limit: Load): boolean =>
  held.requests < limit.requests && (held.bytes === 0 || held.bytes + bytes <= limit.bytes);
