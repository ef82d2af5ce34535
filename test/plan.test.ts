import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import test from 'ava';
import { loadPreset } from '../lib/models/preset.ts';
import { variantNames } from '../lib/models/variants.ts';
import { devices } from '../lib/plan/costs.ts';
import { Distribution } from '../lib/plan/distribution.ts';
import { growth, limits } from '../lib/plan/limits.ts';
import { batchCapacity, batchQueue, decodingCapacity, decodingQueue } from '../lib/plan/queue.ts';
import { channelsOf, type Demand, maxBatches, plan, tokenCount } from '../lib/plan/sizing.ts';
import { environmentOf, ofKind, podsOf, readFolder } from './support/manifests.ts';
import { poissonArrivals, random, simulateBatches, simulateDecoding } from './support/simulate.ts';

const seed = 7;
const tokens = { mean: 80, deviation: 24, most: 256 };
const loads = [0.3, 0.6, 0.8];
const names = ['h200', 'l4', 'cpu'];
const device = (name: string) => {
  const found = devices[name];
  if (!found) throw new Error(`no ${name}`);
  return found;
};

const near = (got: number, expected: number, tolerance: number) =>
  Math.abs(got / expected - 1) <= tolerance;

test('the queue of batches agrees with a simulation, event by event, within 8 % at p50 and p99', (t) => {
  const next = random(seed);
  for (const name of names)
    for (const load of loads) {
      const cost = device(name).costs.vision.vit;
      const maxBatch = 16;
      const rate = load * batchCapacity(cost, maxBatch);
      const modelled = batchQueue(cost, { rate, maxBatch, binMs: cost.itemMs / 10 });
      const simulated = simulateBatches(cost, maxBatch, poissonArrivals(rate, 300_000, next));
      for (const [q, seen] of [
        [0.5, simulated.p50],
        [0.99, simulated.p99],
      ] as const) {
        const said = modelled.sojourn.quantile(q);
        t.true(
          near(said, seen, 0.08),
          `${name} at ${load}, p${q * 100}: ${said} said, ${seen} seen, seed ${seed}`,
        );
      }
    }
});

test('the decoding queue agrees with a simulation: within 10 % on GPUs, 40 % where a prefill outlasts many steps', (t) => {
  const next = random(seed);
  for (const name of names)
    // Nothing is planned above 70 %, where the model no longer follows such prefills.
    for (const load of name === 'cpu' ? [0.3, 0.6] : loads) {
      const cost = device(name).costs.generator;
      const { generator: maxBatch } = maxBatches;
      const rate = load * decodingCapacity(cost, tokens, maxBatch);
      const modelled = decodingQueue(cost, tokens, { rate, maxBatch, binMs: cost.stepFixedMs });
      const arrivals = poissonArrivals(rate, 20_000, next);
      const simulated = simulateDecoding(cost, tokens, maxBatch, arrivals, next);
      const tolerance = name === 'cpu' ? 0.4 : 0.1;
      for (const [q, seen] of [
        [0.5, simulated.p50],
        [0.99, simulated.p99],
      ] as const) {
        const said = modelled.sojourn.quantile(q);
        t.true(
          near(said, seen, tolerance),
          `${name} at ${load}, p${q * 100}: ${said} said, ${seen} seen, seed ${seed}`,
        );
      }
    }
});

const demand: Demand = {
  rps: 50,
  variant: 'vit-label',
  preset: loadPreset('paper'),
  imageBytes: 500_000,
  tokens,
  p99Ms: 10_000,
};

test('the p99 of the whole chain agrees with a simulation of its replicas within 10 %', (t) => {
  const next = random(seed);
  for (const name of ['h200', 'l4']) {
    const { costs } = device(name);
    const planned = plan(demand, device(name));
    // Each replica gets what round robin gives it.
    const through = (
      arrivals: Float64Array,
      replicas: number,
      run: (own: Float64Array) => { departures: Float64Array },
    ) => {
      const departures = new Float64Array(arrivals.length);
      for (let replica = 0; replica < replicas; replica += 1) {
        const order = arrivals.map((at, i) => (i % replicas === replica ? at : Number.NaN));
        const own = [...order.keys()]
          .filter((i) => !Number.isNaN(order[i]))
          .sort((a, b) => (arrivals[a] ?? 0) - (arrivals[b] ?? 0));
        const left = run(Float64Array.from(own, (i) => arrivals[i] ?? 0)).departures;
        own.forEach((i, at) => {
          departures[i] = left[at] ?? 0;
        });
      }
      return departures;
    };
    const arrivals = poissonArrivals(demand.rps / 1000, 40_000, next);
    const { vision, labeler, generator } = planned.stages;
    const seen = through(arrivals, vision.replicas, (own) =>
      simulateBatches(costs.vision.vit, maxBatches.vision, own),
    );
    const labelled = through(seen, labeler.replicas, (own) =>
      simulateBatches(costs.labeler, maxBatches.labeler, own),
    );
    const written = through(labelled, generator.replicas, (own) =>
      simulateDecoding(costs.generator, tokens, maxBatches.generator, own, next),
    );
    const stays = written.map((at, i) => at - (arrivals[i] ?? 0)).sort();
    const p99 = (stays[Math.floor(0.99 * stays.length)] ?? 0) + 2;
    t.true(
      near(planned.p99Ms, p99, 0.1),
      `${name}: ${planned.p99Ms} said, ${p99} seen, seed ${seed}`,
    );
  }
});

