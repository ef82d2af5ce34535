import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { Metadata } from 'nice-grpc';
import { DomainError } from '../lib/errors.ts';
import type { BatchGenerateReportsRequest, Sent } from '../lib/rpc/messages.ts';
import { errorOfStatus } from '../lib/rpc/status-message.ts';
import { openStore } from '../lib/releases/store/open.ts';
import { writeRandomRelease } from './support/release.ts';
import { startGateway, startStages } from './support/stages.ts';

const picture = { data: Buffer.from('picture') };
const unknown = `rs-${'0'.repeat(24)}`;

let shared: { folder: string; ids: string[] };

test.before(async () => {
  const folder = await mkdtemp(join(tmpdir(), 'radscribe-'));
  const store = openStore(join(folder, 'store'));
  const ids: string[] = [];
  for (const [seed, variant] of (['vit-label', 'vit-label', 'chexnet'] as const).entries()) {
    const place = join(folder, `${seed}`);
    await writeRandomRelease(place, variant, { seed });
    ids.push((await store.publish(place)).id);
  }
  shared = { folder, ids };
});
test.after.always(() => rm(shared.folder, { recursive: true }));

/** A store of its own channels over the same releases. */
async function storeOf(t: ExecutionContext, channels: Record<string, string>) {
  const url = await mkdtemp(join(tmpdir(), 'radscribe-'));
  t.teardown(() => rm(url, { recursive: true }));
  await cp(join(shared.folder, 'store'), url, { recursive: true });
  const store = openStore(url);
  for (const [name, release] of Object.entries(channels)) await store.promote(name, release);
  return { url, store };
}

async function setUp(t: ExecutionContext, env: Record<string, string> = {}) {
  const [one = '', two = '', plain = ''] = shared.ids;
  const { url, store } = await storeOf(t, { stable: one, plain });
  const fake = await startStages(t, shared.ids);
  const started = await startGateway(t, fake, { STORE: url, CHANNELS: 'stable,plain', ...env });
  return { ...started, fake, store, one, two, plain };
}

const failure = async (promise: Promise<unknown>): Promise<DomainError> => {
  try {
    await promise;
  } catch (error) {
    if (error instanceof DomainError) return error;
    throw error;
  }
  throw new Error('it did not fail');
};

test.serial(
  'a study goes through the chain, every hop with the release that the channel points to',
  async (t) => {
    const { client, fake, one, metric } = await setUp(t);
    const response = await client.generateReport({ requestId: 'r-1', images: [picture] });
    t.is(response.requestId, 'r-1');
    t.is(response.report?.findings, 'The heart is large.');
    t.is(response.report?.impression, 'Cardiomegaly.');
    t.is(response.release, one);
    t.is(response.variant, 'vit-label');
    t.is(response.labels.length, 14);
    t.is(response.finishReason, 'FINISH_REASON_END');
    t.deepEqual(response.tokens, { image: 2, text: 'cardiomegaly'.length, generated: 7 });
    t.deepEqual(
      fake.calls.map(({ service, release }) => [service, release]),
      [
        ['vision', one],
        ['labeler', one],
        ['generator', one],
      ],
    );
    t.true(response.timings.some(({ stage }) => stage === 'vision.inference'));
    t.is(
      await metric('radscribe_stage_duration_seconds_count{stage="vision",variant="vit-label"}'),
      '1',
    );
    t.is(await metric('radscribe_in_flight'), '0');
  },
);

test.serial('a plain variant is not classified unless asked', async (t) => {
  const { client, fake, plain } = await setUp(t);
  const target = { variant: 'chexnet', images: [picture] };
  const response = await client.generateReport(target);
  t.is(response.release, plain);
  t.is(response.labels.length, 0);
  t.false(fake.calls.some(({ service }) => service === 'labeler'));
  const asked = await client.generateReport({ ...target, includeLabels: true });
  t.is(asked.labels.length, 14);
});

test.serial('a stream says what it knows as it knows it, and ends with the whole', async (t) => {
  const { client } = await setUp(t);
  const events: string[] = [];
  let text = '';
  for await (const { event, text: delta, report } of client.streamReport({ images: [picture] })) {
    if (event !== events.at(-1)) events.push(event ?? '');
    text += delta?.text ?? '';
    if (report) t.is(report.report?.impression, 'Cardiomegaly.');
  }
  t.deepEqual(events, ['imageAccepted', 'labels', 'text', 'report']);
  t.is(text, 'FINDINGS: The heart is large. IMPRESSION: Cardiomegaly.');
});

