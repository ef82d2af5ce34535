import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { createMetrics } from '../lib/telemetry/metrics.ts';
import { parseConfig } from '../lib/training/config.ts';
import { RunDatabase } from '../lib/training/database.ts';
import { type Progress, sampleProgress, simpleProgress } from '../lib/training/progress.ts';
import { showProgress } from '../services/trainer/runs/metrics.ts';

const config = parseConfig({ variant: 'vit', data: 'phantom:10' });

/** A database of runs, and what a scrape shows of it: `name{run_stage}` to value. */
async function watched(t: ExecutionContext) {
  const folder = await mkdtemp(join(tmpdir(), 'radscribe-metrics-'));
  const database = new RunDatabase(folder);
  t.teardown(async () => {
    database.close();
    await rm(folder, { recursive: true, force: true });
  });
  const metrics = createMetrics();
  showProgress(database, metrics);
  const scrape = async (): Promise<Readonly<Record<string, number>>> => {
    const text = await metrics.registry.metrics();
    const lines = text.matchAll(/^radscribe_training_(\w+)\{run_stage="(\w+)"\} (\S+)$/gm);
    return Object.fromEntries(
      [...lines].map(([, name, stage, value]) => [`${name} ${stage}`, Number(value)]),
    );
  };
  return { database, scrape };
}

const progress = (
  stage: string,
  step: number,
  loss: number,
  rest: Partial<Progress> = {},
): Progress => ({
  ...simpleProgress(stage, step, 40),
  loss,
  ...rest,
});

test('a scrape shows every stage of a run, however short, and after its end', async (t) => {
  const { database, scrape } = await watched(t);
  t.deepEqual(await scrape(), {});
  const { id } = database.create({ config });
  database.setState(id, 'running');
  const losses = { labels: 0.75, stage1: 5.5, stage2: 4.25, refit: 0.625 };
  for (const [stage, loss] of Object.entries(losses)) {
    database.addEvent(id, 'progress', { stage, epochs: 2 });
    database.addProgress(id, progress(stage, 1, 9));
    database.addProgress(id, progress(stage, 7, loss, { lossScale: 1024, gradientNorm: 0.5 }));
  }
  database.addProgress(id, simpleProgress('evaluate: reports', 1, 2));
  database.setState(id, 'succeeded', { release: 'rs-0' });
  const shown = await scrape();
  for (const [stage, loss] of Object.entries({ labeler: 0.625, one: 5.5, two: 4.25 })) {
    t.is(shown[`loss ${stage}`], loss);
    t.is(shown[`step ${stage}`], 7);
    t.is(shown[`loss_scale ${stage}`], 1024);
    t.is(shown[`gradient_norm ${stage}`], 0.5);
    t.is(shown[`eta_seconds ${stage}`], 0);
    t.false(`learning_rate ${stage}` in shown, 'it was not reported');
  }
});

test('only the stage that a run is in has time left, and none once the run has ended', async (t) => {
  const { database, scrape } = await watched(t);
  const { id } = database.create({ config });
  database.setState(id, 'running');
  database.addProgress(id, progress('stage1', 30, 5, { etaSeconds: 20 }));
  t.is((await scrape())['eta_seconds one'], 20);
  database.addProgress(id, progress('stage2', 1, 4, { etaSeconds: 300 }));
  t.like(await scrape(), { 'eta_seconds one': 0, 'eta_seconds two': 300, 'step one': 30 });
  database.setState(id, 'failed', { error: { reason: 'DISK_FULL', message: 'full' } });
  t.like(await scrape(), { 'eta_seconds two': 0, 'loss two': 4 });
});

test('of several runs a scrape shows the one that reported last, and nothing of the other', async (t) => {
  const { database, scrape } = await watched(t);
  const [mixed, plain] = [database.create({ config }), database.create({ config })];
  for (const { id } of [mixed, plain]) database.setState(id, 'running');
  database.addProgress(mixed.id, progress('stage1', 3, 6, { lossScale: 2048 }));
  t.is((await scrape())['loss_scale one'], 2048);
  // Events are ordered by their time, which counts milliseconds.
  const mixedAt = Date.now();
  while (Date.now() === mixedAt) await nextTurn();
  database.addProgress(plain.id, progress('stage1', 4, 5));
  const shown = await scrape();
  t.is(shown['loss one'], 5);
  t.false('loss_scale one' in shown);
});

test('of many reports the first and the last of each stage are passed on', (t) => {
  const shown: string[] = [];
  const sampled = sampleProgress(({ stage, step }) => shown.push(`${stage} ${step}`), 3_600_000);
  for (const stage of ['labels', 'stage1', 'stage2']) {
    for (let step = 1; step <= (stage === 'stage1' ? 1 : 4); step++) {
      sampled.progress(progress(stage, step, 1));
    }
  }
  t.deepEqual(shown, ['labels 1', 'labels 4', 'stage1 1', 'stage2 1']);
  sampled.flush();
  sampled.flush();
  t.deepEqual(shown.slice(4), ['stage2 4']);
});

test('every report is passed on once the time between two is over', (t) => {
  const shown: number[] = [];
  const sampled = sampleProgress(({ step }) => shown.push(step), 0);
  for (const step of [1, 2, 3]) sampled.progress(progress('stage1', step, 1));
  sampled.flush();
  t.deepEqual(shown, [1, 2, 3]);
});