test('a sum of durations has the quantiles of the sum', (t) => {
  const uniform = Distribution.of(
    Array.from({ length: 1001 }, (_, i) => [i / 10, 1] as const),
    0.5,
  );
  const sum = uniform.plus(uniform);
  t.true(Math.abs(sum.mean() - 100) < 0.1);
  // Triangular: P(X > 200 - a) = a^2 / 20,000.
  t.true(Math.abs(sum.quantile(0.99) - (200 - Math.sqrt(200))) < 0.5);
});

test('more load never needs fewer replicas, and no stage is planned above 70 % of what it can carry', (t) => {
  for (const name of ['h200', 'h100', 'a100', 'l4'])
    for (const variant of variantNames) {
      let before = 0;
      for (const rps of [1, 10, 100, 1000]) {
        const { stages, gpus } = plan({ ...demand, variant, rps }, device(name));
        for (const [stage, { load }] of Object.entries(stages))
          t.true(load <= 0.7 + 1e-9, `${name} ${variant} ${rps} ${stage}: ${load}`);
        t.true(gpus >= before);
        before = gpus;
      }
    }
});

test('a promise that no number of replicas can keep is refused with the reason', (t) => {
  const error = t.throws(() => plan({ ...demand, p99Ms: 50 }, device('l4')));
  t.regex(
    error.message,
    /^--p99: no number of replicas answers within 0\.05 s: one request alone takes/,
  );
});

test('what crosses the hops is what the models put out', (t) => {
  const { preset } = demand;
  t.is(channelsOf('chexnet', preset), 1024);
  t.is(channelsOf('resnet101', preset), 2048);
  t.is(channelsOf('vit', preset), 768);
  for (const variant of variantNames) t.is(tokenCount(variant, preset), 256);
  t.is(plan(demand, device('h200')).hops['vision -> gateway'], 2 * 768 * 257);
});

test('every limit is broken by some load, and the first to break comes first', (t) => {
  const found = new Set(
    growth(demand, device('l4'), [1, 10, 100, 1000, 10_000, 100_000]).flatMap(({ broken }) => {
      const shares = broken.map(({ limit, use }) => use / limit.most);
      t.deepEqual(
        shares,
        shares.toSorted((a, b) => b - a),
      );
      return broken.map(({ limit }) => limit.what);
    }),
  );
  t.deepEqual([...found].sort(), limits.map(({ what }) => what).sort());
  t.deepEqual(growth(demand, device('h200'), [1])[0]?.broken, []);
});

test('the batches that are planned with are those that the manifests set', async (t) => {
  const base = await readFolder(fileURLToPath(new URL('../deploy/k8s/base', import.meta.url)));
  t.true(ofKind(base, 'ConfigMap').length > 0);
  for (const { name, containers } of podsOf(base)) {
    if (!(name in maxBatches) || !containers[0]) continue;
    const batch = environmentOf(base, containers[0]).get('RADSCRIBE_MAX_BATCH');
    t.is(Number(batch), maxBatches[name as keyof typeof maxBatches], name);
  }
});

const run = promisify(execFile);
const cli = fileURLToPath(new URL('../cli/main.ts', import.meta.url));

test('radscribe plan prints replicas, memory, p99, network and limits, and takes measured costs', async (t) => {
  const { stdout } = await run(process.execPath, [
    cli,
    'plan',
    '--rps',
    '50',
    '--variant',
    'vit-label',
    '--gpu',
    'h200',
  ]);
  for (const part of [
    /^vision +\d+ +\d+ % +[\d.]+ s +[\d.]+ GiB$/m,
    /p99 [\d.]+ s; its first token/,
    /vision -> gateway +39\d kB/,
    /1000x: 50,000 reports/,
  ])
    t.regex(stdout, part);
  const folder = await mkdtemp(path.join(tmpdir(), 'radscribe-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const file = path.join(folder, 'costs.json');
  await writeFile(file, JSON.stringify({ ...device('l4'), source: 'my bench' }));
  const json = await run(process.execPath, [cli, 'plan', '--rps', '5', '--costs', file, '--json']);
  t.is((JSON.parse(json.stdout) as { source: string }).source, 'my bench');
  await writeFile(file, '{"source": "x", "memoryGiB": -1}');
  const failed = await t.throwsAsync<Error & { code: number; stderr: string }>(
    run(process.execPath, [cli, 'plan', '--rps', '5', '--costs', file]),
  );
  t.is(failed.code, 2);
  t.regex(failed.stderr, /costs\.json\.memoryGiB: /);
});
