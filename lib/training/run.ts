import { mkdir, rm, writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import type { Tracer } from '@opentelemetry/api';
import { DomainError } from '../errors.ts';
import { inSpan } from '../telemetry/tracing.ts';
import { loadPreset } from '../models/preset.ts';
import { createBackend } from '../runtime/backend.ts';
import { RunCheckpoints } from './checkpoint.ts';
import { decodingOf } from './config.ts';
import { openDataset } from './data/open.ts';
import { type Prepared, prepareDataset } from './data/prepared.ts';
import { loadTexts, makeTokenizers } from './data/texts.ts';
import { type Decides, type EvaluationResult, evaluate } from './evaluation/evaluate.ts';
import { drawFigures } from './evaluation/figures.ts';
import { preprocessingOf } from './embed.ts';
import { type Published, publish } from './publish.ts';
import { type Reporter, sampleProgress, simpleProgress } from './progress.ts';
import { type Lease, type Run, type RunDatabase, checkResumable } from './database.ts';
import { Journal } from './journal.ts';
import type { RunContext } from './run-context.ts';
import { type Trained, train } from './train.ts';

export interface ExecuteOptions {
  readonly database: RunDatabase;
  /** Folder of prepared datasets, shared by all runs. */
  readonly cache: string;
  readonly reporter: Reporter;
  /** Gets a span of the run, with one of each part of it. */
  readonly tracer: Tracer;
  /** Fires when the process has to stop; the run can be resumed afterwards. */
  readonly signal: AbortSignal;
  /** The operator's command, for the provenance of the release. */
  readonly command?: string;
  /** See PublishOptions. */
  readonly gate?: readonly string[];
}

/** An operator cancelled the run. */
class Cancelled extends Error {
  override readonly name = 'Cancelled';
}

/**
 * Trains a run to its end, from its last checkpoint where it has one, and publishes its release. The
 * database records how the run ended; an error that ended it is also thrown. Throws RUN_LEASED where
 * another trainer has the run, and RUN_ENDED where it succeeded or was cancelled before.
 */
export async function executeRun(id: string, options: ExecuteOptions): Promise<Run> {
  const { database } = options;
  const lease = database.lease(id);
  try {
    const run = database.get(id);
    checkResumable(run);
    database.setState(id, 'running');
    await inSpan(options.tracer, 'training run', (span) => {
      const { variant, preset } = run.config;
      span.setAttributes({ run: id, variant, preset });
      return work(run, options, lease);
    });
    database.setState(id, 'succeeded');
    return database.get(id);
  } catch (error) {
    recordEnd(id, options, error);
    if (error instanceof Cancelled) return database.get(id);
    throw error;
  } finally {
    lease.release();
  }
}

function recordEnd(id: string, { database, signal }: ExecuteOptions, error: unknown): void {
  if (error instanceof Cancelled) return database.setState(id, 'cancelled');
  const reason = error instanceof DomainError ? error.reason : 'INTERNAL';
  if (reason === 'RUN_LEASED' || reason === 'RUN_LEASE_LOST' || reason === 'RUN_ENDED') return;
  if (signal.aborted) return database.setState(id, 'interrupted');
  const message = error instanceof Error ? error.message : String(error);
  return database.setState(id, 'failed', { error: { reason, message } });
}

/** Trains and releases a run, and records its progress. */
async function work(run: Run, options: ExecuteOptions, lease: Lease): Promise<void> {
  const reporter = recording(run.id, options.database, options.reporter);
  try {
    await trainAndRelease(run, { ...options, reporter }, lease);
  } finally {
    reporter.flush();
  }
}

async function trainAndRelease(run: Run, options: ExecuteOptions, lease: Lease): Promise<void> {
  const { database, reporter, signal, tracer } = options;
  const { config } = run;
  const preset = loadPreset(config.preset);
  const folder = database.folderOf(run.id);
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, 'config.json'), `${JSON.stringify(config, undefined, 2)}\n`);
  const prepared = await inSpan(tracer, 'prepare', () => prepare(run, options));
  const threads = config.threads === 0 ? availableParallelism() : config.threads;
  const backend = await createBackend({ provider: config.provider, intraOpThreads: threads });
  try {
    await makeTokenizers(folder, prepared.splits, config, preset);
    const texts = loadTexts(folder, config, preset);
    const checkpoints = new RunCheckpoints(join(folder, 'checkpoints'), config.checkpoints.keep);
    const journal = new Journal(join(folder, 'metrics.jsonl'));
    const context: RunContext = {
      folder,
      config,
      preset,
      prepared,
      texts,
      backend,
      checkpoints,
      journal,
      reporter,
      tracer,
      signal,
      check: () => {
        lease.check();
        if (database.get(run.id).cancelRequested) throw new Cancelled('cancelled');
      },
    };
    const trained = await train(context);
    const decides = decidesOf(context, trained);
    const { tables } = await inSpan(tracer, 'evaluate', () =>
      evaluateRun(context, trained, decides),
    );
    await journal.add({ kind: 'evaluation', stage: 'finish', step: 0, tables });
    await drawFigures(folder, await journal.read());
    const { models } = trained;
    const { command, gate } = options;
    const onStored = ({ id, store }: Published): void => {
      database.setState(run.id, 'running', { release: id });
      database.addEvent(run.id, 'release', { release: id, store });
      reporter.event('evaluation', { release: id, store, tables });
    };
    const described = { folder: models, release: decides, tables, command };
    await publish({ run, context, ...described, gate, onStored });
    await rm(models, { recursive: true, force: true });
  } finally {
    await backend.dispose();
    await prepared.close();
  }
}

