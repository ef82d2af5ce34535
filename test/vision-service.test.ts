import { readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import sharp from 'sharp';
import { DomainError } from '../lib/errors.ts';
import { visionService } from '../lib/rpc/services.ts';
import { tensorOf } from '../lib/rpc/tensors.ts';
import { settings } from '../services/vision/config.ts';
import { start } from '../services/vision/server.ts';
import { connect, metricOf, openTestStore, startService, until } from './support/services.ts';

/** Grey noise, other for another seed. */
function picture(seed = 1, side = 200): Promise<Buffer> {
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

test('a picture is embedded, and what was done is counted, timed and traced', async (t) => {
  const { release, service, client } = await serve(t);
  const answer = await client.embed({ release, image: await picture() });
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

test('pictures that come together share runs, and are embedded as if alone', async (t) => {
  const { release, service, client } = await serve(t, { RADSCRIBE_DECODE_CONCURRENCY: '8' });
  const pictures = await Promise.all([1, 2, 3, 4, 5, 6].map((seed) => picture(seed)));
  const alone = [];
  for (const image of pictures) alone.push(await client.embed({ release, image }));
  const runs = () => metricOf(service.telemetry, 'radscribe_batch_size_count');
  // Nothing waits for company while the model is idle: they meet once it is behind.
  let together: Awaited<ReturnType<typeof client.embed>>[] = [];
  let made = Number.POSITIVE_INFINITY;
  for (let round = 0; round < 50 && made >= pictures.length; round++) {
    const before = await runs();
    together = await Promise.all(pictures.map((image) => client.embed({ release, image })));
    made = (await runs()) - before;
  }
  t.true(made < pictures.length, `${made} runs`);
  for (const [index, { pooled }] of together.entries()) {
    const one = tensorOf(alone[index]!.pooled, 'pooled', [96]).data;
    const other = tensorOf(pooled, 'pooled', [96]).data;
    t.true(one.every((value, channel) => Math.abs(value - other[channel]!) < 1e-2));
  }
});

test('what is no picture is refused by field, and the service goes on', async (t) => {
  const { release, client } = await serve(t);
  const whole = await picture();
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
  const image = await picture();
  for (const release of ['', 'rs-000000000000000000000000', '../../etc', 'x'.repeat(10_000)]) {
    const error = await t.throwsAsync(() => client.embed({ release, image }), {
      instanceOf: DomainError,
    });
    t.like(error, { code: 'FAILED_PRECONDITION', reason: 'RELEASE_NOT_HELD', field: 'release' });
    t.true(error.message.length < 400);
  }
});

test('a full queue refuses at once with a time to come again, and stays healthy', async (t) => {
  const { release, service, client } = await serve(t, { RADSCRIBE_QUEUE_LIMIT: '2' });
  const image = await picture(1, 1500);
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

test('what has expired or was cancelled is not embedded', async (t) => {
  const { release, service, client } = await serve(t);
  const image = await picture();
  const late = client.embed({ release, image }, { deadline: Date.now() + 1 });
  t.like(await t.throwsAsync(late), { code: 'DEADLINE_EXCEEDED' });
  const signal = AbortSignal.abort();
  t.like(await t.throwsAsync(client.embed({ release, image }, { signal })), { code: 'CANCELLED' });
  await until(async () => (await metricOf(service.telemetry, 'radscribe_in_flight')) === 0);
  t.true((await metricOf(service.telemetry, 'radscribe_batch_size_count')) <= 1);
});

test('another release takes over under load without a failed call, and the old one goes', async (t) => {
  const { store, folder, publish, release, service, client } = await serve(t);
  const image = await picture();
  const next = await publish('vit', 2);
  let serving = release;
  let failed = 0;
  let answered = 0;
  const stop = new AbortController();
  t.teardown(() => stop.abort());
  // As the gateway does: what the channel has left is not asked for any more.
  const load = Array.from({ length: 3 }, async () => {
    while (!stop.signal.aborted) {
      const asked = serving;
      try {
        const answer = await client.embed({ release: asked, image });
        t.is(answer.release, asked);
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
  // Asking for the old one would keep it: the store tells when it has gone.
  await until(async () => !(await heldIn(folder)).includes(release));
  stop.abort();
  await Promise.all(load);
  const error = await t.throwsAsync(() => client.embed({ release, image }));
  t.like(error, { reason: 'RELEASE_NOT_HELD' });
  t.is(failed, 0);
  t.true(answered > 10, `${answered} answered`);
});

/** What the running instances hold, by the store's word. */
async function heldIn(folder: string): Promise<readonly string[]> {
  const all = await readdir(join(folder, 'holds')).catch(() => []);
  // What is being written is hidden, and may be gone when it is read.
  const names = all.filter((name) => !name.startsWith('.'));
  const holds = await Promise.all(
    names.map(async (name) => JSON.parse(await readFile(join(folder, 'holds', name), 'utf8'))),
  );
  return holds.flatMap(({ releases }: { releases: string[] }) => releases);
}

test('a release of damaged bytes is counted and not served; the old one goes on', async (t) => {
  const { store, folder, publish, release, service, client } = await serve(t);
  const image = await picture();
  const next = await publish('vit', 2);
  const file = join(folder, 'releases', next, 'vision.safetensors');
  await rm(file);
  await writeFile(file, 'damaged');
  await store.promote('stable', next);
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
  t.true((await fetch(`http://127.0.0.1:${service.metricsPort}/healthz`)).ok);
  await store.promote('stable', await publish('chexnet'));
  await service.ready();
  t.pass();
});
