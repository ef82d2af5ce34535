import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Run } from '../../../lib/training/database.ts';

/** Something that trains a run: a child process here, a Job on Kubernetes. */
export interface Executor {
  /**
   * Starts the run's worker, or finds the one that was started before, and waits until it has ended. An
   * aborted `signal` stops a child process with a checkpoint; a Job goes on.
   */
  execute(run: Run, signal: AbortSignal): Promise<void>;
}

/** The worker's entry, from the root of the repository and of the images. */
export const workerEntry = 'lib/training/main.ts';

/** What a worker reads, whatever runs it. */
export interface WorkerSettings {
  /** Folders, as the worker's paths. */
  readonly runs: string;
  readonly cache: string;
  /** Metrics in which a release may not be worse than the one of its run's channel. */
  readonly gate: readonly string[];
}

/** The arguments of Node for the worker of a run; `entry` is its path. */
export const workerArgs = (
  entry: string,
  id: string,
  { runs, cache, gate }: WorkerSettings,
): string[] => [entry, id, '--runs', runs, '--cache', cache, '--gate', gate.join()];

export interface ProcessExecutorOptions extends WorkerSettings {
  /** Gets each line that a worker writes: JSON on standard output, text on standard error. */
  readonly onLine: (run: string, line: string) => void;
}

/** Trains each run in a process of its own: what kills a run does not kill the service. */
export function processExecutor({ onLine, ...settings }: ProcessExecutorOptions): Executor {
  const entry = fileURLToPath(new URL(`../../../${workerEntry}`, import.meta.url));
  return {
    execute: ({ id }, signal) =>
      new Promise((done, fail) => {
        const args = workerArgs(entry, id, settings);
        // Over the fourth channel the worker learns that its parent is gone, however that ended.
        const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe', 'ipc'] });
        const stop = (): boolean => child.kill('SIGTERM');
        signal.addEventListener('abort', stop, { once: true });
        if (signal.aborted) stop();
        for (const input of [child.stdout, child.stderr]) {
          if (input) createInterface({ input }).on('line', (line) => onLine(id, line));
        }
        child.once('error', fail);
        child.once('close', () => {
          signal.removeEventListener('abort', stop);
          done();
        });
      }),
  };
}
