import test from 'ava';
import { byLength, resampled } from '../lib/training/data/order.ts';
import type { PreparedStudy } from '../lib/training/data/prepared.ts';

const studies = Array.from({ length: 100 }, (_, index): PreparedStudy => ({
  id: `s${index}`,
  split: 'train',
  findings: '',
  impression: '',
  indication: '',
  labels: index < 10 ? ['positive'] : [null],
  index,
}));
const lengthOf = ({ index }: PreparedStudy): number => (index * 37) % 101;

test('an epoch by length holds every study once, in runs of similar length, and is its own', (t) => {
  const order = byLength(studies, lengthOf, 8, 1, 'epoch 0');
  t.deepEqual(
    order.map(({ index }) => index).sort((a, b) => a - b),
    studies.map(({ index }) => index),
  );
  const waste = (all: readonly PreparedStudy[]): number => {
    let padded = 0;
    for (let at = 0; at < all.length; at += 8) {
      const run = all.slice(at, at + 8).map(lengthOf);
      padded += run.length * Math.max(...run);
    }
    return padded / all.reduce((sum, study) => sum + lengthOf(study), 0);
  };
  t.true(waste(order) < 1.3, `${waste(order)}`);
  t.true(waste(studies) > 1.6);
  t.deepEqual(order, byLength(studies.toReversed(), lengthOf, 8, 1, 'epoch 0'));
  t.notDeepEqual(order, byLength(studies, lengthOf, 8, 1, 'epoch 1'));
});

test('resampling draws studies of rare labels more often', (t) => {
  const drawn = resampled(studies, [9], 1, 0);
  t.is(drawn.length, studies.length);
  const rare = drawn.filter(({ index }) => index < 10).length;
  t.true(rare > 30 && rare < 70, `${rare} of 100, 10 without resampling`);
});
