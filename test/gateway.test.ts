import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { Metadata } from 'nice-grpc';
import type { DomainError } from '../lib/errors.ts';
import type { BatchGenerateReportsRequest, Sent } from '../lib/rpc/messages.ts';
import type { Call } from '../lib/rpc/server.ts';
import { errorOfStatus } from '../lib/rpc/status-message.ts';
import { countOf, failure, gatewaySetUp, image } from './support/gateway.ts';
import { startGateway, startStages } from './support/stages.ts';
import { getPage, until } from './support/waiting.ts';

const unknown = `rs-${'0'.repeat(24)}`;
const { ids, setUp, storeOf } = gatewaySetUp(test);

test.serial(
  'a study goes through the chain, every call with the release that the channel points to',
  async (t) => {
    const { client, fake, one, metric } = await setUp(t);
    const response = await client.generateReport({ requestId: 'r-1', images: [image] });
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

test.serial('a plain variant is classified only if the request includes labels', async (t) => {
  const { client, fake, plain } = await setUp(t);
  const target = { variant: 'chexnet', images: [image] };
  const response = await client.generateReport(target);
  t.is(response.release, plain);
  t.is(response.labels.length, 0);
  t.false(fake.calls.some(({ service }) => service === 'labeler'));
  const labelled = await client.generateReport({ ...target, includeLabels: true });
  t.is(labelled.labels.length, 14);
});

test.serial('each item of a batch has its own status', async (t) => {
  const { client, fake } = await setUp(t);
  async function* items(): AsyncGenerator<Sent<BatchGenerateReportsRequest>> {
    for (const itemId of ['a', 'b', 'c']) yield { itemId, request: { images: [image] } };
    yield { itemId: 'a', request: { images: [image] } };
    yield { itemId: 'bad', request: { images: [{ data: Buffer.from('bad') }] } };
    yield { itemId: 'none' };
    yield { itemId: '', request: { images: [image] } };
  }
  const results: string[] = [];
  for await (const { itemId, report, error } of client.batchGenerateReports(items())) {
    const problem = error && (errorOfStatus(error) as DomainError);
    results.push(
      `${itemId}: ${report?.report?.impression ?? `${problem?.reason} ${problem?.field}`}`,
    );
  }
  t.deepEqual(results.sort(), [
    ': ITEM_ID_MISSING item_id',
    'a: Cardiomegaly.',
    'a: ITEM_ID_REPEATED item_id',
    'b: Cardiomegaly.',
    'bad: IMAGE_FORMAT_UNSUPPORTED images[0].data',
    'c: Cardiomegaly.',
    'none: REQUEST_MISSING request',
  ]);
  t.is(fake.calls.filter(({ service }) => service === 'generator').length, 3);
});

test.serial('an invalid field of a request is named by its proto path', async (t) => {
  const { client } = await setUp(t);
  const images = [image];
  const cases: [Parameters<typeof client.generateReport>[0], string, string][] = [
    [{}, 'images', 'IMAGES_COUNT'],
    [{ images: Array.from({ length: 9 }, () => image) }, 'images', 'IMAGES_COUNT'],
    [{ images: [image, { data: Buffer.alloc(0) }] }, 'images[1].data', 'IMAGE_EMPTY'],
    [
      { images: [image, { data: Buffer.from('bad') }] },
      'images[1].data',
      'IMAGE_FORMAT_UNSUPPORTED',
    ],
    [{ images: [{ ...image, view: 77 as never }] }, 'images[0].view', 'ENUM_UNKNOWN'],
    [{ images, requestId: 'x'.repeat(129) }, 'request_id', 'TEXT_TOO_LONG'],
    [{ images, requestId: 'a b' }, 'request_id', 'NAME_INVALID'],
    [{ images, indication: 'x'.repeat(2001) }, 'indication', 'TEXT_TOO_LONG'],
    [{ images, release: 'latest' }, 'release', 'RELEASE_UNKNOWN'],
    [{ images, release: unknown }, 'release', 'RELEASE_UNKNOWN'],
    [{ images, channel: 'nightly' }, 'channel', 'CHANNEL_UNKNOWN'],
    [{ images, channel: 'a b' }, 'channel', 'NAME_INVALID'],
    [{ images, variant: 'vgg' }, 'variant', 'VARIANT_UNKNOWN'],
    [{ images, priority: 9 as never }, 'priority', 'ENUM_UNKNOWN'],
    [{ images, decoding: { beams: 0 } }, 'decoding.beams', 'DECODING_INVALID'],
    [{ images, decoding: { topP: Number.NaN } }, 'decoding.top_p', 'DECODING_INVALID'],
    [{ images, decoding: { temperature: 0 } }, 'decoding.temperature', 'DECODING_INVALID'],
    [{ images, decoding: { strategy: 12 as never } }, 'decoding.strategy', 'DECODING_INVALID'],
    [
      { images, decoding: { minTokens: 5, maxTokens: 4 } },
      'decoding.min_tokens',
      'DECODING_INVALID',
    ],
  ];
  for (const [request, field, reason] of cases) {
    const error = await failure(client.generateReport(request));
    t.is(error.code, 'INVALID_ARGUMENT', error.message);
    t.deepEqual([error.field, error.reason], [field, reason]);
    t.true(error.message.startsWith(`${field}: `), error.message);
  }
});

test.serial(
  'names and texts of the greatest length, and as many images, are accepted',
  async (t) => {
    const { client, fake } = await setUp(t);
    const response = await client.generateReport({
      requestId: 'x'.repeat(128),
      images: Array.from({ length: 8 }, () => image),
      indication: ` ${'x'.repeat(1998)} `,
      variant: 'chexnet',
    });
    t.is(response.requestId.length, 128);
    t.is(response.tokens?.text, 1998, 'the indication is trimmed');
    t.is(countOf(fake, 'vision'), 8);
    const made = await client.generateReport({ images: [image] });
    t.regex(made.requestId, /^[0-9a-f-]{36}$/);
  },
);

test.serial('releases are listed with what they are and whether they answer', async (t) => {
  const { client, one, two, plain } = await setUp(t);
  const { releases } = await client.listReleases({});
  const listed = new Map(
    releases.map(({ id, state, channels }) => [id, `${state} ${channels.join()}`]),
  );
  t.is(listed.get(one), 'RELEASE_STATE_SERVING stable');
  t.is(listed.get(two), 'RELEASE_STATE_STORED ');
  t.is(listed.get(plain), 'RELEASE_STATE_SERVING plain');
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
  t.is((await failure(client.listReleases({ pageSize: -1 }))).field, 'page_size');
  t.is((await failure(client.listReleases({ pageToken: 'x' }))).field, 'page_token');
});

test.serial(
  'the deadline of the caller is passed on, and an expired or cancelled call ends at the models',
  async (t) => {
    const { client, fake } = await setUp(t);
    await client.generateReport({ images: [image] });
    fake.calls.length = 0;
    const endOf = ({ signal }: Call) =>
      new Promise<void>((resolve) => {
        if (signal.aborted) resolve();
        signal.addEventListener('abort', () => resolve());
      });
    const left: Promise<void>[] = [];
    fake.beforeWord = (index, call) => {
      if (index !== 3) return Promise.resolve();
      left.push(endOf(call));
      return left.at(-1)!;
    };
    // Twice as much time again and again, until it is enough to get so far.
    let limitMs = 500;
    fake.before = async (_service, _release, { deadline = Infinity }) => {
      // The header counts whole milliseconds.
      t.true(deadline - Date.now() <= limitMs + 1, `${deadline - Date.now()} ms left`);
    };
    while (left.length === 0) {
      limitMs *= 2;
      const deadline = Date.now() + limitMs;
      const error = await failure(client.generateReport({ images: [image] }, { deadline }));
      t.is(error.code, 'DEADLINE_EXCEEDED');
    }
    await left[0];
    fake.before = () => Promise.resolve();
    left.length = 1;
    const controller = new AbortController();
    const stream = client.streamReport({ images: [image] }, { signal: controller.signal });
    const cancelled = await failure(
      (async () => {
        for await (const { event } of stream) if (event === 'text') controller.abort();
      })(),
    );
    t.is(cancelled.code, 'CANCELLED');
    await left[1];
    t.is(left.length, 2);
  },
);

test.serial(
  'a full gateway refuses interactive calls at once, and bulk work waits for its turn',
  async (t) => {
    const { client, fake, metric } = await setUp(t, { QUEUE_LIMIT: '1' });
    const finish = Promise.withResolvers<void>();
    fake.beforeWord = () => finish.promise;
    const first = client.generateReport({ images: [image] });
    await until(() => countOf(fake, 'generator') === 1);
    const error = await failure(client.generateReport({ images: [image] }));
    t.is(error.reason, 'GATEWAY_FULL');
    t.true(Number(error.metadata['retryAfterMs']) > 0);
    t.is(await metric('radscribe_rejected_total{reason="queue_full"}'), '1');
    t.is(await metric('radscribe_queue_bytes'), `${image.data.length}`);
    const bulk = client.generateReport({ images: [image], priority: 'PRIORITY_BATCH' });
    const items = [{ itemId: 'a', request: { images: [image] } }];
    const batch = client.batchGenerateReports(
      (async function* each() {
        yield* items;
      })(),
    );
    const reports: unknown[] = [];
    const reading = (async () => {
      for await (const { report } of batch) reports.push(report);
    })();
    finish.resolve();
    await Promise.all([first, bulk, reading]);
    t.is(reports.filter(Boolean).length, 1);
    t.is(await metric('radscribe_rejected_total{reason="queue_full"}'), '1');
  },
);

test.serial('a quota is per client, and its error has a retry delay', async (t) => {
  const { client, metric } = await setUp(t, { QUOTA_PER_MINUTE: '1', QUOTA_BURST: '2' });
  for (let count = 0; count < 2; count += 1) await client.generateReport({ images: [image] });
  const error = await failure(client.generateReport({ images: [image] }));
  t.is(error.reason, 'QUOTA_EXCEEDED');
  t.true(Number(error.metadata['retryAfterMs']) > 50_000);
  t.is(await metric('radscribe_rejected_total{reason="quota"}'), '1');
});

test.serial('with tokens configured, every call needs one', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'radscribe-'));
  t.teardown(() => rm(folder, { recursive: true }));
  const tokens = join(folder, 'tokens');
  await writeFile(tokens, 'viewer s3cret\n');
  const { client, metric, fake } = await setUp(t, { AUTH_TOKENS_FILE: tokens });
  t.is((await failure(client.generateReport({ images: [image] }))).code, 'UNAUTHENTICATED');
  t.is((await failure(client.listReleases({}))).code, 'UNAUTHENTICATED');
  t.is(fake.calls.length, 0);
  const metadata = Metadata({ authorization: 'Bearer s3cret' });
  const response = await client.generateReport({ images: [image] }, { metadata });
  t.is(response.report?.impression, 'Cardiomegaly.');
  t.is(await metric('radscribe_rejected_total{reason="unauthenticated"}'), '2');
});

test.serial('a store that is empty, or empties, is UNAVAILABLE and not ready', async (t) => {
  const { url } = await storeOf(t, {});
  const fake = await startStages(t, ids);
  const { client, gateway } = await startGateway(t, fake, { STORE: url });
  const error = await failure(client.generateReport({ images: [image] }));
  t.is(error.reason, 'NO_RELEASE');
  const ready = await getPage(`http://127.0.0.1:${gateway.metricsPort}/readyz`);
  t.is(ready.status, 503);
});

test.serial('a closing gateway lets the calls in flight end', async (t) => {
  const { client, gateway, fake } = await setUp(t);
  const finish = Promise.withResolvers<void>();
  fake.beforeWord = () => finish.promise;
  const running = client.generateReport({ images: [image] });
  await until(() => countOf(fake, 'generator') === 1);
  const closed = gateway.close();
  await until(async () => {
    const ready = await getPage(`http://127.0.0.1:${gateway.metricsPort}/readyz`);
    return ready.status === 503;
  });
  finish.resolve();
  await closed;
  t.is((await running).report?.impression, 'Cardiomegaly.');
  t.is((await failure(client.generateReport({ images: [image] }))).code, 'UNAVAILABLE');
});
