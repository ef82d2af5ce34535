import test from 'ava';
import { DomainError } from '../lib/errors.ts';
import { concurrently } from '../services/gateway/concurrently.ts';
import { Outbox } from '../services/gateway/outbox.ts';
import { Permits } from '../services/gateway/permits.ts';
import { Quota } from '../services/gateway/quota.ts';
import { chooseRoute, type Route } from '../services/gateway/route.ts';
import { chooseView, usableImages, type View, viewWarnings } from '../services/gateway/views.ts';

const routes: readonly Route[] = [
  { channel: 'stable', release: 'rs-1', variant: 'vit-label' },
  { channel: 'canary', release: 'rs-2', variant: 'vit-label', weight: 0.1 },
  { channel: 'stable-chexnet', release: 'rs-3', variant: 'chexnet' },
];

test('a release, a channel or a variant is used as given', (t) => {
  t.is(chooseRoute(routes, { release: 'rs-2' }, 'k').channel, 'canary');
  t.is(chooseRoute(routes, { channel: 'stable' }, 'k').release, 'rs-1');
  t.is(chooseRoute(routes, { variant: 'chexnet' }, 'k').release, 'rs-3');
  const second = { ...routes[0]!, channel: 'second', release: 'rs-4' };
  t.is(chooseRoute([...routes.slice(0, 1), second], {}, 'k').release, 'rs-1', 'the first channel');
});

test('what is not served is refused by the name of its field, with what is', (t) => {
  for (const field of ['release', 'channel', 'variant'] as const) {
    const error = t.throws(() => chooseRoute(routes, { [field]: 'x' }, 'k'), {
      instanceOf: DomainError,
    });
    t.is(error.code, 'INVALID_ARGUMENT');
    t.is(error.field, field);
    t.regex(error.message, new RegExp(`served: ${routes[0]![field]}`));
  }
  const nothing = t.throws(() => chooseRoute([], {}, 'k'), { instanceOf: DomainError });
  t.is(nothing.code, 'UNAVAILABLE');
});

test('a weighted channel gets its share, and a key always the same release', (t) => {
  const chosen = Array.from({ length: 5000 }, (_, id) => chooseRoute(routes, {}, `key-${id}`));
  const share = chosen.filter(({ channel }) => channel === 'canary').length / chosen.length;
  t.true(Math.abs(share - 0.1) < 0.02, `canary got ${share}`);
  for (const [id, route] of chosen.entries()) {
    t.is(chooseRoute(routes, {}, `key-${id}`), route);
  }
});

test('the shares of several canaries add up, and all of it is all', (t) => {
  const weighted = [routes[0]!, { ...routes[1]!, weight: 0.5 }, { ...routes[1]!, weight: 0.5 }];
  const chosen = Array.from({ length: 1000 }, (_, id) => chooseRoute(weighted, {}, `${id}`));
  t.false(chosen.includes(weighted[0]!));
  const half = chosen.filter((route) => route === weighted[1]).length;
  t.true(half > 400 && half < 600);
});

test('PA goes before an unstated view, that before AP, and lateral comes last', (t) => {
  const views: (View | undefined)[] = ['LATERAL', 'AP', undefined, 'PA', 'PA'];
  const chosen: number[] = [];
  for (const length of [5, 3, 2, 1]) {
    chosen.push(chooseView(views.slice(0, length).map((view) => ({ view }))));
  }
  t.deepEqual(chosen, [3, 2, 1, 0]);
});

test('laterals are left out only where there is a frontal view', (t) => {
  t.deepEqual(usableImages([{ view: 'LATERAL' }, { view: undefined }]), [1]);
  t.deepEqual(usableImages([{ view: 'LATERAL' }]), [0]);
});

