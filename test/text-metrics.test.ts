import test from 'ava';
import { observations } from '../lib/text/labels/observations.ts';
import { bestConstantReport, nearestNeighbours } from '../lib/text/metrics/baselines.ts';
import { addBleu, bleu, bleuCounts } from '../lib/text/metrics/bleu.ts';
import { bootstrap } from '../lib/text/metrics/bootstrap.ts';
import { cider } from '../lib/text/metrics/cider.ts';
import { clinicalScores, decide, fiveObservations } from '../lib/text/metrics/clinical.ts';
import { evaluateReports } from '../lib/text/metrics/evaluate.ts';
import { meteor } from '../lib/text/metrics/meteor.ts';
import { splitAtSpaces, tokenizePairs, wordsOf } from '../lib/text/metrics/pairs.ts';
import { rougeL } from '../lib/text/metrics/rouge.ts';
import { unigramCounts, unigramScores } from '../lib/text/metrics/unigrams.ts';
import { WordNet } from '../lib/text/metrics/word-net.ts';

const pair = (candidate: string, ...references: [string, ...string[]]) =>
  tokenizePairs([{ candidate, references }], splitAtSpaces)[0]!;

test('a text measured against itself has the best score', (t) => {
  const same = pair('no effusion or pneumothorax .', 'no effusion or pneumothorax .');
  for (const value of bleu(bleuCounts(same))) t.true(Math.abs(value - 1) < 1e-6);
  t.is(rougeL(same), 1);
  t.true(meteor(same) > 0.99);
  const others = [same, pair('the heart is large .', 'the heart is large .')];
  for (const value of cider(others)) t.true(Math.abs(value - 10) < 1e-9);
});

test('empty texts have scores, all nearly 0', (t) => {
  const cases = [pair('', 'no effusion'), pair('no effusion', ''), pair('', '')];
  for (const [at, empty] of cases.entries()) {
    t.true((bleu(bleuCounts(empty))[3] ?? 1) < 1e-6, `BLEU of case ${at}`);
    t.is(rougeL(empty), 0);
    t.is(meteor(empty), 0);
    t.deepEqual(unigramScores([unigramCounts(empty)]), [0, 0, 0]);
  }
  t.deepEqual(cider(cases), [0, 0, 0]);
});

test('the best of several references counts', (t) => {
  const two = pair('clear lungs', 'large heart seen', 'clear lungs');
  t.is(rougeL(two), 1);
  t.is(meteor(two), meteor(pair('clear lungs', 'clear lungs')));
  t.is(bleuCounts(two).referenceLength, 2);
});

test('METEOR knows inflections and synonyms', (t) => {
  t.true(meteor(pair('small effusions', 'small effusion')) > 0.9);
  t.true(meteor(pair('the bosom', 'the breast')) > 0.9);
  t.true(new WordNet().synonyms('lungs').has('lung'));
  t.is(new WordNet().synonyms('pneumothoraxes').has('heart'), false);
  t.is(new WordNet().synonyms('').size, 0);
});

test('words, numbers and full stops are tokens', (t) => {
  t.deepEqual(wordsOf("The 3.2 cm nodule (left), isn't new. ___"), [
    'the',
    '3.2',
    'cm',
    'nodule',
    'left',
    "isn't",
    'new',
    '.',
    '___',
  ]);
});

test('a brevity penalty is that of the whole corpus', (t) => {
  const counts = [pair('a b', 'a b c d'), pair('a b c d', 'a b')].map(bleuCounts);
  t.true(Math.abs((bleu(addBleu(counts))[0] ?? 0) - 4 / 6) < 1e-6);
});

test('unigrams are pooled over all reports, each as often as it is in both', (t) => {
  const counts = [pair('no no effusion', 'no effusion seen'), pair('x', 'no')].map(unigramCounts);
  t.deepEqual(unigramScores(counts), [2 / 4, 2 / 4, 4 / 8]);
});

test('clinical scores are those that scikit-learn gives', (t) => {
  // precision_recall_fscore_support(reference, candidate, average=..., zero_division=0)
  const over = ['Edema', 'Fracture', 'Pneumonia'] as const;
  const reports = [
    { candidate: { Edema: 'positive' }, reference: { Edema: 'positive', Fracture: 'positive' } },
    { candidate: { Edema: 'positive' }, reference: { Edema: 'negative' } },
    { candidate: {}, reference: {} },
    { candidate: { Fracture: 'positive' }, reference: { Fracture: 'positive' } },
  ] as const;
  const scores = clinicalScores(
    reports.map((report) => decide(report, over, 'positive')),
    over,
  );
  const near = (score: object, [precision, recall, f1]: readonly [number, number, number]) => {
    const [p = 0, r = 0, f = 0] = Object.values(score);
    for (const [a, b] of [
      [p, precision],
      [r, recall],
      [f, f1],
    ] as const) {
      t.true(Math.abs(a - b) < 1e-12, `${a} for ${b}`);
    }
  };
  near(scores.micro, [2 / 3, 2 / 3, 2 / 3]);
  near(scores.macro, [(1 / 2 + 1) / 3, (1 + 1 / 2) / 3, (2 / 3 + 2 / 3) / 3]);
  near(scores.example, [2 / 4, (1 / 2 + 1) / 4, (2 / 3 + 1) / 4]);
  t.is(scores.accuracy, 1 - 2 / 12);
  near(scores.perObservation.Edema ?? {}, [1 / 2, 1, 2 / 3]);
});

