import test, { type ExecutionContext } from 'ava';
import type { Tensor } from '../lib/graph/types.ts';
import type {
  Generated,
  GenerateRequest,
  Generator,
  GeneratorQueue,
} from '../lib/runtime/decode/generator.ts';
import { RequestQueue } from '../lib/runtime/request-queue.ts';
import {
  type DecodingInput,
  type DecodingOptions,
  parseDecodingOptions,
} from '../lib/releases/decoding.ts';
import { uniform } from './support/engine.ts';
import { refused } from './support/refused.ts';
import { fullDecoder, goldenModel, smallGenerator, variantGenerator } from './support/generator.ts';
import { loadPreset } from '../lib/models/preset.ts';
import { tokenShape } from '../lib/models/variants.ts';
import type { Worker } from 'node:worker_threads';

const model = await goldenModel();
const { dModel } = model.config;

/** A request with a memory of its own; the text's length says how much of it is not masked. */
function requestOf(seed: number): GenerateRequest & { readonly visible: number } {
  const random = uniform(seed);
  const data = Float32Array.from({ length: model.memoryTokens * dModel }, random);
  const tokens: Tensor = { dtype: 'float32', shape: [model.memoryTokens, dModel], data };
  const visible = 2 + (seed % (model.memoryTokens - 1));
  return { tokens, textIds: Array.from({ length: visible - 1 }, () => 9), visible };
}

const decoding = (options: DecodingInput): DecodingOptions => parseDecodingOptions(options);

/** As the end token this lets some reports end early and some late. */
const eos = 32;

/** Requests of every kind and length. */
const mixed: readonly DecodingInput[] = [
  { maxTokens: 40 },
  { strategy: 'beam', beams: 3, maxTokens: 30 },
  { strategy: 'sample', seed: 7, maxTokens: 60 },
  { maxTokens: 5, repetitionPenalty: 1.4 },
  { strategy: 'sample', seed: 8, temperature: 0.7, topK: 20, topP: 0.9, maxTokens: 25 },
  { strategy: 'beam', beams: 2, noRepeatNgram: 2, maxTokens: 18, lengthPenalty: 2 },
  { maxTokens: 50, noRepeatNgram: 3, minTokens: 20 },
  { strategy: 'beam', beams: 5, earlyStopping: true, maxTokens: 22 },
];

const sameResult = (t: ExecutionContext, a: Generated, b: Generated, what: string): void => {
  t.deepEqual(a.ids, b.ids, what);
  t.is(a.finishReason, b.finishReason, what);
  for (const [i, logProb] of a.logProbs.entries()) {
    t.true(Math.abs(logProb - (b.logProbs[i] ?? Number.NaN)) < 1e-4, what);
  }
};

test('a request gives the same alone, in a batch of eight, and joining late', async (t) => {
  const generator = await smallGenerator(t, model, { eos, maxRows: 32 });
  const jobs = mixed.map((options, i) => ({ request: requestOf(i), options: decoding(options) }));
  const alone: Generated[] = [];
  for (const { request, options } of jobs) alone.push(await generator.generate(request, options));
  t.true(new Set(alone.map(({ ids }) => ids.length)).size > 3);

  const together = await Promise.all(
    jobs.map(({ request, options }) => generator.generate(request, options)),
  );
  together.forEach((result, i) => sameResult(t, result, alone[i] as Generated, `together ${i}`));

  // Each joins when the one before it has a few tokens: all are at different positions.
  const late: Promise<Generated>[] = [];
  for (const { request, options } of jobs) {
    const begun = Promise.withResolvers<void>();
    const onStep = (step: number): void => {
      if (step >= 3) begun.resolve();
    };
    const running = generator.generate(request, options, { onStep });
    late.push(running);
    await Promise.race([begun.promise, running]);
  }
  (await Promise.all(late)).forEach((result, i) =>
    sameResult(t, result, alone[i] as Generated, `late ${i}`),
  );
  t.is(generator.load.rows, 0);
});

test('decoding with a cache equals computing every token anew', async (t) => {
  const generator = await smallGenerator(t, model, { eos: -1 });
  const full = await fullDecoder(t, model);
  // Long enough for the cache to be settled many times, and past the farthest relative position.
  const options = decoding({ strategy: 'sample', seed: 4, maxTokens: 150 });
  const requests = [requestOf(1), requestOf(2)];
  const results = await Promise.all(requests.map((each) => generator.generate(each, options)));
  for (const [row, { ids, logProbs }] of results.entries()) {
    const { tokens, visible } = requests[row] as ReturnType<typeof requestOf>;
    t.is(ids.length, 150);
    const scores = await full([0, ...ids.slice(0, -1)], tokens, visible);
    ids.forEach((id, i) => {
      const expected = scores[i]?.[id] ?? Number.NaN;
      const got = logProbs[i] ?? Number.NaN;
      t.true(Math.abs(got - expected) < 1e-4, `token ${i}: ${got}, expected ${expected}`);
    });
  }
});

