import test from 'ava';
import { DomainError } from '../lib/errors.ts';
import { labelerService } from '../lib/rpc/services.ts';
import { tensorMessage } from '../lib/rpc/tensors.ts';
import { observations } from '../lib/text/labels/observations.ts';
import { readConfig } from '../lib/service/settings.ts';
import { StageTimer } from '../lib/telemetry/stage-timer.ts';
import { Classifier } from '../services/labeler/classifier.ts';
import { settings } from '../services/labeler/config.ts';
import type { LabelerModel } from '../services/labeler/model.ts';
import { start } from '../services/labeler/server.ts';
import { unevenLabels } from './support/releases.ts';
import {
  connect,
  metricOf,
  openTestStore,
  startService,
  testTelemetry,
  until,
} from './support/services.ts';

async function serve(t: Parameters<typeof openTestStore>[0]) {
  const { store, folder, publish } = await openTestStore(t);
  const release = await publish('vit-label');
  await store.promote('stable', release);
  const service = await startService(t, start, settings, { RADSCRIBE_STORE: folder });
  await service.ready();
  return { release, service, client: connect(t, service.port, labelerService) };
}

const noise = (seed: number): Float32Array =>
  Float32Array.from({ length: 96 }, (_, i) => Math.sin(i * seed));

test('an embedding is classified into all 14 observations', async (t) => {
  const { release, client } = await serve(t);
  const answer = await client.classify({ release, pooled: tensorMessage([96], noise(3)) });
  t.is(answer.release, release);
  t.deepEqual(
    answer.labels.map(({ name }) => name),
    [...observations],
  );
  for (const [i, { probability, threshold, state }] of answer.labels.entries()) {
    t.true(probability > 0 && probability < 1);
    t.is(threshold, Math.fround(unevenLabels.thresholds[i]!));
    t.is(state, probability >= threshold ? 'LABEL_STATE_POSITIVE' : 'LABEL_STATE_NEGATIVE');
  }
  t.deepEqual(
    answer.timings.map(({ stage }) => stage),
    ['queue', 'inference'],
  );
});

test('embeddings that come together share runs, and are classified as if alone', async (t) => {
  const { release, service, client } = await serve(t);
  const classify = (seed: number) =>
    client.classify({ release, pooled: tensorMessage([96], noise(seed)) });
  const seeds = Array.from({ length: 24 }, (_, index) => index + 1);
  const alone = [];
  for (const seed of seeds) alone.push(await classify(seed));
  const runs = await metricOf(service.telemetry, 'radscribe_batch_size_count');
  const together = await Promise.all(seeds.map(classify));
  t.true((await metricOf(service.telemetry, 'radscribe_batch_size_count')) - runs < seeds.length);
  for (const [index, { labels }] of together.entries()) {
    for (const [label, { probability }] of labels.entries()) {
      t.true(Math.abs(probability - alone[index]!.labels[label]!.probability) < 1e-5);
    }
  }
});

test('a tensor that is none of the release is refused by what is wrong with it', async (t) => {
  const { release, client } = await serve(t);
  const good = tensorMessage([96], noise(1));
  const half = 'DATA_TYPE_FLOAT16' as const;
  const bad = {
    'is missing': undefined,
    'got float16[95]': { ...good, shape: [95] },
    'got float16[1,96]': { ...good, shape: [1, 96] },
    'got float16[-96]': { ...good, shape: [-96] },
    'got 4 bytes': { ...good, data: new Uint8Array(4) },
    'its dtype': { ...good, dtype: 'DATA_TYPE_UNSPECIFIED' as const },
    'NaN or infinite': { dtype: half, shape: [96], data: new Uint8Array(192).fill(0xff) },
  };
  for (const [what, pooled] of Object.entries(bad)) {
    const error = await t.throwsAsync(() => client.classify({ release, pooled }), {
      instanceOf: DomainError,
    });
    t.like(error, { code: 'INVALID_ARGUMENT', reason: 'TENSOR_INVALID', field: 'pooled' });
    t.true(error.message.includes(what), error.message);
  }
  await t.notThrowsAsync(() => client.classify({ release, pooled: good }));
});

test('requests of one release share a run, interactive ones first', async (t) => {
  const { telemetry } = testTelemetry('labeler');
  const env = {
    RADSCRIBE_MAX_BATCH: '2',
    RADSCRIBE_QUEUE_LIMIT: '8',
    RADSCRIBE_BATCH_DELAY_MS: '0',
  };
  const classifier = new Classifier(readConfig(settings, env), telemetry);
  const runs: string[] = [];
  const gates: (() => void)[] = [];
  const modelOf = (id: string) =>
    ({
      manifest: { id },
      classify: async (embeddings: readonly Float32Array[]) => {
        runs.push(`${id}:${embeddings.map(([value]) => value).join()}`);
        await new Promise<void>((resolve) => gates.push(resolve));
        return embeddings.map(() => []);
      },
    }) as unknown as LabelerModel;
  const [one, two] = [modelOf('one'), modelOf('two')];
  const classify = (model: LabelerModel, value: number, priority: 'interactive' | 'bulk') => {
    const pooled = Float32Array.of(value);
    const timer = new StageTimer(telemetry, 'vit');
    const { signal } = new AbortController();
    return classifier.classify({ model, pooled, timer }, { priority, signal, deadline: undefined });
  };
  const running = [
    classify(one, 1, 'bulk'),
    classify(one, 2, 'bulk'),
    classify(two, 3, 'bulk'),
    classify(one, 4, 'bulk'),
    classify(two, 5, 'interactive'),
  ];
  t.is(await metricOf(telemetry, 'radscribe_queue_depth'), 4);
  t.is(await metricOf(telemetry, 'radscribe_in_flight'), 1);
  t.is(await metricOf(telemetry, 'radscribe_queue_bytes'), 20);
  await t.throwsAsync(classify(one, 6, 'bulk'), { message: /queue is full/ });
  for (let run = 1; run <= 3; run++) {
    await until(() => gates.length === 1);
    gates.shift()?.();
  }
  await Promise.all(running);
  t.deepEqual(runs, ['one:1', 'two:5,3', 'one:2,4']);
  t.is(await metricOf(telemetry, 'radscribe_batch_size_count'), 3);
  await classifier.close();
  await t.throwsAsync(classify(one, 7, 'interactive'), { message: /shutting down/ });
});
