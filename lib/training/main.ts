import { parseArgs } from 'node:util';
import { DomainError } from '../errors.ts';
import { standardGate } from '../releases/gate.ts';
import { RunDatabase, type RunState, hasEnded } from './database.ts';
import { type Reporter, sampleProgress } from './progress.ts';
import { trainInProcess } from './worker.ts';

/**
 * The worker of a run: `node lib/training/main.ts RUN --runs FOLDER --cache FOLDER --gate METRICS`, a
 * child of the trainer service or the container of a Job. It writes JSON lines to standard output.
 */
const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    runs: { type: 'string', default: 'runs' },
    cache: { type: 'string', default: 'cache' },
    gate: { type: 'string', default: standardGate.join() },
  },
});

/**
 * Exit codes by the state that the run was left in. 3: the run has failed, and its database says why;
 * another attempt would fail too. Any other code above 0: the run may go on from its last checkpoint.
 */
const exitCodes: Readonly<Partial<Record<RunState, number>>> = {
  succeeded: 0,
  cancelled: 0,
  failed: 3,
  interrupted: 130,
};

const [id = ''] = positionals;
const print = (kind: string, data: Readonly<Record<string, unknown>>): void => {
  const facts = Object.entries(data).filter(([, value]) => typeof value !== 'object');
  const line = { time: new Date().toISOString(), run: id, kind, ...Object.fromEntries(facts) };
  process.stdout.write(`${JSON.stringify(line)}\n`);
};

/** At most one line of progress in so many milliseconds. */
const progressEveryMs = 10_000;
const sampled = sampleProgress((progress) => print('progress', { ...progress }), progressEveryMs);
const reporter: Reporter = { progress: sampled.progress, event: print };

using database = new RunDatabase(values.runs);
try {
  // A Job starts another pod for a run that has failed, or that was cancelled while no pod had it.
  if (!hasEnded(database.get(id).state)) {
    await trainInProcess(id, {
      database,
      cache: values.cache,
      gate: values.gate.split(',').filter((metric) => metric !== ''),
      reporter,
      // The entry of a process: it may read the environment.
      tracesEndpoint: process.env['OTEL_EXPORTER_OTLP_ENDPOINT'],
    });
  }
  const { state } = database.get(id);
  print('state', { state });
  process.exitCode = exitCodes[state] ?? 1;
} catch (error) {
  if (!(error instanceof DomainError)) throw error;
  const { code, reason, message } = error;
  print('error', { code, reason, message });
  process.exitCode = reason === 'RUN_NOT_FOUND' ? 1 : (exitCodes[database.get(id).state] ?? 1);
}
