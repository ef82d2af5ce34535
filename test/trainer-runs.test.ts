import { fork } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import test, { type ExecutionContext } from 'ava';
import { RunCheckpoints, type RunPosition } from '../lib/training/checkpoint.ts';
import { parseConfig } from '../lib/training/config.ts';
import { RunDatabase } from '../lib/training/database.ts';
import { followEvents } from '../lib/training/follow.ts';
import { Runner } from '../services/trainer/runs/runner.ts';

const config = parseConfig({ variant: 'vit', data: 'phantom:10' });

async function folder(t: ExecutionContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'radscribe-runs-'));
  t.teardown(() => rm(path, { recursive: true, force: true }));
  return path;
}

async function database(t: ExecutionContext): Promise<RunDatabase> {
  const opened = new RunDatabase(await folder(t));
  t.teardown(() => opened.close());
  return opened;
}

test('the same request makes one run, and another config under it is refused', async (t) => {
  const runs = await database(t);
  const first = runs.create({ config, requestId: 'a' });
  t.is(runs.create({ config, requestId: 'a' }).id, first.id);
  t.not(runs.create({ config, requestId: 'b' }).id, first.id);
  const other = parseConfig({ ...config, seed: 1 });
  t.throws(() => runs.create({ config: other, requestId: 'a' }), {
    message: /which has another config/,
  });
});

test('runs are listed newest first, page by page', async (t) => {
  const runs = await database(t);
  const ids = Array.from({ length: 5 }, () => runs.create({ config }).id).reverse();
  const page = runs.list({ limit: 2 });
  t.deepEqual(
    page.map(({ id }) => id),
    ids.slice(0, 2),
  );
  t.deepEqual(
    runs.list({ limit: 2, before: page[1]?.id }).map(({ id }) => id),
    ids.slice(2, 4),
  );
  t.throws(() => runs.get('run-none'), { message: /there is no run run-none/ });
});

test('events count on within a run and are read from a given one', async (t) => {
  const runs = await database(t);
  const { id } = runs.create({ config });
  runs.addEvent(id, 'progress', { step: 1 });
  runs.setState(id, 'failed', { error: { reason: 'X', message: 'y' } });
  const events = runs.events(id);
  t.deepEqual(
    events.map(({ sequence, kind }) => [sequence, kind]),
    [
      [1, 'state'],
      [2, 'progress'],
      [3, 'state'],
    ],
  );
  t.deepEqual(runs.events(id, 2), events.slice(2));
  t.deepEqual(runs.get(id).error, { reason: 'X', message: 'y' });
});

test('a run that waits is cancelled at once, one that is held when its trainer looks', async (t) => {
  const runs = await database(t);
  const waiting = runs.create({ config });
  t.is(runs.requestCancel(waiting.id).state, 'cancelled');
  const held = runs.create({ config });
  const lease = runs.lease(held.id);
  runs.setState(held.id, 'running');
  const asked = runs.requestCancel(held.id);
  t.is(asked.state, 'running');
  t.true(asked.cancelRequested);
  lease.release();
});

test('a lease is refused to others while its process lives, and free when it is dead', async (t) => {
  const place = await folder(t);
  const runs = new RunDatabase(place);
  t.teardown(() => runs.close());
  const { id } = runs.create({ config });
  const script = join(place, 'holder.mjs');
  const module = new URL('../lib/training/database.ts', import.meta.url).href;
  await writeFile(
    script,
    `import { RunDatabase } from ${JSON.stringify(module)};
     new RunDatabase(process.argv[2]).lease(process.argv[3]);
     process.send('held'); process.on('disconnect', () => process.exit());`,
  );
  const holder = fork(script, [place, id]);
  await new Promise((done) => holder.once('message', done));
  t.throws(() => runs.lease(id), {
    message: new RegExp(`is being trained by process ${holder.pid} on`),
  });
  holder.kill('SIGKILL');
  await new Promise((done) => holder.once('exit', done));
  const lease = runs.lease(id);
  t.notThrows(() => lease.check());
  lease.release();
});

test('a run that failed, was interrupted or lost its trainer is queued again, and no other', async (t) => {
  const runs = await database(t);
  const { id } = runs.create({ config });
  t.is(runs.resume(id).resumes, 0, 'it waits already');
  const lease = runs.lease(id);
  runs.setState(id, 'running');
  t.is(runs.resume(id).state, 'running', 'its trainer lives');
  lease.release();
  t.like(runs.resume(id), { state: 'queued', resumes: 1, error: null, progress: null });
  for (const [i, state] of (['failed', 'interrupted'] as const).entries()) {
    runs.setState(id, state);
    t.like(runs.resume(id), { state: 'queued', resumes: i + 2 });
  }
  t.is(runs.events(id).at(-1)?.data['state'], 'queued');
  for (const state of ['succeeded', 'cancelled'] as const) {
    runs.setState(id, state);
    t.throws(() => runs.resume(id), {
      message: `run ${id} is ${state}; there is nothing to resume`,
    });
  }
});

test('a cancellation that came too late does not end the run that is resumed', async (t) => {
  const runs = await database(t);
  const { id } = runs.create({ config });
  const lease = runs.lease(id);
  runs.setState(id, 'running');
  t.true(runs.requestCancel(id).cancelRequested);
  runs.setState(id, 'failed', { error: { reason: 'DISK_FULL', message: 'full' } });
  lease.release();
  t.false(runs.resume(id).cancelRequested);
});

