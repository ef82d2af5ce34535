import { readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import sharp from 'sharp';
import { DomainError } from '../lib/errors.ts';
import { imagenet } from '../lib/image/preprocessing.ts';
import { Channels } from '../lib/releases/store/channels.ts';
import { visionService } from '../lib/rpc/services.ts';
import { tensorOf } from '../lib/rpc/tensors.ts';
import { readConfig } from '../lib/service/settings.ts';
import { StageTimer } from '../lib/telemetry/stage-timer.ts';
import { settings } from '../services/vision/config.ts';
import { Embedder, type EmbedItem } from '../services/vision/embedder.ts';
import type { VisionModel } from '../services/vision/model.ts';
import { start } from '../services/vision/server.ts';
import {
  connect,
  metricOf,
  openTestStore,
  startService,
  testTelemetry,
  until,
} from './support/services.ts';
import { isUp } from './support/waiting.ts';

/** A PNG of grey noise; another seed gives other noise. */
function noise(seed = 1, side = 200): Promise<Buffer> {
  const pixels = Buffer.alloc(side * side);
  for (let i = 0; i < pixels.length; i++) pixels[i] = (i * 31 * seed + ((i * i) >> 5)) & 255;
  return sharp(pixels, { raw: { width: side, height: side, channels: 1 } })
    .png()
    .toBuffer();
}

async function serve(t: Parameters<typeof openTestStore>[0], env: Record<string, string> = {}) {
  const { store, folder, publish } = await openTestStore(t);
  const release = await publish('vit');
  await store.promote('stable', release);
  const service = await startService(t, start, settings, { RADSCRIBE_STORE: folder, ...env });
  await service.ready();
  const client = connect(t, service.port, visionService);
  return { store, folder, publish, release, service, client };
}

test('an image is embedded, and each stage is counted, timed and traced', async (t) => {
  const { release, service, client } = await serve(t);
  const answer = await client.embed({ release, image: await noise() });
  t.is(answer.release, release);
  t.like(answer.image, { format: 'png', width: 200, height: 200, bitsStored: 8 });
  t.notThrows(() => tensorOf(answer.tokens, 'tokens', [16, 96]));
  t.notThrows(() => tensorOf(answer.pooled, 'pooled', [96]));
  const stages = answer.timings.map(({ stage }) => stage);
  t.deepEqual(stages, ['decode', 'preprocess', 'queue', 'inference']);
  t.true(answer.timings.every(({ startMs, durationMs }) => startMs >= 0 && durationMs >= 0));
  const { telemetry } = service;
  for (const stage of stages) {
    t.is(await metricOf(telemetry, 'radscribe_stage_duration_seconds_count', { stage }), 1, stage);
  }
  t.is(await metricOf(telemetry, 'radscribe_batch_size_count'), 1);
  t.is(await metricOf(telemetry, 'radscribe_release_info', { release, channel: 'stable' }), 1);
  const spans = service.spans();
  const root = spans.find(({ name }) => name === 'radscribe.v1.VisionService/Embed');
  const children = spans.filter(
    ({ parentSpanContext }) => parentSpanContext?.spanId === root?.spanContext().spanId,
  );
  t.deepEqual(children.map(({ name }) => name).sort(), [...stages].sort());
  const batch = spans.find(({ name }) => name === 'vision batch');
  t.is(batch?.links[0]?.context.spanId, root?.spanContext().spanId);
});

test('images that come together share runs, and are embedded as if alone', async (t) => {
  const { release, service, client } = await serve(t, { RADSCRIBE_DECODE_CONCURRENCY: '8' });
  const images = await Promise.all([1, 2, 3, 4, 5, 6].map((seed) => noise(seed)));
  const alone = [];
  for (const image of images) alone.push(await client.embed({ release, image }));
  const runs = () => metricOf(service.telemetry, 'radscribe_batch_size_count');
  // An idle model runs an image at once: they share runs once it is behind.
  let together: Awaited<ReturnType<typeof client.embed>>[] = [];
  let made = Number.POSITIVE_INFINITY;
  for (let round = 0; round < 50 && made >= images.length; round++) {
    const before = await runs();
    together = await Promise.all(images.map((image) => client.embed({ release, image })));
    made = (await runs()) - before;
  }
  t.true(made < images.length, `${made} runs`);
  for (const [index, { pooled }] of together.entries()) {
    const one = tensorOf(alone[index]!.pooled, 'pooled', [96]).data;
    const other = tensorOf(pooled, 'pooled', [96]).data;
    t.true(one.every((value, channel) => Math.abs(value - other[channel]!) < 1e-2));
  }
});

test('bytes that are no image are refused by field, and the service goes on', async (t) => {
  const { release, client } = await serve(t);
  const whole = await noise();
  const bad = [Buffer.alloc(0), Buffer.from('1234'), whole.subarray(0, 500)];
  for (const image of bad) {
    const error = await t.throwsAsync(() => client.embed({ release, image }), {
      instanceOf: DomainError,
    });
    t.like(error, { code: 'INVALID_ARGUMENT', field: 'image' });
  }
  await t.notThrowsAsync(() => client.embed({ release, image: whole }));
});

test('a release that is not held is refused, whatever its name', async (t) => {
  const { client } = await serve(t);
  const image = await noise();
  for (const release of ['', 'rs-000000000000000000000000', '../../etc', 'x'.repeat(10_000)]) {
    const error = await t.throwsAsync(() => client.embed({ release, image }), {
      instanceOf: DomainError,
    });
    t.like(error, { code: 'FAILED_PRECONDITION', reason: 'RELEASE_NOT_HELD', field: 'release' });
    t.true(error.message.length < 400);
  }
});

test('a full queue refuses at once with a retry delay, and stays healthy', async (t) => {
  const { release, service, client } = await serve(t, { RADSCRIBE_QUEUE_LIMIT: '2' });
  const image = await noise(1, 1500);
  const calls = await Promise.allSettled(
    Array.from({ length: 12 }, () => client.embed({ release, image })),
  );
  const refused = calls.flatMap((call) => (call.status === 'rejected' ? [call.reason] : []));
  t.true(refused.length > 0 && refused.length < 12, `${refused.length} refused`);
  for (const error of refused) {
    t.like(error, { code: 'RESOURCE_EXHAUSTED', reason: 'QUEUE_FULL' });
    t.true(Number((error as DomainError).metadata['retryAfterMs']) > 0);
  }
  const counted = await metricOf(service.telemetry, 'radscribe_rejected_total', {
    reason: 'queue_full',
  });
  t.is(counted, refused.length);
  await t.notThrowsAsync(() => client.embed({ release, image }));
  t.is(await metricOf(service.telemetry, 'radscribe_in_flight'), 0);
  t.is(await metricOf(service.telemetry, 'radscribe_queue_bytes'), 0);
});

/** An embedder over a model whose runs end when the test says so, one image at a time. */
function gatedEmbedder(env: Readonly<Record<string, string>>) {
  const { telemetry } = testTelemetry('vision');
  const config = readConfig(settings, { RADSCRIBE_MAX_BATCH: '1', ...env });
  const embedder = new Embedder(config, telemetry);
  const gates: (() => void)[] = [];
  const embedding = { tokens: new Float32Array(1), tokensShape: [1], pooled: new Float32Array(1) };
  const model = {
    manifest: {
      id: 'rs-1',
      variant: 'vit',
      preprocessing: {
        height: 8,
        width: 8,
        resize: 'stretch',
        pad: 0,
        kernel: 'linear',
        ...imagenet,
      },
    },
    embed: async () => {
      await new Promise<void>((resolve) => gates.push(resolve));
      return [embedding];
    },
  } as unknown as VisionModel;
  const order: string[] = [];
  const embed = async (
    name: string,
    bytes: Uint8Array,
    priority: EmbedItem['priority'],
    signal = new AbortController().signal,
  ): Promise<void> => {
    const item = { model, bytes, priority, signal, deadline: undefined };
    await embedder.embed(item, new StageTimer(telemetry, 'vit'));
    order.push(name);
  };
  /** Ends runs as they begin, until all of these are done. */
  const finish = async (running: readonly Promise<unknown>[]): Promise<void> => {
    let done = false;
    const all = Promise.all(running).then(() => (done = true));
    await until(() => {
      gates.shift()?.();
      return done;
    });
    await all;
  };
  const metric = (name: string) => metricOf(telemetry, name);
  return { embedder, embed, order, gates, finish, metric };
}

test('an interactive image overtakes the bulk ones that wait to be decoded', async (t) => {
  const { embed, order, finish, metric } = gatedEmbedder({ RADSCRIBE_DECODE_CONCURRENCY: '1' });
  const image = await noise();
  const bulk = Array.from({ length: 6 }, () => embed('bulk', image, 'bulk'));
  t.is(await metric('radscribe_queue_depth'), 5, 'one is being decoded');
  t.is(await metric('radscribe_in_flight'), 1);
  t.is(await metric('radscribe_queue_bytes'), 6 * image.byteLength);
  await finish([...bulk, embed('interactive', image, 'interactive')]);
  t.true(order.indexOf('interactive') <= 2, order.join());
  t.is(await metric('radscribe_queue_bytes'), 0);
});

test('an interactive image overtakes the bulk ones that are decoded and wait for the model', async (t) => {
  const { embed, order, finish, metric } = gatedEmbedder({ RADSCRIBE_DECODE_CONCURRENCY: '8' });
  const image = await noise();
  const bulk = Array.from({ length: 6 }, () => embed('bulk', image, 'bulk'));
  await until(async () => (await metric('radscribe_queue_depth')) === 5);
  const interactive = embed('interactive', image, 'interactive');
  await until(async () => (await metric('radscribe_queue_depth')) === 6);
  await finish([...bulk, interactive]);
  t.is(order.indexOf('interactive'), 1, order.join());
});

test('a caller who leaves while an image is decoded costs no run of the model', async (t) => {
  const { embedder, embed, gates } = gatedEmbedder({});
  const controller = new AbortController();
  const left = embed('left', await noise(), 'interactive', controller.signal);
  controller.abort();
  t.like(await t.throwsAsync(left), { code: 'CANCELLED' });
  await embedder.close();
  t.is(gates.length, 0);
});

test('what has expired or was cancelled is not embedded', async (t) => {
  const { release, service, client } = await serve(t);
  const image = await noise();
  const late = client.embed({ release, image }, { deadline: Date.now() + 1 });
  t.like(await t.throwsAsync(late), { code: 'DEADLINE_EXCEEDED' });
  const signal = AbortSignal.abort();
  t.like(await t.throwsAsync(client.embed({ release, image }, { signal })), { code: 'CANCELLED' });
  await until(async () => (await metricOf(service.telemetry, 'radscribe_in_flight')) === 0);
  t.true((await metricOf(service.telemetry, 'radscribe_batch_size_count')) <= 1);
});

test('another release takes over under load without a failed call, and the old one goes', async (t) => {
  const { store, folder, publish, release, service, client } = await serve(t);
  const image = await noise();
  const next = await publish('vit', 2);
  let serving = release;
  let failed = 0;
  let answered = 0;
  const stop = new AbortController();
  t.teardown(() => stop.abort());
  // As the gateway does: a release that its channel has left gets no more requests.
  const load = Array.from({ length: 3 }, async () => {
    while (!stop.signal.aborted) {
      const requested = serving;
      try {
        const answer = await client.embed({ release: requested, image });
        t.is(answer.release, requested);
        answered++;
      } catch {
        failed++;
      }
      // The test keeps every span: a load without a pause fills the memory.
      await sleep(5);
    }
  });
  const held = async (id: string) =>
    (await metricOf(service.telemetry, 'radscribe_release_info', { release: id })) === 1;
  for (const id of [next, release, next]) {
    await store.promote('stable', id);
    await until(() => held(id));
    serving = id;
    t.true((await heldIn(folder)).includes(id));
  }
  // A request for the old one would keep it: the store shows when it is dropped.
  await until(async () => !(await heldIn(folder)).includes(release));
  stop.abort();
  await Promise.all(load);
  const error = await t.throwsAsync(() => client.embed({ release, image }));
  t.like(error, { reason: 'RELEASE_NOT_HELD' });
  t.is(failed, 0);
  t.true(answered > 10, `${answered} answered`);
});

/** The releases that running instances hold, by the store. */
async function heldIn(folder: string): Promise<readonly string[]> {
  const all = await readdir(join(folder, 'holds')).catch(() => []);
  // A file that is being written is hidden, and may be gone when it is read.
  const names = all.filter((name) => !name.startsWith('.'));
  const holds = await Promise.all(
    names.map(async (name) => JSON.parse(await readFile(join(folder, 'holds', name), 'utf8'))),
  );
  return holds.flatMap(({ releases }: { releases: string[] }) => releases);
}

test('a release of damaged bytes is counted and not served; the old one goes on', async (t) => {
  const { store, folder, publish, release, service, client } = await serve(t);
  const image = await noise();
  const next = await publish('vit', 2);
  const file = join(folder, 'releases', next, 'vision.safetensors');
  await rm(file);
  await writeFile(file, 'damaged');
  // As if the file had been damaged after the channel moved: the gate reads it before.
  await new Channels(store.objects).move('stable', next);
  const failures = () => metricOf(service.telemetry, 'radscribe_release_load_failures_total');
  await until(async () => (await failures()) > 0);
  t.true(await service.isReady());
  t.is((await client.embed({ release, image })).release, release);
  const error = await t.throwsAsync(() => client.embed({ release: next, image }));
  t.like(error, { reason: 'RELEASE_NOT_HELD' });
  await store.rollback('stable');
  t.is((await client.embed({ release, image })).release, release);
});

test('a service without a release is alive and not ready, and becomes ready with one', async (t) => {
  const { store, folder, publish } = await openTestStore(t);
  const service = await startService(t, start, settings, { RADSCRIBE_STORE: folder });
  t.false(await service.isReady());
  t.true(await isUp(`http://127.0.0.1:${service.metricsPort}/healthz`));
  await store.promote('stable', await publish('chexnet'));
  await service.ready();
  t.pass();
});
