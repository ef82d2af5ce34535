import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import test, { type ExecutionContext } from 'ava';
import { DomainError, type ErrorCode } from '../lib/errors.ts';
import { manifestName } from '../lib/releases/manifest.ts';
import { collectGarbage } from '../lib/releases/store/collect.ts';
import type { Objects } from '../lib/releases/store/objects.ts';
import { openRelease, openStore } from '../lib/releases/store/open.ts';
import type { ReleaseStore } from '../lib/releases/store/store.ts';
import { fakeRelease, folderOf } from './support/releases.ts';
import { startS3 } from './support/s3.ts';

/** Opens a store over and over: each is what another process would open. */
type Opener = () => Promise<ReleaseStore>;

/** Every backend runs every case below. */
const backends: Readonly<Record<string, (t: ExecutionContext) => Promise<Opener>>> = {
  'a local folder': async (t) => {
    const folder = await folderOf(t);
    return () => Promise.resolve(openStore(pathToFileURL(join(folder, 'store')).href));
  },
  'S3 with conditional writes': (t) => bucket(t, true),
  'S3 without conditional writes': (t) => bucket(t, false),
};

async function bucket(t: ExecutionContext, conditional: boolean): Promise<Opener> {
  const s3 = await startS3(t, { conditional });
  return async () => {
    const store = openStore(s3.url('some/where'), { cacheDir: await folderOf(t) });
    t.teardown(() => store.close());
    return store;
  };
}

async function fails(
  t: ExecutionContext,
  work: Promise<unknown>,
  code: ErrorCode,
  reason: string,
): Promise<DomainError> {
  const error = await t.throwsAsync(work, { instanceOf: DomainError });
  t.is(error.code, code, error.message);
  t.is(error.reason, reason);
  return error;
}

const keys = (objects: Objects, prefix: string, after?: string): Promise<string[]> =>
  Array.fromAsync(objects.list(prefix, after === undefined ? {} : { after }), ({ key }) => key);

/** Publishes fake releases of these seeds and gives their ids. */
async function publish(
  t: ExecutionContext,
  store: ReleaseStore,
  ...seeds: readonly number[]
): Promise<string[]> {
  const ids: string[] = [];
  for (const seed of seeds) {
    const folder = await folderOf(t);
    await fakeRelease(folder, seed);
    ids.push((await store.publish(folder)).id);
  }
  return ids;
}

