import test, { type ExecutionContext } from 'ava';
import { DomainError } from '../lib/errors.ts';
import { type DecodingInput, parseDecodingOptions } from '../lib/releases/decoding.ts';
import { followSearch } from '../lib/runtime/decode/create-search.ts';
import { argMax, processScores, processes, topIndices } from '../lib/runtime/decode/processors.ts';
import { uniform } from './support/engine.ts';
import { eos, normalizer, search } from './support/search.ts';

function processed(
  scores: readonly number[],
  ids: readonly number[],
  options: DecodingInput,
): number[] {
  const changed = Float32Array.from(scores);
  processScores(changed, ids, parseDecodingOptions(options), eos);
  return Array.from(changed);
}

test('a repetition penalty divides positive scores and multiplies negative ones, once a token', (t) => {
  const scores = [4, -4, 8, 0, -2];
  t.deepEqual(processed(scores, [0, 2, 1, 2], { repetitionPenalty: 2 }), [2, -8, 4, 0, -2]);
  t.deepEqual(processed(scores, [0, 3, 4], { repetitionPenalty: 0.5 }), [8, -4, 8, 0, -1]);
  t.deepEqual(processed(scores, [0, 1, 2, 3, 4], {}), scores);
});

test('what would complete an n-gram a second time is forbidden', (t) => {
  const scores = [1, 1, 1, 1, 1];
  const forbidden = (ids: readonly number[], noRepeatNgram: number): number[] =>
    processed(scores, ids, { noRepeatNgram }).flatMap((score, id) =>
      score === -Infinity ? [id] : [],
    );
  t.deepEqual(forbidden([0, 2, 3], 1), [0, 2, 3]);
  t.deepEqual(forbidden([0, 2, 3, 2], 2), [3]);
  t.deepEqual(forbidden([0, 2, 3, 2, 4, 2], 2), [3, 4]);
  t.deepEqual(forbidden([0, 2, 3, 4, 2, 3], 3), [4]);
  t.deepEqual(forbidden([0, 2, 3, 4, 3, 3], 3), [], 'the last two do not stand before');
  t.deepEqual(forbidden([4, 4, 4], 3), [4]);
  t.deepEqual(forbidden([4, 4], 3), [], 'too short for an n-gram');
  t.deepEqual(forbidden([0, 2], 9), []);
});

test('the end is forbidden until there are enough tokens, the start token not counted', (t) => {
  const scores = [1, 1, 1];
  t.deepEqual(processed(scores, [0, 2], { minTokens: 2 }), [1, -Infinity, 1]);
  t.deepEqual(processed(scores, [0, 2, 2], { minTokens: 2 }), scores);
});

test('scores are changed by each of the three options, and by no other', (t) => {
  const changes = (options: DecodingInput): boolean => processes(parseDecodingOptions(options));
  t.true(changes({ repetitionPenalty: 1.2 }));
  t.true(changes({ noRepeatNgram: 1 }));
  t.true(changes({ minTokens: 1 }));
  t.false(changes({ temperature: 2, topK: 5, topP: 0.5, beams: 3, lengthPenalty: 2 }));
});

test('of equal scores the first is the highest', (t) => {
  t.is(argMax(Float32Array.of(-3, 2, 5, 5, 1)), 2);
  t.is(argMax(Float32Array.of(-3, -2)), 1);
});

for (const count of [1, 3, 128, 129, 300]) {
  test(`the ${count} highest scores come highest first, and of equal ones the first`, (t) => {
    const random = uniform(count);
    // Few values: many are equal.
    const scores = Float32Array.from({ length: 300 }, () => Math.round(random() * 20));
    const sorted = Array.from(scores, (_, id) => id).sort(
      (a, b) => scores[b]! - scores[a]! || a - b,
    );
    t.deepEqual(topIndices(scores, count), sorted.slice(0, count));
  });
}

test('no more indices are given than there are scores', (t) => {
  t.deepEqual(topIndices(Float32Array.of(1, 3, 2), 9), [1, 2, 0]);
});

