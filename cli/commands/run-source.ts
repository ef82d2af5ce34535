import { setTimeout as sleep } from 'node:timers/promises';
import type { CallOptions, Client } from 'nice-grpc';
import type { TrainingRun, TrainingRunEvent, TrainingRunState } from '../../lib/rpc/messages.ts';
import type { trainerService } from '../../lib/rpc/services.ts';
import { type JsonObject, completeConfig } from '../../lib/training/config.ts';
import type { Run, RunDatabase, RunEvent } from '../../lib/training/database.ts';
import { followEvents } from '../../lib/training/follow.ts';
import { isLost } from '../client.ts';

interface NewRunRequest {
  readonly config: JsonObject;
  readonly channel: string;
  /** A repeated request with the same one creates no second run; empty: none. */
  readonly requestId: string;
}

/** A run as it is shown; `killed`: it trains by its state, but its process is gone. */
export type ShownRun = Omit<Run, 'state' | 'store'> & { readonly state: Run['state'] | 'killed' };

/** Where runs are listed, watched and changed: a folder of this machine, or a trainer service. */
export interface RunSource {
  create(request: NewRunRequest): Promise<ShownRun>;
  /** Newest first. */
  list(): Promise<readonly ShownRun[]>;
  get(id: string): Promise<ShownRun>;
  cancel(id: string): Promise<ShownRun>;
  watch(id: string, after: number): AsyncIterable<RunEvent>;
}

const mostListed = 1000;

/** The runs of a folder. `store` gets the releases of created runs; null: the folder of each run. */
export function localRuns(database: RunDatabase, store: string | null): RunSource {
  const shown = (run: Run): ShownRun => {
    const isKilled = run.state === 'running' && !database.isHeld(run.id);
    return { ...run, state: isKilled ? 'killed' : run.state };
  };
  return {
    create: async ({ config, channel, requestId }) => {
      const run = { config: completeConfig(config), store, channel: channel || null };
      return shown(database.create({ ...run, ...(requestId !== '' && { requestId }) }));
    },
    list: async () => database.list({ limit: mostListed }).map(shown),
    get: async (id) => shown(database.get(id)),
    cancel: async (id) => shown(database.requestCancel(id)),
    watch: (id, after) => followEvents(database, id, after),
  };
}

export type TrainerClient = Client<typeof trainerService, CallOptions & { deadline?: number }>;

const nameOf = (id: string): string => `trainingRuns/${id}`;

/** The runs of a trainer service; it resumes them, too. */
export function remoteRuns(
  client: TrainerClient,
  call: CallOptions,
): RunSource & { resume(id: string): Promise<ShownRun> } {
  return {
    create: async ({ config, ...rest }) =>
      runOf(await client.createTrainingRun({ ...rest, configJson: JSON.stringify(config) }, call)),
    list: async () => {
      const runs: ShownRun[] = [];
      let pageToken = '';
      do {
        const page = await client.listTrainingRuns({ pageSize: mostListed, pageToken }, call);
        runs.push(...page.trainingRuns.map(runOf));
        pageToken = page.nextPageToken;
      } while (pageToken !== '' && runs.length < mostListed);
      return runs;
    },
    get: async (id) => runOf(await client.getTrainingRun({ name: nameOf(id) }, call)),
    cancel: async (id) => runOf(await client.cancelTrainingRun({ name: nameOf(id) }, call)),
    resume: async (id) => runOf(await client.resumeTrainingRun({ name: nameOf(id) }, call)),
    watch: (id, after) => watchRemote(client, call, id, after),
  };
}

/** Time for one call of a watch; a run may train for days, and is watched in several calls. */
const watchTimeoutMs = 3600 * 1000;
/** How often in a row a watch connects again without an event in between, and how long it waits. */
const reconnects = 30;
const reconnectMs = 1000;

/** Watches a run to its end, over lost connections and restarts of the service. */
async function* watchRemote(
  client: TrainerClient,
  call: CallOptions,
  id: string,
  after: number,
): AsyncGenerator<RunEvent> {
  const name = nameOf(id);
  // A wrong address or id fails here, at once; later, the service is away for a while.
  await client.getTrainingRun({ name }, call);
  let last = after;
  let failures = 0;
  for (;;) {
    try {
      const request = { name, afterSequence: last };
      const options = { ...call, deadline: Date.now() + watchTimeoutMs };
      for await (const event of client.watchTrainingRun(request, options)) {
        yield eventOf(event);
        [last, failures] = [event.sequence, 0];
      }
      return;
    } catch (error) {
      if (!isLost(error) || ++failures > reconnects) throw error;
      await sleep(reconnectMs);
    }
  }
}

const states: Readonly<Record<TrainingRunState, Run['state'] | undefined>> = {
  TRAINING_RUN_STATE_UNSPECIFIED: undefined,
  TRAINING_RUN_STATE_QUEUED: 'queued',
  TRAINING_RUN_STATE_RUNNING: 'running',
  TRAINING_RUN_STATE_INTERRUPTED: 'interrupted',
  TRAINING_RUN_STATE_SUCCEEDED: 'succeeded',
  TRAINING_RUN_STATE_FAILED: 'failed',
  TRAINING_RUN_STATE_CANCELLED: 'cancelled',
};

function runOf(run: TrainingRun): ShownRun {
  const { progress, error } = run;
  return {
    id: run.name.replace('trainingRuns/', ''),
    state: states[run.state] ?? 'queued',
    config: JSON.parse(run.configJson) as Run['config'],
    channel: run.channel || null,
    createdAt: run.createTime,
    updatedAt: run.updateTime,
    cancelRequested: run.cancelRequested,
    resumes: run.resumes,
    release: run.release === '' ? null : run.release.replace('releases/', ''),
    error: error ?? null,
    progress: progress
      ? { ...progress, loss: progress.loss ?? null, etaSeconds: progress.etaSeconds ?? null }
      : null,
  };
}

const eventOf = ({ sequence, time, kind, dataJson }: TrainingRunEvent): RunEvent => ({
  sequence,
  at: time,
  kind: kind as RunEvent['kind'],
  data: JSON.parse(dataJson) as RunEvent['data'],
});
