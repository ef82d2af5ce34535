import type { ServiceImplementation } from 'nice-grpc';
import { type SplitName, splitNames } from '../../lib/data/dataset.ts';
import { invalidArgument } from '../../lib/errors.ts';
import type { DeadlineContext } from '../../lib/rpc/deadline.ts';
import type {
  Channel,
  EvaluationRow,
  Release,
  Sent,
  TrainerServiceMethods,
  TrainingRun,
  TrainingRunState,
} from '../../lib/rpc/messages.ts';
import type { Service } from '../../lib/rpc/services.ts';
import { type Manifest, isReleaseId } from '../../lib/releases/manifest.ts';
import type { ChannelState } from '../../lib/releases/store/channels.ts';
import type { Row, Tables } from '../../lib/training/evaluation/tables.ts';
import type { Run, RunState } from '../../lib/training/database.ts';
import type { Trainer } from './trainer.ts';

/** Translates between TrainerService and the trainer, nothing else. */
export function trainerImplementation(
  trainer: Trainer,
): ServiceImplementation<Service<TrainerServiceMethods>, DeadlineContext> {
  const { database, store, gate } = trainer.options;
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
        release: releaseId(name),
        signal,
        ...(data !== '' && { data }),
        ...(split !== '' && { split: splitOf(split) }),
        ...(studies > 0 && { studies }),
      });
      return { name, tables: tableMessages(tables) };
    },
    listReleases: async ({ pageSize, pageToken }) => {
      if (pageToken !== '' && !isReleaseId(pageToken)) {
        throw invalidArgument('PAGE_TOKEN_INVALID', 'page_token', 'is not one of ours');
      }
      const page = await store.list({
        pageSize: pageSizeOf(pageSize),
        ...(pageToken !== '' && { pageToken }),
      });
      const channels = await channelsOf(trainer);
      return {
        releases: page.releases.map((manifest) => releaseMessage(manifest, channels)),
        nextPageToken: page.nextPageToken ?? '',
      };
    },
    getRelease: async ({ name }) =>
      releaseMessage(await store.manifest(releaseId(name)), await channelsOf(trainer)),
    promoteRelease: async ({ name, channel, weight, force, expectedGeneration }) =>
      channelMessage(
        await store.promote(channel, releaseId(name), {
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

function pageSizeOf(pageSize: number): number {
  if (Number.isInteger(pageSize) && pageSize >= 0 && pageSize <= 1000) return pageSize || 50;
  const message = `got ${pageSize}, expected 1 to 1000, or 0 for 50`;
  throw invalidArgument('PAGE_SIZE_INVALID', 'page_size', message);
}

function runId(name: string): string {
  const id = /^trainingRuns\/(run-[0-9a-z]+)$/.exec(name)?.[1];
  if (id !== undefined) return id;
  throw invalidArgument('RUN_NAME_INVALID', 'name', 'expected trainingRuns/run-...');
}

function releaseId(name: string): string {
  const id = name.replace(/^releases\//, '');
  if (id !== name && isReleaseId(id)) return id;
  const message = 'expected releases/rs- and 24 hex digits';
  throw invalidArgument('RELEASE_NAME_INVALID', 'name', message);
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

async function channelsOf({ options: { store } }: Trainer): Promise<readonly ChannelState[]> {
  const found = await Promise.all(
    (await store.channels.names()).map((name) => store.channels.find(name)),
  );
  return found.filter((state) => state !== undefined);
}

const releaseMessage = (
  { id, variant, preset, quantization, preprocessing, files }: Manifest,
  channels: readonly ChannelState[],
): Sent<Release> => ({
  name: `releases/${id}`,
  id,
  variant,
  preset: preset.name,
  // Which replicas serve it is what the gateway knows.
  state: 'RELEASE_STATE_STORED',
  channels: channels.filter(({ release }) => release === id).map(({ channel }) => channel),
  quantisation: quantization,
  imageSize: preprocessing.width,
  maxReportTokens: preset.maxReportTokens,
  bytes: Object.values(files).reduce((sum, { bytes }) => sum + bytes, 0),
});

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
