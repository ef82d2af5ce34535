import { setTimeout as sleep } from 'node:timers/promises';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { DomainError } from '../lib/errors.ts';
import { type Model, ReleaseHolder } from '../lib/releases/holder.ts';
import { openStore } from '../lib/releases/store/open.ts';
import { readHolds } from '../lib/releases/store/holds.ts';
import { fakeRelease, folderOf } from './support/releases.ts';
import { until } from './support/services.ts';

class FakeModel implements Model {
  readonly id: string;
  disposed = false;
  constructor(id: string) {
    this.id = id;
  }
  async dispose(): Promise<void> {
    this.disposed = true;
  }
}

async function setUp(
  t: ExecutionContext,
  { lingerMs = 0, broken = [] as string[], onFailed = () => {} } = {},
) {
  const folder = await folderOf(t);
  const store = openStore(join(folder, 'store'));
  const publish = async (seed: number): Promise<string> => {
    const made = join(folder, `release-${seed}`);
    await fakeRelease(made, seed);
    return (await store.publish(made)).id;
  };
  const models: FakeModel[] = [];
  const failed: string[] = [];
  const dropped: string[] = [];
  const backgrounds: boolean[] = [];
  let loading = 0;
  let mostLoading = 0;
  const holder = new ReleaseHolder<FakeModel>({
    store,
    channels: ['stable', 'canary'],
    part: 'vision',
    instance: 'test',
    pollMs: 10,
    lingerMs,
    load: async ({ manifest }, background) => {
      backgrounds.push(background);
      mostLoading = Math.max(mostLoading, ++loading);
      await sleep(20);
      loading--;
      if (broken.includes(manifest.id)) throw new Error('broken');
      const model = new FakeModel(manifest.id);
      models.push(model);
      return model;
    },
    observer: {
      onChange: () => {},
      onDropped: (release) => dropped.push(release),
      onLoadFailed: (release) => {
        failed.push(release);
        onFailed();
      },
      onStoreError: (error) => t.log(error),
    },
  });
  t.teardown(() => holder.close());
  const isHeld = (release: string): boolean => {
    try {
      using lease = holder.acquire(release);
      return lease.model.id === release;
    } catch {
      return false;
    }
  };
  const claims = async () =>
    (await readHolds(store.objects)).holds.flatMap(({ releases }) => releases);
  const most = () => mostLoading;
  return {
    store,
    publish,
    holder,
    models,
    failed,
    dropped,
    isHeld,
    claims,
    broken,
    most,
    backgrounds,
  };
}

test('the releases of all channels are held, each loaded once, one at a time', async (t) => {
  const { store, publish, holder, models, isHeld, claims, most } = await setUp(t);
  const [one, two] = [await publish(1), await publish(2)];
  await store.promote('stable', one);
  await store.promote('canary', two, { weight: 0.1 });
  t.false(holder.ready);
  holder.start();
  await until(() => holder.ready);
  t.true(isHeld(one) && isHeld(two));
  await store.promote('canary', one);
  await until(() => !isHeld(two));
  t.is(models.length, 2);
  t.is(most(), 1);
  await until(async () => (await claims()).join() === one);
  t.pass();
});

test('releases load in the background once others serve, and not before', async (t) => {
  const { store, publish, holder, isHeld, backgrounds } = await setUp(t);
  const [one, two, three] = [await publish(1), await publish(2), await publish(3)];
  await store.promote('stable', one);
  await store.promote('canary', two, { weight: 0.1 });
  holder.start();
  await until(() => holder.ready);
  await store.promote('canary', three, { weight: 0.1 });
  await until(() => isHeld(three));
  t.deepEqual(backgrounds, [false, false, true]);
});

test('a release is not disposed of while a request uses it, and takes no new one', async (t) => {
  const { store, publish, holder, models, isHeld, dropped } = await setUp(t);
  const [one, two] = [await publish(1), await publish(2)];
  await store.promote('stable', one);
  holder.start();
  await until(() => isHeld(one));
  const lease = holder.acquire(one);
  await store.promote('stable', two);
  await until(() => isHeld(two) && !isHeld(one));
  await sleep(30);
  t.false(models[0]!.disposed);
  t.is(lease.model, models[0]!);
  lease[Symbol.dispose]();
  await until(() => models[0]!.disposed);
  t.deepEqual(dropped, [one]);
  t.false(models[1]!.disposed);
});

test('a replaced release lingers, and is not loaded again when its channel returns to it', async (t) => {
  const { store, publish, holder, models, isHeld } = await setUp(t, { lingerMs: 600_000 });
  const [one, two] = [await publish(1), await publish(2)];
  await store.promote('stable', one);
  holder.start();
  await until(() => isHeld(one));
  await store.promote('stable', two);
  await until(() => isHeld(two));
  t.true(isHeld(one));
  await store.rollback('stable');
  await store.promote('canary', await publish(3));
  await until(() => models.length === 3);
  t.true(isHeld(one) && isHeld(two));
  t.deepEqual(
    models.map(({ disposed }) => disposed),
    [false, false, false],
  );
});

test('requests for a lingering release keep it, and it is dropped some time after the last', async (t) => {
  const lingerMs = 300;
  const { store, publish, holder, isHeld, dropped } = await setUp(t, { lingerMs });
  const [one, two] = [await publish(1), await publish(2)];
  await store.promote('stable', one);
  holder.start();
  await until(() => isHeld(one));
  await store.promote('stable', two);
  let askedMs = performance.now();
  for (const endMs = askedMs + 4 * lingerMs; performance.now() < endMs; await sleep(10)) {
    const held = isHeld(one);
    // A machine that stood still for so long asked too late.
    if (!held && performance.now() - askedMs > lingerMs) break;
    t.true(held);
    askedMs = performance.now();
  }
  await until(() => dropped.includes(one));
  t.true(isHeld(two));
});

test('a release serves while its replacement cannot be loaded, which is retried', async (t) => {
  let check = (): void => {};
  const { store, publish, holder, failed, isHeld, broken } = await setUp(t, {
    onFailed: () => check(),
  });
  const [one, two] = [await publish(1), await publish(2)];
  broken.push(two);
  check = () => {
    t.true(isHeld(one));
    t.true(holder.ready);
    // Mended before the retry, however busy the machine is.
    broken.pop();
  };
  await store.promote('stable', one);
  holder.start();
  await until(() => isHeld(one));
  await store.promote('stable', two);
  await until(() => isHeld(two) && !isHeld(one));
  t.is(failed.length, 1, 'it waited before the retry');
});

test('a broken canary does not keep a service from being ready', async (t) => {
  const { store, publish, holder, broken, isHeld } = await setUp(t);
  const [one, two] = [await publish(1), await publish(2)];
  broken.push(two);
  await store.promote('canary', two);
  await store.promote('stable', one);
  holder.start();
  await until(() => holder.ready);
  t.true(isHeld(one));
  t.false(isHeld(two));
});

test('closing waits for requests, disposes of every release and removes the hold', async (t) => {
  const { store, publish, holder, models, isHeld, claims } = await setUp(t);
  const one = await publish(1);
  await store.promote('stable', one);
  holder.start();
  await until(() => isHeld(one));
  t.deepEqual(await claims(), [one]);
  const lease = holder.acquire(one);
  const closed = holder.close();
  await sleep(30);
  t.false(models[0]!.disposed);
  lease[Symbol.dispose]();
  await closed;
  t.true(models[0]!.disposed);
  t.deepEqual(await claims(), []);
  t.throws(() => holder.acquire(one), { instanceOf: DomainError });
});
