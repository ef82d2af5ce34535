import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import test, { type ExecutionContext } from 'ava';
import { DomainError } from '../lib/errors.ts';
import { type Manifest, releaseIdOf } from '../lib/releases/manifest.ts';
import { checkGate, standardGate } from '../lib/releases/gate.ts';
import { openStore } from '../lib/releases/store/open.ts';
import { openChannel } from '../lib/rpc/channel.ts';
import { trainerService } from '../lib/rpc/services.ts';
import { readConfig } from '../lib/service/settings.ts';
import { createTelemetry } from '../lib/telemetry/telemetry.ts';
import { completeConfig, parseConfigText } from '../lib/training/config.ts';
import { RunDatabase } from '../lib/training/database.ts';
import { settings } from '../services/trainer/config.ts';
import { workerArgs, workerEntry } from '../services/trainer/runs/executor.ts';
import { start } from '../services/trainer/server.ts';
import { fakeRelease, folderOf } from './support/releases.ts';
import { mini } from './support/trainer.ts';

/** A store whose channel `stable` serves a release of clinical micro F1 0.812; `worse` has 0.5. */
async function setUp(t: ExecutionContext, root: string) {
  const store = openStore(join(root, 'store'));
  t.teardown(() => store.close());
  const good = await fakeRelease(join(root, 'good'), 1, { microF1: 0.812 });
  const worse = await fakeRelease(join(root, 'worse'), 2, { microF1: 0.5 });
  for (const folder of ['good', 'worse']) await store.publish(join(root, folder));
  await store.promote('stable', good.id);
  return { store, good: good.id, worse: worse.id };
}

test('a worse release is refused with both values, whoever promotes it, unless by force', async (t) => {
  const { store, good, worse } = await setUp(t, await folderOf(t));
  const error = await t.throwsAsync(store.promote('stable', worse), { instanceOf: DomainError });
  t.like(error, {
    code: 'FAILED_PRECONDITION',
    reason: 'RELEASE_WORSE',
    metadata: { metric: 'clinical.microF1', before: '0.812', after: '0.5' },
  });
  t.regex(error.message, new RegExp(`of ${worse} is 0.5000, worse than 0.8120 of ${good}`));
  t.is((await store.channels.get('stable')).release, good);
  // Nothing is compared with: a new channel, another gate, the release that it serves.
  await store.promote('canary', worse, { weight: 0.1 });
  await store.promote('stable', good, { weight: 0.5 });
  t.is((await store.promote('stable', worse, { gate: ['language.bleu4'] })).release, worse);
  await store.rollback('stable');
  t.is((await store.promote('stable', worse, { force: true })).release, worse);
});

test('a rollback needs no gate: what it returns to has served before', async (t) => {
  const { store, good, worse } = await setUp(t, await folderOf(t));
  await store.promote('canary', worse);
  await store.promote('canary', good);
  t.is((await store.rollback('canary')).release, worse);
});

test('what was compared is what is replaced', async (t) => {
  const root = await folderOf(t);
  const { store, good, worse } = await setUp(t, root);
  const better = await fakeRelease(join(root, 'better'), 3, { microF1: 0.9 });
  await store.publish(join(root, 'better'));
  await store.promote('stable', worse, { force: true });
  const other = openStore(join(root, 'store'));
  const open = store.open.bind(store);
  store.open = async (...args) => {
    // Another writer is faster.
    await other.promote('stable', better.id);
    return open(...args);
  };
  const late = await t.throwsAsync(store.promote('stable', good), { instanceOf: DomainError });
  t.is(late.reason, 'CHANNEL_MOVED');
  t.is((await other.channels.get('stable')).release, better.id);
});

const scored = (metrics: Readonly<Record<string, number>>): Manifest => {
  const row = { title: 'x', split: 'test', studies: 1, baselines: {}, model: { metrics } };
  return { id: releaseIdOf(metrics), evaluation: { clinical: row } } as unknown as Manifest;
};

