import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { readConfig } from '../lib/service/settings.ts';
import { openChannel } from '../lib/rpc/channel.ts';
import { trainerService } from '../lib/rpc/services.ts';
import { createTelemetry } from '../lib/telemetry/telemetry.ts';
import { RunDatabase, type RunState } from '../lib/training/database.ts';
import { evaluateOneAtATime } from '../services/trainer/evaluation.ts';
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

/** Watches for as long as a slow machine trains. */
const patient = { deadline: Date.now() + 3_600_000 };

const configJson = async (place: Mini, changes = {}): Promise<string> =>
  readFile(await place.config(changes), 'utf8');

/** Trains until it is stopped. */
const idle: Executor = {
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
  for await (const event of client.watchTrainingRun({ name: run.name }, patient)) {
    t.is(event.sequence, ++last);
    kinds.add(event.kind);
  }
  t.deepEqual([...kinds].sort(), ['checkpoint', 'metrics', 'progress', 'release', 'state']);
  const done = await client.getTrainingRun({ name: run.name });
  t.is(done.state, 'TRAINING_RUN_STATE_SUCCEEDED');
  t.regex(done.release, /^releases\/rs-/);
  const metrics = await (await fetch(`http://127.0.0.1:${server.metricsPort}/metrics`)).text();
  for (const name of ['loss', 'step', 'loss_scale']) {
    const shown = [...metrics.matchAll(/^radscribe_training_(\w+)\{run_stage="(\w+)"\} (\S+)$/gm)]
      .filter(([, metric, , value]) => metric === name && Number(value) > 0)
      .map(([, , stage]) => stage);
    t.deepEqual(new Set(shown), new Set(['labeler', 'one', 'two']), name);
  }

  const { releases } = await client.listReleases({});
  t.deepEqual(
    releases.map(({ name, channels }) => [name, channels]),
    [[done.release, ['stable']]],
  );
  t.is((await client.getRelease({ name: done.release })).variant, 'vit-label');

  const judged = await client.evaluateRelease({ name: done.release, studies: 2 }, patient);
  const clinical = judged.tables.find(({ id }) => id === 'clinical');
  t.deepEqual(
    clinical?.rows.map(({ subject }) => subject),
    ['model', 'constant', 'nearest'],
  );

  const second = await client.createTrainingRun({
    configJson: await configJson(place, { seed: 2, stage2: { epochs: 0 } }),
  });
  for await (const _ of client.watchTrainingRun({ name: second.name, afterSequence: 1 }, patient));
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

test('a failed run is resumed, one that waits stays as it is, and one that succeeded is refused', async (t) => {
  const place = await mini(t);
  const executed: string[] = [];
  const states: RunState[] = ['failed', 'succeeded'];
  let database: RunDatabase | undefined;
  const executor: Executor = {
    execute: async ({ id }) => {
      executed.push(id);
      const state = states.shift() ?? 'succeeded';
      const details = state === 'failed' ? { error: { reason: 'DISK_FULL', message: 'full' } } : {};
      database?.setState(id, state, details);
    },
  };
  database = new RunDatabase(place.runs);
  t.teardown(() => database?.close());
  const { client } = await serve(t, place, executor);
  const { name } = await client.createTrainingRun({ configJson: await configJson(place) });
  const ended = async (afterSequence: number): Promise<readonly string[]> => {
    const seen: string[] = [];
    for await (const event of client.watchTrainingRun({ name, afterSequence }, patient)) {
      seen.push(String((JSON.parse(event.dataJson) as { state?: string }).state));
    }
    return seen;
  };
  t.deepEqual(await ended(0), ['queued', 'failed']);
  const failed = await client.getTrainingRun({ name });
  t.is(failed.error?.reason, 'DISK_FULL');
  t.is(failed.resumes, 0);
  const resumed = await client.resumeTrainingRun({ name });
  t.is(resumed.state, 'TRAINING_RUN_STATE_QUEUED');
  t.is(resumed.error, undefined);
  t.is(resumed.resumes, 1);
  t.deepEqual(await ended(2), ['queued', 'succeeded']);
  t.deepEqual(executed.length, 2);
  const again = await t.throwsAsync(client.resumeTrainingRun({ name }), {
    message: /is succeeded; there is nothing to resume/,
  });
  t.like(again, { code: 'FAILED_PRECONDITION', reason: 'RUN_ENDED', field: 'name' });
  await t.throwsAsync(client.resumeTrainingRun({ name: 'trainingRuns/run-none' }), {
    message: /there is no run run-none/,
  });
});

test('a run that is resumed as soon as it has failed is trained again', async (t) => {
  const place = await mini(t);
  const turns: (() => void)[] = [];
  let database: RunDatabase | undefined;
  const executor: Executor = {
    execute: async ({ id }) => {
      database?.setState(id, turns.length === 0 ? 'failed' : 'succeeded');
      // Its worker takes a while to end after it has recorded the state.
      await new Promise<void>((done) => turns.push(done));
    },
  };
  database = new RunDatabase(place.runs);
  t.teardown(() => database?.close());
  const { client } = await serve(t, place, executor);
  const { name } = await client.createTrainingRun({ configJson: await configJson(place) });
  for await (const _ of client.watchTrainingRun({ name }));
  t.is((await client.resumeTrainingRun({ name })).resumes, 1);
  turns[0]?.();
  for await (const _ of client.watchTrainingRun({ name, afterSequence: 2 }));
  t.is((await client.getTrainingRun({ name })).state, 'TRAINING_RUN_STATE_SUCCEEDED');
  turns[1]?.();
});

test('a run that trains or waits is not resumed twice', async (t) => {
  const place = await mini(t);
  const { client } = await serve(t, place, idle);
  const made = [
    await client.createTrainingRun({ configJson: await configJson(place, { seed: 1 }) }),
    await client.createTrainingRun({ configJson: await configJson(place, { seed: 2 }) }),
  ];
  for (const { name } of made) t.is((await client.resumeTrainingRun({ name })).resumes, 0);
});

test('whoever watches a run is told that the trainer shuts down', async (t) => {
  const place = await mini(t);
  const { client, server } = await serve(t, place, idle);
  const { name } = await client.createTrainingRun({ configJson: await configJson(place) });
  const events = client.watchTrainingRun({ name })[Symbol.asyncIterator]();
  t.is((await events.next()).value?.kind, 'state');
  const next = t.throwsAsync(Promise.resolve(events.next()));
  await server.close();
  t.like(await next, { code: 'UNAVAILABLE', reason: 'SHUTTING_DOWN' });
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
    [() => client.listTrainingRuns({ pageSize: 1001 }), 'PAGE_SIZE_INVALID', /got 1001/],
    [() => client.listReleases({ pageToken: 'rs-1' }), 'PAGE_TOKEN_INVALID', /page_token/],
    [
      () => client.createTrainingRun({ configJson: good, requestId: 'x'.repeat(129) }),
      'REQUEST_ID_INVALID',
      /request_id: got 129 characters, expected at most 128/,
    ],
    [() => client.createTrainingRun({ configJson: '[]' }), 'CONFIG_INVALID', /not a JSON object/],
    [
      () => client.createTrainingRun({ configJson: good.replace('phantom:', 'nih:') }),
      'DATA_UNKNOWN',
      /config_json\.data: got nih:40/,
    ],
    [
      () => client.evaluateRelease({ name: `releases/rs-${'0'.repeat(24)}`, split: 'training' }),
      'SPLIT_INVALID',
      /split: got "training", expected one of train, validate, test/,
    ],
  ];
  for (const [call, reason, message] of cases) {
    const error = await t.throwsAsync(call(), { name: 'DomainError', message });
    t.is((error as { reason?: string } | undefined)?.reason, reason);
  }
  const fields: readonly (readonly [() => Promise<unknown>, string])[] = [
    [() => client.getTrainingRun({ name: 'trainingRuns/run-none' }), 'name'],
    [() => client.listTrainingRuns({ pageToken: 'run-none' }), 'page_token'],
    [
      () => client.promoteRelease({ name: `releases/rs-${'0'.repeat(24)}`, channel: 'stable' }),
      'name',
    ],
    [
      () =>
        client.createTrainingRun({
          configJson: '{"variant":"vit","data":"phantom:1","preset":"x"}',
        }),
      'config_json.preset',
    ],
  ];
  for (const [call, field] of fields) t.like(await t.throwsAsync(call()), { field });
});

test('one evaluation runs at a time, and the next may begin when it has failed', async (t) => {
  const first = Promise.withResolvers<never>();
  const evaluate = evaluateOneAtATime(() => first.promise);
  const options = {} as Parameters<typeof evaluate>[0];
  const running = evaluate(options);
  t.like(await t.throwsAsync(evaluate(options)), {
    code: 'RESOURCE_EXHAUSTED',
    reason: 'EVALUATION_BUSY',
  });
  first.reject(new Error('damaged'));
  await t.throwsAsync(running, { message: 'damaged' });
  await t.throwsAsync(evaluate(options), { message: 'damaged' });
});
