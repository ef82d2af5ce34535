import { DomainError, invalidArgument } from '../errors.ts';

/** `interactive` goes first; `batch` is bulk work, which gets what is left and one turn in eight. */
export type Priority = 'interactive' | 'batch';

export interface QueueOptions<T, R> {
  /** Requests admitted at a time, waiting and running. Bulk work may hold half of them. */
  readonly maxRequests: number;
  /** Their payload in bytes. A request alone is always admitted. */
  readonly maxBytes: number;
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

export interface Batch<T> {
  readonly key: string;
  readonly items: readonly T[];
  /** How long each item waited, in their order. */
  readonly waitedMs: readonly number[];
  /** Fires once every request of the batch has left. */
  readonly signal: AbortSignal;
}

/** What metrics want to know. */
export interface QueueObserver {
  readonly onBatch?: (size: number, waitedMs: readonly number[]) => void;
  /** `expired` and `cancelled` are entries that left before their turn. */
  readonly onReject?: (reason: 'queue_full' | 'closed' | 'expired' | 'cancelled') => void;
}

export interface SubmitOptions {
  /** Size of the payload in bytes; default 0. */
  readonly bytes?: number;
  /** Only requests of one key share a run, e.g. the release; default ''. */
  readonly key?: string;
  /** Default `interactive`. */
  readonly priority?: Priority;
  /** The caller leaves: a waiting request is skipped, a running one answers at once. */
  readonly signal?: AbortSignal;
  /** Milliseconds since the epoch, after which nobody wants the answer. */
  readonly deadline?: number | undefined;
}

interface Entry<T, R> {
  readonly item: T;
  readonly bytes: number;
  readonly key: string;
  readonly priority: Priority;
  readonly deadline: number;
  readonly enteredMs: number;
  readonly answer: PromiseWithResolvers<R>;
  readonly leave: () => void;
  readonly signal: AbortSignal | undefined;
}

/** One run in so many is led by bulk work that waits, so that it is never starved. */
const bulkTurn = 8;
/** A run waits for company at most this share of what a run takes. */
const delayShare = 0.25;
/** Weight of the newest measurement in a moving average. */
const newest = 0.2;

/**
 * Bounded admission, then batches, then the work, of which the queue knows nothing.
 *
 * Requests over the limits are refused at once. An idle queue runs a request at once, alone; while a
 * run is under way others gather, and share the next. Under load a run that could still take more
 * waits a little for those whom the last run has just answered.
 */
export class BatchQueue<T, R> {
  readonly #options: Required<Omit<QueueOptions<T, R>, 'observer'>>;
  readonly #observer: QueueObserver;
  readonly #waiting = {
    interactive: new Set<Entry<T, R>>(),
    batch: new Set<Entry<T, R>>(),
  } satisfies Record<Priority, Set<Entry<T, R>>>;
  readonly #running = new Set<Promise<void>>();
  readonly #admitted: Record<Priority, number> = { interactive: 0, batch: 0 };
  #bytes = 0;
  #turn = 0;
  #closed = false;
  #timer: NodeJS.Timeout | undefined;
  /** Moving average of what one run takes; 0 before the first. */
  #runMs = 0;
  #perRequestMs = 0;
  #lastEndMs = Number.NEGATIVE_INFINITY;
  /** Requests that the last run held or left waiting: as many may be back soon. */
  #load = 0;

  constructor(options: QueueOptions<T, R>) {
    const { maxBatch = 1, maxDelayMs = 0, concurrency = 1, observer = {} } = options;
    this.#options = { ...options, maxBatch, maxDelayMs, concurrency };
    this.#observer = observer;
    const counts = { maxRequests: options.maxRequests, maxBatch, concurrency };
    for (const [field, value] of Object.entries(counts)) {
      if (Number.isSafeInteger(value) && value > 0) continue;
      const message = `got ${value}, expected a whole number above 0`;
      throw invalidArgument('QUEUE_LIMIT_INVALID', field, message);
    }
  }

  /** Requests that wait for a run. */
  get depth(): number {
    return this.#waiting.interactive.size + this.#waiting.batch.size;
  }

