import type { ServiceImplementation } from 'nice-grpc';
import { type SplitName, splitNames } from '../../lib/data/dataset.ts';
import { invalidArgument } from '../../lib/errors.ts';
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
  releaseMethods,
} from '../../lib/rpc/release-methods.ts';
import type { Manifest } from '../../lib/releases/manifest.ts';
import type { ReleaseStore } from '../../lib/releases/store/store.ts';
import type { ChannelState } from '../../lib/releases/store/channels.ts';
import type { Row, Tables } from '../../lib/training/evaluation/tables.ts';
import { promoteRelease } from '../../lib/releases/promote.ts';
import type { Run, RunState } from '../../lib/training/database.ts';
import type { Trainer } from './trainer.ts';

/** Translates between TrainerService and the trainer, nothing else. */
export function trainerImplementation(
  trainer: Trainer,
): ServiceImplementation<Service<TrainerServiceMethods>, DeadlineContext> {
  const { database, store, gate } = trainer.options;
  const releases = releaseMethods(store, () => useOfReleases(store));
  return {
    createTrainingRun: async (request) => runMessage(trainer.create(request)),
    getTrainingRun: async ({ name }) => runMessage(database.get(runId(name))),
    listTrainingRuns: async ({ pageSize, pageToken }) => {
      const limit = pageSizeOf(pageSize);
      if (pageToken !== '') database.get(pageToken);
      const before = pageToken === '' ? undefined : pageToken;
      const runs = database.list({ limit: limit + 1, before });
      return {
        trainingRuns: runs.slice(0, limit).map(runMessage),
        nextPageToken: runs.length > limit ? (runs[limit - 1]?.id ?? '') : '',
      };
    },
    cancelTrainingRun: async ({ name }) => runMessage(database.requestCancel(runId(name))),
    async *watchTrainingRun({ name, afterSequence }, { signal }) {
      for await (const event of trainer.watch(runId(name), afterSequence, signal)) {
        const { sequence, at, kind, data } = event;
        yield { sequence, time: at, kind, dataJson: JSON.stringify(data) };
      }
    },
    evaluateRelease: async ({ name, data, split, studies }, { signal }) => {
      const { tables } = await trainer.evaluate({
        release: releaseIdIn(name),
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
        await promoteRelease(store, channel, releaseIdIn(name), {
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

function runId(name: string): string {
  const id = /^trainingRuns\/(run-[0-9a-z]+)$/.exec(name)?.[1];
  if (id !== undefined) return id;
  throw invalidArgument('RUN_NAME_INVALID', 'name', 'expected trainingRuns/run-...');
}

function splitOf(split: string): SplitName {
  const found = splitNames.find((name) => name === split);
  if (found) return found;
  const message = `got ${split}, expected one of ${splitNames.join(', ')}`;
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
