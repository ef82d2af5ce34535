import test from 'ava';
import { openPhantom } from '../lib/data/phantom/dataset.ts';
import { startOf, streamStudies } from '../lib/data/stream.ts';
import { planStudy, renderStudy } from '../lib/data/phantom/study.ts';
import { extractLabels } from '../lib/text/labels/extract.ts';
import { observations } from '../lib/text/labels/observations.ts';

const options = { seed: 7, size: 64 };

test('a study is decided by its seed and number alone', async (t) => {
  t.deepEqual(planStudy(options, 3), planStudy(options, 3));
  t.notDeepEqual(planStudy(options, 3), planStudy(options, 4));
  t.notDeepEqual(planStudy(options, 3), planStudy({ ...options, seed: 8 }, 3));
  const [first, second] = await Promise.all(
    [0, 1].map(() => renderStudy(options, planStudy(options, 3), 'PA')),
  );
  t.deepEqual(first, second);
});

test('our rules extract from a report the labels that it was written for', (t) => {
  for (let index = 0; index < 600; index += 1) {
    const { findings, impression, labels } = planStudy(options, index).report;
    t.deepEqual(extractLabels(`${findings}\n${impression}`, 'plain'), labels, `study ${index}`);
  }
});

test('every observation occurs about as often as its prevalence says', (t) => {
  const seen = new Map<string, number>();
  for (let index = 0; index < 500; index += 1) {
    const { labels } = planStudy({ ...options, prevalence: { Fracture: 0.8 } }, index).report;
    for (const name of observations) {
      if (labels[name] === 'positive') seen.set(name, (seen.get(name) ?? 0) + 1);
    }
  }
  t.is(seen.size, observations.length);
  const fractures = seen.get('Fracture') ?? 0;
  t.true(fractures > 310 && fractures < 430, `${fractures} of 500`);
});

test('a finding changes the image where it is, and nothing else of the patient', async (t) => {
  const none = Object.fromEntries(observations.map((name) => [name, 0]));
  const draw = async (only?: string) => {
    const chosen = {
      ...options,
      size: 128,
      uncertain: 0,
      prevalence: { ...none, ...(only && { [only]: 1 }) },
    };
    return renderStudy(chosen, planStudy(chosen, 1), 'PA');
  };
  const healthy = await draw();
  for (const name of observations.slice(1)) {
    const ill = await draw(name);
    const changed = ill.filter((grey, at) => Math.abs(grey - (healthy[at] ?? 0)) > 12).length;
    t.true(changed > 10, `${name}: ${changed} pixels of ${ill.length}`);
    t.true(changed < ill.length / 3, `${name}: ${changed} pixels of ${ill.length}`);
  }
});

test('studies are streamed as a dataset, each the same whenever it is read', async (t) => {
  const dataset = openPhantom({ ...options, count: 40, views: 'all' });
  t.teardown(() => dataset.close());
  const records = Object.values(dataset.splits).flat();
  t.is(records.length, 40);
  t.true(dataset.splits.train.length > 24);
  const ids: string[] = [];
  const start = startOf(dataset, 'train', { seed: 3 });
  for await (const { value } of streamStudies(dataset, start, { load: (study) => study })) {
    ids.push(value.id);
    t.is(value.labelsFrom, 'given');
    t.deepEqual(
      value.images.map(({ view }) => view),
      ['PA', 'LATERAL'],
    );
  }
  t.deepEqual(
    ids.toSorted(),
    dataset.splits.train.map(({ id }) => id),
  );
  const [frontal, lateral] = (await dataset.read(records[0]!)).images;
  const image = await frontal.decode();
  t.like(image, { width: 64, height: 64, view: 'PA' });
  t.deepEqual(await frontal.decode(), image);
  t.notDeepEqual((await lateral?.decode())?.pixels, image.pixels);
  const fewer = openPhantom({ ...options, count: 20 });
  for (const { id, split } of Object.values(fewer.splits).flat()) {
    t.is(records.find((record) => record.id === id)?.split, split);
  }
  t.not(openPhantom({ ...options, count: 40 }).fingerprint, dataset.fingerprint);
  t.like(
    t.throws(() => openPhantom({ ...options, count: 0 })),
    { reason: 'COUNT_RANGE' },
  );
});

test('a size or prevalence out of range is refused', async (t) => {
  const plan = planStudy(options, 0);
  const size = await t.throwsAsync(renderStudy({ ...options, size: 31 }, plan, 'PA'));
  t.like(size, { reason: 'SIZE_RANGE', field: 'size' });
  const prevalence = t.throws(() => planStudy({ ...options, prevalence: { Edema: 1.1 } }, 0));
  t.like(prevalence, { reason: 'PREVALENCE_RANGE', field: 'prevalence[Edema]' });
});
