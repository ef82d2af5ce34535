import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import { openStore } from '../lib/releases/store/open.ts';
import { RunDatabase } from '../lib/training/database.ts';
import { mini } from './support/trainer.ts';

interface Judged {
  readonly id: string;
  readonly variant: string;
  readonly tables: Readonly<
    Record<
      string,
      { readonly model: unknown; readonly baselines: Readonly<Record<string, unknown>> }
    >
  >;
}

test('a run trains, draws its figures and promotes its release, which is judged and looked at', async (t) => {
  const place = await mini(t);
  const url = join(place.root, 'store');
  const config = await place.config();
  const flags = ['--store', url, '--channel', 'stable', '--json'];
  const trained = await place.start('train', '--config', config, ...flags).ended;
  t.is(trained.code, 0, trained.err);
  const { run, release } = JSON.parse(trained.out) as { run: string; release: string };
  t.regex(trained.err, /stage1 \| step \d\/\d \| loss \d/, 'plain lines without a terminal');

  const figures = await readdir(join(place.runs, run, 'figures'));
  const kinds = ['jsonl', 'png', 'svg'];
  t.deepEqual(
    figures.sort(),
    ['figure-2', 'figure-3'].flatMap((name) => kinds.map((kind) => `${name}.${kind}`)),
  );
  const svg = await readFile(join(place.runs, run, 'figures', 'figure-2.svg'), 'utf8');
  t.true(svg.startsWith('<svg') && svg.includes('token accuracy'));

  const store = openStore(url);
  t.teardown(() => store.close());
  t.is(await store.resolve('stable'), release);
  const { provenance } = await store.manifest(release);
  t.is(provenance.dataset.name, 'phantom');
  t.is(provenance.config['variant'], 'vit-label');

  const recorded = await place.start('evaluate', '--store', url, '--all', '--recorded').ended;
  for (const title of [
    'Language (IV)',
    'Tokens (V)',
    '(VI)',
    '(VII)',
    'constant report',
    'nearest (vit-label)',
  ]) {
    t.true(recorded.out.includes(title), title);
  }
  const reports = join(place.root, 'reports.jsonl');
  const anew = await place.start(
    'evaluate',
    'stable',
    '--store',
    url,
    '--studies',
    '2',
    '--threads',
    '1',
    '--reports',
    reports,
    '--json',
  ).ended;
  t.is(anew.code, 0, anew.err);
  const [judged] = JSON.parse(anew.out) as Judged[];
  t.is(judged?.id, release);
  const before = (await store.manifest(release)).evaluation;
  t.deepEqual(
    judged?.tables['clinical']?.model,
    before['clinical']?.model,
    'the same studies give the same figures',
  );
  t.is((await readFile(reports, 'utf8')).trim().split('\n').length, 2);

  const plain = await place.config({
    variant: 'vit',
    labels: { epochs: 0, refitEpochs: 0 },
    stage2: { epochs: 0 },
  });
  const child = await place.start(
    'train',
    '--config',
    plain,
    '--store',
    url,
    '--parent',
    'stable',
    '--json',
  ).ended;
  t.is(child.code, 0, child.err);
  const heir = await store.open((JSON.parse(child.out) as { release: string }).release);
  const { folder } = await store.open(release);
  t.is(heir.manifest.provenance.parent, release);
  const weights = await Promise.all(
    [heir.folder, folder].map((at) => readFile(join(at, 'vision.safetensors'))),
  );
  t.true(weights[0]?.equals(weights[1] as Buffer), 'nothing trained the vision encoder');

  const list = await place.start('runs', 'list').ended;
  t.regex(list.out, new RegExp(`${run} +succeeded +vit-label .*${release}`));
  const watched = await place.start('runs', 'watch', run, '--after', '1', '--json').ended;
  const events = watched.out
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { sequence: number });
  t.is(events[0]?.sequence, 2);
});

test('a run that trains is cancelled from elsewhere', async (t) => {
  const place = await mini(t);
  const config = await place.config({ stage2: { epochs: 500 } });
  const { child, ended } = place.start('train', '--config', config);
  await new Promise<void>((done) => {
    child.stderr?.on('data', (text: string) => {
      if (text.includes('stage labels')) done();
    });
  });
  using database = new RunDatabase(place.runs);
  const id = database.list()[0]?.id ?? '';
  const { out } = await place.start('runs', 'cancel', id).ended;
  t.regex(out, /ends after the step under way/);
  const { code, out: said } = await ended;
  t.is(code, 0);
  t.regex(said, /cancelled/);
  t.is(database.get(id).state, 'cancelled');
  const again = await place.start('train', '--resume', id).ended;
  t.regex(again.err, /is cancelled; there is nothing to resume/);
});
