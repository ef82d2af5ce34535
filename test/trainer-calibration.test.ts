import test from 'ava';
import { distanceTo } from '../lib/inference/distribution.ts';
import { decideLabels } from '../lib/inference/labels.ts';
import { type LabelState, observations } from '../lib/text/labels/observations.ts';
import { fitDistribution, fitLabels } from '../lib/training/calibrate.ts';
import { augmentGrey, seededUniform } from '../lib/training/data/augment.ts';
import type { PreparedStudy } from '../lib/training/data/prepared.ts';
import { targetOf } from '../lib/training/feeds.ts';
import { uniform } from './support/engine.ts';

const study = (first: LabelState, index: number): PreparedStudy => ({
  id: `${index}`,
  split: 'validate',
  findings: '',
  impression: '',
  indication: '',
  labels: observations.map((_, i) => (i === 0 ? first : null)),
  index,
});

const logitsOf = (first: number) => ({ logits: new Float32Array(14).fill(-2).with(0, first) });

test('thresholds separate what can be separated, and temperatures undo overconfidence', (t) => {
  const random = uniform(4);
  const studies = Array.from({ length: 2000 }, (_, i) =>
    study(random() > 0.2 ? 'positive' : null, i),
  );
  // The true log-odds, three times too large.
  const features = studies.map(({ labels }) => {
    const centre = labels[0] === 'positive' ? 1 : -1;
    // Logistic noise of scale s around +-1 has log-odds close to a multiple of x.
    const noise = Math.log((1 + random()) / (1 - random() + 1e-9)) * 0.5;
    return logitsOf(3 * (2 * (centre + noise)));
  });
  const fitted = fitLabels(studies, features, 'positive');
  const { thresholds, temperatures } = fitted;
  t.true((temperatures[0] ?? 0) > 1.2, `temperature ${temperatures[0]}`);
  t.is(temperatures[1], 1, 'a label that never occurs is left as it is');
  t.is(thresholds[1], 0.5);
  const right = studies.filter(({ labels }, i) => {
    const isPositive = decideLabels(features[i]!.logits, fitted)[0]?.state === 'positive';
    return isPositive === (labels[0] === 'positive');
  });
  t.true(right.length / studies.length > 0.8);
});

test('an uncertain label is a positive, a negative, or no example, as the config says', (t) => {
  t.deepEqual(targetOf('uncertain', 'positive'), [1, 1]);
  t.deepEqual(targetOf('uncertain', 'negative'), [0, 1]);
  t.deepEqual(targetOf('uncertain', 'ignore'), [0, 0]);
  for (const uncertain of ['positive', 'negative', 'ignore'] as const) {
    t.deepEqual(targetOf('positive', uncertain), [1, 1]);
    t.deepEqual(targetOf('negative', uncertain), [0, 1]);
    t.deepEqual(targetOf(null, uncertain), [0, 1]);
  }
});

test('a threshold is fitted to uncertain labels as the config counts them', (t) => {
  // From low to high logits: ten negatives, ten uncertain ones, ten positives.
  const states = (['negative', 'uncertain', 'positive'] as const).flatMap((state) =>
    Array.from({ length: 10 }, () => state),
  );
  const studies = states.map(study);
  const logits = states.map((_, i) => (i - 14.5) / 5);
  const features = logits.map(logitsOf);
  const boundary = (uncertain: 'positive' | 'negative' | 'ignore'): number => {
    const fitted = fitLabels(studies, features, uncertain);
    return logits.filter(
      (logit) => decideLabels(logitsOf(logit).logits, fitted)[0]?.state === 'negative',
    ).length;
  };
  t.is(boundary('positive'), 10);
  t.is(boundary('negative'), 20);
  // Halfway, in probability, between the tenth and the twenty-first.
  t.is(boundary('ignore'), 15);
});

test('about one validation study in a hundred exceeds the threshold, and a far one always does', (t) => {
  const random = uniform(9);
  const rows = (count: number, shift = 0) =>
    Array.from({ length: count }, () => Float32Array.from({ length: 8 }, () => random() + shift));
  const fitted = fitDistribution(rows(500), rows(500));
  t.true(fitted.falseAlarms <= 0.011, `${fitted.falseAlarms}`);
  t.true(rows(20, 5).every((row) => distanceTo(row, fitted) > fitted.threshold));
});

