import { fork } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { Checkpoints, type RunPosition } from '../lib/training/checkpoint.ts';
import { parseConfig } from '../lib/training/config.ts';
import { RunDatabase } from '../lib/training/database.ts';

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
  const checkpoints = new Checkpoints(await folder(t), 2);
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
  const checkpoints = new Checkpoints(place, 9);
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
