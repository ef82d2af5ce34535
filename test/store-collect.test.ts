import { utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { DomainError } from '../lib/errors.ts';
import type { VariantName } from '../lib/models/variants.ts';
import { type CollectOptions, collectGarbage } from '../lib/releases/store/collect.ts';
import { openStore } from '../lib/releases/store/open.ts';
import type { ReleaseStore } from '../lib/releases/store/store.ts';
import { fakeRelease, folderOf } from './support/releases.ts';

const everything: CollectOptions = { minAgeMs: 0, keepPerVariant: 0, keepHistory: 0 };

async function storeOf(t: ExecutionContext) {
  const folder = await folderOf(t);
  const store = openStore(join(folder, 'store'));
  const publish = async (seed: number, variant: VariantName = 'vit'): Promise<string> => {
    const source = join(folder, `${seed}-${variant}`);
    await fakeRelease(source, seed, { variant, bytes: 100 });
    return (await store.publish(source)).id;
  };
  return { folder, store, publish };
}

const idsOf = async (store: ReleaseStore): Promise<string[]> =>
  (await store.list()).releases.map(({ id }) => id).sort();

test('releases stay that a channel serves or served recently, a tag names or an instance holds', async (t) => {
  const { store, publish } = await storeOf(t);
  const [served, before, older, tagged, held, loose] = [
    await publish(1),
    await publish(2),
    await publish(3),
    await publish(4),
    await publish(5),
    await publish(6),
  ];
  for (const id of [older, before, served]) await store.promote('stable', id);
  await store.tag('v1', tagged);
  const hold = await store.hold('vision-0', [held]);
  t.teardown(() => hold.release());
  const planned = await collectGarbage(store, { ...everything, dryRun: true });
  t.deepEqual(planned.removed.map(({ release }) => release).sort(), [loose, older].sort());
  t.is((await idsOf(store)).length, 6);
  const { removed, kept } = await collectGarbage(store, { ...everything, keepHistory: 1 });
  t.deepEqual(
    removed.map(({ release }) => release),
    [loose],
  );
  t.true(removed[0]!.bytes > 1000);
  const reasons = new Map(kept.map(({ release, why }) => [release, why]));
  t.is(reasons.get(served), 'channel stable');
  t.is(reasons.get(before), 'history of channel stable');
  t.is(reasons.get(tagged), 'tag v1');
  t.is(reasons.get(held), 'held by vision-0');
  await hold.update([loose, served]).catch(() => {});
  await hold.release();
  const rest = await collectGarbage(store, everything);
  t.true(rest.removed.some(({ release }) => release === held));
  await t.notThrowsAsync(store.open(served));
  t.deepEqual(await Array.fromAsync(store.objects.list('removals/')), []);
});

test('the newest of each variant and young releases stay, as the options say', async (t) => {
  const { folder, store, publish } = await storeOf(t);
  const ids: Record<string, string> = {};
  for (const [i, seed] of [1, 2, 3].entries()) {
    for (const variant of ['vit', 'chexnet'] as const) {
      const id = await publish(seed, variant);
      ids[`${variant}${seed}`] = id;
      const time = new Date(Date.now() - (10 - i) * 3_600_000);
      await utimes(join(folder, 'store', 'releases', id, 'release.json'), time, time);
    }
  }
  const young = await collectGarbage(store, { keepPerVariant: 0, minAgeMs: 8.5 * 3_600_000 });
  t.deepEqual(
    young.removed.map(({ release }) => release).sort(),
    ['vit1', 'chexnet1', 'vit2', 'chexnet2'].map((name) => ids[name] ?? '').sort(),
  );
  const newest = await collectGarbage(store, { minAgeMs: 0, keepPerVariant: 1 });
  t.deepEqual(newest.removed, []);
});

test('an instance that died holds nothing once its hold has expired', async (t) => {
  const { store, publish } = await storeOf(t);
  const id = await publish(1);
  const claim = (expiresMs: number) => ({
    instance: 'dead',
    releases: [id],
    updatedAt: new Date().toISOString(),
    expiresAt: new Date(Date.now() + expiresMs).toISOString(),
  });
  await store.objects.write('holds/dead.json', Buffer.from(JSON.stringify(claim(-60_000))));
  // A minute over: clocks may differ by more.
  t.deepEqual((await collectGarbage(store, everything)).removed, []);
  await store.objects.write('holds/dead.json', Buffer.from(JSON.stringify(claim(-600_000))));
  t.is((await collectGarbage(store, everything)).removed.length, 1);
});

test('a hold is renewed until it is released', async (t) => {
  const { store, publish } = await storeOf(t);
  const id = await publish(1);
  const hold = await store.hold('vision-0', [id], { ttlMs: 150 });
  const expiry = async (): Promise<number> => {
    const bytes = await store.objects.read('holds/vision-0.json');
    return Date.parse((JSON.parse(String(bytes)) as { expiresAt: string }).expiresAt);
  };
  const first = await expiry();
  while ((await expiry()) <= first) await delay(20);
  await hold.release();
  await delay(120);
  t.is(await store.objects.read('holds/vision-0.json'), undefined);
});

test('an unreadable hold stops the collection, because it may hold any release', async (t) => {
  const { store, publish } = await storeOf(t);
  await publish(1);
  await store.objects.write('holds/odd.json', Buffer.from('{'));
  const error = await t.throwsAsync(collectGarbage(store, everything), { instanceOf: DomainError });
  t.is(error.reason, 'HOLD_UNREADABLE');
  t.is((await idsOf(store)).length, 1);
});

/** The same store, which does `work` right before its n-th read or write, then continues. */
function pausing(store: ReleaseStore, n: number, work: () => Promise<void>) {
  const other = openStore(store.url);
  const { objects } = other;
  let steps = 0;
  const step = async (): Promise<void> => {
    if (steps++ === n) await work();
  };
  const { read, write, create, remove, list } = {
    read: objects.read.bind(objects),
    write: objects.write.bind(objects),
    create: objects.create.bind(objects),
    remove: objects.remove.bind(objects),
    list: objects.list.bind(objects),
  };
  objects.read = async (...args) => step().then(() => read(...args));
  objects.write = async (...args) => step().then(() => write(...args));
  objects.create = async (...args) => step().then(() => create(...args));
  objects.remove = async (...args) => step().then(() => remove(...args));
  objects.list = async function* listed(...args) {
    await step();
    yield* list(...args);
  };
  return { other, wasReached: () => steps > n };
}

/** Whether the promotion happened; where it was refused, for a reason that a collection gives. */
async function promotes(t: ExecutionContext, store: ReleaseStore, id: string): Promise<boolean> {
  try {
    await store.promote('stable', id);
    return true;
  } catch (error) {
    const { reason } = error as DomainError;
    t.true(['RELEASE_BEING_REMOVED', 'RELEASE_NOT_FOUND'].includes(reason), String(error));
    return false;
  }
}

for (const paused of ['collection', 'promotion'] as const) {
  test(`at whatever step of a ${paused} the other comes, the release is refused or saved`, async (t) => {
    const outcomes = new Set<boolean>();
    for (let n = 0, reached = true; reached; n++) {
      const { store, publish } = await storeOf(t);
      const id = await publish(1);
      let promoted = false;
      const promote = async (from: ReleaseStore): Promise<void> => {
        promoted = await promotes(t, from, id);
      };
      const collect = async (from: ReleaseStore): Promise<void> => {
        await collectGarbage(from, everything);
      };
      const [first, second] = paused === 'collection' ? [collect, promote] : [promote, collect];
      const { other, wasReached } = pausing(store, n, () => second(store));
      await first(other);
      reached = wasReached();
      if (!reached) break;
      outcomes.add(promoted);
      t.is(await store.has(id), promoted, `step ${n}`);
      if (promoted) await t.notThrowsAsync(store.open(id));
    }
    t.is(outcomes.size, 2);
  });
}

test('of two collections at once, each release is removed by one', async (t) => {
  const { store, publish } = await storeOf(t);
  for (let seed = 0; seed < 5; seed++) await publish(seed);
  const results = await Promise.all([
    collectGarbage(openStore(store.url), everything),
    collectGarbage(openStore(store.url), everything),
  ]);
  t.deepEqual(await idsOf(store), []);
  t.true(results.flatMap(({ removed }) => removed).length >= 5);
  t.deepEqual(await Array.fromAsync(store.objects.list('releases/')), []);
});

test('an unfinished publication is removed once it is old enough to be abandoned', async (t) => {
  const { folder, store, publish } = await storeOf(t);
  const id = await publish(1);
  await store.objects.remove(`releases/${id}/release.json`);
  t.deepEqual((await collectGarbage(store, everything)).unfinished, []);
  const old = new Date(Date.now() - 25 * 3_600_000);
  for (const { key } of await Array.fromAsync(store.objects.list('releases/'))) {
    await utimes(join(folder, 'store', key), old, old);
  }
  t.deepEqual((await collectGarbage(store, everything)).unfinished, [id]);
  t.deepEqual(await Array.fromAsync(store.objects.list('releases/')), []);
});
