import test from 'ava';
import type { Tensor } from '../lib/graph/types.ts';
import { parseDecodingOptions } from '../lib/runtime/decode/options.ts';
import {
  fullDecoder,
  goldenModel,
  goldenTensor,
  readGolden,
  smallGenerator,
} from './support/generator.ts';

const golden = await readGolden();
const model = goldenModel(golden);
const { dModel } = model.config;

/** The two sequences of the golden file; the second one sees only its first four memory tokens. */
const encoded = goldenTensor(golden.encoder_hidden_states);
const requests = [7, 4].map((visible, row) => {
  const size = model.memoryTokens * dModel;
  const data = (encoded.data as Float32Array).slice(row * size, (row + 1) * size);
  const tokens: Tensor = { dtype: 'float32', shape: [model.memoryTokens, dModel], data };
  return { visible, tokens, textIds: Array.from({ length: visible - 1 }, () => 9) };
});

test('greedy decoding gives the ids of the reference implementation', async (t) => {
  const generator = await smallGenerator(t, model, { eos: -1 });
  const options = parseDecodingOptions({ maxTokens: 24 });
  const results = await Promise.all(requests.map((each) => generator.generate(each, options)));
  t.deepEqual(
    results.map(({ ids }) => [0, ...ids]),
    golden.greedy_ids_24_steps_no_eos.map((ids) => [...ids]),
  );
});

test('four beams give the ids and scores of the reference implementation', async (t) => {
  const generator = await smallGenerator(t, model, { eos: -1 });
  const options = parseDecodingOptions({ strategy: 'beam', lengthPenalty: 0, maxTokens: 16 });
  for (const [row, request] of requests.entries()) {
    const expected = golden.beam4_16_steps_no_eos[row];
    const { ids, score } = await generator.generate(request, options);
    t.deepEqual([0, ...ids], expected?.ids.slice());
    t.true(Math.abs(score - (expected?.score ?? 0)) < 1e-4 * 70, `score ${score}`);
  }
});

test('decoding with a cache equals computing every token anew', async (t) => {
  const generator = await smallGenerator(t, model, { eos: -1 });
  const full = await fullDecoder(t, model);
  const options = parseDecodingOptions({ strategy: 'sample', seed: 4, maxTokens: 150 });
  for (const request of requests) {
    const { ids, logProbs } = await generator.generate(request, options);
    t.is(ids.length, 150);
    const scores = await full([0, ...ids.slice(0, -1)], request.tokens, request.visible);
    ids.forEach((id, i) => {
      const expected = scores[i]?.[id] ?? Number.NaN;
      const got = logProbs[i] ?? Number.NaN;
      t.true(Math.abs(got - expected) < 1e-4, `token ${i}: ${got}, expected ${expected}`);
    });
  }
});
