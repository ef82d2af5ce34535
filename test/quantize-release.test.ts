import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { DomainError } from '../lib/errors.ts';
import { openStore } from '../lib/releases/store/open.ts';
import { evaluateRelease } from '../lib/training/evaluation/release.ts';
import { quantizeRelease } from '../lib/training/quantize.ts';
import { writeRandomRelease } from './support/release.ts';

test('a release is published again with 8-bit weights, and evaluated beside its parent', async (t) => {
  const root = await mkdtemp(join(tmpdir(), 'radscribe-'));
  t.teardown(() => rm(root, { recursive: true }));
  const config = {
    variant: 'chexnet-label',
    preset: 'demo',
    data: 'phantom:40?size=64',
  };
  const { id: parent } = await writeRandomRelease(join(root, 'parent'), 'chexnet-label', {
    config: JSON.parse(JSON.stringify(config)) as Record<string, never>,
  });
  const store = openStore(join(root, 'store'), { cacheDir: join(root, 'cached') });
  t.teardown(() => store.close());
  await store.publish(join(root, 'parent'));
  const options = { store, cache: join(root, 'data'), studies: 2, samples: 5, threads: 1 };

  const { manifest, agreement } = await quantizeRelease({ ...options, release: parent });
  t.like(await store.manifest(manifest.id), { id: manifest.id, quantization: 'int8' });
  t.is(manifest.provenance.parent, parent);
  const bytes = (files: typeof manifest.files): number =>
    files['generator.safetensors']?.bytes ?? Number.NaN;
  t.true(bytes(manifest.files) < 0.45 * bytes((await store.manifest(parent)).files));
  t.is(agreement.reports, 2);
  t.is(
    manifest.evaluation['quantization']?.model.metrics['agreeingTokens'],
    agreement.agreeingTokens / agreement.tokens,
  );
  t.truthy(manifest.evaluation['language']);

  const again = await evaluateRelease({ ...options, release: manifest.id });
  t.deepEqual(again.tables['tokens']?.model.metrics, manifest.evaluation['tokens']?.model.metrics);
  await t.throwsAsync(quantizeRelease({ ...options, release: manifest.id }), {
    instanceOf: DomainError,
    message: /has 8-bit weights already/,
  });
});