test.serial('each item of a batch has its own status', async (t) => {
  const { client, fake } = await setUp(t);
  async function* items(): AsyncGenerator<Sent<BatchGenerateReportsRequest>> {
    for (const itemId of ['a', 'b', 'c']) yield { itemId, request: { images: [picture] } };
    yield { itemId: 'a', request: { images: [picture] } };
    yield { itemId: 'bad', request: { images: [{ data: Buffer.from('bad') }] } };
    yield { itemId: 'none' };
    yield { itemId: '', request: { images: [picture] } };
  }
  const results: string[] = [];
  for await (const { itemId, report, error } of client.batchGenerateReports(items())) {
    const problem = error && (errorOfStatus(error) as DomainError);
    results.push(
      `${itemId}: ${report?.report?.impression ?? `${problem?.reason} ${problem?.field}`}`,
    );
  }
  t.deepEqual(results.sort(), [
    ': ITEM_ID_MISSING itemId',
    'a: Cardiomegaly.',
    'a: ITEM_ID_REPEATED itemId',
    'b: Cardiomegaly.',
    'bad: IMAGE_FORMAT_UNSUPPORTED images[0].data',
    'c: Cardiomegaly.',
    'none: REQUEST_MISSING request',
  ]);
  t.is(fake.calls.filter(({ service }) => service === 'generator').length, 3);
});

test.serial('what is wrong with a request is named by its field', async (t) => {
  const { client } = await setUp(t);
  const images = [picture];
  const long = 'x'.repeat(3000);
  const cases: [Parameters<typeof client.generateReport>[0], string][] = [
    [{}, 'images'],
    [{ images: Array.from({ length: 9 }, () => picture) }, 'images'],
    [{ images: [picture, { data: Buffer.alloc(0) }] }, 'images[1].data'],
    [{ images: [picture, { data: Buffer.from('bad') }] }, 'images[1].data'],
    [{ images: [{ ...picture, view: 77 as never }] }, 'images[0].view'],
    [{ images, requestId: long }, 'requestId'],
    [{ images, requestId: 'a b' }, 'requestId'],
    [{ images, indication: long }, 'indication'],
    [{ images, release: 'latest' }, 'release'],
    [{ images, release: unknown }, 'release'],
    [{ images, channel: 'nightly' }, 'channel'],
    [{ images, variant: 'vgg' }, 'variant'],
    [{ images, priority: 9 as never }, 'priority'],
    [{ images, decoding: { beams: 0 } }, 'decoding.beams'],
    [{ images, decoding: { topP: Number.NaN } }, 'decoding.topP'],
    [{ images, decoding: { temperature: 0 } }, 'decoding.temperature'],
    [{ images, decoding: { strategy: 12 as never } }, 'decoding.strategy'],
    [{ images, decoding: { minTokens: 5, maxTokens: 4 } }, 'decoding.minTokens'],
  ];
  for (const [request, field] of cases) {
    const error = await failure(client.generateReport(request));
    t.is(error.code, 'INVALID_ARGUMENT', error.message);
    t.is(error.field, field);
    t.true(error.message.startsWith(`${field}: `), error.message);
  }
});

test.serial('releases are listed with what they are and whether they answer', async (t) => {
  const { client, one, two, plain } = await setUp(t);
  const { releases } = await client.listReleases({});
  const told = new Map(
    releases.map(({ id, state, channels }) => [id, `${state} ${channels.join()}`]),
  );
  t.is(told.get(one), 'RELEASE_STATE_SERVING stable');
  t.is(told.get(two), 'RELEASE_STATE_STORED ');
  t.is(told.get(plain), 'RELEASE_STATE_SERVING plain');
  const first = await client.listReleases({ pageSize: 2 });
  t.is(first.releases.length, 2);
  const rest = await client.listReleases({ pageSize: 2, pageToken: first.nextPageToken });
  t.is(rest.releases.length, 1);
  t.is(rest.nextPageToken, '');
  const got = await client.getRelease({ name: `releases/${one}` });
  t.is(got.variant, 'vit-label');
  t.is(got.trafficShare, 1);
  t.true(got.bytes > 1000);
  t.is((await failure(client.getRelease({ name: one }))).code, 'INVALID_ARGUMENT');
  t.is((await failure(client.getRelease({ name: `releases/${unknown}` }))).code, 'NOT_FOUND');
  t.is((await failure(client.listReleases({ pageSize: -1 }))).field, 'pageSize');
  t.is((await failure(client.listReleases({ pageToken: 'x' }))).field, 'pageToken');
});