test('uncertain observations count as the option says', (t) => {
  const report = { candidate: { Edema: 'uncertain' }, reference: { Edema: 'positive' } } as const;
  const f1 = (uncertainAs: 'positive' | 'negative') =>
    clinicalScores([decide(report, fiveObservations, uncertainAs)], fiveObservations).micro.f1;
  t.is(f1('positive'), 1);
  t.is(f1('negative'), 0);
});

test('a bootstrap interval holds the value, repeats with its seed, and narrows with the items', (t) => {
  const figures = (items: readonly number[]) => ({
    mean: items.reduce((sum, item) => sum + item, 0) / items.length,
  });
  const few = Array.from({ length: 30 }, (_, at) => at % 2);
  const many = Array.from({ length: 3000 }, (_, at) => at % 2);
  const first = bootstrap(few, figures, { seed: 1 });
  t.deepEqual(bootstrap(few, figures, { seed: 1 }), first);
  t.notDeepEqual(bootstrap(few, figures, { seed: 2 }), first);
  const { value, low, high } = first.mean;
  t.is(value, 0.5);
  // 1.96 standard errors of a fair coin.
  const error = (1.96 * 0.5) / Math.sqrt(30);
  t.true(Math.abs(high - low - 2 * error) < 0.06, `${low} to ${high}`);
  const narrow = bootstrap(many, figures, { seed: 1, samples: 200 }).mean;
  t.true(narrow.high - narrow.low < (high - low) / 5);
  t.deepEqual(bootstrap(few, figures, { seed: 1, samples: 0 }).mean, {
    value: 0.5,
    low: 0.5,
    high: 0.5,
  });
  for (const wrong of [{ samples: -1 }, { samples: 1.5 }, { level: 1 }]) {
    const error = t.throws(() => bootstrap(few, figures, { seed: 1, ...wrong }));
    t.like(error, { reason: 'BOOTSTRAP_RANGE' });
  }
});

test('an evaluation holds every family, and tells a good report from a bad one', (t) => {
  const truth = [
    'FINDINGS: Mild cardiomegaly. No effusion. IMPRESSION: Cardiomegaly.',
    'FINDINGS: Small left pleural effusion. IMPRESSION: Effusion.',
    'FINDINGS: Clear lungs. IMPRESSION: No acute disease.',
  ];
  const options = { seed: 1, samples: 20 };
  const pairs = (written: readonly string[]) =>
    truth.map((reference, at) => ({
      candidate: written[at] ?? '',
      references: [reference] as const,
    }));
  const perfect = evaluateReports(pairs(truth), options);
  const constant = evaluateReports(pairs(truth.map(() => truth[2] ?? '')), options);
  t.is(perfect.pairs, 3);
  t.is(perfect.clinical14.microF1.value, 1);
  t.is(perfect.clinical5.microF1.value, 1);
  t.true(perfect.language.bleu4.value > 0.99);
  t.is(constant.clinical5.microF1.value, 0);
  t.true(constant.language.bleu4.value < perfect.language.bleu4.low);
  t.is(perfect.observations.Cardiomegaly?.f1, 1);
  t.deepEqual(Object.keys(perfect.observations), [...observations]);
  t.like(
    t.throws(() => evaluateReports([], options)),
    { reason: 'EVALUATION_EMPTY' },
  );
});

test('the headers of a report are not measured', (t) => {
  const options = { seed: 1, samples: 0 };
  const measure = (candidate: string) =>
    evaluateReports(
      [{ candidate, references: ['FINDINGS: No displaced rib fractures. IMPRESSION: Normal.'] }],
      options,
    );
  const bare = measure('No displaced rib fractures. Normal.');
  t.deepEqual(measure('FINDINGS: No displaced rib fractures. IMPRESSION: Normal.'), bare);
  t.is(bare.language.unigramF1.value, 1);
  t.is(bare.clinical14.microF1.value, 1);
});

test('the constant report is the one most like all others', (t) => {
  const normal = 'The heart is normal in size. The lungs are clear. No acute disease.';
  const reports = [
    'Right chest tube. Large pneumothorax.',
    ...Array.from({ length: 5 }, () => normal),
    'The heart is normal in size. The lungs are clear. Old fracture.',
  ];
  t.is(bestConstantReport(reports, 1), normal);
  t.like(
    t.throws(() => bestConstantReport([], 1)),
    { reason: 'EVALUATION_EMPTY' },
  );
});

test('the nearest neighbour is the one in the most similar direction', (t) => {
  const among = Float32Array.of(1, 0, 0, 5, 0, 0, -1, 0);
  t.deepEqual(nearestNeighbours(Float32Array.of(9, 1, 1, 9, 0, 0), among, 2), [0, 1, 0]);
  t.like(
    t.throws(() => nearestNeighbours(among, Float32Array.of(), 2)),
    {
      reason: 'EMBEDDINGS_SHAPE',
      field: 'among',
    },
  );
  t.throws(() => nearestNeighbours(Float32Array.of(1), among, 2));
});