test('texts of different lengths share a batch', async (t) => {
  const preset = loadPreset('demo');
  const { tokens: count, channels } = tokenShape('chexnet-label', preset);
  const generator = await variantGenerator(t, 'chexnet-label', preset, { eos: -1 });
  const random = uniform(3);
  const options = decoding({ strategy: 'sample', seed: 5, maxTokens: 12 });
  const requests = [0, 20, 48, 3, 33].map((length) => {
    const data = Float32Array.from({ length: count * channels }, random);
    const tokens: Tensor = { dtype: 'float32', shape: [count, channels], data };
    return { tokens, textIds: Array.from({ length }, (_, i) => 10 + i) };
  });
  const together = await Promise.all(requests.map((each) => generator.generate(each, options)));
  for (const [i, request] of requests.entries()) {
    sameResult(t, together[i] as Generated, await generator.generate(request, options), `${i}`);
  }
});

test.serial(
  'requests in flight fail with a worker that dies, and later ones get another',
  async (t) => {
    let worker: Worker | undefined;
    const onWorker = (made: Worker): Worker => (worker = made);
    process.on('worker', onWorker);
    t.teardown(() => process.off('worker', onWorker));
    const generator = await smallGenerator(t, model, { eos: -1 });
    const options = decoding({ maxTokens: 40 });
    const before = await generator.generate(requestOf(1), options);
    const onToken = ({ index }: { index: number }): void => {
      if (index === 20) worker?.postMessage(null, []);
    };
    const running = [
      generator.generate(requestOf(1), options, { onToken }),
      generator.generate(requestOf(2), options),
    ];
    // The worker dies during a step or between two.
    for (const one of await Promise.allSettled(running)) {
      t.like(one, { status: 'rejected', reason: { code: 'UNAVAILABLE' } });
    }
    sameResult(t, await generator.generate(requestOf(1), options), before, 'after');
    t.is(generator.load.rows, 0);
  },
);

test('requests beyond the rows wait for their turn and give the same', async (t) => {
  const generator = await smallGenerator(t, model, { eos, maxRows: 3 });
  const options = decoding({ maxTokens: 20 });
  const requests = Array.from({ length: 7 }, (_, seed) => requestOf(seed + 20));
  const together = await Promise.all(requests.map((each) => generator.generate(each, options)));
  for (const [i, request] of requests.entries()) {
    sameResult(t, together[i] as Generated, await generator.generate(request, options), `${i}`);
  }
});

interface Naive {
  readonly ids: readonly number[];
  readonly score: number;
}

/** Beam search by its definition, every sequence computed anew. */
async function naiveBeams(
  next: (ids: readonly number[]) => Promise<readonly number[]>,
  { beams, lengthPenalty, earlyStopping, maxTokens }: DecodingOptions,
): Promise<Naive> {
  let running: Naive[] = [{ ids: [0], score: 0 }];
  let ended: Naive[] = [];
  const end = (ids: readonly number[], score: number, length: number): void => {
    ended = [...ended, { ids: ids.slice(1), score: score / length ** lengthPenalty }]
      .sort((a, b) => b.score - a.score)
      .slice(0, beams);
  };
  for (let length = 1; ; length++) {
    const extended: { from: Naive; id: number; score: number }[] = [];
    for (const from of running) {
      const scores = await next(from.ids);
      scores.forEach((score, id) => extended.push({ from, id, score: from.score + score }));
    }
    const best = extended.sort((a, b) => b.score - a.score).slice(0, 2 * beams);
    best
      .slice(0, beams)
      .forEach(({ from, id, score }) => id === eos && end(from.ids, score, length));
    running = best
      .filter(({ id }) => id !== eos)
      .slice(0, beams)
      .map(({ from, id, score }) => ({ ids: [...from.ids, id], score }));
    const worst = ended.length < beams ? -Infinity : (ended.at(-1)?.score ?? 0);
    const reach = earlyStopping === 'never' && lengthPenalty > 0 ? maxTokens : length;
    const hopeless = worst >= (best[0]?.score ?? 0) / reach ** lengthPenalty;
    if (ended.length === beams && (earlyStopping === true || hopeless)) break;
    if (length === maxTokens) {
      for (const { ids, score } of running) end(ids, score, length);
      break;
    }
  }
  return ended[0] as Naive;
}

