import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFile, readdir, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import test from 'ava';
import { mini } from './support/trainer.ts';
import { RunCheckpoints } from '../lib/training/checkpoint.ts';
import { RunDatabase } from '../lib/training/database.ts';

/** What the run has just said when it is killed: before, within and after its stages. */
const killedAt = [
  /prepare \| /,
  /stage: stage labels/,
  /validation: stage labels/,
  /stage: stage stage1/,
  /stage2 .*\| step /,
  /validation: stage stage2/,
  /stage: stage refit/,
];

/** Resolves when a process has written what matches to its standard error; fails if it ends first. */
function untilSaid(child: ChildProcess, wanted: RegExp): Promise<void> {
  let said = '';
  return new Promise((done, fail) => {
    child.stderr?.on('data', (text: string) => {
      said += text;
      if (wanted.test(said)) done();
    });
    child.once('close', () => fail(new Error(`ended before ${String(wanted)}: ${said}`)));
  });
}

type Result = { readonly run: string; readonly release: string };

/** The run of a folder, of which there is one. */
function onlyRun(runs: string): string {
  using database = new RunDatabase(runs);
  return database.list()[0]?.id ?? '';
}

test('a run that is killed again and again ends with the weights of one that never was', async (t) => {
  const whole = await mini(t);
  const first = await whole.start('train', '--config', await whole.config(), '--json').ended;
  t.is(first.code, 0, first.err);
  const expected = JSON.parse(first.out) as Result;

  const broken = await mini(t);
  let started = broken.start('train', '--config', await broken.config(), '--json');
  for (const seen of killedAt) {
    await untilSaid(started.child, seen);
    started.child.kill('SIGKILL');
    await once(started.child, 'close');
    started = broken.start('train', '--resume', onlyRun(broken.runs), '--json');
  }
  const last = await started.ended;
  t.is(last.code, 0, last.err);
  const got = await lastCheckpoint(broken.runs, onlyRun(broken.runs));
  const wanted = await lastCheckpoint(whole.runs, expected.run);
  t.deepEqual([...got.keys()], [...wanted.keys()]);
  for (const [name, { data }] of wanted) t.deepEqual(got.get(name)?.data, data, name);
  const lines = async (runs: string, run: string) =>
    (await readFile(join(runs, run, 'metrics.jsonl'), 'utf8')).split('\n').slice(0, -2);
  t.deepEqual(
    await lines(broken.runs, onlyRun(broken.runs)),
    await lines(whole.runs, expected.run),
  );
});

async function lastCheckpoint(runs: string, run: string) {
  const last = await new RunCheckpoints(join(runs, run, 'checkpoints'), 2).loadLast(() => {});
  if (last?.position.stage !== 'finish') throw new Error('the run has not finished');
  return last.tensors;
}

test('a corrupt checkpoint is passed over for the one before, and the run says so', async (t) => {
  const place = await mini(t);
  const config = await place.config({
    stage2: { epochs: 40 },
    checkpoints: { everySteps: 2, keep: 3 },
  });
  const { child, ended } = place.start('train', '--config', config, '--json');
  await untilSaid(child, /stage: stage stage2/);
  const run = onlyRun(place.runs);
  const folder = join(place.runs, run, 'checkpoints');
  const checkpoints = async () =>
    (await readdir(folder)).filter((name) => name.endsWith('.json')).sort();
  // Two of stage 2: its first, and another.
  const first = (await checkpoints()).at(-1) ?? '';
  while (((await checkpoints()).at(-1) ?? '') <= first) await nextTurn();
  child.kill('SIGKILL');
  await ended;
  const names = await checkpoints();
  t.true(names.length >= 2, names.join());
  await truncate(join(folder, names.at(-1)?.replace('json', 'safetensors') ?? ''), 1000);
  const resumed = place.start('train', '--resume', run, '--json');
  await untilSaid(resumed.child, /validation/);
  resumed.child.kill('SIGINT');
  const { code, err: said } = await resumed.ended;
  t.regex(said, /warning: reason CHECKPOINT_CORRUPT, .* has 1000 bytes, expected \d+; going back/);
  t.is(code, 130, said);
});

test('a second trainer of a run is refused while the first lives', async (t) => {
  const place = await mini(t);
  const config = await place.config({ stage2: { epochs: 200 } });
  const first = place.start('train', '--config', config);
  await untilSaid(first.child, /stage labels/);
  const run = onlyRun(place.runs);
  const second = await place.start('train', '--resume', run).ended;
  t.is(second.code, 1);
  t.regex(second.err, /is being trained by process \d+ on/);
  first.child.kill('SIGTERM');
  const { code, err } = await first.ended;
  t.is(code, 130);
  t.regex(err, /train --resume run-[0-9a-f]+ goes on/);
  using database = new RunDatabase(place.runs);
  t.is(database.get(run).state, 'interrupted');
});
