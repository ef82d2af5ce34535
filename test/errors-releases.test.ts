import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { parseDecodingOptions } from '../lib/releases/decoding.ts';
import { parseManifest } from '../lib/releases/manifest.ts';
import { exportRelease, importRelease } from '../lib/releases/store/archive.ts';
import { createUnderLock } from '../lib/releases/store/lock.ts';
import { openStore } from '../lib/releases/store/open.ts';
import type { ReleaseStore } from '../lib/releases/store/store.ts';
import { writeRelease } from '../lib/releases/write.ts';
import { testErrors } from './support/errors.ts';
import { fakeRelease, description, folderOf } from './support/releases.ts';
import { startS3 } from './support/s3.ts';

async function storeOf(t: ExecutionContext): Promise<ReleaseStore> {
  const store = openStore(join(await folderOf(t), 'store'));
  t.teardown(() => store.close());
  return store;
}

async function publish(t: ExecutionContext, store: ReleaseStore, microF1 = 0.81): Promise<string> {
  const folder = await folderOf(t);
  await fakeRelease(folder, 1, { microF1 });
  return (await store.publish(folder)).id;
}

/** Points a channel at a release of micro F1 0.81, then tries to promote one of 0.62. */
async function promoteWorse(t: ExecutionContext, gate: readonly string[]): Promise<unknown> {
  const store = await storeOf(t);
  await store.promote('stable', await publish(t, store, 0.81));
  const worse = await publish(t, store, 0.62);
  return store.promote('stable', worse, { gate });
}

const put = (store: ReleaseStore, key: string, text: string): Promise<void> =>
  store.objects.write(key, Buffer.from(text));

