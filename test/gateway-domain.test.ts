import test from 'ava';
import { DomainError } from '../lib/errors.ts';
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

test('warnings name the picture, and say what was done with it', (t) => {
  const codes = (pictures: Parameters<typeof viewWarnings>[0], chosen: number) =>
    viewWarnings(pictures, chosen).map(({ code, field }) => `${code} ${field}`);
  t.deepEqual(codes([{ view: 'PA' }], 0), []);
  t.deepEqual(codes([{ view: undefined }, { view: 'LATERAL' }], 0), ['LATERAL_NOT_USED images[1]']);
  t.deepEqual(codes([{ view: 'LATERAL', outOfDistribution: 2 }], 0), [
    'LATERAL_ONLY images[0]',
    'OUT_OF_DISTRIBUTION images[0]',
  ]);
  t.deepEqual(codes([{ view: 'AP' }, { view: 'AP', outOfDistribution: 0.9 }], 0), [
    'VIEW_NOT_PA images[0]',
    'FRONTAL_NOT_USED images[1]',
  ]);
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
