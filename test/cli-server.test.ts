/** `radscribe runs` and `radscribe releases`, on a trainer service and on this machine. */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import type { CallContext } from 'nice-grpc';
import { withClient } from '../cli/client.ts';
import { remoteRuns } from '../cli/commands/run-source.ts';
import { trainerAt } from '../cli/commands/trainer-server.ts';
import { openStore } from '../lib/releases/store/open.ts';
import { bind, startServer } from '../lib/rpc/server.ts';
import { trainerService } from '../lib/rpc/services.ts';
import { readConfig } from '../lib/service/settings.ts';
import { createTelemetry } from '../lib/telemetry/telemetry.ts';
import { RunDatabase, type RunEvent } from '../lib/training/database.ts';
import { settings } from '../services/trainer/config.ts';
import type { Executor } from '../services/trainer/runs/executor.ts';
import { start } from '../services/trainer/server.ts';
import { radscribe } from './support/cli.ts';
import { fakeRelease, folderOf } from './support/releases.ts';

type Shown = Readonly<Record<string, unknown>> & { readonly id: string; readonly state: string };

/** Trains until it is stopped. */
const idle: Executor = {
  execute: (_, signal) =>
    new Promise((done) => signal.addEventListener('abort', () => done(), { once: true })),
};

async function trainer(t: ExecutionContext, root: string, executor: Executor = idle, port = 0) {
  const telemetry = createTelemetry({ service: 'trainer', logLevel: 'silent' });
  const config = readConfig(settings, {
    RADSCRIBE_PORT: `${port}`,
    RADSCRIBE_METRICS_PORT: '0',
    RADSCRIBE_STORE: join(root, 'store'),
    RADSCRIBE_RUNS: join(root, 'runs'),
    RADSCRIBE_CACHE_DIR: join(root, 'cache'),
  });
  const server = await start(config, telemetry, executor);
  t.teardown(() => server.close());
  const at = ['--server', `127.0.0.1:${server.port}`];
  const json = async (...args: readonly string[]) =>
    JSON.parse(await radscribe(...args, '--json', ...at)) as Shown;
  return { server, at, json };
}

const newRun = ['--variant', 'vit', '--data', 'phantom:30', '--set', 'stage2.epochs=4'];

test.serial(
  'runs of a trainer service are created, listed, shown, cancelled and resumed',
  async (t) => {
    const root = await folderOf(t);
    const { at, json } = await trainer(t, root);
    const request = [...newRun, '--channel', 'stable', '--request-id', 'one'];
    const made = await json('runs', 'create', ...request);
    t.like(made, { state: 'queued', channel: 'stable', resumes: 0, release: null });
    t.is((await json('runs', 'create', ...request)).id, made.id, 'a repeated call creates none');
    t.like(made['config'], { variant: 'vit', data: 'phantom:30', preset: 'paper' });
    const second = await radscribe('runs', 'create', ...newRun, ...at);
    t.regex(second, /^run-[0-9a-f]+ is queued\n$/);

    const list = await radscribe('runs', 'list', ...at);
    t.regex(list, /^run +state +variant +preset +data +progress +release\n/);
    t.regex(list, new RegExp(`\n${made.id} +queued +vit +paper +phantom:30\n?`));
    t.is(list.trim().split('\n').length, 3);

    t.is(await radscribe('runs', 'cancel', made.id, ...at), `${made.id} is cancelled\n`);
    const events = await radscribe('runs', 'watch', made.id, '--after', '1', '--json', ...at);
    t.like(JSON.parse(events), { sequence: 2, kind: 'state', data: { state: 'cancelled' } });
    t.regex(
      await radscribe('runs', 'watch', made.id, ...at),
      /^1 \S+ state: state queued\n2 .*cancelled\n$/,
    );
    const shown = JSON.parse(await radscribe('runs', 'show', made.id, ...at)) as Shown;
    t.like(shown, { id: made.id, state: 'cancelled' });
    await t.throwsAsync(radscribe('runs', 'resume', made.id, ...at), { message: /is cancelled/ });
    const other = second.split(' ', 1)[0] ?? '';
    using database = new RunDatabase(join(root, 'runs'));
    t.is(
      await radscribe('runs', 'resume', other, ...at),
      `${other} is ${database.get(other).state}\n`,
    );

    const local = ['--runs', join(root, 'runs')];
    t.deepEqual(JSON.parse(await radscribe('runs', 'show', made.id, ...local)), {
      ...shown,
      store: `file://${join(root, 'store')}`,
    });
    const store = await t.throwsAsync(
      radscribe('runs', 'create', ...newRun, '--store', 'x', ...at),
    );
    t.like(store, { reason: 'OPTIONS_CONFLICT', field: '--store' });
  },
);

