import test, { type ExecutionContext } from 'ava';
import type { DecodingInput } from '../lib/releases/decoding.ts';
import { type Searched, eos, search } from './support/search.ts';

const [a, b, c] = [2, 3, 4];
const vocabulary = 5;
const never = -50;

/** A model from a table: log-probabilities by the letters so far; `else` for all others. */
type Table = Readonly<Record<string, Readonly<Partial<Record<'end' | 'a' | 'b' | 'c', number>>>>>;

const model =
  (table: Table) =>
  (ids: readonly number[]): number[] => {
    const letters = ids.slice(1).map((id) => ({ [a]: 'a', [b]: 'b', [c]: 'c' })[id]);
    const row = table[letters.join('')] ?? table['else'] ?? {};
    const scores = Array.from({ length: vocabulary }, () => never);
    const tokens = { end: eos, a, b, c };
    for (const [name, score] of Object.entries(row)) scores[tokens[name as 'a']] = score;
    return scores;
  };

const beams = (table: Table, options: DecodingInput): Searched =>
  search({ strategy: 'beam', ...options }, model(table));

const close = (t: ExecutionContext, actual: number, expected: number): void => {
  t.true(Math.abs(actual - expected) < 1e-5, `${actual}, expected ${expected}`);
};

test('the best sequence wins over the greedy one, and is streamed once it is known', (t) => {
  const table: Table = {
    '': { a: -0.5, b: -0.9 },
    a: { a: -2, c: -2.1 },
    b: { c: -0.1 },
    else: { end: -0.1 },
  };
  const { ids, logProbs, finishReason, streamed } = beams(table, { beams: 2 });
  t.deepEqual(ids, [b, c]);
  t.is(finishReason, 'eos');
  t.deepEqual(
    streamed.map(({ id, index }) => [id, index]),
    [
      [b, 0],
      [c, 1],
    ],
  );
  for (const [index, expected] of [-0.9, -0.1].entries()) {
    close(t, logProbs[index]!, expected);
    close(t, streamed[index]!.logProb, expected);
  }
});

test('a hypothesis is ranked by its sum over its length, the end token counted', (t) => {
  const table: Table = { '': { a: -0.4 }, a: { end: -0.8 } };
  for (const [lengthPenalty, score] of [
    [1, -0.6],
    [0, -1.2],
    [2, -0.3],
    [-1, -2.4],
  ] as const) {
    const found = beams(table, { beams: 1, lengthPenalty });
    t.deepEqual(found.ids, [a]);
    close(t, found.score, score);
  }
});

/** Ends as `a` at once, as `ac` a step later, and better. */
const improving: Table = {
  '': { a: -0.3, end: -1.6, b: -2 },
  a: { c: -0.1, end: -1 },
  ac: { end: -0.05, c: -3 },
  acc: { c: -3 },
  accc: { c: -3 },
  acccc: { c: -3 },
};

test('with early stopping the first `beams` hypotheses are the result', (t) => {
  const { ids, steps } = beams(improving, { beams: 2, earlyStopping: true, maxTokens: 10 });
  t.deepEqual(ids, [a]);
  t.is(steps, 2);
});

test('without, a search goes on while a running beam scores better than the worst hypothesis', (t) => {
  const found = beams(improving, { beams: 2, earlyStopping: false, maxTokens: 10 });
  t.deepEqual(found.ids, [a, c]);
  close(t, found.score, -0.45 / 3);
  t.is(found.steps, 4, 'accc scores -6.4 / 4, a has -1.3 / 2');
});

test('a search that never stops early goes on while any length could score better', (t) => {
  const found = beams(improving, { beams: 2, earlyStopping: 'never', maxTokens: 10 });
  t.deepEqual(found.ids, [a, c]);
  t.is(found.steps, 5, 'accc could score -6.4 / 10, acccc -9.4 / 10; a has -1.3 / 2');
});

/** Ends best at once by the length so far, and better with three tokens. */
const patient: Table = {
  '': { end: -1, a: -1.2 },
  a: { b: -0.01 },
  ab: { end: -0.01 },
};

test('the same length is assumed for what runs, unless a search never stops early', (t) => {
  t.deepEqual(beams(patient, { beams: 1, maxTokens: 4 }).ids, []);
  const found = beams(patient, { beams: 1, maxTokens: 4, earlyStopping: 'never' });
  t.deepEqual(found.ids, [a, b]);
  close(t, found.score, -1.22 / 3);
});