for (const [where, open] of Object.entries(backends)) {
  const contract = (
    title: string,
    body: (t: ExecutionContext, opener: Opener) => Promise<void>,
  ): void => test(`${where}: ${title}`, async (t) => body(t, await open(t)));

  contract('objects are read, replaced, listed in order and removed', async (t, opener) => {
    const { objects } = await opener();
    t.is(await objects.read('a/none.json'), undefined);
    await objects.remove('a/none.json');
    t.deepEqual(await keys(objects, 'a/'), []);
    for (const key of ['a/a.json', 'a/b/2', 'a/b/1', 'a/c', 'other']) {
      await objects.write(key, Buffer.from(key));
    }
    t.deepEqual(await keys(objects, 'a/'), ['a/a.json', 'a/b/1', 'a/b/2', 'a/c']);
    t.deepEqual(await Array.fromAsync(objects.folders('a/')), ['b']);
    await objects.write('a/c', Buffer.from('new'));
    t.is(String(await objects.read('a/c')), 'new');
    const [info] = await Array.fromAsync(objects.list('a/b/'));
    t.is(info?.bytes, 5);
    t.true(Math.abs((info?.modifiedMs ?? 0) - Date.now()) < 60_000);
    for (const key of await keys(objects, 'a/')) await objects.remove(key);
    t.deepEqual(await keys(objects, 'a/'), []);
    await t.throwsAsync(objects.write('../a', Buffer.from('x')), { message: /not a key/ });
  });

  contract(
    'a listing continues after a key, among numbered objects and folders',
    async (t, opener) => {
      const { objects } = await opener();
      for (const key of ['r/1', 'r/2', 'r/3', 'f/a/x', 'f/b/x', 'f/c/x']) {
        await objects.write(key, Buffer.from(''));
      }
      t.deepEqual(await keys(objects, 'r/', 'r/1'), ['r/2', 'r/3']);
      t.deepEqual(await keys(objects, 'r/', 'r/3'), []);
      t.deepEqual(await Array.fromAsync(objects.folders('f/', { after: 'a' })), ['b', 'c']);
    },
  );

  contract(
    'of many that create one object, one succeeds, and its bytes stay',
    async (t, opener) => {
      const stores = await Promise.all(Array.from({ length: 5 }, opener));
      const won = await Promise.all(
        stores.map(({ objects }, i) => objects.create('x/y', Buffer.from(`${i}`))),
      );
      t.is(won.filter(Boolean).length, 1, String(won));
      t.is(String(await stores[0]!.objects.read('x/y')), String(won.indexOf(true)));
      t.deepEqual(await keys(stores[0]!.objects, 'locks/'), []);
      t.deepEqual(await keys(stores[0]!.objects, 'probes/'), []);
    },
  );

  contract('a release is published, listed by pages, opened and checked', async (t, opener) => {
    const store = await opener();
    const ids = await publish(t, store, 1, 2, 3);
    t.deepEqual(await publish(t, store, 1), ids.slice(0, 1));
    const other = await opener();
    const [, id = ''] = ids;
    const { manifest, folder } = await openRelease(other, id);
    t.is(manifest.id, id);
    t.is(manifest.provenance.seed, 2);
    t.regex(await readFile(join(folder, 'encoder.onnx'), 'utf8'), /^encoder.onnx 2/);
    const first = await other.list({ pageSize: 2 });
    const second = await other.list({ pageSize: 2, pageToken: first.nextPageToken });
    t.deepEqual(
      [...first.releases, ...second.releases].map(({ id }) => id),
      ids.toSorted(),
    );
    t.is(second.nextPageToken, undefined);
  });

  contract(
    'an unknown release, an invalid id and a path instead of one give different errors',
    async (t, opener) => {
      const store = await opener();
      const unknown = `rs-${'0'.repeat(24)}`;
      await fails(t, store.open(unknown), 'NOT_FOUND', 'RELEASE_NOT_FOUND');
      await fails(t, store.resolve(unknown), 'NOT_FOUND', 'RELEASE_NOT_FOUND');
      await fails(t, store.resolve('stable'), 'NOT_FOUND', 'RELEASE_NOT_FOUND');
      await fails(t, store.promote('stable', unknown), 'NOT_FOUND', 'RELEASE_NOT_FOUND');
      await fails(t, store.open('../../etc'), 'INVALID_ARGUMENT', 'RELEASE_ID_INVALID');
      await fails(t, store.promote('../x', unknown), 'NOT_FOUND', 'RELEASE_NOT_FOUND');
      await fails(t, store.channels.get('../x'), 'INVALID_ARGUMENT', 'STORE_NAME');
      t.deepEqual(await keys(store.objects, 'channels/'), []);
    },
  );

  contract(
    'corrupt bytes and a cut manifest are DATA_LOSS and name the file',
    async (t, opener) => {
      const store = await opener();
      const [a = '', b = '', c = '', d = ''] = await publish(t, store, 1, 2, 3, 4);
      const weights = `releases/${a}/generator.safetensors`;
      const bytes = (await store.objects.read(weights))!;
      bytes[100]! ^= 1;
      await store.objects.write(weights, bytes);
      const corrupt = await fails(t, store.open(a), 'DATA_LOSS', 'RELEASE_CORRUPT');
      t.is(corrupt.field, 'generator.safetensors');
      await t.notThrowsAsync(store.open(a, { parts: ['vision'] }));
      const json = (await store.objects.read(`releases/${b}/${manifestName}`))!;
      await store.objects.write(`releases/${b}/${manifestName}`, json.subarray(0, 500));
      t.is((await fails(t, store.open(b), 'DATA_LOSS', 'RELEASE_CORRUPT')).field, manifestName);
      await store.objects.write(`releases/${c}/${manifestName}`, json);
      await fails(t, store.open(c), 'DATA_LOSS', 'RELEASE_CORRUPT');
      await store.objects.remove(`releases/${d}/vision.onnx`);
      t.is((await fails(t, store.open(d), 'DATA_LOSS', 'RELEASE_CORRUPT')).field, 'vision.onnx');
      const { releases, damaged } = await store.list();
      t.deepEqual(releases.map(({ id }) => id).sort(), [a, d].sort());
      t.deepEqual(damaged.map(({ id }) => id).sort(), [b, c].sort());
    },
  );

  contract('an interrupted publication is never listed, and can be repeated', async (t, opener) => {
    const store = await opener();
    const folder = await folderOf(t);
    const { id } = await fakeRelease(folder, 7);
    const dying = await opener();
    const upload = dying.objects.upload.bind(dying.objects);
    let left = 4;
    dying.objects.upload = (key, path, waiting) =>
      left-- > 0 ? upload(key, path, waiting) : Promise.reject(new Error('killed'));
    await t.throwsAsync(dying.publish(folder), { message: 'killed' });
    t.is((await keys(store.objects, 'releases/')).length, 4);
    t.false(await store.has(id));
    t.deepEqual((await store.list()).releases, []);
    await fails(t, store.open(id), 'NOT_FOUND', 'RELEASE_NOT_FOUND');
    await fails(t, store.promote('stable', id), 'NOT_FOUND', 'RELEASE_NOT_FOUND');
    await store.publish(folder);
    t.is((await store.open(id)).manifest.id, id);
  });

  contract('a folder that is not as it was written is not published', async (t, opener) => {
    const store = await opener();
    const folder = await folderOf(t);
    const { id } = await fakeRelease(folder, 7);
    await writeFile(join(folder, 'vision.onnx'), 'not a model');
    await fails(t, store.publish(folder), 'DATA_LOSS', 'RELEASE_CORRUPT');
    t.deepEqual(await keys(store.objects, 'releases/'), []);
    t.false(await store.has(id));
  });

  contract(
    'a channel is promoted, weighted, rolled back step by step, closed',
    async (t, opener) => {
      const store = await opener();
      const [a = '', b = '', c = ''] = await publish(t, store, 1, 2, 3);
      const now = async () => (await (await opener()).channels.get('stable')).release;
      await store.promote('stable', a, { by: 'ann' });
      await store.promote('stable', b, { weight: 0.1 });
      await store.promote('stable', b, { weight: 0.5 });
      const third = await store.promote('stable', c);
      t.like(third, { generation: 4, previous: b, change: 'promote' });
      t.like(await store.rollback('stable'), {
        release: b,
        weight: 0.5,
        previous: a,
        generation: 5,
      });
      t.is(await now(), b);
      t.like(await store.rollback('stable'), { release: a, previous: null, change: 'rollback' });
      await fails(t, store.rollback('stable'), 'FAILED_PRECONDITION', 'CHANNEL_AT_FIRST');
      const history = await store.channels.history('stable');
      t.deepEqual(
        history.map(({ release }) => release),
        [a, b, c, b, b, a],
      );
      t.is(history.at(-1)?.by, 'ann');
      await store.channels.close('stable');
      t.is(await (await opener()).channels.find('stable'), undefined);
      await fails(t, store.channels.get('stable'), 'NOT_FOUND', 'CHANNEL_NOT_FOUND');
      await store.rollback('stable');
      t.is(await now(), a);
    },
  );

  contract(
    'of writers that race on a channel, one moves it and the others get CHANNEL_MOVED',
    async (t, opener) => {
      const [first, ...others] = await Promise.all(Array.from({ length: 4 }, opener));
      const ids = await publish(t, first!, 1, 2, 3, 4);
      await first!.promote('stable', ids[0]!);
      const moves = await Promise.allSettled(
        others.map((store, i) => store.promote('stable', ids[i + 1]!, { expectedGeneration: 1 })),
      );
      t.is(moves.filter(({ status }) => status === 'fulfilled').length, 1);
      for (const move of moves) {
        if (move.status === 'rejected') t.is((move.reason as DomainError).reason, 'CHANNEL_MOVED');
      }
      const winner = moves.findIndex(({ status }) => status === 'fulfilled');
      t.like(await first!.channels.get('stable'), { generation: 2, release: ids[winner + 1] });
      const late = first!.promote('stable', ids[0]!, { expectedGeneration: 1 });
      await fails(t, late, 'FAILED_PRECONDITION', 'CHANNEL_MOVED');
    },
  );

  contract(
    'a collection removes releases that nothing names, and leaves no trace',
    async (t, opener) => {
      const [store, other] = [await opener(), await opener()];
      const [a = '', b = '', c = ''] = await publish(t, store, 1, 2, 3);
      await store.promote('stable', a);
      const hold = await other.hold('vision-Host.local-1a', [b]);
      const options = { minAgeMs: 0, keepPerVariant: 0 };
      const { removed } = await collectGarbage(store, options);
      t.deepEqual(
        removed.map(({ release }) => release),
        [c],
      );
      await hold.release();
      await collectGarbage(store, options);
      await fails(t, other.open(b), 'NOT_FOUND', 'RELEASE_NOT_FOUND');
      await t.notThrowsAsync(other.open(a));
      for (const folder of ['holds/', 'removals/', 'locks/', 'probes/', `releases/${c}/`]) {
        t.deepEqual(await keys(store.objects, folder), []);
      }
    },
  );

  contract('a tag names one release permanently', async (t, opener) => {
    const store = await opener();
    const [a = '', b = ''] = await publish(t, store, 1, 2);
    await store.tag('v1.0', a);
    await store.tag('v1.0', a);
    await fails(t, store.tag('v1.0', b), 'ALREADY_EXISTS', 'TAG_EXISTS');
    t.deepEqual([...(await store.tags())], [['v1.0', a]]);
    t.is(await store.resolve('v1.0'), a);
    await store.untag('v1.0');
    t.is(await store.tagged('v1.0'), undefined);
  });

  contract(
    'a watcher gets the state, then each move, and ends when it is aborted',
    async (t, opener) => {
      const store = await opener();
      const [a = '', b = ''] = await publish(t, store, 1, 2);
      await store.promote('stable', a);
      const abort = new AbortController();
      const watching = (await opener()).watch({ pollMs: 20, signal: abort.signal });
      const next = async () => (await watching.next()).value?.get('stable')?.release;
      t.is(await next(), a);
      await store.promote('stable', b);
      t.is(await next(), b);
      await store.channels.close('stable');
      t.is(await next(), undefined);
      abort.abort();
      t.true((await watching.next()).done);
    },
  );
}
