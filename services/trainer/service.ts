import type { ServiceImplementation } from 'nice-grpc';
import { type SplitName, splitNames } from '../../lib/data/dataset.ts';
import { DomainError, invalidArgument } from '../../lib/errors.ts';
import type { DeadlineContext } from '../../lib/rpc/deadline.ts';
import type {
  Channel,
  EvaluationRow,
  Sent,
  TrainerServiceMethods,
  TrainingRun,
  TrainingRunState,
} from '../../lib/rpc/messages.ts';
import type { Service } from '../../lib/rpc/services.ts';
import {
  type ReleaseUse,
  pageSizeOf,
  releaseIdIn,
  releaseMethods as sharedReleaseMethods,
} from '../../lib/rpc/release-methods.ts';
import type { Manifest } from '../../lib/releases/manifest.ts';
import type { ChannelState } from '../../lib/releases/store/channels.ts';
import type { ReleaseStore } from '../../lib/releases/store/store.ts';
import { completeConfig, parseConfigText } from '../../lib/training/config.ts';
import type { Row, Tables } from '../../lib/training/evaluation/tables.ts';
import {
  type Run,
  type RunDatabase,
  type RunState,
  hasEnded,
} from '../../lib/training/database.ts';
import { followEvents } from '../../lib/training/follow.ts';
import type { Evaluate } from './evaluation.ts';
import type { Runner } from './runs/runner.ts';

export interface TrainerParts {
  readonly database: RunDatabase;
  readonly runner: Runner;
  readonly store: ReleaseStore;
  readonly evaluate: Evaluate;
  /** Folder of prepared datasets. */
  readonly cache: string;
  /** Threads of an evaluation; 0: all cores. */
  readonly threads: number;
  /** Fires when the server closes. */
  readonly closing: AbortSignal;
  /** Metrics on which a release must not be worse to be promoted. */
  readonly gate: readonly string[];
}

const maxRequestIdLength = 128;

type Implementation = ServiceImplementation<Service<TrainerServiceMethods>, DeadlineContext>;

/** Translates between the messages of TrainerService and the functions that do the work. */
export const trainerImplementation = (trainer: TrainerParts): Implementation =>
  namingRequestFields({ ...runMethods(trainer), ...releaseMethods(trainer) });

type RunMethods = Pick<
  Implementation,
  | 'createTrainingRun'
  | 'getTrainingRun'
  | 'listTrainingRuns'
  | 'cancelTrainingRun'
  | 'resumeTrainingRun'
  | 'watchTrainingRun'
>;

function runMethods({ database, runner, store, closing }: TrainerParts): RunMethods {
  return {
    createTrainingRun: async ({ requestId, configJson, channel }) => {
      checkRequestId(requestId);
      const run = database.create({
        config: completeConfig(parseConfigText(configJson, 'config_json'), 'config_json'),
        store: store.url,
        channel: channel === '' ? null : channel,
        ...(requestId !== '' && { requestId }),
      });
      runner.wake();
      return runMessage(run);
    },
    getTrainingRun: async ({ name }) => runMessage(database.get(runId(name))),
    listTrainingRuns: async ({ pageSize, pageToken }) => {
      const limit = pageSizeOf(pageSize);
      const before = pageToken === '' ? undefined : runOfToken(database, pageToken);
      const runs = database.list({ limit: limit + 1, before });
      return {
        trainingRuns: runs.slice(0, limit).map(runMessage),
        nextPageToken: runs.length > limit ? (runs[limit - 1]?.id ?? '') : '',
      };
    },
    cancelTrainingRun: async ({ name }) => runMessage(database.requestCancel(runId(name))),
    resumeTrainingRun: async ({ name }) => {
      const id = runId(name);
      const run = database.get(id);
      // Between two attempts of the runner no worker holds the run, and yet it goes on.
      const goesOn = runner.isActive(id) && !hasEnded(run.state);
      const resumed = goesOn ? run : database.resume(id);
      runner.wake();
      return runMessage(resumed);
    },
    async *watchTrainingRun({ name, afterSequence }, { signal }) {
      const ending = AbortSignal.any([signal, closing]);
      for await (const event of followEvents(database, runId(name), afterSequence, ending)) {
        const { sequence, at, kind, data } = event;
        yield { sequence, time: at, kind, dataJson: JSON.stringify(data) };
      }
    },
  };
}

function releaseMethods(trainer: TrainerParts): Omit<Implementation, keyof RunMethods> {
  const { store, evaluate, cache, threads, gate } = trainer;
  const releases = sharedReleaseMethods(store, () => useOfReleases(store));
  return {
    evaluateRelease: async ({ name, data, split, studies }, { signal }) => {
      const { tables } = await evaluate({
        store,
        release: releaseIdIn(name),
        cache,
        threads,
        signal,
        ...(data !== '' && { data }),
        ...(split !== '' && { split: splitOf(split) }),
        ...(studies > 0 && { studies }),
      });
      return { name, tables: tableMessages(tables) };
    },
    listReleases: (request) => releases.list(request),
    getRelease: (request) => releases.get(request),
    promoteRelease: async ({ name, channel, weight, force, expectedGeneration }) =>
      channelMessage(
        await store.promote(channel, releaseIdIn(name), {
          gate,
          force,
          weight,
          expectedGeneration: generationOf(expectedGeneration),
          by: 'trainer service',
        }),
      ),
    rollbackChannel: async ({ channel, expectedGeneration }) =>
      channelMessage(
        await store.rollback(channel, {
          expectedGeneration: generationOf(expectedGeneration),
          by: 'trainer service',
        }),
      ),
  };
}

