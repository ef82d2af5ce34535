import type { DomainError } from '../errors.ts';
import { abortError, expired } from './abort.ts';

/** `interactive`: a person waits for the answer. `bulk`: what is left, and one turn in eight. */
export type Priority = 'interactive' | 'bulk';

/** What metrics count. */
export interface QueueObserver {
  /** `expired` and `cancelled` are requests that left before their turn. */
  readonly onReject?: (reason: 'queue_full' | 'closed' | 'expired' | 'cancelled') => void;
  /** A run starts with so many requests. */
  readonly onBatch?: (size: number) => void;
}

/** How a request waits. */
export interface QueueOptions {
  /** Only requests of one key share a run, e.g. a release; compared by identity. */
  readonly key?: unknown;
  /** In units of the budget: rows, images. Default 1. */
  readonly cost?: number;
  /** Default `interactive`. */
  readonly priority?: Priority | undefined;
  /** The caller leaves. */
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds since the epoch. */
  readonly deadline?: number | undefined;
}

export interface Entry<T> {
  readonly item: T;
  readonly key: unknown;
  readonly cost: number;
  readonly priority: Priority;
  readonly deadline: number;
  /** As `performance.now` gives it. */
  readonly enteredMs: number;
  /** How often others were taken while it was its turn, or before it in spite of the order. */
  passed: number;
  readonly leave: (error: DomainError) => void;
  readonly stopListening: () => void;
}

interface TakeOptions {
  /** Only requests of this key; default: those of the first request's key. */
  readonly key?: unknown;
  /** Requests, whatever they cost; default: no limit. */
  readonly limit?: number;
}

interface Selection<T> {
  readonly taken: readonly Entry<T>[];
  /** Those that did not fit, before others that did. */
  readonly overtaken: readonly Entry<T>[];
}

/** A request that others passed so often is next: bulk gets one turn in eight. */
const patience = 7;

/**
 * The requests that wait for a model, in the order in which they are taken:
 *
 *     interactive, first come first served | bulk, first come first served
 *
 * Two rules keep the order from starving anybody. The first bulk request leads once seven turns went
 * to interactive ones. And where a request costs more than is free, those behind it of at least its
 * priority may overtake it, but seven times at most: then nothing is taken until it fits.
 *
 * It runs nothing: whoever has room asks it for work by `take`.
 */
export class RequestQueue<T> {
  readonly #waiting: Readonly<Record<Priority, Set<Entry<T>>>> = {
    interactive: new Set(),
    bulk: new Set(),
  };
  readonly #observer: QueueObserver;

  constructor(observer: QueueObserver = {}) {
    this.#observer = observer;
  }

  /** Requests that wait. */
  get depth(): number {
    return this.#waiting.interactive.size + this.#waiting.bulk.size;
  }

  /**
   * `onLeave` gets the error of a request that left before its turn. Throws that error, CANCELLED or
   * DEADLINE_EXCEEDED, for one that has left already.
   */
  add(item: T, options: QueueOptions, onLeave: (error: DomainError) => void): void {
    const { key, cost = 1, priority = 'interactive', signal } = options;
    const { deadline = Number.POSITIVE_INFINITY } = options;
    if (signal?.aborted) throw this.#rejected(abortError(signal));
    if (deadline <= Date.now()) throw this.#rejected(expired());
    const onAbort = (): void => entry.leave(abortError(signal!));
    const entry: Entry<T> = {
      item,
      key,
      cost,
      priority,
      deadline,
      enteredMs: performance.now(),
      passed: 0,
      leave: (error) => {
        this.#remove(entry);
        onLeave(this.#rejected(error));
      },
      stopListening: () => signal?.removeEventListener('abort', onAbort),
    };
    signal?.addEventListener('abort', onAbort, { once: true });
    this.#waiting[priority].add(entry);
  }

  /** The next requests of one key that together cost at most `budget`; they wait no longer. */
  take(budget: number, options: TakeOptions = {}): readonly Entry<T>[] {
    const { taken, overtaken } = this.#select(budget, options);
    for (const entry of taken) this.#remove(entry);
    for (const entry of overtaken) entry.passed += 1;
    if (taken[0]?.priority === 'interactive') {
      const [bulk] = this.#inLine('bulk', options);
      if (bulk && !overtaken.includes(bulk)) bulk.passed += 1;
    }
    return taken;
  }

  /** What `take` would give now. */
  peek(budget: number, options: TakeOptions = {}): readonly Entry<T>[] {
    return this.#select(budget, options).taken;
  }

  #select(budget: number, { limit = Infinity, ...options }: TakeOptions): Selection<T> {
    this.#dropExpired();
    const order = this.#order(options);
    const [leader] = order;
    const taken: Entry<T>[] = [];
    const overtaken: Entry<T>[] = [];
    let skipped: Entry<T>[] = [];
    let left = budget;
    let bulkMayGo = true;
    for (const entry of order) {
      if (left === 0 || taken.length === limit) break;
      if (entry.key !== leader?.key) continue;
      // Bulk never overtakes an interactive request that does not fit yet.
      if (entry.priority === 'bulk' && !bulkMayGo) break;
      if (entry.cost > left) {
        if (entry.passed >= patience) break;
        skipped.push(entry);
        if (entry.priority === 'interactive') bulkMayGo = false;
        continue;
      }
      taken.push(entry);
      left -= entry.cost;
      overtaken.push(...skipped);
      skipped = [];
    }
    return { taken, overtaken };
  }

  #order(options: TakeOptions): readonly Entry<T>[] {
    const interactive = this.#inLine('interactive', options);
    const bulk = this.#inLine('bulk', options);
    const bulkLeads = (bulk[0]?.passed ?? 0) >= patience;
    return bulkLeads ? [...bulk, ...interactive] : [...interactive, ...bulk];
  }

  #inLine(priority: Priority, { key }: TakeOptions): readonly Entry<T>[] {
    const all = [...this.#waiting[priority]];
    return key === undefined ? all : all.filter((entry) => entry.key === key);
  }

  #dropExpired(): void {
    const now = Date.now();
    for (const entries of Object.values(this.#waiting)) {
      for (const entry of entries) if (entry.deadline <= now) entry.leave(expired());
    }
  }

  #remove(entry: Entry<T>): void {
    entry.stopListening();
    this.#waiting[entry.priority].delete(entry);
  }

  #rejected(error: DomainError): DomainError {
    this.#observer.onReject?.(error.code === 'DEADLINE_EXCEEDED' ? 'expired' : 'cancelled');
    return error;
  }
}