test('a metric may fall by noise, no further, and must be there if it was before', (t) => {
  const now = scored({ microF1: 0.5, macroF1: 0.4 });
  const check = (metrics: Readonly<Record<string, number>>, gate = standardGate) =>
    checkGate('stable', now, scored(metrics), gate);
  t.notThrows(() => check({ microF1: 0.4991 }));
  t.throws(() => check({ microF1: 0.4989 }), { message: /is 0.4989, worse than 0.5000/ });
  t.notThrows(() => check({ microF1: 0.5, macroF1: 0 }));
  t.throws(() => check({ microF1: 0.5, macroF1: 0 }, [...standardGate, 'clinical.macroF1']), {
    message: /clinical.macroF1/,
  });
  t.like(
    t.throws(() => check({}), { instanceOf: DomainError }),
    { metadata: { after: 'unknown' } },
  );
  for (const gate of ['clinical', 'clinical.', 'a.b.c']) {
    const error = t.throws(() => check({}, [gate]), { instanceOf: DomainError });
    t.is(error?.reason, 'GATE_INVALID', gate);
  }
});

test('the trainer service refuses it with both values', async (t) => {
  const root = await folderOf(t);
  const { store, good, worse } = await setUp(t, root);
  const telemetry = createTelemetry({ service: 'trainer', logLevel: 'silent' });
  const config = readConfig(settings, {
    RADSCRIBE_PORT: '0',
    RADSCRIBE_METRICS_PORT: '0',
    RADSCRIBE_STORE: join(root, 'store'),
    RADSCRIBE_RUNS: join(root, 'runs'),
    RADSCRIBE_CACHE_DIR: join(root, 'cache'),
  });
  const server = await start(config, telemetry);
  const channel = openChannel(`127.0.0.1:${server.port}`, { telemetry });
  t.teardown(async () => {
    channel.close();
    await server.close();
    await telemetry.close();
  });
  const client = channel.client(trainerService);
  const promotion = client.promoteRelease({ name: `releases/${worse}`, channel: 'stable' });
  t.like(await t.throwsAsync(promotion, { instanceOf: DomainError }), {
    code: 'FAILED_PRECONDITION',
    reason: 'RELEASE_WORSE',
    metadata: { before: '0.812', after: '0.5' },
  });
  t.is((await store.channels.get('stable')).release, good);
});

test('a training run whose release is worse fails, and its release stays in the store', async (t) => {
  const place = await mini(t);
  const { store, good } = await setUp(t, place.root);
  const config = await place.config({
    studies: { train: 2, validate: 2, test: 1 },
    stage2: { epochs: 0 },
    labels: { epochs: 0, refitEpochs: 0 },
  });
  const url = join(place.root, 'store');
  const train = ['train', '--config', config, '--store', url, '--channel', 'stable'];
  const { code, err } = await place.start(...train).ended;
  t.is(code, 1, err);
  using database = new RunDatabase(place.runs);
  const [run] = database.list();
  t.like(run, { state: 'failed', error: { reason: 'RELEASE_WORSE' } });
  const id = run?.release ?? '';
  t.is((await store.open(id)).manifest.id, id);
  t.is((await store.channels.get('stable')).release, good);
  t.regex(err, /clinical.microF1 of rs-\w+ is 0\.\d+, worse than 0.8120/);
  t.true(err.includes(`radscribe releases promote stable ${id} --store ${store.url} --force`), err);
  await store.promote('stable', id, { force: true });
  t.is((await store.channels.get('stable')).release, id);
});

test('the worker of a run compares by the gate of its trainer service', async (t) => {
  const place = await mini(t);
  const { store } = await setUp(t, place.root);
  const file = await place.config({
    studies: { train: 2, validate: 2, test: 1 },
    stage2: { epochs: 0 },
    labels: { epochs: 0, refitEpochs: 0 },
  });
  const config = completeConfig(parseConfigText(await readFile(file, 'utf8'), 'config'));
  using database = new RunDatabase(place.runs);
  const { id } = database.create({ config, store: store.url, channel: 'stable' });
  const entry = fileURLToPath(new URL(`../${workerEntry}`, import.meta.url));
  // The standard gate would refuse the release: see above.
  const gate = ['language.unmeasured'];
  const worker = { runs: place.runs, cache: join(place.root, 'cache'), gate };
  await promisify(execFile)(process.execPath, workerArgs(entry, id, worker));
  const run = database.get(id);
  t.is(run.state, 'succeeded');
  t.is(run.release, (await store.channels.get('stable')).release);
});
