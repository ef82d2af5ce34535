import { DomainError } from '../../lib/errors.ts';

interface PermitOptions {
  /** Concurrent requests. */
  readonly maxRequests: number;
  /** The total size of their images. */
  readonly maxBytes: number;
}

/** The suggested retry delay: how long the requests in flight will take is unknown. */
const retryAfterMs = 200;

/** Limits the requests in flight; further ones are refused at once. */
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

  /** Whether more than half of the permitted requests are in flight. */
  get busy(): boolean {
    return this.#requests * 2 > this.#options.maxRequests;
  }

  /**
   * Admits a request with images of `bytes` bytes; one above the limit is admitted alone. Returns a
   * function that the caller calls once, when the request has ended. Throws RESOURCE_EXHAUSTED.
   */
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
