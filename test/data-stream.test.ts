import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { type Dataset, defineDataset, type Labels, type StudyRecord } from '../lib/data/dataset.ts';
import { shuffled } from '../lib/data/order.ts';
import { type Position, startOf, streamStudies, type StreamOptions } from '../lib/data/stream.ts';
import { DomainError, invalidArgument } from '../lib/errors.ts';

const labels = {} as Labels;

/** Studies `s00`, `s01`, …; `faults` throw when their report is read. */
function numbered(
  count: number,
  faults: Readonly<Record<string, unknown>> = {},
  facts = '',
): Dataset {
  const records = Array.from({ length: count }, (_, index): StudyRecord => {
    const id = `s${`${index}`.padStart(2, '0')}`;
    return { id, split: 'train', images: [{ name: `${id}.png`, view: 'PA' }], facts };
  });
  return defineDataset({
    name: 'numbered',
    records,
    leftOut: {},
    report: async ({ id }) => {
      if (id in faults) throw faults[id];
      return { findings: id, impression: '', indication: '', labels, labelsFrom: 'given' };
    },
    image: async () => {
      throw new Error('no images here');
    },
  });
}

const gone = (name: string) =>
  new DomainError('NOT_FOUND', 'FILE_MISSING', `${name}: no such file`);
const broken = (name: string) => invalidArgument('IMAGE_TRUNCATED', name, 'ends early');
const nothing = () => new DomainError('FAILED_PRECONDITION', 'REPORT_EMPTY', 'nothing in it');

async function idsOf(
  dataset: Dataset,
  position: Position,
  options: Partial<StreamOptions<string>> = {},
): Promise<string[]> {
  const ids: string[] = [];
  for await (const { value } of streamStudies(dataset, position, {
    load: ({ id }) => id,
    ...options,
  }))
    ids.push(value);
  return ids;
}

test('without a seed the studies come in the order of their ids', async (t) => {
  const dataset = numbered(12);
  t.deepEqual(
    await idsOf(dataset, startOf(dataset, 'train')),
    dataset.splits.train.map(({ id }) => id),
  );
  t.deepEqual(await idsOf(dataset, startOf(dataset, 'test')), []);
});

test('a shuffle is decided by seed and epoch, and by nothing else', async (t) => {
  const dataset = numbered(40);
  const order = (seed: number, epoch: number) =>
    idsOf(dataset, startOf(dataset, 'train', { seed, epoch }));
  const first = await order(7, 0);
  t.deepEqual(await order(7, 0), first);
  t.notDeepEqual(await order(7, 1), first);
  t.notDeepEqual(await order(8, 0), first);
  t.deepEqual(first.toSorted(), await idsOf(dataset, startOf(dataset, 'train')));
});

test('a shuffle does not depend on the order of the input, and keeps its order when studies are added', (t) => {
  const keys = Array.from({ length: 50 }, (_, index) => `key ${index}`);
  const order = shuffled(keys, (key) => key, 3, 'test');
  t.deepEqual(
    shuffled(keys.toReversed(), (key) => key, 3, 'test'),
    order,
  );
  const fewer = shuffled(keys.slice(10), (key) => key, 3, 'test');
  t.deepEqual(
    order.filter((key) => fewer.includes(key)),
    fewer,
  );
});

test('a shuffle keeps its order from release to release', (t) => {
  const order = shuffled(['a', 'b', 'c', 'd', 'e', 'f'], (key) => key, 1, 'epoch 0');
  // Saved positions count on it.
  t.is(order.join(''), 'afcdbe');
});

test('every prefetch width gives the same studies in the same order, and is never exceeded', async (t) => {
  const dataset = numbered(30, { s03: gone('s03.png'), s11: broken('s11.png'), s20: nothing() });
  const start = startOf(dataset, 'train', { seed: 5 });
  const expected = await idsOf(dataset, start, { prefetch: 1, skipLimit: 2 });
  t.is(expected.length, 27);
  for (const prefetch of [2, 4, 64]) {
    let inWork = 0;
    let most = 0;
    const load = async ({ id }: { readonly id: string }) => {
      inWork += 1;
      most = Math.max(most, inWork);
      // The later ones are done first.
      await sleep((31 - Number(id.slice(1))) % 5);
      inWork -= 1;
      return id;
    };
    t.deepEqual(await idsOf(dataset, start, { prefetch, skipLimit: 2, load }), expected);
    t.true(most <= prefetch && most > 1, `${most} in work at prefetch ${prefetch}`);
  }
});

test('reading continues exactly at a stored position, skipped studies included', async (t) => {
  const dataset = numbered(25, { s04: gone('s04.png'), s09: broken('s09.png'), s17: nothing() });
  const start = startOf(dataset, 'train', { seed: 11, epoch: 2 });
  const options = { load: ({ id }: { readonly id: string }) => id, skipLimit: 2, prefetch: 3 };
  const whole: { value: string; position: Position }[] = [];
  for await (const item of streamStudies(dataset, start, options)) whole.push(item);
  for (const [index, { position }] of whole.entries()) {
    const stored = JSON.parse(JSON.stringify(position)) as Position;
    const rest: typeof whole = [];
    for await (const item of streamStudies(
      numbered(25, { s04: gone('s04.png'), s09: broken('s09.png'), s17: nothing() }),
      stored,
      options,
    ))
      rest.push(item);
    t.deepEqual(rest, whole.slice(index + 1));
  }
});

