import { fork } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { join } from 'node:path';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { completeConfig, parseConfigText } from '../lib/training/config.ts';
import { RunDatabase } from '../lib/training/database.ts';
import { type Mini, mini } from './support/trainer.ts';

const entry = fileURLToPath(new URL('../lib/training/main.ts', import.meta.url));

interface Line {
  readonly kind: string;
  readonly run: string;
  readonly [fact: string]: unknown;
}

async function runOf(database: RunDatabase, place: Mini, changes = {}) {
  const text = await readFile(await place.config(changes), 'utf8');
  return database.create({ config: completeConfig(parseConfigText(text, 'config')) });
}

/** Starts the worker of a run; `onLine` gets what it writes to standard output. */
function work(place: Mini, run: string, onLine: (line: Line) => void = () => {}) {
  const args = [run, '--runs', place.runs, '--cache', join(place.root, 'cache')];
  const child = fork(entry, args, { stdio: ['ignore', 'pipe', 'pipe', 'ipc'] });
  const lines: Line[] = [];
  const output = createInterface({ input: child.stdout! }).on('line', (text) => {
    const line = JSON.parse(text) as Line;
    lines.push(line);
    onLine(line);
  });
  // A child that its parent disconnected from emits no 'close'.
  const ended = Promise.all([once(child, 'exit'), once(output, 'close')]).then(([[code]]) => ({
    code: code as number | null,
    lines,
  }));
  return { child, ended };
}

test('a worker stops with a checkpoint when its parent is gone, and another one ends the run', async (t) => {
  const place = await mini(t);
  using database = new RunDatabase(place.runs);
  const { id } = await runOf(database, place, { stage2: { epochs: 3 } });
  const first = work(place, id, ({ kind, stage }) => {
    if (kind === 'stage' && stage === 'stage1' && first.child.connected) first.child.disconnect();
  });
  const stopped = await first.ended;
  t.is(stopped.code, 130);
  t.is(database.get(id).state, 'interrupted');
  t.deepEqual(stopped.lines.at(-1)?.['state'], 'interrupted');
  t.true(stopped.lines.every(({ run }) => run === id));

  const done = await work(place, id).ended;
  t.is(done.code, 0);
  t.like(done.lines.at(-1), { kind: 'state', state: 'succeeded' });
  const stages = done.lines.filter(({ kind }) => kind === 'stage').map(({ stage }) => stage);
  t.deepEqual(stages, ['stage2', 'refit'], 'it went on from the checkpoint of stage 1');
  const events = database.events(id).filter(({ kind }) => kind === 'progress');
  const last = (stage: string) =>
    events.findLast(({ data }) => data['stage'] === stage && data['step'])?.data;
  for (const stage of ['labels', 'stage1', 'stage2', 'refit']) {
    t.is(
      last(stage)?.['step'],
      last(stage)?.['totalSteps'],
      `the last step of ${stage} is recorded`,
    );
  }
});

test('a worker says by its exit code whether another attempt helps, and trains no ended run', async (t) => {
  const place = await mini(t);
  using database = new RunDatabase(place.runs);
  const failing = await runOf(database, place, { data: 'phantom:1?size=32' });
  const failed = await work(place, failing.id).ended;
  t.is(failed.code, 3, 'it has failed for good');
  t.like(failed.lines.at(-1), { kind: 'error', reason: 'DATASET_EMPTY' });
  const events = database.events(failing.id).length;
  t.is((await work(place, failing.id).ended).code, 3);
  t.is(database.events(failing.id).length, events, 'a second pod does nothing');

  const cancelled = await runOf(database, place);
  database.requestCancel(cancelled.id);
  t.is((await work(place, cancelled.id).ended).code, 0);

  const held = await runOf(database, place);
  const lease = database.lease(held.id);
  const refused = await work(place, held.id).ended;
  lease.release();
  t.is(refused.code, 1, 'another attempt may find the run free');
  t.like(refused.lines.at(-1), { kind: 'error', reason: 'RUN_LEASED' });
  const unknown = await work(place, 'run-none').ended;
  t.is(unknown.code, 1);
  t.like(unknown.lines.at(-1), { kind: 'error', reason: 'RUN_NOT_FOUND' });
});