test.serial(
  'a release that no stage holds yet is not served, and no call fails meanwhile',
  async (t) => {
    const { client, fake, store, one, two } = await setUp(t);
    for (const held of Object.values(fake.held)) held.delete(two);
    await store.promote('stable', two);
    await sleep(60);
    t.is((await client.generateReport({ images: [picture] })).release, one);
    const told = await client.getRelease({ name: `releases/${two}` });
    t.is(told.state, 'RELEASE_STATE_LOADING');
    fake.held.vision.add(two);
    fake.held.labeler.add(two);
    t.is((await client.generateReport({ images: [picture] })).release, one, 'not by two releases');
    fake.held.generator.add(two);
    await sleep(600);
    t.is((await client.generateReport({ images: [picture] })).release, two);
    const pinned = await client.generateReport({ images: [picture], release: one });
    t.is(pinned.release, one);
    fake.held.vision.delete(one);
    const gone = await failure(client.generateReport({ images: [picture], release: one }));
    t.is(gone.reason, 'RELEASE_NOT_HELD');
  },
);

test.serial(
  'a release that the stages have dropped is left at once for the one of the channel',
  async (t) => {
    const { client, fake, store, one, two } = await setUp(t, { STORE_POLL_MS: '60000' });
    t.is((await client.generateReport({ images: [picture] })).release, one);
    await store.promote('stable', two);
    for (const held of Object.values(fake.held)) held.delete(one);
    t.is((await client.generateReport({ images: [picture] })).release, two);
  },
);

test.serial('weighted traffic is split by the request id', async (t) => {
  const { client, store, one, two } = await setUp(t, { CHANNELS: 'stable,canary' });
  await store.promote('canary', two, { weight: 0.5 });
  await sleep(60);
  const releases = new Map<string, string>();
  for (let id = 0; id < 20; id += 1) {
    const { release } = await client.generateReport({ requestId: `${id}`, images: [picture] });
    releases.set(`${id}`, release);
  }
  t.deepEqual([...new Set(releases.values())].sort(), [one, two].sort());
  for (const [requestId, release] of releases) {
    t.is((await client.generateReport({ requestId, images: [picture] })).release, release);
  }
});

test.serial('copies go to the shadow release, and are compared and never seen', async (t) => {
  const { client, fake, store, one, two, metric } = await setUp(t, {
    SHADOW_CHANNEL: 'next',
    SHADOW_SHARE: '1',
  });
  await store.promote('next', two);
  await sleep(60);
  t.is((await client.generateReport({ images: [picture] })).release, one);
  await sleep(100);
  t.true(fake.calls.some(({ release }) => release === two));
  t.is(await metric('radscribe_shadow_comparisons_total{result="same"}'), '1');
  const hidden = await failure(client.generateReport({ images: [picture], channel: 'next' }));
  t.is(hidden.field, 'channel');
});

test.serial(
  'the deadline of the caller goes along, and an expired or cancelled call leaves the models',
  async (t) => {
    const { client, fake } = await setUp(t);
    await client.generateReport({ images: [picture] });
    fake.calls.length = 0;
    fake.pauseMs = 100;
    const error = await failure(
      client.generateReport({ images: [picture] }, { deadline: Date.now() + 400 }),
    );
    t.is(error.code, 'DEADLINE_EXCEEDED');
    const seen = fake.calls.map(({ call }) => (call.deadline ?? 0) - Date.now());
    t.true(seen.length === 3 && seen.every((leftMs) => leftMs < 400), seen.join());
    await sleep(150);
    t.true(fake.calls.at(-1)?.call.signal.aborted, 'the generator was told');
    const controller = new AbortController();
    const stream = client.streamReport({ images: [picture] }, { signal: controller.signal });
    const cancelled = await failure(
      (async () => {
        for await (const { event } of stream) if (event === 'text') controller.abort();
      })(),
    );
    t.is(cancelled.code, 'CANCELLED');
    await sleep(150);
    t.true(fake.calls.at(-1)?.call.signal.aborted);
  },
);

