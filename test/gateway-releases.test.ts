import test from 'ava';
import { DomainError } from '../lib/errors.ts';
import { countOf, failure, gatewaySetUp, image, queueFull } from './support/gateway.ts';
import type { startGateway } from './support/stages.ts';
import { until } from './support/waiting.ts';

const { setUp } = gatewaySetUp(test);

type Client = Awaited<ReturnType<typeof startGateway>>['client'];

/** All messages of a stream: kinds of events (text once for all deltas), text, labels, releases. */
async function readStream(client: Client, request: Parameters<Client['streamReport']>[0]) {
  const kinds: string[] = [];
  const releases = new Set<string>();
  const positive: string[] = [];
  let text = '';
  for await (const message of client.streamReport(request)) {
    const { event = '', release, labels, text: delta, report } = message;
    if (event !== 'text' || kinds.at(-1) !== 'text') kinds.push(event);
    releases.add(release);
    if (report !== undefined) releases.add(report.release);
    for (const { name, state } of labels?.labels ?? []) {
      if (state === 'LABEL_STATE_POSITIVE') positive.push(name);
    }
    text += delta?.text ?? '';
  }
  return { kinds, releases: [...releases], positive, text };
}

const wholeText = 'FINDINGS: The heart is large. IMPRESSION: Cardiomegaly.';
const allKinds = ['imageAccepted', 'labels', 'text', 'report'];

test.serial(
  'a stream sends each part once it is certain, and the complete report last',
  async (t) => {
    const { client, one } = await setUp(t);
    t.deepEqual(await readStream(client, { images: [image] }), {
      kinds: allKinds,
      releases: [one],
      positive: ['Cardiomegaly'],
      text: wholeText,
    });
  },
);

test.serial(
  'a stream whose release the generator refuses after the labels shows only the other release',
  async (t) => {
    const { client, fake, store, one, two, metric } = await setUp(t);
    fake.positive = (release) => (release === one ? 'Edema' : 'Fracture');
    fake.held.generator.delete(two);
    await store.promote('stable', two);
    const targets = async () => (await client.getRelease({ name: `releases/${two}` })).channels;
    await until(async () => (await targets()).includes('stable'));
    const { kinds, releases, positive } = await readStream(client, { images: [image] });
    t.deepEqual(
      fake.calls.map(({ service, release }) => [service, release === two ? 'two' : 'one']),
      [
        ['vision', 'two'],
        ['labeler', 'two'],
        ['generator', 'two'],
        ['vision', 'one'],
        ['labeler', 'one'],
        ['generator', 'one'],
      ],
    );
    t.deepEqual(kinds, allKinds);
    t.deepEqual(releases, [one]);
    t.deepEqual(positive, ['Edema']);
    t.is(await metric('radscribe_rejected_total{reason="release_not_held"}'), '1');
  },
);

test.serial(
  'a release that is dropped mid-response ends the stream; a unary call gets the other release',
  async (t) => {
    const { client, fake, store, one, two } = await setUp(t);
    await store.promote('stable', two);
    const { calls } = fake;
    const dropAtThirdWord = (): void => {
      fake.held.generator.add(two);
      calls.length = 0;
      fake.beforeWord = async (index) => {
        if (index !== 2 || calls.at(-1)?.release !== two) return;
        fake.held.generator.delete(two);
        throw new DomainError('UNAVAILABLE', 'GONE', 'the replica died');
      };
    };
    await until(async () => (await client.generateReport({ images: [image] })).release === two);
    dropAtThirdWord();
    const error = await failure(readStream(client, { images: [image] }));
    t.is(error.code, 'UNAVAILABLE');
    t.is(error.reason, 'RELEASE_GONE');
    t.is(countOf(fake, 'vision'), 1);
    dropAtThirdWord();
    const pinned = await failure(readStream(client, { images: [image], release: two }));
    t.is(pinned.reason, 'RELEASE_GONE');
    await until(async () => {
      dropAtThirdWord();
      await client.generateReport({ images: [image] });
      return calls[0]?.release === two;
    });
    t.deepEqual(
      calls.map(({ service, release }) => [service, release === two ? 'two' : 'one']),
      [
        ['vision', 'two'],
        ['labeler', 'two'],
        ['generator', 'two'],
        ['generator', 'two'],
        ['vision', 'one'],
        ['labeler', 'one'],
        ['generator', 'one'],
      ],
    );
    t.is((await client.generateReport({ images: [image] })).release, one);
  },
);

test.serial(
  'bulk work that a full generator refuses ten times is embedded and classified once',
  async (t) => {
    const { client, fake } = await setUp(t);
    let refusals = 0;
    fake.before = async (service) => {
      if (service !== 'generator' || refusals === 10) return;
      refusals += 1;
      throw queueFull();
    };
    const request = { images: [image], priority: 'PRIORITY_BATCH' } as const;
    const { kinds, text } = await readStream(client, request);
    t.deepEqual(
      ['vision', 'labeler', 'generator'].map((service) => countOf(fake, service)),
      [1, 1, 11],
    );
    t.deepEqual(kinds, allKinds);
    t.is(text, wholeText);
    refusals = 0;
    const interactive = await failure(client.generateReport({ images: [image] }));
    t.is(interactive.reason, 'QUEUE_FULL');
    t.is(countOf(fake, 'generator'), 12);
  },
);

