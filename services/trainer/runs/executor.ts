import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Run } from '../../../lib/training/database.ts';

/** Something that trains a run: a child process here, a Job on Kubernetes. */
export interface Executor {
  /** Starts the run, or finds it where it was started before, and waits until its process has ended. */
  execute(run: Run, signal: AbortSignal): Promise<void>;
  /** Whether runs go on when this process ends. */
  readonly outlivesUs: boolean;
}

const cli = fileURLToPath(new URL('../../../cli/main.ts', import.meta.url));

export interface ProcessExecutorOptions {
  readonly runs: string;
  readonly cache: string;
  /** Lines that a run writes to its standard error. */
  readonly onLine: (run: string, line: string) => void;
}

/** `radscribe train --resume`, in a process of its own: what kills a run does not kill the service. */
export function processExecutor({ runs, cache, onLine }: ProcessExecutorOptions): Executor {
  return {
    outlivesUs: false,
    execute: ({ id }, signal) =>
      new Promise((done, fail) => {
        const args = [cli, 'train', '--resume', id, '--runs', runs, '--cache', cache, '--json'];
        const child = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'pipe'] });
        // The first asks it to write a checkpoint; if it does not, the lease runs out with it.
        const stop = (): boolean => child.kill('SIGTERM');
        signal.addEventListener('abort', stop, { once: true });
        if (signal.aborted) stop();
        let rest = '';
        child.stderr.setEncoding('utf8').on('data', (text: string) => {
          const lines = `${rest}${text}`.split('\n');
          rest = lines.pop() ?? '';
          for (const line of lines) onLine(id, line);
        });
        child.once('error', fail);
        child.once('close', () => {
          signal.removeEventListener('abort', stop);
          done();
        });
      }),
  };
}
