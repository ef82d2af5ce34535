import test from 'ava';
import { type DecodingInput, parseDecodingOptions } from '../lib/releases/decoding.ts';
import { sampleToken, uniformAt } from '../lib/runtime/decode/sampling.ts';
import { uniform } from './support/engine.ts';
import { eos, search } from './support/search.ts';

const scoresOf = (probabilities: readonly number[]): Float32Array =>
  Float32Array.from(probabilities, Math.log);

/** The token for every uniform number in a hundred equal steps, as the share of each id. */
function shares(scores: Float32Array, options: DecodingInput): number[] {
  const parsed = parseDecodingOptions({ strategy: 'sample', ...options });
  const steps = 10_000;
  const counts = Array.from(scores, () => 0);
  for (let step = 0; step < steps; step++) {
    counts[sampleToken(scores, parsed, (step + 0.5) / steps)]! += 1;
  }
  return counts.map((count) => count / steps);
}

/** By the definition: temperature, then the k likeliest, then the fewest that reach p. */
function expectedShares(
  scores: Float32Array,
  { temperature = 1, topK = 0, topP = 1 }: { temperature?: number; topK?: number; topP?: number },
): number[] {
  const order = Array.from(scores, (_, id) => id).sort((a, b) => scores[b]! - scores[a]!);
  const kept = order.slice(0, topK > 0 ? topK : order.length);
  const weights = new Map(kept.map((id) => [id, Math.exp(scores[id]! / temperature)]));
  const total = weights.values().reduce((sum, weight) => sum + weight, 0);
  let mass = 0;
  for (const [id, weight] of weights) {
    if (mass >= topP) weights.delete(id);
    mass += weight / total;
  }
  const left = weights.values().reduce((sum, weight) => sum + weight, 0);
  return Array.from(scores, (_, id) => (weights.get(id) ?? 0) / left);
}

const probabilities = [0.05, 0.4, 0.1, 0.25, 0.2];

for (const options of [
  {},
  { temperature: 2 },
  { temperature: 0.5 },
  { topK: 2 },
  { topK: 3, temperature: 1.7 },
  { topP: 0.5 },
  { topP: 0.66, temperature: 0.4 },
  { topP: 0.9, temperature: 3 },
  { topK: 3, topP: 0.7 },
  { topK: 4, topP: 0.8, temperature: 2 },
  { topK: 9 },
]) {
  test(`tokens are drawn by their probability: ${JSON.stringify(options)}`, (t) => {
    const actual = shares(scoresOf(probabilities), options);
    for (const [id, expected] of expectedShares(scoresOf(probabilities), options).entries()) {
      t.true(Math.abs(actual[id]! - expected) < 2e-3, `${id}: ${actual[id]}, expected ${expected}`);
    }
  });
}

test('a high temperature flattens, a low one sharpens', (t) => {
  const scores = scoresOf([0.2, 0.8]);
  const [, normal = 0] = shares(scores, {});
  const [, hot = 0] = shares(scores, { temperature: 4 });
  const [, cold = 0] = shares(scores, { temperature: 0.25 });
  t.true(hot < normal - 0.1 && normal < cold - 0.1, `${hot}, ${normal}, ${cold}`);
});

test('candidates lie along the uniform number, likeliest first', (t) => {
  const options = parseDecodingOptions({ strategy: 'sample' });
  const draw = (uniform: number): number => sampleToken(scoresOf(probabilities), options, uniform);
  t.deepEqual(
    [0, 0.39, 0.41, 0.64, 0.66, 0.84, 0.86, 0.94, 0.96, 1 - 2 ** -53].map(draw),
    [1, 1, 3, 3, 4, 4, 2, 2, 0, 0],
  );
});

test('what was forbidden is never drawn, and the most likely one always can be', (t) => {
  const scores = Float32Array.of(-Infinity, 1, -Infinity, 2);
  for (const options of [{}, { topK: 2 }, { topP: 0.99 }]) {
    const [first, , third] = shares(scores, options);
    t.deepEqual([first, third], [0, 0]);
  }
  t.deepEqual(shares(scores, { topP: 1e-9 }), [0, 0, 0, 1]);
  t.deepEqual(shares(scores, { topK: 1 }), [0, 0, 0, 1]);
});

test('of many tokens the one is drawn that a walk along all of them, sorted, reaches', (t) => {
  const random = uniform(11);
  for (const temperature of [0.3, 0.9, 2.5]) {
    for (const topP of [0.05, 0.5, 0.9, 0.999, 1]) {
      const scores = Float32Array.from({ length: 400 }, () => random() * 4);
      const expected = expectedShares(scores, { temperature, topP });
      const order = [...expected.keys()].sort((a, b) => scores[b]! - scores[a]! || a - b);
      const options = parseDecodingOptions({ strategy: 'sample', temperature, topP });
      for (let draw = 0; draw < 200; draw++) {
        const number = uniformAt(1, draw);
        let left = number;
        const reached = order.find((id) => (left -= expected[id]!) < 0);
        t.is(sampleToken(scores, options, number), reached ?? -1, `T ${temperature}, p ${topP}`);
      }
    }
  }
});

test('the numbers of a seed are fixed, uniform, and others for another seed or position', (t) => {
  // They decide the text of a request with a seed: a change of them changes what is served.
  t.deepEqual(
    [0, 1, 2].map((position) => uniformAt(7, position)),
    [0.13706417088979028, 0.451082262526487, 0.9981013077713109],
  );
  const all = Array.from({ length: 4000 }, (_, position) => uniformAt(3, position));
  t.true(all.every((value) => value >= 0 && value < 1));
  t.is(new Set(all).size, all.length);
  for (const bound of [0.1, 0.5, 0.9]) {
    const below = all.filter((value) => value < bound).length / all.length;
    t.true(Math.abs(below - bound) < 0.03, `${below} below ${bound}`);
  }
  t.not(uniformAt(1, 0), uniformAt(2, 0));
  t.not(uniformAt(1, 1), uniformAt(2, 0), 'neighbouring seeds share no sequence');
});

test('a report draws the number of its seed at each of its positions', (t) => {
  const logProbs = Array.from(scoresOf([0.1, 0.1, 0.3, 0.3, 0.2]));
  const options = { strategy: 'sample', seed: 5, minTokens: 8, maxTokens: 8, topK: 3 } as const;
  const { ids } = search(options, () => logProbs);
  const scores = Float32Array.from(logProbs);
  const parsed = parseDecodingOptions(options);
  const expected = ids.map((_, position) => sampleToken(scores, parsed, uniformAt(5, position)));
  t.deepEqual(ids, expected);
  t.true(new Set(ids).size > 1);
  t.false(ids.includes(eos));
});