const generationOf = (value: number): number | undefined => (value === 0 ? undefined : value);

function checkRequestId({ length }: string): void {
  if (length <= maxRequestIdLength) return;
  const message = `got ${length} characters, expected at most ${maxRequestIdLength}`;
  throw invalidArgument('REQUEST_ID_INVALID', 'request_id', message);
}

/** A page token is the id of the last run of the page before. */
function runOfToken(database: RunDatabase, pageToken: string): string {
  try {
    return database.get(pageToken).id;
  } catch (error) {
    throw withField(error, () => 'page_token');
  }
}

/** The same error with another field; what is not a DomainError stays as it is. */
function withField(error: unknown, rename: (field: string) => string): unknown {
  if (!(error instanceof DomainError) || error.field === undefined) return error;
  const { code, reason, message, field, metadata } = error;
  return new DomainError(code, reason, message, { field: rename(field), metadata, cause: error });
}

/** Fields of lib's errors, and the fields of the requests that they come from. */
const requestFields: Readonly<Record<string, string>> = {
  run: 'name',
  release: 'name',
  preset: 'config_json.preset',
  expectedGeneration: 'expected_generation',
};

type Handler = (...call: readonly unknown[]) => Promise<unknown> | AsyncGenerator;

/** The same methods, whose errors name the field of the request as the proto spells it. */
function namingRequestFields(methods: Implementation): Implementation {
  const fail = (error: unknown): never => {
    throw withField(error, (field) => requestFields[field] ?? field);
  };
  async function* eventsOf(events: AsyncGenerator): AsyncGenerator {
    try {
      yield* events;
    } catch (error) {
      fail(error);
    }
  }
  const named = Object.entries<Handler>(methods as never).map(([name, handle]) => {
    const wrapped: Handler = (...call) => {
      const answer = handle(...call);
      return 'next' in answer ? eventsOf(answer) : answer.catch(fail);
    };
    return [name, wrapped];
  });
  return Object.fromEntries(named) as Implementation;
}

function runId(name: string): string {
  const id = /^trainingRuns\/(run-[0-9a-z]+)$/.exec(name)?.[1];
  if (id !== undefined) return id;
  throw invalidArgument('RUN_NAME_INVALID', 'name', 'expected trainingRuns/run-...');
}

function splitOf(split: string): SplitName {
  const found = splitNames.find((name) => name === split);
  if (found) return found;
  const message = `got ${JSON.stringify(split)}, expected one of ${splitNames.join(', ')}`;
  throw invalidArgument('SPLIT_INVALID', 'split', message);
}

const states: Readonly<Record<RunState, TrainingRunState>> = {
  queued: 'TRAINING_RUN_STATE_QUEUED',
  running: 'TRAINING_RUN_STATE_RUNNING',
  interrupted: 'TRAINING_RUN_STATE_INTERRUPTED',
  succeeded: 'TRAINING_RUN_STATE_SUCCEEDED',
  failed: 'TRAINING_RUN_STATE_FAILED',
  cancelled: 'TRAINING_RUN_STATE_CANCELLED',
};

function runMessage(run: Run): Sent<TrainingRun> {
  const { progress, error } = run;
  return {
    name: `trainingRuns/${run.id}`,
    state: states[run.state],
    configJson: JSON.stringify(run.config),
    channel: run.channel ?? '',
    createTime: run.createdAt,
    updateTime: run.updatedAt,
    release: run.release === null ? '' : `releases/${run.release}`,
    cancelRequested: run.cancelRequested,
    resumes: run.resumes,
    ...(progress && {
      progress: {
        ...progress,
        loss: progress.loss ?? undefined,
        etaSeconds: progress.etaSeconds ?? undefined,
      },
    }),
    ...(error && { error }),
  };
}

/** The channels that point to each release; which replicas serve it only the gateway knows. */
async function useOfReleases({
  channels,
}: ReleaseStore): Promise<(manifest: Manifest) => ReleaseUse> {
  const names = await channels.names();
  const states = await Promise.all(names.map((name) => channels.find(name)));
  return ({ id }) => ({
    state: 'RELEASE_STATE_STORED',
    channels: states.flatMap((state) => (state?.release === id ? [state.channel] : [])),
    trafficShare: 0,
  });
}

const channelMessage = (state: ChannelState): Sent<Channel> => ({
  channel: state.channel,
  release: `releases/${state.release}`,
  previousRelease: state.previous === null ? '' : `releases/${state.previous}`,
  generation: state.generation,
});

const tableMessages = (tables: Tables) =>
  Object.entries(tables).map(([id, { title, studies, model, baselines }]) => ({
    id,
    title,
    studies,
    rows: [
      rowMessage('model', model),
      ...Object.entries(baselines).map(([n, row]) => rowMessage(n, row)),
    ],
  }));

const rowMessage = (subject: string, { metrics, intervals }: Row): Sent<EvaluationRow> => ({
  subject,
  values: Object.entries(metrics).map(([metric, value]) => {
    const [low, high] = intervals?.[metric] ?? [];
    return { metric, value, low, high };
  }),
});