  /** Requests in a run. */
  get inFlight(): number {
    return this.#admitted.interactive + this.#admitted.batch - this.depth;
  }

  /** Payload of the admitted requests, waiting and running. */
  get bytes(): number {
    return this.#bytes;
  }

  /**
   * Throws RESOURCE_EXHAUSTED when the queue is full, with `retryAfterMs` in its metadata; CANCELLED
   * or DEADLINE_EXCEEDED when the caller leaves; UNAVAILABLE once closed; else what the run threw.
   */
  async submit(item: T, options: SubmitOptions = {}): Promise<R> {
    const { signal, deadline = Number.POSITIVE_INFINITY } = options;
    if (this.#closed) {
      this.#observer.onReject?.('closed');
      throw new DomainError('UNAVAILABLE', 'QUEUE_CLOSED', 'the service is shutting down');
    }
    if (signal?.aborted) throw this.#left(signal);
    if (deadline <= Date.now()) throw this.#expired();
    const entry = this.#admit(item, deadline, options);
    this.#pump();
    return entry.answer.promise;
  }

  /** Refuses new requests and waits until the admitted ones have been answered. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#pump();
    while (this.#running.size > 0) await Promise.all(this.#running);
  }

  #admit(item: T, deadline: number, options: SubmitOptions): Entry<T, R> {
    const { bytes = 0, key = '', priority = 'interactive', signal } = options;
    const { maxRequests, maxBytes } = this.#options;
    const share = priority === 'batch' ? 0.5 : 1;
    const requests =
      priority === 'batch'
        ? this.#admitted.batch
        : this.#admitted.interactive + this.#admitted.batch;
    const full = requests >= Math.max(1, Math.floor(maxRequests * share));
    if (full || (this.#bytes > 0 && this.#bytes + bytes > maxBytes * share)) throw this.#full();
    const entry: Entry<T, R> = {
      item,
      bytes,
      key,
      priority,
      deadline,
      enteredMs: performance.now(),
      answer: Promise.withResolvers<R>(),
      leave: () => this.#leave(entry),
      signal,
    };
    this.#admitted[priority] += 1;
    this.#bytes += bytes;
    this.#waiting[priority].add(entry);
    signal?.addEventListener('abort', entry.leave, { once: true });
    return entry;
  }

  /** Starts runs while there is room for one and work worth starting. */
  #pump(): void {
    clearTimeout(this.#timer);
    while (this.#running.size < this.#options.concurrency) {
      this.#dropExpired();
      const entries = this.#next();
      if (entries.length === 0) return;
      const waitMs = this.#worthWaitingMs(entries);
      if (waitMs > 0) {
        this.#timer = setTimeout(() => this.#pump(), waitMs);
        return;
      }
      for (const entry of entries) this.#waiting[entry.priority].delete(entry);
      this.#turn += 1;
      const run = this.#run(entries).finally(() => {
        this.#running.delete(run);
        this.#pump();
      });
      this.#running.add(run);
    }
  }

  /** The oldest of the first class, and those behind it that may share its run. */
  #next(): readonly Entry<T, R>[] {
    const { interactive, batch } = this.#waiting;
    const order =
      this.#turn % bulkTurn === bulkTurn - 1
        ? [...batch, ...interactive]
        : [...interactive, ...batch];
    return order.filter(({ key }) => key === order[0]?.key).slice(0, this.#options.maxBatch);
  }

  /** What is left of the time to wait for more requests; 0 to run at once. */
  #worthWaitingMs(entries: readonly Entry<T, R>[]): number {
    const { maxBatch, maxDelayMs } = this.#options;
    if (this.#closed || entries.length >= Math.min(maxBatch, this.#load)) return 0;
    const delayMs = Math.min(maxDelayMs, this.#runMs * delayShare);
    return Math.max(0, this.#lastEndMs + delayMs - performance.now());
  }

  async #run(entries: readonly Entry<T, R>[]): Promise<void> {
    const { run } = this.#options;
    const startMs = performance.now();
    const waitedMs = entries.map(({ enteredMs }) => startMs - enteredMs);
    this.#observer.onBatch?.(entries.length, waitedMs);
    const controller = new AbortController();
    const present = new Set(entries);
    for (const entry of entries) {
      entry.signal?.removeEventListener('abort', entry.leave);
      const leave = (): void => {
        entry.answer.reject(this.#left(entry.signal!, 'running'));
        present.delete(entry);
        if (present.size === 0) controller.abort(entry.signal?.reason);
      };
      entry.signal?.addEventListener('abort', leave, { once: true });
      const stop = (): void => entry.signal?.removeEventListener('abort', leave);
      entry.answer.promise.then(stop, stop);
    }
    try {
      const items = entries.map(({ item }) => item);
      const results = await run({
        key: entries[0]!.key,
        items,
        waitedMs,
        signal: controller.signal,
      });
      for (const [index, { answer }] of entries.entries()) {
        const result = index < results.length ? results[index]! : missing(results, items);
        if (result instanceof Error) answer.reject(result);
        else answer.resolve(result);
      }
    } catch (error) {
      for (const { answer } of entries) answer.reject(error);
    }
    this.#ended(entries, startMs);
  }

  #ended(entries: readonly Entry<T, R>[], startMs: number): void {
    for (const entry of entries) this.#release(entry);
    this.#lastEndMs = performance.now();
    this.#load = entries.length + this.depth;
    const runMs = this.#lastEndMs - startMs;
    const perRequestMs = runMs / entries.length / this.#options.concurrency;
    const first = this.#runMs === 0;
    this.#runMs += (first ? 1 : newest) * (runMs - this.#runMs);
    this.#perRequestMs += (first ? 1 : newest) * (perRequestMs - this.#perRequestMs);
  }

  #release(entry: Entry<T, R>): void {
    this.#admitted[entry.priority] -= 1;
    this.#bytes -= entry.bytes;
  }

  /** A waiting request whose caller has left. */
  #leave(entry: Entry<T, R>): void {
    this.#waiting[entry.priority].delete(entry);
    this.#release(entry);
    entry.answer.reject(this.#left(entry.signal!));
  }

  #dropExpired(): void {
    const now = Date.now();
    for (const entries of Object.values(this.#waiting)) {
      for (const entry of entries) {
        if (entry.deadline > now) continue;
        entries.delete(entry);
        entry.signal?.removeEventListener('abort', entry.leave);
        this.#release(entry);
        entry.answer.reject(this.#expired());
      }
    }
  }

  #full(): DomainError {
    this.#observer.onReject?.('queue_full');
    const { maxRequests, maxBytes } = this.#options;
    const admitted = this.#admitted.interactive + this.#admitted.batch;
    const aheadMs = Math.round(this.#perRequestMs * admitted);
    const retryAfterMs = Math.min(10_000, Math.max(50, aheadMs));
    const message =
      `the queue is full (${admitted} of ${maxRequests} requests, ${this.#bytes} of ${maxBytes} ` +
      `bytes); try again in ${retryAfterMs} ms`;
    const metadata = { retryAfterMs: `${retryAfterMs}` };
    return new DomainError('RESOURCE_EXHAUSTED', 'QUEUE_FULL', message, { metadata });
  }

  #expired(): DomainError {
    this.#observer.onReject?.('expired');
    return late();
  }

  #left({ reason }: AbortSignal, when: 'waiting' | 'running' = 'waiting'): DomainError {
    const error =
      reason instanceof DomainError
        ? reason
        : reason instanceof Error && reason.name === 'TimeoutError'
          ? late()
          : new DomainError('CANCELLED', 'REQUEST_CANCELLED', 'the caller cancelled the request');
    if (when === 'waiting') {
      this.#observer.onReject?.(error.code === 'DEADLINE_EXCEEDED' ? 'expired' : 'cancelled');
    }
    return error;
  }
}

const late = (): DomainError =>
  new DomainError(
    'DEADLINE_EXCEEDED',
    'QUEUE_DEADLINE',
    'the deadline passed before the turn came',
  );

function missing(results: readonly unknown[], items: readonly unknown[]): DomainError {
  const message = `the run answered ${results.length} of ${items.length} requests`;
  return new DomainError('INTERNAL', 'BATCH_INCOMPLETE', message);
}