test('where length is penalised, no length scores better than the one so far', (t) => {
  const table: Table = {
    '': { a: -0.1, end: -0.5, b: -0.6 },
    a: { a: -0.05, end: -0.45 },
    else: { end: -0.01 },
  };
  const options = { beams: 2, lengthPenalty: -1, maxTokens: 10 } as const;
  const found = beams(table, { ...options, earlyStopping: 'never' });
  // After two steps: hypotheses -0.5 and -1.1; aa runs with -0.15 * 2, at ten tokens with -0.15 * 10.
  t.deepEqual(found.ids, [a, a]);
  close(t, found.score, -0.16 * 3);
});

test('an end that is not among the first `beams` continuations is no hypothesis', (t) => {
  const table: Table = {
    '': { a: -0.1, b: -0.2, end: -0.3, c: -0.4 },
    else: { a: -10, c: -11 },
  };
  const { ids, finishReason, score } = beams(table, { beams: 2, maxTokens: 2 });
  t.deepEqual(ids, [a, a]);
  t.is(finishReason, 'length');
  close(t, score, -10.1 / 2);
});

test('the last end among the first `beams` continuations is a hypothesis', (t) => {
  const table: Table = {
    '': { a: -0.1, end: -0.3, b: -0.4 },
    else: { a: -10, c: -11 },
  };
  t.deepEqual(beams(table, { beams: 2, maxTokens: 2 }).ids, []);
});

test('beams that end are replaced by the next best, so that `beams` go on', (t) => {
  const table: Table = {
    '': { end: -0.5, a: -0.9, b: -2 },
    a: { c: -5 },
    b: { c: -0.1 },
    ac: { end: -5 },
    bc: { end: -0.1 },
  };
  const options = { beams: 2, maxTokens: 10, earlyStopping: 'never', lengthPenalty: 3 } as const;
  t.deepEqual(beams(table, options).ids, [b, c]);
});

test('only the best `beams` hypotheses count for the end of a search', (t) => {
  const table: Table = {
    '': { end: -3, a: -0.2, b: -4 },
    a: { end: -2, b: -0.1 },
    ab: { end: -0.2, a: -1 },
    else: { a: -4 },
  };
  // -3, -2.2 / 2, -0.5 / 3: the worst of the two best is -1.1 when aba runs with -1.3 / 3.
  const found = beams(table, { beams: 2, maxTokens: 20 });
  t.deepEqual(found.ids, [a, b]);
  t.is(found.steps, 4);
});

test('a report that is cut may still be the best', (t) => {
  const table: Table = { '': { a: -0.1, end: -2 }, else: { a: -0.1, end: -4 } };
  const { ids, finishReason, score, steps } = beams(table, { beams: 2, maxTokens: 3 });
  t.deepEqual(ids, [a, a, a]);
  t.is(finishReason, 'length');
  t.is(steps, 3);
  close(t, score, -0.1);
});

test('a repetition penalty multiplies log-probabilities, and is not in what is reported', (t) => {
  const table: Table = { '': { a: -0.4 }, a: { a: -0.3, b: -0.5 }, ab: { end: -0.1 } };
  const { ids, logProbs } = beams(table, { beams: 1, repetitionPenalty: 2, maxTokens: 5 });
  t.deepEqual(ids, [a, b]);
  for (const [index, expected] of [-0.4, -0.5].entries()) close(t, logProbs[index]!, expected);
  // As a logit, 2.7 halved would be below 2.2; as a log-probability -0.3 doubled is above -0.8.
  const again: Table = { '': { a: -0.4 }, a: { a: -0.3, b: -0.8 }, aa: { end: -0.1 } };
  const repeated = beams(again, { beams: 1, repetitionPenalty: 2, maxTokens: 5 });
  t.deepEqual(repeated.ids, [a, a]);
  close(t, repeated.logProbs[1]!, -0.3);
});

test('where every token is forbidden a report ends as it is', (t) => {
  const table: Table = { else: { a: -0.1, b: -0.2, c: -0.3 } };
  const { ids, finishReason } = beams(table, {
    beams: 2,
    noRepeatNgram: 1,
    minTokens: 9,
    maxTokens: 9,
  });
  t.deepEqual(
    ids.toSorted((one, other) => one - other),
    [a, b, c],
  );
  t.is(finishReason, 'length');
});