test('mean, deviation and threshold are those of the features', (t) => {
  const train = [
    [1, 10],
    [3, 30],
  ].map((row) => Float32Array.from(row));
  const validation = [2, 4, 6].map((x) => Float32Array.from([x, 20]));
  const { mean, std, threshold, falseAlarms } = fitDistribution(train, validation);
  t.deepEqual(mean, [2, 20]);
  t.deepEqual(std, [1, 10]);
  // Distances 0, 4 / 2 and 16 / 2.
  t.is(threshold, 8);
  t.is(falseAlarms, 0);
});

const side = 24;
const image = Uint16Array.from({ length: side * side }, (_, i) => (i % side) * 2000);
const augmented = (
  seed: number,
  epoch: number,
  settings = { rotationDegrees: 5, shift: 0.05, contrast: 0.1 },
) => {
  const out = new Float32Array(side * side);
  augmentGrey(image, side, settings, seededUniform(seed, 'study', epoch), out, 0);
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

test('no augmentation leaves an image as it is', (t) => {
  const same = augmented(1, 1, { rotationDegrees: 0, shift: 0, contrast: 0 });
  same.forEach((value, i) => t.true(Math.abs(value - (image[i] ?? 0) / 65535) < 1e-6));
});

/** What `augmentGrey` makes of a 3 x 3 image when its random numbers are these. */
function augmentedBy(
  pixels: readonly number[],
  settings: { rotationDegrees: number; shift: number; contrast: number },
  draws: readonly number[],
): number[] {
  const out = new Float32Array(11).fill(-1);
  const left = [...draws];
  augmentGrey(Uint16Array.from(pixels), 3, settings, () => left.shift() ?? Number.NaN, out, 1);
  if (out[0] !== -1 || out[10] !== -1) throw new RangeError('a neighbour was overwritten');
  // Adding 0 makes 0 of -0.
  return Array.from(out.slice(1, 10), (value) => Math.round(value * 65_535) + 0);
}

const ramp = [0, 1000, 2000, 10_000, 11_000, 12_000, 20_000, 21_000, 22_000];

test('contrast stretches greys away from the mean of the image, or towards it', (t) => {
  const settings = { rotationDegrees: 0, shift: 0, contrast: 0.4 };
  const scaled = (gain: number) =>
    ramp.map((grey) => Math.round(11_000 + gain * (grey - 11_000)) + 0);
  // Draws are of angle, shift across, shift down and contrast; 0.5 is none.
  t.deepEqual(augmentedBy(ramp, settings, [0.5, 0.5, 0.5, 1]), scaled(1.4));
  t.deepEqual(augmentedBy(ramp, settings, [0.5, 0.5, 0.5, 0]), scaled(0.6));
  t.deepEqual(augmentedBy(ramp, settings, [0.5, 0.5, 0.5, 0.625]), scaled(1.1));
  t.deepEqual(augmentedBy(ramp, settings, [0.5, 0.5, 0.5, 0.5]), ramp);
});

test('a shift moves the image by its share of the side, between pixels too, and repeats the edge', (t) => {
  const settings = { rotationDegrees: 0, shift: 1 / 3, contrast: 0 };
  const right = [1000, 2000, 2000, 11_000, 12_000, 12_000, 21_000, 22_000, 22_000];
  t.deepEqual(augmentedBy(ramp, settings, [0.5, 1, 0.5, 0.5]), right);
  const up = [0, 1000, 2000, 0, 1000, 2000, 10_000, 11_000, 12_000];
  t.deepEqual(augmentedBy(ramp, settings, [0.5, 0.5, 0, 0.5]), up);
  const half = [500, 1500, 2000, 10_500, 11_500, 12_000, 20_500, 21_500, 22_000];
  t.deepEqual(augmentedBy(ramp, settings, [0.5, 0.75, 0.5, 0.5]), half);
});

test('a rotation is about the middle of the image', (t) => {
  const settings = { rotationDegrees: 90, shift: 0, contrast: 0 };
  const turned = [2000, 12_000, 22_000, 1000, 11_000, 21_000, 0, 10_000, 20_000];
  t.deepEqual(augmentedBy(ramp, settings, [1, 0.5, 0.5, 0.5]), turned);
  t.deepEqual(augmentedBy(ramp, settings, [0, 0.5, 0.5, 0.5]), turned.toReversed());
});