test.serial('a hop that is unavailable for a moment is called again', async (t) => {
  const { client, fake } = await setUp(t);
  const failed = new Set<string>();
  fake.before = async (service) => {
    if (failed.has(service)) return;
    failed.add(service);
    throw new DomainError('UNAVAILABLE', 'GONE', 'for a moment');
  };
  const response = await client.generateReport({ images: [picture] });
  t.is(response.report?.impression, 'Cardiomegaly.');
  t.is(failed.size, 3);
});

test.serial(
  'a full gateway refuses interactive calls at once, and bulk work waits for its turn',
  async (t) => {
    const { client, fake, metric } = await setUp(t, { QUEUE_LIMIT: '1' });
    fake.pauseMs = 10;
    const first = client.generateReport({ images: [picture] });
    await sleep(20);
    const error = await failure(client.generateReport({ images: [picture] }));
    t.is(error.code, 'RESOURCE_EXHAUSTED');
    t.true(Number(error.metadata['retryAfterMs']) > 0);
    t.is(await metric('radscribe_rejected_total{reason="queue_full"}'), '1');
    const items = [{ itemId: 'a', request: { images: [picture] } }];
    let reports = 0;
    for await (const { report } of client.batchGenerateReports(
      (async function* each() {
        yield* items;
      })(),
    )) {
      if (report) reports += 1;
    }
    t.is(reports, 1);
    await first;
  },
);

test.serial('a quota is per client, and answers when to come again', async (t) => {
  const { client, metric } = await setUp(t, { QUOTA_PER_MINUTE: '1', QUOTA_BURST: '2' });
  for (let count = 0; count < 2; count += 1) await client.generateReport({ images: [picture] });
  const error = await failure(client.generateReport({ images: [picture] }));
  t.is(error.reason, 'QUOTA_EXCEEDED');
  t.true(Number(error.metadata['retryAfterMs']) > 50_000);
  t.is(await metric('radscribe_rejected_total{reason="quota"}'), '1');
});

test.serial('with tokens configured, nobody is answered without one', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'radscribe-'));
  t.teardown(() => rm(folder, { recursive: true }));
  const tokens = join(folder, 'tokens');
  await writeFile(tokens, 'viewer s3cret\n');
  const { client, metric, fake } = await setUp(t, { AUTH_TOKENS_FILE: tokens });
  t.is((await failure(client.generateReport({ images: [picture] }))).code, 'UNAUTHENTICATED');
  t.is((await failure(client.listReleases({}))).code, 'UNAUTHENTICATED');
  t.is(fake.calls.length, 0);
  const metadata = Metadata({ authorization: 'Bearer s3cret' });
  const response = await client.generateReport({ images: [picture] }, { metadata });
  t.is(response.report?.impression, 'Cardiomegaly.');
  t.is(await metric('radscribe_rejected_total{reason="unauthenticated"}'), '2');
});

test.serial('a store that is empty, or empties, is UNAVAILABLE and not ready', async (t) => {
  const { url } = await storeOf(t, {});
  const fake = await startStages(t, shared.ids);
  const { client, gateway } = await startGateway(t, fake, { STORE: url });
  const error = await failure(client.generateReport({ images: [picture] }));
  t.is(error.reason, 'NO_RELEASE');
  const ready = await fetch(`http://127.0.0.1:${gateway.metricsPort}/readyz`);
  t.is(ready.status, 503);
});

test.serial('a closing gateway lets the calls under way end', async (t) => {
  const { client, gateway, fake } = await setUp(t);
  fake.pauseMs = 20;
  const running = client.generateReport({ images: [picture] });
  await sleep(40);
  await gateway.close();
  t.is((await running).report?.impression, 'Cardiomegaly.');
  t.is((await failure(client.generateReport({ images: [picture] }))).code, 'UNAVAILABLE');
});