test('beams are those of a naive implementation', async (t) => {
  const generator = await smallGenerator(t, model, { eos });
  const full = await fullDecoder(t, model);
  const reasons = new Set<string>();
  for (const [i, given] of (
    [
      { beams: 4 },
      { beams: 4, earlyStopping: true },
      { beams: 3, earlyStopping: 'never', lengthPenalty: 2 },
      { beams: 2, lengthPenalty: -1 },
      { beams: 6, lengthPenalty: 0 },
      { beams: 1 },
    ] as const
  ).entries()) {
    const options = decoding({ strategy: 'beam', maxTokens: 20, ...given });
    const request = requestOf(i + 3);
    const next = async (ids: readonly number[]): Promise<readonly number[]> =>
      (await full(ids, request.tokens, request.visible)).at(-1) ?? [];
    const expected = await naiveBeams(next, options);
    const streamed: number[] = [];
    const result = await generator.generate(request, options, {
      onToken: ({ id }) => streamed.push(id),
    });
    t.deepEqual(result.ids, expected.ids, JSON.stringify(given));
    t.true(Math.abs(result.score - expected.score) < 1e-3, JSON.stringify(given));
    t.deepEqual(streamed, [...result.ids]);
    reasons.add(result.finishReason);
  }
  t.true(reasons.has('eos'), 'the case must end some report');
});

test('a cancelled request leaves before the next step, and stops no other', async (t) => {
  const generator = await smallGenerator(t, model, { eos: -1 });
  const controller = new AbortController();
  let stepsAtAbort = 0;
  const abandoned = generator.generate(requestOf(1), decoding({ maxTokens: 500 }), {
    signal: controller.signal,
    onToken: ({ index }) => {
      if (index !== 5) return;
      stepsAtAbort = generator.load.steps;
      controller.abort();
    },
  });
  await refused(t, abandoned, 'REQUEST_CANCELLED', /cancelled/);
  const neighbour = await generator.generate(requestOf(2), decoding({ maxTokens: 10 }));
  t.is(neighbour.ids.length, 10);
  t.is(neighbour.steps, 10);
  // The step in which it was cancelled, and the neighbour's.
  t.is(generator.load.steps, stepsAtAbort + 1 + 10);
  t.is(generator.load.rows, 0);
});

test('a request that expires while it waits takes no step and no encoder run', async (t) => {
  const generator = await smallGenerator(t, model, { eos: -1, maxRows: 1 });
  const long = generator.generate(requestOf(1), decoding({ maxTokens: 120 }));
  const expired = generator.generate(requestOf(2), decoding({ maxTokens: 5 }), {
    signal: AbortSignal.timeout(1),
  });
  await refused(t, expired, 'REQUEST_EXPIRED', /in time/);
  t.is((await long).ids.length, 120);
  t.deepEqual(generator.load, { rows: 0, steps: 120, prefills: 1 });
});

/** Starts requests and notes the order in which they end. */
function endingOrder(generator: Generator) {
  const order: string[] = [];
  const running: Promise<unknown>[] = [];
  const begin = (
    name: string,
    options: DecodingInput,
    hooks: Parameters<typeof generator.generate>[2] = {},
  ): void => {
    const generated = generator.generate(requestOf(1), decoding(options), hooks);
    running.push(generated.then(() => order.push(name)));
  };
  const ended = async (): Promise<readonly string[]> => {
    await Promise.all(running);
    return order;
  };
  return { begin, ended };
}

test('an interactive beam search overtakes the bulk ones that wait', async (t) => {
  const generator = await smallGenerator(t, model, { eos: -1, maxRows: 8 });
  const { begin, ended } = endingOrder(generator);
  const options = { strategy: 'beam', beams: 4, maxTokens: 6 } as const;
  const full = Promise.withResolvers<void>();
  for (let index = 0; index < 24; index++) {
    const onStep = (step: number): void => {
      if (index === 1 && step === 1) full.resolve();
    };
    begin('bulk', options, { priority: 'bulk', onStep });
  }
  await full.promise;
  t.is(generator.load.rows, 8);
  begin('interactive', options, { priority: 'interactive' });
  const place = (await ended()).indexOf('interactive');
  t.true(place <= 2, `it ended as number ${place + 1}, behind more than the two that were running`);
});

test('a wide request among narrow ones takes its turn', async (t) => {
  const generator = await smallGenerator(t, model, { eos: -1, maxRows: 4 });
  const { begin, ended } = endingOrder(generator);
  const narrow = (index: number): void => begin('narrow', { maxTokens: 3 + (index % 4) });
  for (let index = 0; index < 4; index++) narrow(index);
  begin('wide', { strategy: 'beam', beams: 4, maxTokens: 4 });
  for (let index = 0; index < 30; index++) narrow(index);
  const place = (await ended()).indexOf('wide');
  t.true(place <= 4 + 7, `it ended as number ${place + 1}`);
});

