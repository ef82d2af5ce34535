import { setTimeout as sleep } from 'node:timers/promises';
import { DomainError, type ErrorCode } from '../errors.ts';

/**
 * One row of a retry table: after which failure a step is tried again, how often, and after which
 * pause. Nothing else in a process tries again. In particular the retry policy of grpc-js is off: it
 * knows no priorities, and gives a call up as soon as its headers have arrived, which a server that is
 * killed mid-response has sent.
 */
export interface RetryRow {
  readonly code: ErrorCode;
  /** Only errors of this reason; default: all of the code. */
  readonly reason?: string;
  /** Only for bulk work, whose caller prefers a late answer to a refusal. */
  readonly bulkOnly?: boolean;
  /** Attempts, the first included. */
  readonly attempts: number;
  /** Milliseconds before the next attempt; undefined gives up. `failures` counts those of this row. */
  readonly pauseMs: (failures: number, error: DomainError) => number | undefined;
  /** Whether its retries count against the budget. */
  readonly budgeted?: boolean;
}

/** Exponential backoff with full jitter, in milliseconds. */
export const backoff =
  (firstMs: number, factor: number, mostMs: number): RetryRow['pauseMs'] =>
  (failures) =>
    Math.random() * Math.min(mostMs, firstMs * factor ** (failures - 1));

/** The delay that a full queue asks for; errors without one are not retried. */
export const requestedDelay: RetryRow['pauseMs'] = (_, { metadata }) => {
  const delayMs = Number(metadata['retryAfterMs']);
  return delayMs > 0 ? delayMs : undefined;
};

/** A replica is shutting down or was lost. Its calls have no side effects, so another may repeat them. */
export const replicaLost: RetryRow = {
  code: 'UNAVAILABLE',
  attempts: 4,
  pauseMs: backoff(50, 3, 1000),
  budgeted: true,
};

const maxTokens = 50;
const tokensOfSuccess = 0.2;

/**
 * Pays for retries of one service: every failure costs a token, a success gives a fifth of one, and
 * below half there are no retries. So a broken service is not flooded (gRPC's retry throttling, A6).
 */
export class RetryBudget {
  #tokens = maxTokens;

  succeed(): void {
    this.#tokens = Math.min(maxTokens, this.#tokens + tokensOfSuccess);
  }

  /** Whether a retry may follow this failure. */
  fail(): boolean {
    this.#tokens = Math.max(0, this.#tokens - 1);
    return this.#tokens > maxTokens / 2;
  }
}

export interface RetryOptions {
  readonly signal?: AbortSignal | undefined;
  /** No pause goes beyond it. Milliseconds since the epoch. */
  readonly deadline?: number | undefined;
  readonly bulk?: boolean;
  readonly budget?: RetryBudget;
}

/** The retries of one step of one request. */
export class Retries {
  readonly #rows: readonly RetryRow[];
  readonly #options: RetryOptions;
  readonly #failures = new Map<RetryRow, number>();

  constructor(rows: readonly RetryRow[], options: RetryOptions) {
    this.#rows = rows;
    this.#options = options;
  }

  succeed(): void {
    this.#options.budget?.succeed();
  }

  /** Resolves after the pause that comes before another attempt; throws `error` if there is none. */
  async pauseAfter(error: unknown): Promise<void> {
    const { signal, deadline = Infinity, budget } = this.#options;
    const row = this.#rowFor(error);
    if (row === undefined) throw error;
    const failures = (this.#failures.get(row) ?? 0) + 1;
    this.#failures.set(row, failures);
    const affordable = row.budgeted !== true || budget === undefined || budget.fail();
    if (failures >= row.attempts || !affordable || signal?.aborted === true) throw error;
    const pauseMs = row.pauseMs(failures, error as DomainError);
    if (pauseMs === undefined || Date.now() + pauseMs >= deadline) throw error;
    try {
      await sleep(pauseMs, undefined, { signal });
    } finally {
      // With its own reason: the deadline, or the caller who left.
      signal?.throwIfAborted();
    }
  }

  #rowFor(error: unknown): RetryRow | undefined {
    if (!(error instanceof DomainError)) return undefined;
    const { bulk = false } = this.#options;
    return this.#rows.find(
      ({ code, reason = error.reason, bulkOnly = false }) =>
        code === error.code && reason === error.reason && (bulk || !bulkOnly),
    );
  }
}

/** The result of `work`, which is tried again as the rows say. */
export async function withRetries<T>(
  rows: readonly RetryRow[],
  options: RetryOptions,
  work: () => Promise<T>,
): Promise<T> {
  const retries = new Retries(rows, options);
  for (;;) {
    try {
      const result = await work();
      retries.succeed();
      return result;
    } catch (error) {
      await retries.pauseAfter(error);
    }
  }
}