test('warnings name the image and say how it was used', (t) => {
  const codes = (images: Parameters<typeof viewWarnings>[0], chosen: number) =>
    viewWarnings(images, chosen).map(({ code, field }) => `${code} ${field}`);
  t.deepEqual(codes([{ view: 'PA' }], 0), []);
  t.deepEqual(codes([{ view: undefined }, { view: 'LATERAL' }], 0), ['LATERAL_NOT_USED images[1]']);
  t.deepEqual(codes([{ view: 'LATERAL', outOfDistribution: 2 }], 0), [
    'LATERAL_ONLY images[0]',
    'OUT_OF_DISTRIBUTION images[0]',
  ]);
  t.deepEqual(codes([{ view: 'AP' }, { view: 'AP', outOfDistribution: 1 }], 0), [
    'VIEW_NOT_PA images[0]',
    'FRONTAL_NOT_USED images[1]',
  ]);
  t.deepEqual(codes([{ view: undefined }, { view: 'PA', outOfDistribution: 1.01 }], 1), [
    'FRONTAL_NOT_USED images[0]',
    'OUT_OF_DISTRIBUTION images[1]',
  ]);
  const [notUsed, far] = viewWarnings([{ view: 'PA' }, { view: 'PA', outOfDistribution: 2.34 }], 0);
  t.regex(notUsed!.message, /from images\[0\]/);
  t.regex(far!.message, /distance 2\.3, expected at most 1/);
});

test('a quota lets a burst through, then an even rate, for each client by itself', (t) => {
  let now = 0;
  const quota = new Quota({ perSecond: 2, burst: 3 }, () => now);
  const passes = (client: string, count = 1): boolean => {
    try {
      quota.take(client, count);
      return true;
    } catch (error) {
      if (!(error instanceof DomainError) || error.reason !== 'QUOTA_EXCEEDED') throw error;
      t.true(Number(error.metadata['retryAfterMs']) > 0);
      return false;
    }
  };
  t.deepEqual(
    [1, 2, 3, 4].map(() => passes('a')),
    [true, true, true, false],
  );
  t.true(passes('b'));
  now += 500;
  t.deepEqual(
    [1, 2].map(() => passes('a')),
    [true, false],
  );
  now += 60_000;
  t.deepEqual([passes('a', 5), passes('a')], [true, false], 'a large study leaves a debt');
  now += 1500;
  t.true(passes('a'));
});

test('no quota is no limit', (t) => {
  const quota = new Quota({ perSecond: 0, burst: 0 });
  t.notThrows(() => quota.take('a', 1e9));
});

test('a quota names the delay after which the request is admitted', (t) => {
  let now = 0;
  const quota = new Quota({ perSecond: 0.5, burst: 4 }, () => now);
  quota.take('a', 3);
  const delayOf = (count: number): number => {
    const error = t.throws(() => quota.take('a', count), { instanceOf: DomainError });
    t.regex(error.message, /30 images a minute/);
    return Number(error.metadata['retryAfterMs']);
  };
  // One token is left; a request of more than a burst needs a full bucket.
  t.is(delayOf(2), 2000);
  t.is(delayOf(9), 6000);
  now += 1000;
  t.is(delayOf(2), 1000);
  now += 1000;
  t.notThrows(() => quota.take('a', 2));
});

test('the client that has been idle longest loses its bucket first', (t) => {
  let now = 0;
  const quota = new Quota({ perSecond: 0.001, burst: 1 }, () => (now += 1));
  quota.take('first', 1);
  quota.take('second', 1);
  t.throws(() => quota.take('first', 1), { message: /exhausted/ });
  for (let id = 0; id < 9999; id += 1) quota.take(`${id}`, 1);
  t.throws(() => quota.take('first', 1), { message: /exhausted/ }, 'it was used after the second');
  t.notThrows(() => quota.take('second', 1));
});