test('generators with one queue take their own requests from it', async (t) => {
  const queue: GeneratorQueue = new RequestQueue();
  const [one, two] = await Promise.all([
    smallGenerator(t, model, { eos: -1, maxRows: 1, queue }),
    smallGenerator(t, model, { eos: -1, maxRows: 1, queue }),
  ]);
  const generate = (generator: Generator) =>
    generator.generate(requestOf(1), decoding({ maxTokens: 5 }));
  const running = [generate(one), generate(one), generate(two)];
  t.is(queue.depth, 3);
  await Promise.all(running);
  t.is(queue.depth, 0);
  t.is(one.load.prefills, 2);
  t.is(two.load.prefills, 1);
});

test('a request that does not fit is refused by its field', async (t) => {
  const generator = await smallGenerator(t, model, { maxRows: 2 });
  const { tokens, textIds } = requestOf(1);
  const generate = (
    request: Partial<GenerateRequest>,
    options: DecodingInput = {},
  ): Promise<unknown> => generator.generate({ tokens, textIds, ...request }, decoding(options));
  const beams = { strategy: 'beam', beams: 3 } as const;
  await refused(
    t,
    generate({}, beams),
    'TOO_MANY_BEAMS',
    /^decoding\.beams: got 3, expected at most 2/,
  );
  const long = { textIds: Array.from({ length: 99 }, () => 5) };
  await refused(t, generate(long), 'TEXT_TOO_LONG', /^textIds: got 99 tokens/);
  const flat = { tokens: { ...tokens, shape: [tokens.data.length] } };
  await refused(t, generate(flat), 'TOKENS_INVALID', /^tokens: got shape/);
  const narrow = { tokens: { ...tokens, shape: [dModel, model.memoryTokens] } };
  await refused(t, generate(narrow), 'FEED_INVALID', /feeds\.tokens/);
});

test('sampling depends on its seed alone', async (t) => {
  const generator = await smallGenerator(t, model, { eos: -1 });
  const sample = async (options: DecodingInput): Promise<string> => {
    const all = decoding({ strategy: 'sample', maxTokens: 30, ...options });
    return (await generator.generate(requestOf(5), all)).ids.join();
  };
  const [first, again, other] = await Promise.all([1, 1, 2].map((seed) => sample({ seed })));
  t.is(first, again);
  t.not(first, other);
  const greedy = await generator.generate(requestOf(5), decoding({ maxTokens: 30 }));
  t.is(await sample({ topK: 1 }), greedy.ids.join());
  t.is(await sample({ topP: 1e-6 }), greedy.ids.join());
  t.is(await sample({ temperature: 1e-4 }), greedy.ids.join());
});

test('lengths and repetitions stay within the options', async (t) => {
  const generator = await smallGenerator(t, model, { eos });
  const ended = await generator.generate(requestOf(0), decoding({ maxTokens: 100 }));
  t.is(ended.finishReason, 'eos');
  t.false(ended.ids.includes(eos));
  const at = ended.ids.length;
  t.is(ended.steps, at + 1);
  const longer = await generator.generate(requestOf(0), decoding({ minTokens: at + 4 }));
  t.true(longer.ids.length >= at + 4);
  t.deepEqual(longer.ids.slice(0, at), ended.ids);
  const cut = await generator.generate(requestOf(0), decoding({ maxTokens: at - 1 }));
  t.is(cut.finishReason, 'length');
  t.deepEqual(cut.ids, ended.ids.slice(0, at - 1));

  for (const strategy of ['greedy', 'beam', 'sample'] as const) {
    const options = decoding({ strategy, noRepeatNgram: 2, maxTokens: 60, minTokens: 60 });
    const { ids } = await generator.generate(requestOf(6), options);
    const pairs = ids.slice(1).map((id, i) => `${ids[i]} ${id}`);
    t.is(new Set(pairs).size, pairs.length, strategy);
  }
  const penalised = decoding({ repetitionPenalty: 50, maxTokens: 30, minTokens: 30 });
  const { ids } = await generator.generate(requestOf(6), penalised);
  t.is(new Set(ids).size, ids.length);
});

test('a callback that throws ends its own request alone', async (t) => {
  const generator = await smallGenerator(t, model, { eos: -1 });
  const onToken = (): void => {
    throw new Error('the stream is gone');
  };
  const options = decoding({ maxTokens: 12 });
  const [failed, fine] = await Promise.allSettled([
    generator.generate(requestOf(1), options, { onToken }),
    generator.generate(requestOf(2), options),
  ]);
  t.is(failed?.status, 'rejected');
  t.is(fine?.status === 'fulfilled' && fine.value.ids.length, 12);
});

test('a disposed generator finishes what it began and refuses the rest', async (t) => {
  const generator: Generator = await smallGenerator(t, model, { eos: -1 });
  const running = generator.generate(requestOf(1), decoding({ maxTokens: 12 }));
  await generator.dispose();
  t.is((await running).ids.length, 12);
  await refused(
    t,
    generator.generate(requestOf(1), decoding({})),
    'GENERATOR_DISPOSED',
    /was disposed/,
  );
});
