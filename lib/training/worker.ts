import { DomainError } from '../errors.ts';
import { createTracing } from '../telemetry/tracing.ts';
import type { Run } from './database.ts';
import { type ExecuteOptions, executeRun } from './run.ts';

export interface WorkerOptions extends Pick<
  ExecuteOptions,
  'database' | 'cache' | 'reporter' | 'command' | 'gate'
> {
  /** Where spans go, OTLP over HTTP; absent, no trace leaves the process. */
  readonly tracesEndpoint: string | undefined;
  /** Called at the first signal to stop, before the step under way has ended. */
  readonly onStopping?: () => void;
}

const stopSignals = ['SIGINT', 'SIGTERM'] as const;

/**
 * Trains a run in this process, as `executeRun` does, until it ends or the process has to stop: on
 * SIGINT and SIGTERM, and when the parent that a child was spawned by is gone. Then the run writes a
 * checkpoint after the step under way and is given back as `interrupted`; a second signal ends the
 * process at once.
 */
export async function trainInProcess(
  id: string,
  { tracesEndpoint, onStopping, ...options }: WorkerOptions,
): Promise<Run> {
  const stopping = new AbortController();
  const stop = (): void => {
    for (const name of stopSignals) process.removeListener(name, stop);
    onStopping?.();
    stopping.abort(new DomainError('CANCELLED', 'INTERRUPTED', `run ${id} was interrupted`));
  };
  for (const name of stopSignals) process.on(name, stop);
  process.once('disconnect', stop);
  // Waiting for the parent to go must not keep a process that is done.
  process.channel?.unref();
  // It may have gone while the modules of this process were loaded.
  if ('connected' in process && !process.connected) stop();
  const tracing = createTracing({ service: 'trainer-run', endpoint: tracesEndpoint });
  try {
    return await executeRun(id, { ...options, tracer: tracing.tracer, signal: stopping.signal });
  } catch (error) {
    const run = options.database.get(id);
    if (stopping.signal.aborted && run.state === 'interrupted') return run;
    throw error;
  } finally {
    for (const name of stopSignals) process.removeListener(name, stop);
    process.removeListener('disconnect', stop);
    await tracing.close();
  }
}
