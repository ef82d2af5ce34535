import test from 'ava';
import { o } from '../lib/graph/build.ts';
import { quantizeWeights } from '../lib/graph/quantize.ts';
import { optimize } from '../lib/graph/passes.ts';
import type { Tensor } from '../lib/graph/types.ts';
import { input, parameter } from '../lib/graph/value.ts';
import { initialTensor } from '../lib/models/init.ts';
import { loadPreset } from '../lib/models/preset.ts';
import { servingGraphs, tokenShape, variantParameters } from '../lib/models/variants.ts';
import { measureAgreement, printAgreement } from '../lib/runtime/decode/agreement.ts';
import { parseDecodingOptions } from '../lib/releases/decoding.ts';
import { quantizeGenerator, quantizeTensor } from '../lib/releases/quantize.ts';
import { graphOf, numbers, runGraph, tensor, uniform } from './support/engine.ts';
import { openGenerator, variantGenerator } from './support/generator.ts';
import { weightsIn } from './support/models.ts';

const randomTensor = (shape: readonly number[], seed: number): Tensor => {
  const size = shape.reduce((product, dim) => product * dim, 1);
  return tensor(Array.from({ length: size }, uniform(seed)), shape);
};

test('an 8-bit weight is off by at most half a step of its block', (t) => {
  const weight = randomTensor([6, 64], 1);
  const { codes, scales } = quantizeTensor(weight, 32);
  t.deepEqual(codes.shape, [6, 2, 32]);
  t.deepEqual(scales.shape, [6, 2]);
  weight.data.forEach((value, i) => {
    const scale = scales.data[Math.floor(i / 32)] as number;
    const back = ((codes.data[i] as number) - 128) * scale;
    t.true(Math.abs(back - Number(value)) <= scale / 2 + 1e-7);
  });
  // A block of zeros has no largest value to divide by.
  t.true(quantizeTensor(tensor([0, 0], [1, 2]), 2).codes.data.every((code) => code === 128));
});

test('linear layers and the embeddings tied to them are quantized, nothing else', async (t) => {
  const x = input('x', 'float32', ['rows', 64]);
  const ids = input('ids', 'int64', ['rows']);
  const table = parameter('table', [40, 64]);
  const odd = parameter('odd', [64, 10]);
  const other = parameter('other', [12, 64]);
  const embedded = o.Add(x, o.Gather(table, ids));
  const graph = graphOf([x, ids], {
    logits: o.Gemm(embedded, table, { transB: true }),
    part: o.Gemm(embedded, o.Slice(table, [8], [24], [0]), { transB: true }),
    narrow: o.Gemm(o.Gemm(embedded, parameter('narrow', [10, 64]), { transB: true }), odd, {
      transB: true,
      bias: parameter('bias', [64]),
    }),
    gathered: o.Gather(other, ids),
  });
  const { graph: quantized, weights } = quantizeWeights(graph);
  t.deepEqual(
    weights.map(({ name, blockSize }) => [name, blockSize]),
    [
      ['table', 64],
      ['narrow', 64],
    ],
  );
  const tensors = new Map<string, Tensor>(
    [table, odd, other, parameter('narrow', [10, 64]), parameter('bias', [64])].map((value, i) => {
      const name = 'name' in value.source ? value.source.name : '';
      return [name, randomTensor(value.shape.map(Number), i)];
    }),
  );
  const feeds = { x: randomTensor([2, 64], 9), ids: tensor([3, 11], [2], 'int64') };
  const expected = await runGraph(graph, feeds, { weights: weightsIn(tensors) });
  for (const { name, blockSize, codes, scales } of weights) {
    const made = quantizeTensor(tensors.get(name) as Tensor, blockSize);
    tensors.set(codes, made.codes).set(scales, made.scales).delete(name);
  }
  const actual = await runGraph(quantized, feeds, { weights: weightsIn(tensors) });
  for (const [name, { data }] of Object.entries(expected)) {
    const norm = Math.hypot(...Array.from(data, Number));
    const off = Math.hypot(...numbers(actual[name]).map((value, i) => value - Number(data[i])));
    t.true(off <= (name === 'gathered' ? 0 : 0.02 * norm), `${name} is off by ${off} of ${norm}`);
  }
});

test('8-bit weights are less than half of the size, and their agreement is measured', async (t) => {
  const preset = loadPreset('demo');
  const specs = variantParameters('vit-label', preset).filter(
    ({ name }) => !/^(vision|labeler)/.test(name),
  );
  const weights = new Map(specs.map((spec) => [spec.name, initialTensor(spec, 1)]));
  const { encoder, decoder, tensors } = quantizeGenerator(
    servingGraphs('vit-label', preset),
    specs,
    (name) => weights.get(name) as Tensor,
  );
  const made = new Map<string, Tensor>();
  for (const { name, dtype, shape, data } of tensors) {
    made.set(name, { dtype, shape, data: typeof data === 'function' ? await data() : data });
  }
  const bytes = (all: Iterable<Tensor>): number =>
    [...all].reduce((sum, { data }) => sum + data.byteLength, 0);
  t.true(bytes(made.values()) < 0.45 * bytes(weights.values()));

  const reference = await variantGenerator(t, 'vit-label', preset);
  const graphs = { encoder: optimize(encoder), decoder: optimize(decoder) };
  const { generator, close } = await openGenerator(graphs, weightsIn(made), { preset });
  t.teardown(close);
  const { tokens, channels } = tokenShape('vit-label', preset);
  const requests = [1, 2, 3].map((seed) => ({
    tokens: randomTensor([tokens, channels], seed),
    textIds: [5, 6, 7],
  }));
  const options = parseDecodingOptions({ maxTokens: 20 });
  const agreement = await measureAgreement(reference, generator, requests, options);
  t.is(agreement.reports, 3);
  t.true(agreement.agreeingTokens <= agreement.tokens);
  t.true(agreement.logProbDifference > 0 && agreement.logProbDifference < 0.2);
  t.log(printAgreement(agreement));
  const itself = await measureAgreement(reference, reference, requests, options);
  t.deepEqual(
    { ...itself, logProbDifference: 0 },
    { ...itself, agreeingTokens: itself.tokens, identicalReports: 3, logProbDifference: 0 },
  );
});
