import { execFile } from 'node:child_process';
import { mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import test from 'ava';
import { loadPreset } from '../lib/models/preset.ts';
import { initialTensor } from '../lib/models/init.ts';
import { variantParameters } from '../lib/models/variants.ts';
import { writeSafetensors } from '../lib/safetensors/safetensors.ts';
import { RunDatabase } from '../lib/training/database.ts';
import { mini } from './support/trainer.ts';

const run = promisify(execFile);

test('a dataset without a study to validate on is refused, naming the split', async (t) => {
  const place = await mini(t);
  const config = await place.config({ data: 'phantom:1?size=32' });
  const { code, err } = await place.start('train', '--config', config).ended;
  t.is(code, 1);
  t.regex(err, /the (train|validate) split has no study \(train \d, validate \d, test \d\)/);
  using database = new RunDatabase(place.runs);
  const [failed] = database.list();
  t.is(failed?.state, 'failed');
  t.is(failed?.error?.reason, 'DATASET_EMPTY');
  t.is(failed?.release, null);
});

test('fewer studies than a batch are trained on all the same', async (t) => {
  const place = await mini(t);
  const config = await place.config({
    studies: { train: 2, validate: 2, test: 1 },
    stage2: { epochs: 0 },
    labels: { epochs: 0, refitEpochs: 0 },
  });
  const { code, out, err } = await place.start('train', '--config', config, '--json').ended;
  t.is(code, 0, err);
  t.regex(out, /"state":"succeeded","release":"rs-[0-9a-f]{24}"/);
});

test('a loss that is no number stops the run with step, studies and last good checkpoint', async (t) => {
  const place = await mini(t);
  const path = await place.config({ initialWeights: join(place.root, 'bad.safetensors') });
  const preset = loadPreset(join(place.root, 'preset.json'));
  const spec = variantParameters('vit-label', preset).find(({ name }) =>
    name.startsWith('vision.'),
  );
  if (!spec) throw new Error('there is no vision encoder');
  const bad = initialTensor(spec, 1);
  bad.data.fill(Number.NaN);
  await writeSafetensors(join(place.root, 'bad.safetensors'), [
    Object.assign({ name: spec.name }, bad),
  ]);
  const { code, err } = await place.start('train', '--config', path).ended;
  t.is(code, 1);
  t.regex(err, /labels step 0: the loss or its gradient is not finite \(loss NaN\)/);
  t.regex(err, /studies phantom-1-\d+, .*last good checkpoint 000001/);
  using database = new RunDatabase(place.runs);
  t.is(database.list()[0]?.error?.reason, 'LOSS_NOT_FINITE');
});

test('weights that fit no parameter of the preset are refused', async (t) => {
  const place = await mini(t);
  const other = { dtype: 'float32', shape: [3], data: new Float32Array(3) } as const;
  const path = join(place.root, 'other.safetensors');
  await writeSafetensors(path, [{ name: 'vision.layernorm.weight', ...other }]);
  const config = await place.config({ initialWeights: path });
  const { code, err } = await place.start('train', '--config', config).ended;
  t.is(code, 2);
  t.regex(
    err,
    /no tensor that fits .*vision\.layernorm\.weight is float32\[3\], not float32\[16\]/,
  );
});

test('a full disk ends the run with a message, and the run goes on when there is room', async (t) => {
  const place = await mini(t);
  await mkdir(place.runs);
  try {
    await run('mount', ['-t', 'tmpfs', '-o', 'size=600k', 'tmpfs', place.runs]);
  } catch {
    t.log('this user may not mount a small disk: skipped');
    t.pass();
    return;
  }
  try {
    const config = await place.config();
    const { code, err } = await place.start('train', '--config', config).ended;
    t.is(code, 1, err);
    t.regex(err, /the disk is full|database or disk is full/);
    await run('mount', ['-o', 'remount,size=64m', place.runs]);
    const database = new RunDatabase(place.runs);
    const id = database.list()[0]?.id ?? '';
    database.close();
    const resumed = await place.start('train', '--resume', id, '--json').ended;
    t.is(resumed.code, 0, resumed.err);
    const left = await readdir(join(place.runs, id, 'releases'));
    t.is(left.length, 1, 'one whole release and nothing else');
  } finally {
    await run('umount', [place.runs]);
    await rm(place.runs, { recursive: true, force: true });
  }
});

test('an unknown run, dataset and option are wrong input', async (t) => {
  const place = await mini(t);
  const cases: readonly (readonly [readonly string[], RegExp])[] = [
    [['--resume', 'run-none'], /there is no run run-none/],
    [['--config', await place.config({ data: 'nih:x' })], /got nih:x, expected mimic:FOLDER/],
    [['--config', await place.config({ data: 'phantom:9?sice=3' })], /phantom takes no sice/],
    [['--config', join(place.root, 'none.json')], /none\.json: no readable config file/],
    [['--variant', 'vgg'], /Allowed choices are chexnet/],
  ];
  for (const [args, message] of cases) {
    const { code, err } = await place.start('train', ...args).ended;
    t.is(code, 2, err);
    t.regex(err, message);
  }
});