const close = (t: ExecutionContext, actual: number | undefined, expected: number): void => {
  t.true(Math.abs((actual ?? Number.NaN) - expected) < 1e-5, `${actual}, expected ${expected}`);
};

/** Chooses 2, then 3, then ends. */
const three = (ids: readonly number[]): number[] =>
  [
    [-9, -4, -0.5, -2],
    [-9, -4, -3, -0.25],
    [-9, -0.125, -3, -2],
  ][ids.length - 1] ?? [-9, -9, -9, -9];

test('greedy decoding takes the likeliest token until the end, which is in the score alone', (t) => {
  const { ids, logProbs, finishReason, score, streamed, steps } = search({ maxTokens: 9 }, three);
  t.deepEqual(ids, [2, 3]);
  t.is(finishReason, 'eos');
  t.is(steps, 3);
  close(t, logProbs[0], -0.5);
  close(t, logProbs[1], -0.25);
  t.is(logProbs.length, 2);
  close(t, score, -0.875);
  t.deepEqual(
    streamed.map(({ id, index }) => [id, index]),
    [
      [2, 0],
      [3, 1],
    ],
  );
  close(t, streamed[1]?.logProb, -0.25);
});

test('a report is cut at its maximum length', (t) => {
  const { ids, finishReason, steps } = search({ maxTokens: 2 }, three);
  t.deepEqual(ids, [2, 3]);
  t.is(finishReason, 'length');
  t.is(steps, 2);
});

test('processors change what greedy decoding chooses, and not what it reports', (t) => {
  const { ids, logProbs } = search({ minTokens: 3, maxTokens: 3 }, three);
  t.deepEqual(ids, [2, 3, 3]);
  close(t, logProbs[2], -2);
});

test('a given report is scored token by token, its end too', (t) => {
  const running = followSearch([3, 2], eos);
  const path = [0];
  for (let rows = 1; rows > 0;) {
    const logits = Float32Array.from(three(path), (logProb) => logProb + normalizer);
    const next = running.advance([{ logits, normalizer }]);
    rows = next.length;
    if (next[0]) path.push(next[0].token);
    t.is(next[0]?.parent ?? 0, 0);
  }
  t.deepEqual(path, [0, 3, 2]);
  const { choices, logProbs } = running.followed();
  t.deepEqual(choices, [2, 3, eos]);
  t.is(logProbs.length, 3);
  for (const [index, expected] of [-2, -3, -0.125].entries()) close(t, logProbs[index], expected);
  t.deepEqual(running.found().ids, [3, 2]);
});

test('an invalid decoding option is refused by its field', (t) => {
  t.like(parseDecodingOptions({}), { strategy: 'greedy', beams: 4, maxTokens: 256, topP: 1 });
  const cases: readonly (readonly [unknown, RegExp])[] = [
    [{ strategy: 'fast' }, /^decoding\.strategy: /],
    [{ beams: 0 }, /^decoding\.beams: /],
    [{ beams: 2.5 }, /^decoding\.beams: /],
    [{ topP: 0 }, /^decoding\.topP: /],
    [{ temperature: Number.NaN }, /^decoding\.temperature: /],
    [{ seed: -1 }, /^decoding\.seed: /],
    [{ earlyStopping: 'maybe' }, /^decoding\.earlyStopping: /],
    [{ maxTokens: 0 }, /^decoding\.maxTokens: /],
    [{ minTokens: 9, maxTokens: 8 }, /^decoding\.minTokens: got 9, expected .* of 8 tokens/],
    [{ beam: 4 }, /^decoding\.beam: is not an option; expected strategy, beams/],
    ['greedy', /^decoding: /],
  ];
  for (const [value, message] of cases) {
    const error = t.throws(() => parseDecodingOptions(value), { instanceOf: DomainError, message });
    t.is(error.code, 'INVALID_ARGUMENT');
  }
  t.throws(() => parseDecodingOptions({ topK: -1 }, 'release.decoding'), {
    message: /^release\.decoding\.topK: /,
  });
});
