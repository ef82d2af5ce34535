import test from 'ava';
import { DomainError } from '../lib/errors.ts';
import { Catalogue } from '../services/gateway/catalogue.ts';

type State = { release: string; weight?: number; previous?: string };

function shelf(channels: Record<string, State | undefined>) {
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

test('routes follow the channels, and a change is told once', async (t) => {
  const { state, changes, catalogue, releases } = shelf({
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

test('while a stage does not hold the new release, the one before answers', async (t) => {
  const { state, catalogue, releases } = shelf({ stable: { release: 'v1' } });
  await catalogue.refresh();
  state.channels['stable'] = { release: 'v2' };
  await catalogue.refresh();
  await catalogue.refuse('v2');
  t.is(releases(), 'v1');
  t.is(catalogue.targets()[0]?.release, 'v2');
  t.true(catalogue.isRefused('v2'));
  await new Promise((resolve) => setTimeout(resolve, 550));
  t.is(releases(), 'v2', 'it is tried again after a while');
});

test('where a stage has let go of a release, the channel is looked at again at once', async (t) => {
  const { state, catalogue, releases } = shelf({ stable: { release: 'v1' } });
  await catalogue.refresh();
  state.channels['stable'] = { release: 'v2' };
  await catalogue.refuse('v1');
  t.is(releases(), 'v2');
});

test('a gateway that starts while its channel moves knows what was before', async (t) => {
  const { catalogue, releases } = shelf({ stable: { release: 'v2', previous: 'v1' } });
  await catalogue.refuse('v2');
  t.is(releases(), 'v1');
});

test('what was read goes on while the store is away', async (t) => {
  const { state, errors, catalogue, releases } = shelf({ stable: { release: 'v1' } });
  await catalogue.refresh();
  state.broken = true;
  await catalogue.refresh();
  t.is(releases(), 'v1');
  t.is(errors.length, 2);
});

test('readers at the same time share one look at the store', async (t) => {
  const { state, catalogue } = shelf({ stable: { release: 'v1' } });
  await Promise.all([catalogue.refresh(), catalogue.refuse('v0'), catalogue.refresh()]);
  t.is(state.reads, 2);
});

test('watching looks again and again until it is stopped', async (t) => {
  const { state, catalogue, releases } = shelf({ stable: { release: 'v1' } });
  await catalogue.watch(5);
  state.channels['stable'] = { release: 'v2' };
  await new Promise((resolve) => setTimeout(resolve, 60));
  t.is(releases(), 'v2');
  catalogue.stop();
});