test('a position of another dataset is refused', async (t) => {
  const position = startOf(numbered(5), 'train');
  await t.throwsAsync(idsOf(numbered(6), position), { code: 'FAILED_PRECONDITION' });
});

test('missing and corrupt studies are counted and named, and an empty report is not damage', async (t) => {
  const dataset = numbered(10, { s01: gone('s01.png'), s02: nothing(), s05: broken('s05.png') });
  const seen: Position[] = [];
  const ids = await idsOf(dataset, startOf(dataset, 'train'), {
    skipLimit: 2,
    onProgress: (position, total) => {
      t.is(total, 10);
      seen.push(position);
    },
  });
  t.deepEqual(ids, ['s00', 's03', 's04', 's06', 's07', 's08', 's09']);
  t.deepEqual(
    seen.map(({ done }) => done),
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
  );
  const end = seen.at(-1);
  t.is(end?.empty, 1);
  t.deepEqual(end?.skipped, [
    { id: 's01', kind: 'missing', message: 's01.png: no such file' },
    { id: 's05', kind: 'corrupt', message: 's05.png: ends early' },
  ]);
});

test('one damaged study more than the limit ends the load with a summary', async (t) => {
  const faults = { s01: gone('s01.png'), s04: broken('s04.png'), s06: gone('s06.png') };
  const dataset = numbered(10, faults);
  const ids: string[] = [];
  const error = await t.throwsAsync<DomainError>(
    async () => {
      const options = { load: ({ id }: { readonly id: string }) => id, skipLimit: 2 };
      for await (const { value } of streamStudies(dataset, startOf(dataset, 'train'), options))
        ids.push(value);
    },
    { code: 'DATA_LOSS' },
  );
  t.deepEqual(ids, ['s00', 's02', 's03', 's05']);
  t.is(error?.reason, 'DATASET_DAMAGED');
  t.is(
    error?.message,
    'numbered train: 3 of the first 7 studies cannot be used (2 missing, 1 corrupt), at most 2 may be:\n' +
      '  s01: s01.png: no such file\n  s04: s04.png: ends early\n  s06: s06.png: no such file',
  );
});

test('damage from before a resume still counts against the limit', async (t) => {
  const dataset = numbered(10, { s01: gone('s01.png'), s08: gone('s08.png') });
  let middle = startOf(dataset, 'train');
  const options = { load: ({ id }: { readonly id: string }) => id, skipLimit: 1 };
  for await (const { position } of streamStudies(dataset, middle, options)) {
    middle = position;
    if (position.done === 5) break;
  }
  const error = await t.throwsAsync(idsOf(dataset, middle, { skipLimit: 1 }));
  t.regex(error?.message ?? '', /s01\.png.*s08\.png/s);
});

test('by default, one study in a hundred may be damaged', async (t) => {
  const one = numbered(90, { s10: gone('s10.png') });
  t.is((await idsOf(one, startOf(one, 'train'))).length, 89);
  const two = numbered(90, { s10: gone('s10.png'), s11: gone('s11.png') });
  await t.throwsAsync(idsOf(two, startOf(two, 'train')), { message: /at most 1 may be/ });
});

test('an error that is not about the data ends the load unchanged', async (t) => {
  const dataset = numbered(10);
  const bug = new TypeError('a fault of the program');
  const load = ({ id }: { readonly id: string }) => {
    if (id === 's03') throw bug;
    return id;
  };
  t.is(await t.throwsAsync(idsOf(dataset, startOf(dataset, 'train'), { load })), bug);
});

test('an aborted signal ends the stream with its reason, and no read is pending afterwards', async (t) => {
  const dataset = numbered(50);
  const abort = new AbortController();
  const reason = new Error('enough');
  let inWork = 0;
  let told = 0;
  const load = async ({ id }: { readonly id: string }, signal: AbortSignal) => {
    signal.addEventListener('abort', () => (told += 1), { once: true });
    inWork += 1;
    await sleep(2);
    inWork -= 1;
    if (id === 's07') abort.abort(reason);
    return id;
  };
  const ended = idsOf(dataset, startOf(dataset, 'train'), { load, signal: abort.signal });
  t.is(await t.throwsAsync(ended), reason);
  t.is(inWork, 0);
  t.true(told > 0);
  await t.throwsAsync(
    idsOf(dataset, startOf(dataset, 'train'), { signal: AbortSignal.abort(reason) }),
    { is: reason },
  );
});

test('a reader that stops early leaves no read pending', async (t) => {
  const dataset = numbered(50);
  let inWork = 0;
  const load = async ({ id }: { readonly id: string }) => {
    inWork += 1;
    await sleep(2);
    inWork -= 1;
    return id;
  };
  for await (const { value } of streamStudies(dataset, startOf(dataset, 'train'), { load })) {
    if (value === 's05') break;
  }
  t.is(inWork, 0);
});

test('a prefetch of no studies is refused', async (t) => {
  const dataset = numbered(3);
  await t.throwsAsync(idsOf(dataset, startOf(dataset, 'train'), { prefetch: 0 }), {
    code: 'INVALID_ARGUMENT',
  });
});

test('the fingerprint changes with the studies and with what the index knows of their content', (t) => {
  t.is(numbered(5).fingerprint, numbered(5).fingerprint);
  t.not(numbered(5).fingerprint, numbered(6).fingerprint);
  t.not(numbered(5).fingerprint, numbered(5, {}, 'other content').fingerprint);
  t.regex(numbered(5).fingerprint, /^[0-9a-f]{64}$/);
});
