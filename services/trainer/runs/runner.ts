import { setTimeout as sleep } from 'node:timers/promises';
import { DomainError } from '../../../lib/errors.ts';
import { type Run, type RunDatabase, hasEnded } from '../../../lib/training/database.ts';
import type { Executor } from './executor.ts';

export interface RunnerOptions {
  readonly database: RunDatabase;
  readonly executor: Executor;
  /** Runs that are trained at the same time. */
  readonly maxRuns: number;
  /** How often the database is read for runs that others queued; default 1 s. */
  readonly pollMs?: number;
  readonly onError: (run: string, error: unknown) => void;
}

/** How often a run is started again whose worker ended without recording why. */
const restarts = 3;

/** Trains the queued runs, oldest first. */
export class Runner {
  readonly #options: RunnerOptions;
  readonly #pollMs: number;
  readonly #active = new Map<string, Promise<void>>();
  readonly #stop = new AbortController();
  #timer: NodeJS.Timeout | undefined;

  constructor(options: RunnerOptions) {
    this.#options = options;
    this.#pollMs = options.pollMs ?? 1000;
  }

  /** Whether this runner has started the run and it has not ended. */
  isActive(run: string): boolean {
    return this.#active.has(run);
  }

  /** Goes on with the runs of an earlier process, and starts queued ones from now on. */
  start(): void {
    for (const run of this.#options.database.inState('running', 'interrupted')) {
      if (!run.cancelRequested) this.#launch(run);
    }
    this.#timer = setInterval(() => this.wake(), this.#pollMs);
    this.wake();
  }

  /** Starts queued runs while fewer than `maxRuns` are active. */
  wake(): void {
    const { database, maxRuns } = this.#options;
    if (this.#stop.signal.aborted) return;
    for (const run of database.inState('queued')) {
      if (this.#active.size >= maxRuns) return;
      if (!this.#active.has(run.id)) this.#launch(run);
    }
  }

  /** Stops child processes with a checkpoint and waits for them; Jobs go on. */
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
        // Read again: a run that was resumed meanwhile gets a Job of another name.
        await executor.execute(database.get(run.id), signal);
      } catch (error) {
        if (!(error instanceof DomainError)) throw error;
        onError(run.id, error);
      }
      await this.#untilFree(run.id);
      const { state, cancelRequested } = database.get(run.id);
      if (hasEnded(state) || signal.aborted) return;
      if (cancelRequested) return database.setState(run.id, 'cancelled');
      if (attempt < restarts) continue;
      const message = `its worker ended ${restarts + 1} times without recording why; see its log`;
      return database.setState(run.id, 'failed', { error: { reason: 'TRAINER_CRASHED', message } });
    }
  }

  /**
   * Waits while another trainer holds the run, such as a worker that outlived an earlier service: it is
   * that one that ends the run.
   */
  async #untilFree(run: string): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted && this.#options.database.isHeld(run)) {
      await sleep(this.#pollMs, undefined, { signal }).catch(() => {});
    }
  }
}