test('runs of an earlier version of the database are read and resumed', async (t) => {
  const place = await folder(t);
  const before = new RunDatabase(place);
  const { id } = before.create({ config });
  before.setState(id, 'failed');
  before.close();
  const old = new DatabaseSync(join(place, 'runs.sqlite'));
  old.exec('ALTER TABLE runs DROP COLUMN resumes');
  old.close();
  const runs = new RunDatabase(place);
  t.teardown(() => runs.close());
  t.is(runs.get(id).resumes, 0);
  t.is(runs.resume(id).resumes, 1);
});

test('a run that has ended is followed to its last event, however many there are', async (t) => {
  const runs = await database(t);
  const { id } = runs.create({ config });
  const many = new DatabaseSync(join(runs.folder, 'runs.sqlite'));
  many
    .prepare(
      `WITH RECURSIVE n(value) AS (VALUES (2) UNION ALL SELECT value + 1 FROM n WHERE value < 2500)
       INSERT INTO events (run, sequence, at, kind, data) SELECT ?, value, '', 'progress', '{}' FROM n`,
    )
    .run(id);
  many.close();
  runs.setState(id, 'succeeded', { release: 'rs-1' });
  let last = 0;
  for await (const { sequence } of followEvents(runs, id, 0)) t.is(sequence, ++last);
  t.is(last, 2501);
});

/** Executes nothing: `work` decides what becomes of the run. */
async function runnerOf(t: ExecutionContext, runs: RunDatabase, work: (id: string) => void) {
  const executed: string[] = [];
  const runner = new Runner({
    database: runs,
    maxRuns: 1,
    pollMs: 10,
    executor: {
      execute: async ({ id }) => {
        executed.push(id);
        work(id);
      },
    },
    onError: (_, error) => t.fail(String(error)),
  });
  t.teardown(() => runner.close());
  return { runner, executed };
}

const until = async (holds: () => boolean): Promise<void> => {
  while (!holds()) await new Promise((done) => setTimeout(done, 10));
};

test('a run that another trainer holds is waited for, and not started again after it', async (t) => {
  const runs = await database(t);
  const { id } = runs.create({ config });
  const lease = runs.lease(id);
  runs.setState(id, 'running');
  const { runner, executed } = await runnerOf(t, runs, () => {});
  runner.start();
  await until(() => executed.length > 0);
  for (let turn = 0; turn < 20; turn++) await new Promise((done) => setTimeout(done, 10));
  t.like(runs.get(id), { state: 'running', error: null });
  t.is(executed.length, 1);
  runs.setState(id, 'succeeded', { release: 'rs-1' });
  lease.release();
  await until(() => !runner.isActive(id));
  t.is(executed.length, 1);
  t.is(runs.get(id).state, 'succeeded');
});

test('a run whose worker ends again and again without a reason has failed, and may be resumed', async (t) => {
  const runs = await database(t);
  const { id } = runs.create({ config });
  const { runner, executed } = await runnerOf(t, runs, () => {});
  runner.start();
  await until(() => runs.get(id).state === 'failed');
  t.is(executed.length, 4);
  t.is(runs.get(id).error?.reason, 'TRAINER_CRASHED');
  await until(() => !runner.isActive(id));
  runs.resume(id);
  await until(() => runs.get(id).state === 'failed' && !runner.isActive(id));
  t.is(executed.length, 8);
});

const position = (step: number, best: RunPosition['best'] = null): RunPosition => ({
  stage: 'stage2',
  epoch: 0,
  epochStep: step,
  stageStep: step,
  validations: 0,
  worse: 0,
  best,
  metricLines: 0,
  elapsedMs: 0,
});
const weights = (value: number) =>
  new Map([['w', { dtype: 'float32' as const, shape: [2], data: Float32Array.of(value, -value) }]]);

test('the last checkpoints and the best one are kept', async (t) => {
  const checkpoints = new RunCheckpoints(await folder(t), 2);
  await checkpoints.save(position(1), weights(1));
  const best = await checkpoints.save(position(2, { value: 1, checkpoint: '' }), weights(2));
  for (const step of [3, 4, 5]) {
    await checkpoints.save(position(step, { value: 1, checkpoint: best }), weights(step));
  }
  const last = await checkpoints.loadLast(() => t.fail('nothing is corrupt'));
  t.is(last?.position.stageStep, 5);
  t.deepEqual(last?.tensors, weights(5));
  const kept = await checkpoints.load(best);
  t.deepEqual(kept.position.best, { value: 1, checkpoint: best });
  await t.throwsAsync(checkpoints.load('000001'), { message: /its manifest cannot be read/ });
});

test('a checkpoint that was changed, cut short or left unfinished is not one', async (t) => {
  const place = await folder(t);
  const checkpoints = new RunCheckpoints(place, 9);
  for (const step of [1, 2, 3]) await checkpoints.save(position(step), weights(step));
  await writeFile(join(place, '000003.safetensors'), 'x');
  await rm(join(place, '000002.safetensors'));
  await writeFile(join(place, '000004.safetensors'), 'no manifest was written');
  const said: string[] = [];
  const last = await checkpoints.loadLast(({ message }) => said.push(message));
  t.is(last?.position.stageStep, 1);
  t.is(said.length, 2);
  t.regex(said[0] ?? '', /000003\.safetensors: has 1 bytes, expected \d+/);
  t.regex(said[1] ?? '', /000002\.safetensors: is missing/);
});
