import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { readConfig } from '../lib/service/settings.ts';
import { openChannel } from '../lib/rpc/channel.ts';
import { trainerService } from '../lib/rpc/services.ts';
import { createTelemetry } from '../lib/telemetry/telemetry.ts';
import type { Executor } from '../services/trainer/runs/executor.ts';
import { start } from '../services/trainer/server.ts';
import { settings } from '../services/trainer/config.ts';
import { type Mini, mini } from './support/trainer.ts';

async function serve(t: ExecutionContext, place: Mini, executor?: Executor) {
  const telemetry = createTelemetry({ service: 'trainer', logLevel: 'silent' });
  const config = readConfig(settings, {
    RADSCRIBE_PORT: '0',
    RADSCRIBE_METRICS_PORT: '0',
    RADSCRIBE_STORE: join(place.root, 'store'),
    RADSCRIBE_RUNS: place.runs,
    RADSCRIBE_CACHE_DIR: join(place.root, 'cache'),
  });
  const server = await start(config, telemetry, executor);
  const channel = openChannel(`127.0.0.1:${server.port}`, { telemetry });
  t.teardown(async () => {
    channel.close();
    await server.close();
    await telemetry.close();
  });
  return { client: channel.client(trainerService), server };
}

const configJson = async (place: Mini, changes = {}): Promise<string> =>
  readFile(await place.config(changes), 'utf8');

/** Never ends until it is asked to. */
const idle: Executor = {
  outlivesUs: false,
  execute: (_, signal) =>
    new Promise((done) => signal.addEventListener('abort', () => done(), { once: true })),
};

test('a run is made, watched to its end, and its release promoted, judged and rolled back', async (t) => {
  const place = await mini(t);
  const { client, server } = await serve(t, place);
  const request = {
    requestId: 'first',
    configJson: await configJson(place, { precision: 'mixed' }),
    channel: 'stable',
  };
  const run = await client.createTrainingRun(request);
  t.regex(run.name, /^trainingRuns\/run-/);
  t.is((await client.createTrainingRun(request)).name, run.name, 'a retry makes no second run');

  const kinds = new Set<string>();
  let last = 0;
  for await (const event of client.watchTrainingRun({ name: run.name })) {
    t.is(event.sequence, ++last);
    kinds.add(event.kind);
  }
  t.deepEqual([...kinds].sort(), ['checkpoint', 'metrics', 'progress', 'release', 'state']);
  const done = await client.getTrainingRun({ name: run.name });
  t.is(done.state, 'TRAINING_RUN_STATE_SUCCEEDED');
  t.regex(done.release, /^releases\/rs-/);
  const metrics = await (await fetch(`http://127.0.0.1:${server.metricsPort}/metrics`)).text();
  for (const name of ['loss', 'step', 'loss_scale']) {
    t.regex(metrics, new RegExp(`^radscribe_training_${name}\\{run_stage="\\w+"\\} [1-9.]`, 'm'));
  }

  const { releases } = await client.listReleases({});
  t.deepEqual(
    releases.map(({ name, channels }) => [name, channels]),
    [[done.release, ['stable']]],
  );
  t.is((await client.getRelease({ name: done.release })).variant, 'vit-label');

  const judged = await client.evaluateRelease({ name: done.release, studies: 2 });
  const clinical = judged.tables.find(({ id }) => id === 'clinical');
  t.deepEqual(
    clinical?.rows.map(({ subject }) => subject),
    ['model', 'constant', 'nearest'],
  );

  const second = await client.createTrainingRun({
    configJson: await configJson(place, { seed: 2, stage2: { epochs: 0 } }),
  });
  for await (const _ of client.watchTrainingRun({ name: second.name, afterSequence: 1 }));
  const other = (await client.getTrainingRun({ name: second.name })).release;
  const moved = await client.promoteRelease({ name: other, channel: 'stable', force: true });
  t.is(moved.previousRelease, done.release);
  const back = await client.rollbackChannel({ channel: 'stable' });
  t.is(back.release, done.release);
  await t.throwsAsync(
    client.promoteRelease({ name: other, channel: 'stable', force: true, expectedGeneration: 1 }),
    { message: /generation|moved/ },
  );
});

test('runs beyond the limit wait in order, and a waiting one is cancelled at once', async (t) => {
  const place = await mini(t);
  const { client } = await serve(t, place, idle);
  const names: string[] = [];
  for (const seed of [1, 2, 3]) {
    const made = await client.createTrainingRun({ configJson: await configJson(place, { seed }) });
    names.unshift(made.name);
  }
  const cancelled = await client.cancelTrainingRun({ name: names[0] ?? '' });
  t.is(cancelled.state, 'TRAINING_RUN_STATE_CANCELLED');
  const page = await client.listTrainingRuns({ pageSize: 2 });
  t.deepEqual(
    page.trainingRuns.map(({ name }) => name),
    names.slice(0, 2),
  );
  const rest = await client.listTrainingRuns({ pageSize: 2, pageToken: page.nextPageToken });
  t.deepEqual(
    rest.trainingRuns.map(({ name }) => name),
    names.slice(2),
  );
  t.is(rest.nextPageToken, '');
});

test('what is asked wrongly is named', async (t) => {
  const place = await mini(t);
  const { client } = await serve(t, place, idle);
  const good = await configJson(place);
  await client.createTrainingRun({ requestId: 'a', configJson: good });
  const cases: readonly (readonly [() => Promise<unknown>, string, RegExp])[] = [
    [
      () => client.createTrainingRun({ configJson: '{' }),
      'CONFIG_INVALID',
      /config_json: is not JSON/,
    ],
    [
      () => client.createTrainingRun({ configJson: '{"variant":"vit","data":"phantom:1","lr":1}' }),
      'CONFIG_INVALID',
      /config_json\.lr/,
    ],
    [
      () =>
        client.createTrainingRun({
          requestId: 'a',
          configJson: good.replace('"threads":1', '"threads":2'),
        }),
      'REQUEST_ID_REUSED',
      /another config/,
    ],
    [() => client.getTrainingRun({ name: 'trainingRuns/run-none' }), 'RUN_NOT_FOUND', /no run/],
    [() => client.getTrainingRun({ name: 'run-1' }), 'RUN_NAME_INVALID', /expected trainingRuns/],
    [
      () => client.getRelease({ name: `releases/rs-${'0'.repeat(24)}` }),
      'RELEASE_NOT_FOUND',
      /rs-0/,
    ],
    [() => client.listTrainingRuns({ pageSize: -1 }), 'PAGE_SIZE_INVALID', /got -1/],
  ];
  for (const [call, reason, message] of cases) {
    const error = await t.throwsAsync(call(), { name: 'DomainError', message });
    t.is((error as { reason?: string } | undefined)?.reason, reason);
  }
});
