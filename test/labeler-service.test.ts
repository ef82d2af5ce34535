import test from 'ava';
import { DomainError } from '../lib/errors.ts';
import { labelerService } from '../lib/rpc/services.ts';
import { tensorMessage } from '../lib/rpc/tensors.ts';
import { observations } from '../lib/text/labels/observations.ts';
import { settings } from '../services/labeler/config.ts';
import { start } from '../services/labeler/server.ts';
import { unevenLabels } from './support/releases.ts';
import { connect, metricOf, openTestStore, startService } from './support/services.ts';

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

test('an embedding gets all 14 observations, and the text of the positive ones', async (t) => {
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
  const positive = answer.labels.filter(({ state }) => state === 'LABEL_STATE_POSITIVE');
  t.is(answer.labelText, positive.map(({ name }) => name.toLowerCase()).join('; '));
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
    'no numbers': { dtype: half, shape: [96], data: new Uint8Array(192).fill(0xff) },
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