test.serial(
  'a stream goes on after the death of its generator, with each event once',
  async (t) => {
    for (const word of [0, 3, 6]) {
      const { client, fake } = await setUp(t);
      let deaths = 0;
      fake.beforeWord = async (index) => {
        if (index !== word || deaths === 1) return;
        deaths += 1;
        throw new DomainError('UNAVAILABLE', 'GONE', 'the replica died');
      };
      const { kinds, text } = await readStream(client, { images: [image] });
      t.deepEqual(kinds, allKinds);
      t.is(text, wholeText);
      t.deepEqual(
        ['vision', 'labeler', 'generator'].map((service) => countOf(fake, service)),
        [1, 1, 2],
      );
    }
  },
);

test.serial(
  'a release that a model service does not hold yet is not served, and no call fails meanwhile',
  async (t) => {
    const { client, fake, store, one, two } = await setUp(t);
    for (const held of Object.values(fake.held)) held.delete(two);
    await store.promote('stable', two);
    const stateOf = async (id: string) =>
      (await client.getRelease({ name: `releases/${id}` })).state;
    await until(async () => {
      t.is((await client.generateReport({ images: [image] })).release, one);
      return (await stateOf(two)) === 'RELEASE_STATE_LOADING';
    });
    t.is(await stateOf(one), 'RELEASE_STATE_SERVING');
    fake.held.vision.add(two);
    fake.held.labeler.add(two);
    t.is((await client.generateReport({ images: [image] })).release, one, 'not by two releases');
    fake.held.generator.add(two);
    await until(async () => (await client.generateReport({ images: [image] })).release === two);
    t.is(await stateOf(two), 'RELEASE_STATE_SERVING');
    const pinned = await client.generateReport({ images: [image], release: one });
    t.is(pinned.release, one);
    fake.held.vision.delete(one);
    const gone = await failure(client.generateReport({ images: [image], release: one }));
    t.is(gone.reason, 'RELEASE_NOT_HELD');
  },
);

test.serial(
  'a release that the model services have dropped is replaced at once by that of the channel',
  async (t) => {
    const { client, fake, store, one, two } = await setUp(t, { STORE_POLL_MS: '60000' });
    t.is((await client.generateReport({ images: [image] })).release, one);
    await store.promote('stable', two);
    for (const held of Object.values(fake.held)) held.delete(one);
    t.is((await client.generateReport({ images: [image] })).release, two);
  },
);

test.serial('weighted traffic is split by the request id', async (t) => {
  const { client, store, one, two } = await setUp(t, { CHANNELS: 'stable,canary' });
  await store.promote('canary', two, { weight: 0.4 });
  const canary = () => client.getRelease({ name: `releases/${two}` });
  await until(async () => (await canary()).channels.length > 0);
  t.is((await canary()).trafficShare, 0.4);
  t.is((await client.getRelease({ name: `releases/${one}` })).trafficShare, 0.6);
  const releases = new Map<string, string>();
  for (let id = 0; id < 20; id += 1) {
    const { release } = await client.generateReport({ requestId: `${id}`, images: [image] });
    releases.set(`${id}`, release);
  }
  t.deepEqual([...new Set(releases.values())].sort(), [one, two].sort());
  for (const [requestId, release] of releases) {
    t.is((await client.generateReport({ requestId, images: [image] })).release, release);
  }
});

test.serial(
  'copies go to the shadow release and are compared; callers learn nothing of them',
  async (t) => {
    const { client, fake, store, one, two, metric } = await setUp(t, {
      SHADOW_CHANNEL: 'next',
      SHADOW_SHARE: '1',
    });
    await store.promote('next', two);
    const compared = (result: string) =>
      metric(`radscribe_shadow_comparisons_total{result="${result}"}`);
    await until(async () => {
      t.is((await client.generateReport({ images: [image] })).release, one);
      return (await compared('same')) !== '';
    });
    const copies = fake.calls.filter(({ release }) => release === two);
    t.deepEqual(
      [...new Set(copies.map(({ service }) => service))],
      ['vision', 'labeler', 'generator'],
    );
    // A full service sheds a copy at once, where it would let bulk work come back.
    let refusals = 0;
    fake.before = async (service, release) => {
      if (service !== 'generator' || release !== two) return;
      refusals += 1;
      throw queueFull();
    };
    await client.generateReport({ images: [image] });
    await until(async () => (await compared('failed')) === '1');
    t.is(refusals, 1);
    const hidden = await failure(client.generateReport({ images: [image], channel: 'next' }));
    t.is(hidden.field, 'channel');
  },
);

test.serial('a model service that is unavailable for a moment is called again', async (t) => {
  const { client, fake } = await setUp(t);
  const failed = new Set<string>();
  fake.before = async (service) => {
    if (failed.has(service)) return;
    failed.add(service);
    throw new DomainError('UNAVAILABLE', 'GONE', 'for a moment');
  };
  const response = await client.generateReport({ images: [image] });
  t.is(response.report?.impression, 'Cardiomegaly.');
  t.is(failed.size, 3);
});
