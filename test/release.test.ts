import { access, readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import { DomainError } from '../lib/errors.ts';
import { initialTensor } from '../lib/models/init.ts';
import { loadPreset } from '../lib/models/preset.ts';
import { variantParameters } from '../lib/models/variants.ts';
import { createBackend } from '../lib/runtime/backend.ts';
import type { ReadParameter } from '../lib/releases/models.ts';
import { modelCard } from '../lib/releases/card.ts';
import {
  type Manifest,
  canonicalJson,
  parseManifest,
  releaseFiles,
  releaseIdOf,
} from '../lib/releases/manifest.ts';
import { readManifest, verifyFolder } from '../lib/releases/verify.ts';
import { writeRelease } from '../lib/releases/write.ts';
import { openStore } from '../lib/releases/store/open.ts';
import { description, fakeRelease, folderOf } from './support/releases.ts';

const isDomain = { instanceOf: DomainError };
const preset = loadPreset('demo');

const specs = new Map(variantParameters('vit-label', preset).map((spec) => [spec.name, spec]));

const randomTensor: ReadParameter = (name) => {
  const spec = specs.get(name);
  return spec && initialTensor(spec, 3);
};

const tokenizers = { encoder: { kind: 'encoder' }, decoder: { kind: 'decoder' } };

test('a release is written, published, opened, and its graphs run over its weights', async (t) => {
  const root = await folderOf(t);
  const parts = { ...description(1), tokenizers };
  const manifest = await writeRelease(join(root, 'a'), parts, randomTensor);
  t.deepEqual((await readdir(join(root, 'a'))).sort(), [...releaseFiles, 'release.json'].sort());
  const store = openStore(join(root, 'store'));
  await store.publish(join(root, 'a'));
  const { folder } = await store.open(manifest.id);
  const backend = await createBackend({ provider: 'cpu', intraOpThreads: 1 });
  t.teardown(() => backend.dispose());
  const size = preset.imageSize;
  const vision = await backend.load(join(folder, 'vision.onnx'));
  const image = {
    dtype: 'float32' as const,
    shape: [1, 3, size, size],
    data: new Float32Array(3 * size * size).fill(0.1),
  };
  const { fetched: features } = await vision.run({ image });
  const labeler = await backend.load(join(folder, 'labeler.onnx'));
  const { fetched } = await labeler.run({ pooled: features['pooled']! });
  const { logits } = fetched;
  t.deepEqual(logits?.shape, [1, 14]);
  t.true([...(logits?.data ?? [])].every((value) => Number.isFinite(Number(value))));
  for (const name of ['encoder.onnx', 'decoder.onnx']) await backend.load(join(folder, name));
});

test('the same parts give the same bytes and the same id, others another', async (t) => {
  const root = await folderOf(t);
  const write = (folder: string, seed: number): Promise<Manifest> =>
    writeRelease(join(root, folder), { ...description(seed), tokenizers }, randomTensor);
  const [a, b, c] = [await write('a', 1), await write('b', 1), await write('c', 2)];
  t.deepEqual(a, b);
  t.not(a.id, c.id);
  t.is(a.files['vision.safetensors']?.sha256, c.files['vision.safetensors']?.sha256);
  t.deepEqual(
    await readFile(join(root, 'a', 'release.json')),
    await readFile(join(root, 'b', 'release.json')),
  );
});

test('parts that do not fit are refused by name, and a folder in use is left alone', async (t) => {
  const root = await folderOf(t);
  const parts = { ...description(1), tokenizers };
  const name = 'labeler.classifier.bias';
  const without =
    (other: Awaited<ReturnType<ReadParameter>>): ReadParameter =>
    (wanted) =>
      wanted === name ? other : randomTensor(wanted);
  const missing = writeRelease(join(root, 'a'), parts, without(undefined));
  t.like(await t.throwsAsync(missing, isDomain), {
    reason: 'RELEASE_TENSOR',
    field: `tensors.${name}`,
    message: `tensors.${name}: is missing, expected float32[14]`,
  });
  const short = { dtype: 'float32', shape: [1], data: new Float32Array(1) } as const;
  const wrong = writeRelease(join(root, 'b'), parts, without(short));
  await t.throwsAsync(wrong, { message: /is float32\[1\], expected float32\[14\]/ });
  const labels = { ...parts.labels, thresholds: [2] };
  const odd = writeRelease(join(root, 'c'), { ...parts, labels }, randomTensor);
  t.regex((await t.throwsAsync(odd, isDomain)).field ?? '', /^release\.labels\.thresholds/);
  await t.throwsAsync(access(join(root, 'c')));
  await writeFile(join(root, 'd.txt'), '');
  const full = writeRelease(root, parts, randomTensor);
  t.is((await t.throwsAsync(full, isDomain)).code, 'ALREADY_EXISTS');
});

/** A path within the manifest, and what stands there instead; undefined: nothing. */
const broken: readonly (readonly [path: string, value: unknown])[] = [
  ['formatVersion', 0],
  ['variant', 'vgg'],
  ['preset/imageSize', 0],
  ['preprocessing/kernel', 'x'],
  ['labels/temperatures', Array.from({ length: 14 }, () => 0)],
  ['labels/thresholds', [0.5]],
  ['decoding/topP', 2],
  ['outOfDistribution/std', [1]],
  ['provenance/seed', -1],
  ['provenance/createdAt', 'yesterday'],
  ['evaluation/clinical/model', 1],
  ['files/vision.onnx', undefined],
  ['files/vision.onnx/sha256', 'A'],
  ['surprise', 1],
  ['id', `rs-${'0'.repeat(24)}`],
];

function changed(json: string, path: string, value: unknown): unknown {
  const manifest = JSON.parse(json) as Record<string, unknown>;
  const names = path.split('/');
  const last = names.pop() ?? '';
  let at = manifest;
  for (const name of names) at = at[name] as Record<string, unknown>;
  if (value === undefined) delete at[last];
  else at[last] = value;
  return manifest;
}

test('a manifest that is wrong anywhere is refused by the name of the field', async (t) => {
  const good = JSON.stringify(await fakeRelease(await folderOf(t), 1));
  t.notThrows(() => parseManifest(JSON.parse(good)));
  for (const [path, value] of broken) {
    const error = t.throws(() => parseManifest(changed(good, path, value)), isDomain, path);
    const field = `release.${path.replaceAll('/', '.')}`;
    t.true(error?.field?.startsWith(field), `${error?.field} for ${field}`);
  }
  const changedLater = changed(good, 'quantization', 'int8');
  t.is(t.throws(() => parseManifest(changedLater), isDomain)?.field, 'release.id');
  for (const other of [null, 1, [], 'x', {}]) {
    t.is(t.throws(() => parseManifest(other), isDomain)?.code, 'INVALID_ARGUMENT');
  }
});

test('a manifest of version 1, which spelt quantization with an s, keeps its id', async (t) => {
  const now = await fakeRelease(await folderOf(t), 1);
  const { id: _, quantization: __, ...rest } = now;
  const { clinical } = now.evaluation;
  const content = {
    ...rest,
    formatVersion: 1,
    quantisation: 'int8',
    evaluation: { clinical, quantisation: clinical },
  };
  const old = { id: releaseIdOf(content), ...content };
  const read = readManifest(Buffer.from(JSON.stringify(old)), old.id);
  t.deepEqual(read, {
    ...now,
    id: old.id,
    quantization: 'int8',
    evaluation: { clinical, quantization: clinical },
  });
  const misspelt = { ...rest, quantisation: 'int8' };
  const error = t.throws(() => parseManifest({ ...misspelt, id: releaseIdOf(misspelt) }), isDomain);
  t.regex(error?.field ?? '', /quanti/);
});

test('every release of this repository is complete, and keeps the id that it was given', async (t) => {
  const store = openStore(join(import.meta.dirname, '../releases'));
  const { releases, damaged } = await store.list();
  t.deepEqual(damaged, []);
  t.is(releases.length, 6);
  for (const { id, quantization } of releases) {
    t.is(quantization, 'none');
    t.is((await store.open(id)).manifest.id, id);
  }
});

test('no path of a manifest leads out of its folder', async (t) => {
  const folder = await folderOf(t);
  const good = await fakeRelease(folder, 1);
  const paths = [
    '../up',
    '/etc/passwd',
    'a/../../b',
    'a//b',
    'C:\\x',
    '..',
    '.hidden',
    'a\0b',
    '',
    'release.json',
    'ａ',
    'a/b/c/d/e',
    'x'.repeat(200),
  ];
  for (const path of paths) {
    const content = {
      ...good,
      files: { ...good.files, [path]: { sha256: '0'.repeat(64), bytes: 1 } },
    };
    const manifest = { ...content, id: releaseIdOf(content) };
    const error = t.throws(() => parseManifest(manifest), isDomain, JSON.stringify(path));
    t.regex(error?.field ?? '', /^release\.files\./);
    await writeFile(join(folder, 'release.json'), JSON.stringify(manifest));
    const store = openStore(join(folder, 'store'));
    t.is((await t.throwsAsync(store.publish(folder), isDomain)).code, 'DATA_LOSS');
  }
});

test('a manifest cut at any byte, or with a byte flipped, is DATA_LOSS', async (t) => {
  const folder = await folderOf(t);
  const { id } = await fakeRelease(folder, 1);
  const bytes = await readFile(join(folder, 'release.json'));
  t.is(readManifest(bytes, id).id, id);
  for (let at = 0; at < bytes.length; at += 13) {
    const cut = t.throws(() => readManifest(bytes.subarray(0, at), id), isDomain, `cut at ${at}`);
    t.is(cut?.code, 'DATA_LOSS');
    const flipped = Buffer.from(bytes);
    flipped[at]! ^= 1;
    const error = t.throws(() => readManifest(flipped, id), isDomain, `flipped at ${at}`);
    t.true(error?.code === 'DATA_LOSS' || error?.code === 'FAILED_PRECONDITION', `${at}`);
  }
});

test('a manifest of a later format says so', async (t) => {
  const folder = await folderOf(t);
  const manifest = await fakeRelease(folder, 1);
  const later = Buffer.from(JSON.stringify({ ...manifest, formatVersion: 3 }));
  const error = t.throws(() => readManifest(later, manifest.id), isDomain);
  t.is(error?.reason, 'RELEASE_FORMAT');
});

test('a folder outside of a store is checked against its own manifest', async (t) => {
  const folder = await folderOf(t);
  const { id } = await fakeRelease(folder, 1);
  t.is((await verifyFolder(folder)).id, id);
  await writeFile(join(folder, 'MODEL_CARD.md'), 'a better card');
  t.is((await t.throwsAsync(verifyFolder(folder), isDomain)).field, 'MODEL_CARD.md');
  t.is((await t.throwsAsync(verifyFolder(join(folder, 'no')), isDomain)).code, 'NOT_FOUND');
});

test('canonical JSON does not depend on the order of keys', (t) => {
  t.is(
    canonicalJson({ b: [1, { d: null, c: 'é' }], a: undefined }),
    '{"b":[1,{"c":"é","d":null}]}',
  );
});

test('the model card says what it is for, what it is not, and sets figures against baselines', (t) => {
  const card = modelCard(description(1));
  t.regex(card, /Not a medical device/);
  t.regex(card, /\| microF1 \| 0.8123 \(0.78 to 0.84\) \| 0.3 \|/);
  t.regex(card, /\| Pleural Effusion \| 0.569 \| 2.423 \|/);
  t.regex(card, /1 % of the validation studies got false alarms/);
  t.snapshot(card);
});
