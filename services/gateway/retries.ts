import {
  type RetryOptions,
  type RetryRow,
  RetryBudget,
  replicaLost,
  requestedDelay,
  withRetries,
} from '../../lib/rpc/retry.ts';

/** A full queue refuses an interactive request at once; bulk work comes back after the delay it asks for. */
const queueFull: RetryRow = {
  code: 'RESOURCE_EXHAUSTED',
  bulkOnly: true,
  attempts: 20,
  pauseMs: requestedDelay,
};

/**
 * The one table of what the gateway tries again. Each step is retried by itself: a failure of the
 * generator repeats neither vision nor labeler, and what they answered is kept.
 */
export const retryTable = {
  /** Admission by the gateway itself. */
  admission: [queueFull],
  vision: [replicaLost, queueFull],
  labeler: [replicaLost, queueFull],
  /** The text that a lost replica has sent is not sent again: see resumed-text.ts. */
  generator: [replicaLost, queueFull],
  /**
   * The whole chain, with another release of the same selector, unless something was sent already. The
   * first change is immediate. Later ones wait, 3.1 s in all: while a channel moves, there may be no
   * release that every model service holds.
   */
  release: [
    {
      code: 'FAILED_PRECONDITION',
      reason: 'RELEASE_NOT_HELD',
      attempts: 7,
      pauseMs: (failures) => (failures === 1 ? 0 : 100 * 2 ** (failures - 2)),
    },
  ],
} as const satisfies Readonly<Record<string, readonly RetryRow[]>>;

export type Step = keyof typeof retryTable;

/** Applies the table; every step has a budget of its own, shared by all requests. */
export class GatewayRetries {
  readonly #budgets = new Map<Step, RetryBudget>();

  run<T>(
    step: Step,
    { signal, deadline, bulk = false }: Omit<RetryOptions, 'budget'>,
    work: () => Promise<T>,
  ): Promise<T> {
    const budget = this.#budgets.get(step) ?? new RetryBudget();
    this.#budgets.set(step, budget);
    return withRetries(retryTable[step], { signal, deadline, bulk, budget }, work);
  }
}
