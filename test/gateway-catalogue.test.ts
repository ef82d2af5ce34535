import test from 'ava';
import { DomainError } from '../lib/errors.ts';
import { Catalogue } from '../services/gateway/catalogue.ts';
import { releaseUse } from '../services/gateway/release-states.ts';
import { until } from './support/waiting.ts';

type State = { release: string; weight?: number; previous?: string };

function readerOf(channels: Record<string, State | undefined>) {
  const state = { channels, broken: false, reads: 0 };
  const errors: unknown[] = [];
  const changes: string[] = [];
  const catalogue = new Catalogue(
    {
      channel: async (name) => {
        state.reads += 1;
        if (state.broken) throw new DomainError('UNAVAILABLE', 'STORE_AWAY', 'away');
        return state.channels[name];
      },
      manifest: async (release) => ({ variant: release.startsWith('v') ? 'vit' : 'chexnet' }),
    },
    {
      channels: ['stable', 'canary'],
      onChange: (routes) => changes.push(routes.map(({ release }) => release).join()),
      onError: (error) => errors.push(error),
    },
  );
  const releases = (): string =>
    catalogue
      .routes()
      .map(({ release }) => release)
      .join();
  return { state, errors, changes, catalogue, releases };
}

test('routes follow the channels, and a change is reported once', async (t) => {
  const { state, changes, catalogue, releases } = readerOf({
    stable: { release: 'v1' },
    canary: { release: 'c1', weight: 0.1 },
  });
  await catalogue.refresh();
  await catalogue.refresh();
  t.deepEqual(catalogue.routes(), [
    { channel: 'stable', release: 'v1', variant: 'vit', weight: undefined },
    { channel: 'canary', release: 'c1', variant: 'chexnet', weight: 0.1 },
  ]);
  state.channels['stable'] = { release: 'v2' };
  state.channels['canary'] = undefined;
  await catalogue.refresh();
  t.is(releases(), 'v2');
  t.deepEqual(changes, ['v1,c1', 'v2']);
});

test('while a model service does not hold the new release, the previous one answers', async (t) => {
  const { state, catalogue, releases } = readerOf({ stable: { release: 'v1' } });
  await catalogue.refresh();
  state.channels['stable'] = { release: 'v2' };
  await catalogue.refresh();
  await catalogue.refuse('v2');
  t.is(releases(), 'v1');
  t.is(catalogue.targets()[0]?.release, 'v2');
  t.true(catalogue.isRefused('v2'));
  await until(() => releases() === 'v2');
  t.false(catalogue.isRefused('v2'), 'it is tried again after a while');
});

test('when a model service has dropped a release, the channels are read again at once', async (t) => {
  const { state, catalogue, releases } = readerOf({ stable: { release: 'v1' } });
  await catalogue.refresh();
  state.channels['stable'] = { release: 'v2' };
  await catalogue.refuse('v1');
  t.is(releases(), 'v2');
});

test('a gateway that starts while a channel moves knows the previous release', async (t) => {
  const { catalogue, releases } = readerOf({ stable: { release: 'v2', previous: 'v1' } });
  await catalogue.refuse('v2');
  t.is(releases(), 'v1');
});

test('the routes stay while the store cannot be read', async (t) => {
  const { state, errors, catalogue, releases } = readerOf({ stable: { release: 'v1' } });
  await catalogue.refresh();
  state.broken = true;
  await catalogue.refresh();
  t.is(releases(), 'v1');
  t.is(errors.length, 2);
});

test('concurrent callers share one read of the store', async (t) => {
  const { state, catalogue } = readerOf({ stable: { release: 'v1' } });
  await Promise.all([catalogue.refresh(), catalogue.refuse('v0'), catalogue.refresh()]);
  t.is(state.reads, 2);
});

test('watching reads the channels again and again until it is stopped', async (t) => {
  const { state, catalogue, releases } = readerOf({ stable: { release: 'v1' } });
  await catalogue.watch(5);
  state.channels['stable'] = { release: 'v2' };
  await until(() => releases() === 'v2');
  catalogue.stop();
  t.is(catalogue.targets().length, 1);
});

test('a release has the traffic that weighted channels leave to its channel', async (t) => {
  const { state, catalogue } = readerOf({
    stable: { release: 'v1' },
    canary: { release: 'v2', weight: 0.3 },
  });
  await catalogue.refresh();
  const use = (id: string) => releaseUse(catalogue, { id, variant: 'vit' });
  t.deepEqual(use('v1'), {
    state: 'RELEASE_STATE_SERVING',
    channels: ['stable'],
    trafficShare: 0.7,
  });
  t.deepEqual(use('v2'), {
    state: 'RELEASE_STATE_SERVING',
    channels: ['canary'],
    trafficShare: 0.3,
  });
  t.deepEqual(use('v3'), { state: 'RELEASE_STATE_STORED', channels: [], trafficShare: 0 });
  state.channels['canary'] = { release: 'v1', weight: 0.3 };
  await catalogue.refresh();
  t.deepEqual(use('v1').channels, ['stable', 'canary']);
  t.is(use('v1').trafficShare, 1);
  state.channels['canary'] = { release: 'c1', weight: 0.3 };
  await catalogue.refresh();
  t.is(use('v1').trafficShare, 1, 'the weight of another variant takes nothing');
  state.channels['canary'] = { release: 'v2' };
  await catalogue.refresh();
  t.is(use('v2').trafficShare, 0, 'the first channel without a weight has all');
});

test('a refused release is loading while a channel points to it, and its predecessor serves', async (t) => {
  const { state, catalogue } = readerOf({ stable: { release: 'v1' } });
  await catalogue.refresh();
  state.channels['stable'] = { release: 'v2', weight: 0.3 };
  await catalogue.refuse('v2');
  const stateOf = (id: string) => releaseUse(catalogue, { id, variant: 'vit' }).state;
  t.is(stateOf('v2'), 'RELEASE_STATE_LOADING');
  t.is(stateOf('v1'), 'RELEASE_STATE_SERVING');
  t.deepEqual(
    catalogue.known().map(({ release }) => release),
    ['v2', 'v1'],
  );
  state.channels['stable'] = { release: 'v2', weight: 0.4 };
  await catalogue.refuse('v1');
  t.is(stateOf('v1'), 'RELEASE_STATE_STORED');
  t.is(catalogue.routes()[0]?.release, 'v2', 'if both are refused, the channel decides');
  t.is(catalogue.known()[1]?.release, 'v1', 'another weight does not forget the predecessor');
});
