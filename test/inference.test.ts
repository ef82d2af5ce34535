import test from 'ava';
import { distanceTo, outOfDistribution } from '../lib/inference/distribution.ts';
import { calibrate, decideLabels } from '../lib/inference/labels.ts';
import { labelStream } from '../lib/text/labels/label-text.ts';
import { halfPrecision } from '../lib/inference/precision.ts';
import { promptIds, promptText } from '../lib/inference/prompt.ts';
import { observations } from '../lib/text/labels/observations.ts';
import { unevenLabels } from './support/releases.ts';

test('a probability is the sigmoid of the logit over its temperature', (t) => {
  // Logit 2 at temperature 0.5 is sigmoid(4); at 2.5, sigmoid(0.8).
  t.true(Math.abs(calibrate(2, 0.5) - 0.982013790037908) < 1e-12);
  t.true(Math.abs(calibrate(2, 2.5) - 0.689974481127613) < 1e-12);
  t.true(Math.abs(calibrate(-2, 2.5) - 0.310025518872387) < 1e-12);
  t.is(calibrate(0, 3), 0.5);
});

test('each label is decided by its own temperature and threshold, and is positive at the threshold', (t) => {
  const { temperatures, thresholds } = unevenLabels;
  // What logit lies exactly `above` its threshold in log-odds.
  const logits = (above: number) =>
    Float32Array.from(thresholds.map((p, i) => temperatures[i]! * (Math.log(p / (1 - p)) + above)));
  const higher = decideLabels(logits(0.01), unevenLabels);
  t.deepEqual(
    higher.map(({ name }) => name),
    [...observations],
  );
  t.true(higher.every(({ state }) => state === 'positive'));
  t.true(decideLabels(logits(-0.01), unevenLabels).every(({ state }) => state === 'negative'));
  for (const [i, { probability, threshold }] of higher.entries()) {
    t.is(thresholds[i], threshold);
    t.true(probability > threshold && probability < threshold + 0.01, `${i}: ${probability}`);
  }
  const even = { temperatures: temperatures.map(() => 2), thresholds: thresholds.map(() => 0.5) };
  t.is(decideLabels(new Float32Array(14), even)[0]?.state, 'positive');
});

test('the label stream names what is positive, in the order of the observations', (t) => {
  const logits = new Float32Array(14).fill(-9).with(11, 9).with(2, 9).with(5, 9);
  t.is(labelStream(decideLabels(logits, unevenLabels)), 'cardiomegaly; edema; pleural other');
  t.is(labelStream(decideLabels(logits.fill(-9), unevenLabels)), '');
});

const distribution = { mean: [1, -2, 0.5], std: [0.5, 2, 1], threshold: 3, falseAlarms: 0.01 };

test('the distance is the mean squared deviation in standard deviations, and 1 at the threshold', (t) => {
  t.is(distanceTo(Float32Array.from([1, -2, 0.5]), distribution), 0);
  // (2 / 0.5)^2, (4 / 2)^2 and (-1 / 1)^2, over 3 channels.
  const far = Float32Array.from([3, 2, -0.5]);
  t.is(distanceTo(far, distribution), 7);
  t.is(outOfDistribution(far, distribution), 7 / 3);
  t.is(outOfDistribution(Float32Array.from([2.5, -2, 0.5]), distribution), 1);
  t.is(outOfDistribution(far, null), undefined);
});

test('features are rounded to half precision, where they are not already', (t) => {
  const values = Float32Array.from([1, 1 + 2 ** -11 + 2 ** -20, -0.1, 70_000]);
  const rounded = halfPrecision(values);
  t.deepEqual([...rounded], [1, 1 + 2 ** -10, Math.f16round(-0.1), Infinity]);
  t.deepEqual(halfPrecision(rounded), rounded);
  t.not(values.buffer, rounded.buffer);
});

test('a label variant reads its labels, a plain one the indication, both cut to the limit', (t) => {
  const labels = decideLabels(new Float32Array(14).fill(-9).with(5, 9), unevenLabels);
  t.is(promptText(true, labels, 'cough'), 'edema');
  t.is(promptText(false, labels, 'cough'), 'cough');
  const tokenizer = { encode: (text: string) => Array.from(text, Number) };
  t.deepEqual(promptIds(tokenizer, '123456', { maxTextTokens: 4 }), [1, 2, 3, 4]);
  t.deepEqual(promptIds(tokenizer, '12', { maxTextTokens: 4 }), [1, 2]);
});
