import test from 'ava';
import { augmentGrey, seededUniform } from '../lib/training/data/augment.ts';
import type { PreparedStudy } from '../lib/training/data/prepared.ts';
import { decideLabels, fitDistribution, fitLabels } from '../lib/training/calibrate.ts';
import type { Seen } from '../lib/training/see.ts';
import { observations } from '../lib/text/labels/observations.ts';
import { uniform } from './support/engine.ts';

const study = (positive: boolean, index: number): PreparedStudy => ({
  id: `${index}`,
  split: 'validate',
  findings: '',
  impression: '',
  indication: '',
  labels: observations.map((_, i) => (i === 0 && positive ? 'positive' : null)),
  index,
});

test('thresholds part what can be parted, and temperatures undo overconfidence', (t) => {
  const random = uniform(4);
  const studies = Array.from({ length: 2000 }, (_, i) => study(random() > 0.2, i));
  // True log-odds, told three times too large.
  const seen = studies.map(({ labels }): Seen => {
    const logits = new Float32Array(14).fill(-2);
    const centre = labels[0] === 'positive' ? 1 : -1;
    // Logistic noise of scale s around +-1 has log-odds close to a multiple of x.
    const noise = Math.log((1 + random()) / (1 - random() + 1e-9)) * 0.5;
    logits[0] = 3 * (2 * (centre + noise));
    return { pooled: new Float32Array(2), logits };
  });
  const { thresholds, temperatures } = fitLabels(studies, seen, 'positive');
  t.true((temperatures[0] ?? 0) > 1.2, `temperature ${temperatures[0]}`);
  t.is(temperatures[1], 1, 'a label that never occurs is left as it is');
  t.is(thresholds[1], 0.5);
  const right = studies.filter(
    ({ labels }, i) =>
      decideLabels(seen[i]?.logits ?? new Float32Array(14), { thresholds, temperatures })[0] ===
      labels[0],
  );
  t.true(right.length / studies.length > 0.8);
});

test('about one validation study in a hundred lies outside of the distribution, a far one always', (t) => {
  const random = uniform(9);
  const rows = (count: number, shift = 0) =>
    Array.from({ length: count }, () => Float32Array.from({ length: 8 }, () => random() + shift));
  const { mean, std, threshold, falseAlarms } = fitDistribution(rows(500), rows(500));
  t.true(falseAlarms <= 0.011, `${falseAlarms}`);
  const distance = (row: Float32Array) =>
    mean.reduce((sum, m, i) => sum + (((row[i] ?? 0) - m) / (std[i] ?? 1)) ** 2, 0) / mean.length;
  t.true(rows(20, 5).every((row) => distance(row) > threshold));
});

const side = 24;
const picture = Uint16Array.from({ length: side * side }, (_, i) => (i % side) * 2000);
const augmented = (
  seed: number,
  epoch: number,
  settings = { rotationDegrees: 5, shift: 0.05, contrast: 0.1 },
) => {
  const out = new Float32Array(side * side);
  augmentGrey(picture, side, settings, seededUniform(seed, 'study', epoch), out, 0);
  return out;
};

test('augmentation is decided by seed, study and epoch, and never turns left to right', (t) => {
  t.deepEqual(augmented(1, 2), augmented(1, 2));
  t.notDeepEqual(augmented(1, 2), augmented(1, 3));
  t.notDeepEqual(augmented(1, 2), augmented(2, 2));
  for (let epoch = 0; epoch < 20; epoch++) {
    const row = augmented(3, epoch).slice((side / 2) * side, (side / 2 + 1) * side);
    t.true((row.at(-1) ?? 0) > (row[0] ?? 0));
  }
});

test('no augmentation leaves a picture as it is', (t) => {
  const same = augmented(1, 1, { rotationDegrees: 0, shift: 0, contrast: 0 });
  same.forEach((value, i) => t.true(Math.abs(value - (picture[i] ?? 0) / 65535) < 1e-6));
});