testErrors(test, [
  {
    what: 'a store of another protocol',
    reason: 'STORE_URL',
    code: 'INVALID_ARGUMENT',
    field: 'store',
    provoke: () => openStore('ftp://host/store'),
  },
  {
    what: 'a store whose URL holds a password',
    reason: 'STORE_URL',
    code: 'INVALID_ARGUMENT',
    field: 'store',
    provoke: () => openStore('s3://name:secret@bucket/releases'),
  },
  {
    what: 'a key that leaves the store',
    reason: 'STORE_KEY',
    code: 'INVALID_ARGUMENT',
    field: 'key',
    provoke: async (t) => (await storeOf(t)).objects.read('channels/../../secret'),
  },
  {
    what: 'the download of an object that is not there',
    reason: 'OBJECT_NOT_FOUND',
    code: 'NOT_FOUND',
    field: 'store',
    provoke: async (t) =>
      (await storeOf(t)).objects.download('channels/none', join(await folderOf(t), 'a')),
  },
  {
    what: 'a channel whose last move is no JSON',
    reason: 'STORE_CORRUPT',
    code: 'DATA_LOSS',
    field: /^channels\/stable\//,
    provoke: async (t) => {
      const store = await storeOf(t);
      await store.promote('stable', await publish(t, store));
      await put(store, 'channels/stable/0000000002.json', '{"generation": 2,');
      await openStore(store.url).channels.get('stable');
    },
  },
  {
    what: 'a channel whose last move lacks a field',
    reason: 'STORE_CORRUPT',
    code: 'DATA_LOSS',
    field: /^channels\/stable\//,
    provoke: async (t) => {
      const store = await storeOf(t);
      await store.promote('stable', await publish(t, store));
      await put(store, 'channels/stable/0000000002.json', '{"generation": 2}');
      await openStore(store.url).channels.get('stable');
    },
  },
  {
    what: 'a store that answers with errors only',
    reason: 'STORE_UNAVAILABLE',
    code: 'UNAVAILABLE',
    field: 'store',
    provoke: async (t) => {
      const s3 = await startS3(t, { conditional: true });
      s3.fault = () => 500;
      const store = openStore(s3.url('p'), { cacheDir: await folderOf(t) });
      t.teardown(() => store.close());
      await store.channels.get('stable');
    },
  },
  {
    what: 'a weight above 1',
    reason: 'CHANNEL_WEIGHT',
    code: 'INVALID_ARGUMENT',
    field: 'weight',
    provoke: async (t) => {
      const store = await storeOf(t);
      await store.promote('stable', await publish(t, store), { weight: 1.5 });
    },
  },
  {
    what: 'a release that is worse than that of its channel',
    reason: 'RELEASE_WORSE',
    code: 'FAILED_PRECONDITION',
    field: 'name',
    provoke: (t) => promoteWorse(t, ['clinical.microF1']),
  },
  {
    what: 'a gate that is no TABLE.METRIC',
    reason: 'GATE_INVALID',
    code: 'INVALID_ARGUMENT',
    field: 'gate',
    provoke: (t) => promoteWorse(t, ['microF1']),
  },
  {
    what: 'an export into a folder with something in it',
    reason: 'FOLDER_NOT_EMPTY',
    code: 'ALREADY_EXISTS',
    field: 'folder',
    provoke: async (t) => {
      const store = await storeOf(t);
      const target = await folderOf(t);
      await writeFile(join(target, 'notes.txt'), '');
      await exportRelease(store, await publish(t, store), target);
    },
  },
  {
    what: 'an import of a folder that is not there',
    reason: 'FOLDER_NOT_FOUND',
    code: 'NOT_FOUND',
    field: 'folder',
    provoke: async (t) => importRelease(await storeOf(t), '/absent/folder'),
  },
  {
    what: 'a release written into a folder with something in it',
    reason: 'FOLDER_NOT_EMPTY',
    code: 'ALREADY_EXISTS',
    field: 'folder',
    provoke: async (t) => {
      const folder = await folderOf(t);
      await mkdir(join(folder, 'one'));
      const tokenizers = { encoder: {}, decoder: {} };
      await writeRelease(folder, { ...description(1), tokenizers }, () => undefined);
    },
  },
  {
    what: 'a release without its weights',
    reason: 'RELEASE_TENSOR',
    code: 'INVALID_ARGUMENT',
    field: /^tensors\.vision\./,
    provoke: async (t) => {
      const tokenizers = { encoder: {}, decoder: {} };
      await writeRelease(await folderOf(t), { ...description(1), tokenizers }, () => undefined);
    },
  },
  {
    what: 'a manifest of no release',
    reason: 'RELEASE_MANIFEST',
    code: 'INVALID_ARGUMENT',
    field: 'release.formatVersion',
    provoke: () => parseManifest({}),
  },
  {
    what: 'decoding with no beam',
    reason: 'DECODING_INVALID',
    code: 'INVALID_ARGUMENT',
    field: 'decoding.beams',
    provoke: () => parseDecodingOptions({ beams: 0 }),
  },
]);

test.serial('a key that others keep claiming gives STORE_LOCKED', async (t) => {
  const written: string[] = [];
  const now = performance.now.bind(performance);
  let passedMs = 0;
  performance.now = () => now() + passedMs;
  t.teardown(() => {
    performance.now = now;
  });
  const claims = {
    url: 's3://bucket',
    read: () => Promise.resolve(undefined),
    write: (key: string) => Promise.resolve(void written.push(key)),
    remove: () => Promise.resolve(),
    // Another's claim, as young as ours, whenever they are listed; 50 s pass with each.
    async *list(prefix: string) {
      passedMs += 50_000;
      for (const key of [`${prefix}other.json`, written.at(-1) ?? ''])
        yield { key, bytes: 9, modifiedMs: 1000 };
    },
  };
  const error = await t.throwsAsync(createUnderLock(claims, 'channels/a/1', Buffer.from('x')));
  t.like(error, { reason: 'STORE_LOCKED', code: 'UNAVAILABLE', field: 'store' });
  t.is(written.length, 3, 'three claims fit into the 150 s that it waits');
  t.true(
    written.every((key) => key.startsWith('locks/')),
    'the key itself was not written',
  );
});