test.serial('a failed run of a trainer service is resumed', async (t) => {
  const root = await folderOf(t);
  let database: RunDatabase | undefined;
  const executed: string[] = [];
  const executor: Executor = {
    execute: async ({ id }) => {
      executed.push(id);
      database?.setState(id, executed.length === 1 ? 'failed' : 'succeeded');
    },
  };
  const { at, json } = await trainer(t, root, executor);
  database = new RunDatabase(join(root, 'runs'));
  t.teardown(() => database?.close());
  const { id } = await json('runs', 'create', ...newRun);
  const states = async (after: string): Promise<readonly unknown[]> => {
    const lines = await radscribe('runs', 'watch', id, '--after', after, '--json', ...at);
    return lines
      .trim()
      .split('\n')
      .map((line) => (JSON.parse(line) as RunEvent).data['state']);
  };
  t.deepEqual(await states('0'), ['queued', 'failed']);
  t.like(await json('runs', 'resume', id), { state: 'queued', resumes: 1 });
  t.deepEqual(await states('2'), ['queued', 'succeeded']);
});

test.serial('a watch goes on over a restart of the trainer service', async (t) => {
  const root = await folderOf(t);
  const first = await trainer(t, root);
  const { id } = await first.json('runs', 'create', ...newRun);
  using database = new RunDatabase(join(root, 'runs'));
  const sequences: number[] = [];
  await withClient(trainerAt(first.at[1] ?? ''), {}, async (client, call) => {
    for await (const { sequence } of remoteRuns(client, call).watch(id, 0)) {
      sequences.push(sequence);
      if (sequence > 1) continue;
      await first.server.close();
      await trainer(t, root, idle, first.server.port);
      database.addEvent(id, 'warning', { reason: 'CHECKPOINT_CORRUPT' });
      database.setState(id, 'succeeded', { release: 'rs-1' });
    }
  });
  t.deepEqual(sequences, [1, 2, 3], 'each event once');
});

test.serial(
  'releases of a trainer service are listed, shown, promoted and rolled back',
  async (t) => {
    const root = await folderOf(t);
    const store = openStore(join(root, 'store'));
    t.teardown(() => store.close());
    const [a, b] = [await fakeRelease(join(root, 'a'), 1), await fakeRelease(join(root, 'b'), 2)];
    for (const name of ['a', 'b']) await store.publish(join(root, name));
    const { at, json } = await trainer(t, root);
    t.is(
      await radscribe('releases', 'promote', 'stable', a.id, ...at),
      `stable serves ${a.id}, generation 1\n`,
    );
    t.like(await json('releases', 'promote', 'stable', b.id, '--expect', '1', '--weight', '0.3'), {
      release: `releases/${b.id}`,
      generation: 2,
    });
    t.is((await store.channels.find('stable'))?.weight, 0.3);
    const late = radscribe('releases', 'promote', 'stable', a.id, '--expect', '1', ...at);
    t.like(await t.throwsAsync(late), { reason: 'CHANNEL_MOVED' });
    t.is(
      await radscribe('releases', 'rollback', 'stable', ...at),
      `stable serves ${a.id}, generation 3\n`,
    );
    const list = await radscribe('releases', 'list', ...at);
    t.regex(list, new RegExp(`${a.id} +vit-label +demo +\\S+ MiB +stable\n`));
    t.regex(
      await radscribe('releases', 'show', 'stable', ...at),
      new RegExp(`^release +${a.id}\n`),
    );
    await t.throwsAsync(radscribe('releases', 'show', 'canary', ...at), {
      message: /canary is neither a release nor a channel/,
    });
    await t.throwsAsync(radscribe('releases', 'promote', 'stable', b.id, '--by', 'me', ...at), {
      message: '--by: cannot be given with --server',
    });
  },
);

