import { DomainError } from '../../../lib/errors.ts';
import { type Run, type RunDatabase, hasEnded } from '../../../lib/training/database.ts';
import type { Executor } from './executor.ts';

export interface RunnerOptions {
  readonly database: RunDatabase;
  readonly executor: Executor;
  /** Runs at a time. */
  readonly maxRuns: number;
  readonly pollMs?: number;
  readonly onError: (run: string, error: unknown) => void;
}

/** Times that a run is started again whose process ended without saying why. */
const restarts = 3;

/** Executes the runs that wait, in their order, so many at a time. */
export class Runner {
  readonly #options: RunnerOptions;
  readonly #active = new Map<string, Promise<void>>();
  readonly #stop = new AbortController();
  #timer: NodeJS.Timeout | undefined;

  constructor(options: RunnerOptions) {
    this.#options = options;
  }

  get active(): number {
    return this.#active.size;
  }

  /** Takes up what an earlier process left, then what comes. */
  start(): void {
    const { database, pollMs = 1000 } = this.#options;
    for (const run of database.list({ limit: 10_000 }).toReversed()) {
      const isLeft = run.state === 'running' || run.state === 'interrupted';
      // A Job that is still at it keeps its lease, and is only followed.
      if (isLeft && !run.cancelRequested) this.#launch(run);
    }
    this.#timer = setInterval(() => this.wake(), pollMs);
    this.wake();
  }

  /** Looks whether a run can start. */
  wake(): void {
    const { database, maxRuns } = this.#options;
    if (this.#stop.signal.aborted) return;
    for (const run of database.queued()) {
      if (this.#active.size >= maxRuns) return;
      if (!this.#active.has(run.id)) this.#launch(run);
    }
  }

  /** Asks child processes for a checkpoint and waits for them; Jobs go on. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    this.#stop.abort();
    await Promise.all(this.#active.values());
  }

  #launch(run: Run): void {
    const work = this.#execute(run)
      .catch((error: unknown) => this.#options.onError(run.id, error))
      .finally(() => {
        this.#active.delete(run.id);
        this.wake();
      });
    this.#active.set(run.id, work);
  }

  async #execute(run: Run): Promise<void> {
    const { database, executor, onError } = this.#options;
    const { signal } = this.#stop;
    for (let attempt = 0; ; attempt++) {
      try {
        await executor.execute(run, signal);
      } catch (error) {
        if (!(error instanceof DomainError)) throw error;
        onError(run.id, error);
      }
      const { state, cancelRequested } = database.get(run.id);
      if (hasEnded(state) || signal.aborted) return;
      if (cancelRequested) return database.setState(run.id, 'cancelled');
      if (attempt < restarts) continue;
      const message = `its process ended ${restarts + 1} times without a word; see the log`;
      return database.setState(run.id, 'failed', { error: { reason: 'TRAINER_CRASHED', message } });
    }
  }
}
