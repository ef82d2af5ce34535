import { DomainError, invalidArgument } from '../errors.ts';
import { abortError } from './abort.ts';
import {
  type Entry,
  type QueueObserver,
  type QueueOptions,
  RequestQueue,
} from './request-queue.ts';

export interface BatcherOptions<T, R> {
  /** Requests of one run; default 1. */
  readonly maxBatch?: number;
  /** The longest that a run waits for more requests while there is load; default 0. */
  readonly maxDelayMs?: number;
  /** Runs at a time; default 1. */
  readonly concurrency?: number;
  /** The work: one result for each item, in their order. An `Error` there fails that request alone. */
  readonly run: (batch: Batch<T>) => Promise<readonly (R | Error)[]>;
  readonly observer?: QueueObserver;
}

/** The requests of one run; all have one key. */
export interface Batch<T> {
  readonly items: readonly T[];
  /** How long each item waited, in their order. */
  readonly waitedMs: readonly number[];
  /** Fires once every caller has left. */
  readonly signal: AbortSignal;
}

interface Request<T, R> {
  readonly item: T;
  readonly signal: AbortSignal | undefined;
  readonly answer: PromiseWithResolvers<R>;
}

/** A run is delayed by at most this share of what a run takes. */
const delayShare = 0.25;
/** Weight of the newest measurement in the moving average. */
const newest = 0.2;

/**
 * Takes requests from its queue and runs them in batches, knowing nothing of the work.
 *
 * While idle it runs a request at once, alone; while a run is under way others gather, and share the
 * next. Under load a run that could still take more waits a little for the callers whom the last run
 * has just answered.
 */
export class Batcher<T, R> {
  readonly #options: Required<Omit<BatcherOptions<T, R>, 'observer'>>;
  readonly #observer: QueueObserver;
  readonly #queue: RequestQueue<Request<T, R>>;
  #running = 0;
  #timer: NodeJS.Timeout | undefined;
  /** Moving average of what one run takes; 0 before the first. */
  #runMs = 0;
  #lastEndMs = Number.NEGATIVE_INFINITY;
  /** Requests that the last run held or left waiting: as many may be back soon. */
  #load = 0;

  /** Throws INVALID_ARGUMENT naming a limit below 1. */
  constructor(options: BatcherOptions<T, R>) {
    const { maxBatch = 1, maxDelayMs = 0, concurrency = 1, observer = {}, run } = options;
    this.#options = { maxBatch, maxDelayMs, concurrency, run };
    this.#observer = observer;
    this.#queue = new RequestQueue(observer);
    for (const [field, value] of Object.entries({ maxBatch, concurrency })) {
      if (Number.isSafeInteger(value) && value > 0) continue;
      throw invalidArgument('QUEUE_LIMIT_INVALID', field, `got ${value}, expected an integer >= 1`);
    }
  }

  /** Requests that wait for a run. */
  get depth(): number {
    return this.#queue.depth;
  }

  /**
   * Throws CANCELLED or DEADLINE_EXCEEDED when the caller leaves, from the queue at once, from a run
   * when that ends; else what the run threw.
   */
  submit(item: T, options: Omit<QueueOptions, 'cost'> = {}): Promise<R> {
    const answer = Promise.withResolvers<R>();
    try {
      const request = { item, signal: options.signal, answer };
      this.#queue.add(request, options, (error) => answer.reject(error));
      this.#start();
    } catch (error) {
      answer.reject(error);
    }
    return answer.promise;
  }

  /** Starts runs while there is room for one and work worth starting. */
  #start(): void {
    clearTimeout(this.#timer);
    const { concurrency, maxBatch } = this.#options;
    while (this.#running < concurrency) {
      const waitMs = this.#worthWaitingMs(this.#queue.peek(maxBatch).length);
      if (waitMs > 0) {
        this.#timer = setTimeout(() => this.#start(), waitMs);
        return;
      }
      const entries = this.#queue.take(maxBatch);
      if (entries.length === 0) return;
      void this.#run(entries);
    }
  }

  /** What is left of the delay for a run of `size` requests; 0 to run at once. */
  #worthWaitingMs(size: number): number {
    const { maxBatch, maxDelayMs } = this.#options;
    if (size === 0 || size >= Math.min(maxBatch, this.#load)) return 0;
    const delayMs = Math.min(maxDelayMs, this.#runMs * delayShare);
    return Math.max(0, this.#lastEndMs + delayMs - performance.now());
  }

  async #run(entries: readonly Entry<Request<T, R>>[]): Promise<void> {
    this.#running += 1;
    this.#observer.onBatch?.(entries.length);
    const requests = entries.map(({ item }) => item);
    const items = requests.map(({ item }) => item);
    const startMs = performance.now();
    const waitedMs = entries.map(({ enteredMs }) => startMs - enteredMs);
    using callers = followAll(requests.map(({ signal }) => signal));
    try {
      const results = await this.#options.run({ items, waitedMs, signal: callers.signal });
      for (const [index, { answer, signal }] of requests.entries()) {
        const result = index < results.length ? results[index]! : missing(results, items);
        if (signal?.aborted) answer.reject(abortError(signal));
        else if (result instanceof Error) answer.reject(result);
        else answer.resolve(result);
      }
    } catch (error) {
      for (const { answer, signal } of requests) {
        answer.reject(signal?.aborted ? abortError(signal) : error);
      }
    } finally {
      this.#ended(entries.length, startMs);
    }
  }

  #ended(size: number, startMs: number): void {
    this.#running -= 1;
    this.#lastEndMs = performance.now();
    this.#load = size + this.depth;
    const runMs = this.#lastEndMs - startMs;
    this.#runMs += (this.#runMs === 0 ? 1 : newest) * (runMs - this.#runMs);
    this.#start();
  }
}

/** A signal that fires once all of these have; never where one of them is absent. */
function followAll(signals: readonly (AbortSignal | undefined)[]): Disposable & {
  readonly signal: AbortSignal;
} {
  const controller = new AbortController();
  const onAbort = (): void => {
    if (signals.every((signal) => signal?.aborted)) controller.abort(signals.at(-1)?.reason);
  };
  for (const signal of signals) signal?.addEventListener('abort', onAbort);
  return {
    signal: controller.signal,
    [Symbol.dispose]() {
      for (const signal of signals) signal?.removeEventListener('abort', onAbort);
    },
  };
}

function missing(results: readonly unknown[], items: readonly unknown[]): DomainError {
  const message = `the run answered ${results.length} of ${items.length} requests`;
  return new DomainError('INTERNAL', 'BATCH_INCOMPLETE', message);
}