const decidesOf = (
  { config, preset }: RunContext,
  { calibration, distribution }: Trained,
): Decides => ({
  preprocessing: preprocessingOf(config, preset),
  labels: calibration,
  outOfDistribution: distribution,
  decoding: decodingOf(config, preset.maxReportTokens),
});

function evaluateRun(
  context: RunContext,
  { models }: Trained,
  release: Decides,
): Promise<EvaluationResult> {
  const { config, prepared, reporter } = context;
  const { split: wanted, studies } = config.evaluation;
  return evaluate({
    ...context,
    folder: models,
    release,
    scratch: context.folder,
    split: prepared.splits[wanted].length > 0 ? wanted : 'validate',
    studies,
    samples: 1000,
    onProgress: (what, done, total) =>
      reporter.progress(simpleProgress(`evaluate: ${what}`, done, total)),
  });
}

async function prepare(
  { config }: Run,
  { cache, reporter, signal }: ExecuteOptions,
): Promise<Prepared> {
  const dataset = await openDataset(config.data);
  try {
    return await prepareDataset(dataset, {
      preprocessing: preprocessingOf(config, loadPreset(config.preset)),
      limits: config.studies,
      seed: config.seed,
      cache,
      signal,
      onProgress: (done, total) => reporter.progress(simpleProgress('prepare', done, total)),
    });
  } finally {
    await dataset.close();
  }
}

/** At most one progress event in so many milliseconds reaches the database. */
const eventEveryMs = 2000;

/** Kinds of events, as the database calls them. */
const eventKinds = {
  stage: 'progress',
  validation: 'metrics',
  checkpoint: 'checkpoint',
  warning: 'warning',
  evaluation: 'progress',
} as const;

/** Records in the database what it passes on to `reporter`. */
function recording(id: string, database: RunDatabase, reporter: Reporter): RecordingReporter {
  const recorded = sampleProgress((progress) => database.addProgress(id, progress), eventEveryMs);
  return {
    progress(progress) {
      reporter.progress(progress);
      recorded.progress(progress);
    },
    event(kind, data) {
      reporter.event(kind, data);
      // What led to the event comes before it.
      recorded.flush();
      database.addEvent(id, eventKinds[kind], data);
    },
    flush: recorded.flush,
  };
}

interface RecordingReporter extends Reporter {
  /** Records the newest progress if it was held back. */
  readonly flush: () => void;
}
