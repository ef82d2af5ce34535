import { DomainError } from '../../lib/errors.ts';

interface PermitOptions {
  /** Requests under way at a time. */
  readonly maxRequests: number;
  /** Their pictures in bytes. */
  readonly maxBytes: number;
}

/** When to come again: nothing is known of how long the requests under way will take. */
const retryAfterMs = 200;

/** Bounds what is under way; more is refused at once. */
export class Permits {
  readonly #options: PermitOptions;
  #requests = 0;
  #bytes = 0;

  constructor(options: PermitOptions) {
    this.#options = options;
  }

  get requests(): number {
    return this.#requests;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** More than half of the requests that fit are under way. */
  get busy(): boolean {
    return this.#requests * 2 > this.#options.maxRequests;
  }

  /** Throws RESOURCE_EXHAUSTED. Call what it gives, once, when the request has ended. */
  take(bytes: number): () => void {
    const { maxRequests, maxBytes } = this.#options;
    const full = this.#requests >= maxRequests;
    if (full || (this.#requests > 0 && this.#bytes + bytes > maxBytes)) {
      const message =
        `the gateway is full (${this.#requests} of ${maxRequests} requests, ${this.#bytes} of ` +
        `${maxBytes} bytes); try again in ${retryAfterMs} ms`;
      const metadata = { retryAfterMs: `${retryAfterMs}` };
      throw new DomainError('RESOURCE_EXHAUSTED', 'GATEWAY_FULL', message, { metadata });
    }
    this.#requests += 1;
    this.#bytes += bytes;
    return () => {
      this.#requests -= 1;
      this.#bytes -= bytes;
    };
  }
}
