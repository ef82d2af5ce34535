import { type ChildProcess, spawn } from 'node:child_process';
import { readFile, readdir, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { DomainError } from '../lib/errors.ts';
import { createUnderLock } from '../lib/releases/store/lock.ts';
import { openStore } from '../lib/releases/store/open.ts';
import { onSmallDisk } from './support/full-disk.ts';
import { fakeRelease, folderOf } from './support/releases.ts';
import { startS3 } from './support/s3.ts';

async function s3Of(t: ExecutionContext) {
  const s3 = await startS3(t, { conditional: true });
  const cacheDir = await folderOf(t);
  const open = () => {
    const store = openStore(s3.url('p'), { cacheDir });
    t.teardown(() => store.close());
    return store;
  };
  const source = await folderOf(t);
  const { id } = await fakeRelease(source, 1);
  await open().publish(source);
  return { s3, open, cacheDir, id };
}

const isDomain = { instanceOf: DomainError };

test('requests that a store fails or hangs up on now and then are retried', async (t) => {
  const { s3, open, id } = await s3Of(t);
  let count = 0;
  s3.fault = () => (count++ % 3 === 0 ? 503 : count % 5 === 0 ? 'hang up' : undefined);
  const store = open();
  await store.promote('stable', id);
  t.is((await store.channels.get('stable')).generation, 1);
  await t.notThrowsAsync(store.open(id));
});

test('a store that is down is UNAVAILABLE, and works again once it is up', async (t) => {
  const { s3, open, id } = await s3Of(t);
  const store = open();
  s3.fault = () => 500;
  const down = await t.throwsAsync(store.manifest(id), isDomain);
  t.is(down.code, 'UNAVAILABLE');
  t.regex(down.message, /^store s3:\/\/releases\/p: releases\/rs-.* \(500 /);
  s3.fault = () => 403;
  t.is((await t.throwsAsync(store.manifest(id), isDomain)).reason, 'STORE_DENIED');
  s3.fault = () => undefined;
  t.is((await store.manifest(id)).id, id);
});

test('a watcher continues when a store that was down answers again', async (t) => {
  const { s3, open, id } = await s3Of(t);
  const store = open();
  await store.promote('stable', id);
  const abort = new AbortController();
  const errors: unknown[] = [];
  s3.fault = () => 403;
  const watching = open().watch({
    pollMs: 10,
    signal: abort.signal,
    onError: (error) => errors.push(error) === 2 && (s3.fault = () => undefined),
  });
  t.is((await watching.next()).value?.get('stable')?.release, id);
  t.true(errors.length >= 2);
  abort.abort();
});

test('a write whose response was lost is recognized as our own', async (t) => {
  const { s3, open, id } = await s3Of(t);
  const store = open();
  await store.promote('stable', id);
  let lost = false;
  s3.fault = ({ method, url = '' }) => {
    if (lost || method !== 'PUT' || !url.includes('/channels/')) return undefined;
    lost = true;
    return 'lose the answer';
  };
  t.is((await store.promote('stable', id, { weight: 0.5 })).generation, 2);
  t.true(lost);
});

test('an error about a missing bucket names it', async (t) => {
  const { s3 } = await s3Of(t);
  const store = openStore(s3.url('p').replace('s3://releases', 's3://absent'));
  t.teardown(() => store.close());
  const error = await t.throwsAsync(store.channels.names(), isDomain);
  t.is(error.reason, 'STORE_NOT_FOUND');
});

test('concurrent callers share one fetch of a release, and a damaged cache is fetched again', async (t) => {
  const { s3, open, cacheDir, id } = await s3Of(t);
  const store = open();
  const fetches = (): number =>
    s3.requests.filter((line) => /^GET .*\/releases\/rs-.*\.(onnx|safetensors)/.test(line)).length;
  await Promise.all(Array.from({ length: 5 }, () => store.open(id)));
  t.is(fetches(), 7);
  await store.open(id);
  t.is(fetches(), 7);
  await truncate(join(cacheDir, id, 'vision.onnx'), 5);
  await writeFile(join(cacheDir, id, 'decoder.onnx'), 'not a model');
  const { folder } = await store.open(id);
  t.is(fetches(), 9);
  t.regex(await readFile(join(folder, 'decoder.onnx'), 'utf8'), /^decoder.onnx 1/);
  t.deepEqual(
    (await readdir(folder)).filter((name) => name.startsWith('.')),
    [],
  );
  t.deepEqual(await store.pruneCache([id]), []);
  t.deepEqual(await store.pruneCache([]), [id]);
});

test('a part of the chain fetches only the files that it reads', async (t) => {
  const { open, id } = await s3Of(t);
  const { folder } = await open().open(id, { parts: ['labeler'] });
  t.deepEqual((await readdir(folder)).sort(), [
    'MODEL_CARD.md',
    'decoder-tokenizer.json',
    'encoder-tokenizer.json',
    'labeler.onnx',
    'labeler.safetensors',
  ]);
});

test('a caller that cancels its fetch does not cancel it for the others', async (t) => {
  const { open, id } = await s3Of(t);
  const store = open();
  const abort = new AbortController();
  const first = store.open(id, { signal: abort.signal });
  const second = store.open(id);
  setTimeout(() => abort.abort(), 15);
  await first.catch((error: Error) => t.is(error.name, 'AbortError'));
  await t.notThrowsAsync(second);
});

test('files above 16 MiB are uploaded in parts and come back as they were', async (t) => {
  const { open } = await s3Of(t);
  const { objects } = open();
  const folder = await folderOf(t);
  const bytes = Buffer.alloc(20 * 2 ** 20, 'a large file ');
  await writeFile(join(folder, 'large'), bytes);
  await objects.upload('x/large', join(folder, 'large'));
  await objects.download('x/large', join(folder, 'back'));
  t.true(bytes.equals(await readFile(join(folder, 'back'))));
});

test('under the claim protocol a dead writer is ignored once its lease has ended', async (t) => {
  const { open } = await s3Of(t);
  const { objects } = open();
  const claims: string[] = [];
  const write = objects.write.bind(objects);
  const list = objects.list.bind(objects);
  let agoMs = 0;
  const dying = {
    url: objects.url,
    read: objects.read.bind(objects),
    remove: objects.remove.bind(objects),
    write: (key: string, bytes: Uint8Array) => {
      claims.push(key);
      return write(key, bytes);
    },
    async *list(prefix: string) {
      for await (const info of list(prefix)) {
        const isDead = claims.length > 0 && info.key !== claims.at(-1);
        yield { ...info, modifiedMs: info.modifiedMs - (isDead ? agoMs : 0) };
      }
    },
  };
  t.true(await createUnderLock(dying, 'a/1', Buffer.from('x')));
  const folder = claims[0]!.slice(0, claims[0]!.lastIndexOf('/'));
  await write(`${folder}/dead.json`, Buffer.from('{}'));
  await objects.remove('a/1');
  const signal = AbortSignal.timeout(300);
  await t.throwsAsync(createUnderLock(dying, 'a/1', Buffer.from('y'), { signal }));
  t.is(await objects.read('a/1'), undefined);
  agoMs = 61_000;
  t.true(await createUnderLock(dying, 'a/1', Buffer.from('z')));
});

const publisher = `
  import { openStore } from ${JSON.stringify(new URL('../lib/releases/store/open.ts', import.meta.url).href)};
  const store = openStore(process.argv[2]);
  if (process.argv[4]) await store.promote('stable', process.argv[4], { expectedGeneration: 0 });
  else await store.publish(process.argv[3]);
`;

async function run(t: ExecutionContext, ...args: readonly string[]): Promise<ChildProcess> {
  const script = join(await folderOf(t), 'run.mts');
  await writeFile(script, publisher);
  const child = spawn(process.execPath, [script, ...args], { stdio: 'ignore' });
  t.teardown(() => child.kill('SIGKILL'));
  return child;
}

const ended = (child: ChildProcess): Promise<number | null> =>
  new Promise((resolve) => {
    child.once('exit', resolve);
  });

test('a publisher killed at any moment leaves a complete release or none', async (t) => {
  const source = await folderOf(t);
  const { id } = await fakeRelease(source, 1, { bytes: 2_000_000 });
  for (const afterFiles of [1, 4, 8]) {
    const folder = join(await folderOf(t), 'store');
    const store = openStore(folder);
    const child = await run(t, folder, source);
    const exit = ended(child);
    const count = async (): Promise<number> =>
      (await readdir(join(folder, 'releases', id)).catch(() => [])).length;
    while (child.exitCode === null && (await count()) < afterFiles) await delay(1);
    child.kill('SIGKILL');
    await exit;
    const { releases } = await store.list();
    if (await store.has(id)) await t.notThrowsAsync(store.open(id));
    else t.deepEqual(releases, []);
    await store.publish(source);
    await t.notThrowsAsync(store.open(id));
  }
});

test('of processes that race on a channel, one moves it', async (t) => {
  const folder = join(await folderOf(t), 'store');
  const source = await folderOf(t);
  const { id } = await fakeRelease(source, 1);
  await openStore(folder).publish(source);
  const children = await Promise.all(Array.from({ length: 3 }, () => run(t, folder, source, id)));
  const codes = await Promise.all(children.map(ended));
  t.deepEqual(
    codes.filter((code) => code === 0),
    [0],
  );
  t.is((await openStore(folder).channels.history('stable')).length, 1);
});

const modules = {
  open: new URL('../lib/releases/store/open.ts', import.meta.url).href,
};

test('a store on a full disk reports it, lists no partial release, and leaves no files behind', async (t) => {
  const source = await folderOf(t);
  const { id } = await fakeRelease(source, 1, { bytes: 20_000 });
  const came = await onSmallDisk(
    t,
    128 * 1024,
    (disk) => `
      import { readdir } from 'node:fs/promises';
      import { openStore } from '${modules.open}';
      const store = openStore('${disk}/store');
      const { code, reason, message } = await store.publish('${source}').catch((error) => error);
      const files = await readdir('${disk}', { recursive: true });
      const { releases } = await store.list();
      console.log(JSON.stringify({ code, reason, message, releases, files }));
    `,
  );
  if (came === undefined) {
    t.pass('skipped: this system lets nobody mount a small disk');
    return;
  }
  const { files, ...rest } = came as { readonly files: readonly string[] };
  t.like(rest, { code: 'RESOURCE_EXHAUSTED', reason: 'STORE_FULL', releases: [] });
  t.true(files.some((file) => file.startsWith(`store/releases/${id}/`)));
  t.deepEqual(
    files.filter((file) => file.endsWith('.tmp')),
    [],
  );
});

test('a cache on a full disk reports it and leaves no files behind', async (t) => {
  const { s3, open } = await s3Of(t);
  const source = await folderOf(t);
  const { id } = await fakeRelease(source, 2, { bytes: 20_000 });
  await open().publish(source);
  const came = await onSmallDisk(
    t,
    64 * 1024,
    (disk) => `
      import { readdir } from 'node:fs/promises';
      import { openStore } from '${modules.open}';
      const store = openStore('${s3.url('p')}', { cacheDir: '${disk}/cache' });
      const { code, reason } = await store.open('${id}').catch((error) => error);
      const files = await readdir('${disk}', { recursive: true });
      console.log(JSON.stringify({ code, reason, files }));
    `,
  );
  if (came === undefined) {
    t.pass('skipped: this system lets nobody mount a small disk');
    return;
  }
  const { files, ...rest } = came as { readonly files: readonly string[] };
  t.deepEqual(rest, { code: 'RESOURCE_EXHAUSTED', reason: 'CACHE_FULL' } as never);
  t.deepEqual(
    files.filter((file) => file.endsWith('.tmp')),
    [],
  );
});

test('a writer survives the removal of its empty folder by another', async (t) => {
  const { objects } = openStore(await folderOf(t));
  const work = async (name: string): Promise<void> => {
    for (let count = 0; count < 200; count++) {
      await objects.write(`folder/${name}`, Buffer.from('x'));
      await objects.remove(`folder/${name}`);
    }
  };
  await t.notThrowsAsync(Promise.all(['a', 'b', 'c'].map(work)));
});