test.serial(
  'the token is sent with every call, and an address where nothing answers is named',
  async (t) => {
    const telemetry = createTelemetry({ service: 'trainer', logLevel: 'silent' });
    const tokens: unknown[] = [];
    const list = async (_: unknown, { metadata }: Pick<CallContext, 'metadata'>) => {
      tokens.push(metadata.get('authorization'));
      return { trainingRuns: [], nextPageToken: '' };
    };
    const methods = Object.keys(trainerService).map((name) => [
      name.replace(/^[A-Z]/, (letter) => letter.toLowerCase()),
      list,
    ]);
    const services = [bind(trainerService, Object.fromEntries(methods) as never)];
    const server = await startServer({ host: '127.0.0.1', port: 0, telemetry, services });
    t.teardown(() => server.close());
    const at = ['--server', `127.0.0.1:${server.port}`];
    await radscribe('runs', 'list', ...at);
    await radscribe('runs', 'list', '--token', 'secret', ...at);
    process.env['RADSCRIBE_TOKEN'] = 'from the environment';
    t.teardown(() => delete process.env['RADSCRIBE_TOKEN']);
    await radscribe('runs', 'list', ...at);
    t.deepEqual(tokens, [undefined, 'Bearer secret', 'Bearer from the environment']);
    const nobody = radscribe('runs', 'list', '--server', '127.0.0.1:1');
    t.like(
      await t.throwsAsync(nobody, { message: /no trainer answers at 127\.0\.0\.1:1: start/ }),
      {
        reason: 'SERVER_UNREACHABLE',
      },
    );
  },
);

test.serial('a trainer service is reached over mutual TLS', async (t) => {
  const root = await folderOf(t);
  const file = (name: string): string => join(root, name);
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'];
  const names = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1'];
  const files = ['-keyout', file('own.key'), '-out', file('own.pem')];
  try {
    execFileSync('openssl', ['req', '-x509', ...key, ...files, ...names], { stdio: 'ignore' });
  } catch {
    t.log('no openssl here: skipped');
    t.pass();
    return;
  }
  const telemetry = createTelemetry({ service: 'trainer', logLevel: 'silent' });
  const config = readConfig(settings, {
    RADSCRIBE_PORT: '0',
    RADSCRIBE_METRICS_PORT: '0',
    RADSCRIBE_STORE: file('store'),
    RADSCRIBE_RUNS: file('runs'),
    RADSCRIBE_TLS_CERT: file('own.pem'),
    RADSCRIBE_TLS_KEY: file('own.key'),
    RADSCRIBE_TLS_CA: file('own.pem'),
  });
  const server = await start(config, telemetry, idle);
  t.teardown(() => server.close());
  const at = ['--server', `localhost:${server.port}`, '--tls-ca', file('own.pem')];
  const own = ['--tls-cert', file('own.pem'), '--tls-key', file('own.key')];
  t.is(await radscribe('runs', 'list', '--json', ...at, ...own), '[]\n');
  await t.throwsAsync(radscribe('runs', 'list', ...at), { message: /no trainer answers/ });
});

test.serial('without a server a run is queued in a folder, and shown there', async (t) => {
  const root = await folderOf(t);
  const at = ['--runs', join(root, 'runs')];
  const made = JSON.parse(await radscribe('runs', 'create', ...newRun, '--json', ...at)) as Shown;
  t.like(made, { state: 'queued', store: null, channel: null });
  using database = new RunDatabase(join(root, 'runs'));
  database.setState(made.id, 'running');
  database.addProgress(made.id, {
    stage: 'stage2',
    epoch: 0,
    epochs: 4,
    step: 3,
    totalSteps: 12,
    loss: 4,
    learningRate: 1e-4,
    gradientNorm: 1,
    studiesPerSecond: 2,
    tokensPerSecond: 100,
    etaSeconds: 80,
  });
  t.regex(await radscribe('runs', 'list', ...at), /killed +vit .*stage2 3\/12, 1m20s left/);
  const lease = database.lease(made.id);
  t.regex(await radscribe('runs', 'list', ...at), /running +vit /);
  t.is(
    await radscribe('runs', 'cancel', made.id, ...at),
    `${made.id} ends after the step under way\n`,
  );
  lease.release();
  await t.throwsAsync(radscribe('runs', 'create', '--variant', 'vit', '--data', 'nih:1', ...at), {
    message: /config\.data: got nih:1/,
  });
});