test('permits limit requests and the bytes of their images, its own included', (t) => {
  const permits = new Permits({ maxRequests: 3, maxBytes: 100 });
  const refused = (bytes: number, message: RegExp): void => {
    const error = t.throws(() => permits.take(bytes), { instanceOf: DomainError, message });
    t.like(error, { code: 'RESOURCE_EXHAUSTED', reason: 'GATEWAY_FULL' });
    t.is(error.metadata['retryAfterMs'], '200');
  };
  const first = permits.take(60);
  refused(41, /1 of 3 requests, 60 of 100 bytes/);
  const second = permits.take(40);
  t.deepEqual([permits.requests, permits.bytes], [2, 100]);
  refused(1, /100 of 100 bytes/);
  const third = permits.take(0);
  refused(0, /3 of 3 requests/);
  first();
  t.deepEqual([permits.requests, permits.bytes], [2, 40]);
  second();
  third();
  t.deepEqual([permits.requests, permits.bytes], [0, 0]);
  const large = permits.take(1000);
  t.is(permits.bytes, 1000, 'a request above the limit is admitted alone');
  refused(0, /1000 of 100 bytes/);
  large();
});

test('more than half of the permits in use is busy', (t) => {
  const permits = new Permits({ maxRequests: 4, maxBytes: 100 });
  const busy = [1, 2, 3].map(() => (permits.take(1), permits.busy));
  t.deepEqual(busy, [false, false, true]);
});

const route: Route = routes[0]!;

test('an outbox joins text that waits, and keeps everything else in order', async (t) => {
  const outbox = new Outbox<{ readonly view: undefined }>();
  const text = (value: string, tokens: number) =>
    outbox.push({ kind: 'text', text: value, tokens }, route);
  outbox.push({ kind: 'image', index: 1, image: { view: undefined } }, route);
  outbox.push({ kind: 'labels', labels: [] }, route);
  text('The', 1);
  text(' heart', 2);
  t.deepEqual((await outbox.take())?.event, {
    kind: 'image',
    index: 1,
    image: { view: undefined },
  });
  t.deepEqual(await outbox.take(), { event: { kind: 'labels', labels: [] }, route });
  t.deepEqual(await outbox.take(), {
    event: { kind: 'text', text: 'The heart', tokens: 2 },
    route,
  });
  const waiting = outbox.take();
  text(' is', 3);
  t.deepEqual((await waiting)?.event, { kind: 'text', text: ' is', tokens: 3 });
  text(' large.', 4);
  outbox.close();
  t.deepEqual((await outbox.take())?.event, { kind: 'text', text: ' large.', tokens: 4 });
  t.is(await outbox.take(), undefined);
  const late = new Outbox();
  const last = late.take();
  late.close();
  t.is(await last, undefined);
});

test('items are worked on as there is room, and results come as they complete', async (t) => {
  const finish = [0, 1, 2, 3].map(() => Promise.withResolvers<void>());
  const begun: number[] = [];
  let taken = 0;
  async function* items(): AsyncGenerator<number> {
    for (; taken < 4;) yield taken++;
  }
  const results = concurrently(items(), 2, async (item) => {
    begun.push(item);
    await finish[item]!.promise;
    return item;
  });
  const first = results.next();
  while (begun.length < 2) await new Promise(setImmediate);
  finish[1]!.resolve();
  t.is((await first).value, 1);
  t.deepEqual(begun, [0, 1], 'the third is not begun before a result is read');
  for (const { resolve } of finish) resolve();
  const rest: number[] = [];
  for await (const item of results) rest.push(item);
  t.deepEqual(new Set(rest), new Set([0, 2, 3]));
  t.deepEqual(begun, [0, 1, 2, 3]);
});

test('a source of items that fails ends the results with its error, and one is closed that is left', async (t) => {
  let closed = 0;
  async function* failing(): AsyncGenerator<number> {
    yield 1;
    throw new Error('the source failed');
  }
  async function* endless(): AsyncGenerator<number> {
    try {
      for (;;) yield 1;
    } finally {
      closed += 1;
    }
  }
  const work = async (item: number): Promise<number> => item;
  await t.throwsAsync(
    (async () => {
      for await (const _ of concurrently(failing(), 2, work));
    })(),
    { message: 'the source failed' },
  );
  for await (const _ of concurrently(endless(), 2, work)) break;
  t.is(closed, 1);
});
