import test from 'ava';
import { backward } from '../lib/graph/backward.ts';
import { o } from '../lib/graph/build.ts';
import { softmaxCrossEntropy } from '../lib/graph/losses.ts';
import { optimize } from '../lib/graph/passes.ts';
import type { Tensor } from '../lib/graph/types.ts';
import { type Value, input } from '../lib/graph/value.ts';
import { countFlops, publishedCounts } from '../lib/models/counts.ts';
import { initialTensor } from '../lib/models/init.ts';
import type { Training } from '../lib/models/mode.ts';
import { ParameterSet, normal } from '../lib/models/parameters.ts';
import { type Preset, loadPreset, parsePreset, presetNames } from '../lib/models/preset.ts';
import {
  type VariantName,
  closeText,
  encoderModel,
  imageInput,
  isLabelVariant,
  labelerModel,
  reportModel,
  servingGraphs,
  tokenShape,
  variantNames,
  variantParameters,
  visionModel,
  weightPartOf,
} from '../lib/models/variants.ts';
import { compile, graphOf, numbers, runGraph, tensor, uniform } from './support/engine.ts';
import { initialWeights, weightsIn } from './support/models.ts';

const demo = loadPreset('demo');

const randomTensor = (shape: readonly number[], seed: number): Tensor => {
  const random = uniform(seed);
  const size = shape.reduce((product, dim) => product * dim, 1);
  return tensor(Array.from({ length: size }, random), shape);
};

const shapesOf = (results: Record<string, Tensor>): Record<string, readonly number[]> =>
  Object.fromEntries(Object.entries(results).map(([name, { shape }]) => [name, shape]));

const perLayer = <T>(prefix: string, { t5 }: Preset, value: T, key = value): Record<string, T> =>
  Object.fromEntries(
    Array.from({ length: t5.layers }, (_, i) => [
      [`${prefix}.${i}.key`, key],
      [`${prefix}.${i}.value`, value],
    ]).flat() as [string, T][],
  );

for (const variant of variantNames) {
  test(`${variant} serves an image as the contract of its four graphs says`, async (t) => {
    const weights = weightsIn(initialWeights(variantParameters(variant, demo)));
    const graphs = servingGraphs(variant, demo);
    const { tokens: count, channels } = tokenShape(variant, demo);
    const [batch, rows, text, past] = [2, 3, 5, 4];
    const { heads, dKv, layers, vocabulary } = demo.t5;

    const image = randomTensor([batch, 3, demo.imageSize, demo.imageSize], 1);
    const vision = await runGraph(graphs.vision, { image }, { weights });
    t.deepEqual(shapesOf(vision), { tokens: [batch, count, channels], pooled: [batch, channels] });
    t.true(numbers(vision['tokens']).every(Number.isFinite));

    const { pooled, tokens } = vision as { pooled: Tensor; tokens: Tensor };
    const labels = await runGraph(graphs.labeler, { pooled }, { weights });
    t.deepEqual(shapesOf(labels), { logits: [batch, 14] });

    const first = closeText([7, 8, 9, 10], demo);
    const second = [...closeText([7], demo), 0, 0, 0];
    const textIds = tensor([...first, ...second], [batch, text], 'int64');
    const textMask = tensor([1, 1, 1, 1, 1, 1, 1, 0, 0, 0], [batch, text], 'int64');
    const encoded = await runGraph(graphs.encoder, { tokens, textIds, textMask }, { weights });
    const memory = count + text + 2;
    t.deepEqual(shapesOf(encoded), {
      ...perLayer('cross', demo, [batch, heads, memory, dKv], [batch, heads, dKv, memory]),
      memoryBias: [batch, 1, 1, memory],
    });
    t.deepEqual(numbers(encoded['memoryBias']), [
      ...Array<number>(2 * memory - 3).fill(0),
      -30000,
      -30000,
      -30000,
    ]);

    const step = await runGraph(
      graphs.decoder,
      {
        ids: tensor([0, 5, 6], [rows], 'int64'),
        lengths: tensor([past, 2, 0], [rows], 'int64'),
        rows: tensor([0, 0, 1], [rows], 'int64'),
        members: tensor([0, 1, 2, 2], [batch, 2], 'int64'),
        places: tensor([0, 1, 2], [rows], 'int64'),
        memoryBias: encoded['memoryBias'] as Tensor,
        recent: randomTensor([2 * layers, 2, heads, 1, dKv], 4),
        ...perLayer('settled', demo, randomTensor([rows, heads, past - 1, dKv], 5)),
        ...perLayer(
          'cross',
          demo,
          randomTensor([batch, heads, memory, dKv], 6),
          randomTensor([batch, heads, dKv, memory], 7),
        ),
      },
      { weights },
    );
    t.deepEqual(shapesOf(step), {
      logits: [rows, vocabulary],
      normalizers: [rows],
      nextRecent: [2 * layers, rows, heads, 2, dKv],
    });
    t.true(numbers(step['logits']).every(Number.isFinite));
  });
}

/** Fewer pixels: what is differentiated is the same. */
const small = parsePreset({
  ...demo,
  imageSize: 64,
  imageSample: 3,
  vit: { ...demo.vit, patch: 8 },
});

/** The loss of reports and of labels for one micro-batch, as the trainer puts them together. */
function trainingLoss(variant: VariantName, root: ParameterSet, training: Training) {
  const batch = {
    image: imageInput(small),
    textIds: input('textIds', 'int64', ['batch', 'text']),
    textMask: input('textMask', 'int64', ['batch', 'text']),
    imageIndex: input('imageIndex', 'int64', [small.imageSample]),
    decoderIds: input('decoderIds', 'int64', ['batch', 'length']),
  };
  const labels = input('labels', 'int64', ['batch', 'length']);
  const options = { training, maskMode: 'bidirectional-auto-regressive' } as const;
  const logits = reportModel(root, batch, small, variant, options);
  const { pooled } = visionModel(root, batch.image, small, variant, training);
  const classified = labelerModel(root, pooled, training);
  const report = softmaxCrossEntropy(o.flattenTo(logits, 2), o.flattenTo(labels, 1));
  const loss = o.Add(report, o.ReduceMean(o.Softplus(classified)));
  return { inputs: [...Object.values(batch), labels], loss };
}

function trainingFeeds(seed: number): Record<string, Tensor> {
  const ids = Array.from({ length: 16 }, (_, i) => (i * 7 + seed) % small.t5.vocabulary);
  return {
    image: randomTensor([2, 3, small.imageSize, small.imageSize], seed),
    textIds: tensor([7, 8, 3, 9, 3, 0], [2, 3], 'int64'),
    textMask: tensor([1, 1, 1, 1, 1, 0], [2, 3], 'int64'),
    imageIndex: tensor(
      Array.from({ length: small.imageSample }, (_, i) => i + 1),
      [small.imageSample],
      'int64',
    ),
    decoderIds: tensor(ids, [2, 8], 'int64'),
    labels: tensor(
      ids.map((id, i) => (i === 15 ? -100 : id)),
      [2, 8],
      'int64',
    ),
    key: tensor([5], [], 'uint32'),
  };
}

for (const variant of ['chexnet', 'resnet101-label', 'vit-label'] as const) {
  test(`every parameter of ${variant} gets a finite gradient from the training losses`, async (t) => {
    const root = new ParameterSet();
    const key = input('key', 'uint32', []);
    const buffers = new Map<Value, Value>();
    const { inputs, loss } = trainingLoss(variant, root, { key, dropout: 0.1, buffers });
    const trained = root.specs.filter(({ isBuffer }) => !isBuffer);
    const gradients = backward(
      loss,
      trained.map(({ value }) => value),
    );
    const norms = Object.fromEntries(
      trained.map(({ name }, i) => [name, o.ReduceSumSquare(gradients[i] as Value)]),
    );
    const results = await runGraph(
      optimize(graphOf([...inputs, key], { loss, ...norms })),
      trainingFeeds(1),
      { level: 'basic', weights: weightsIn(initialWeights(root.specs)) },
    );
    t.deepEqual(root.specs.map(({ name }) => name).sort(), parameterNames(variant, small));
    t.is(buffers.size, root.specs.length - trained.length);
    const broken = trained.filter(({ name }) => !Number.isFinite(Number(results[name]?.data[0])));
    t.deepEqual(broken, []);
    const silent = trained
      .map(({ name }) => name)
      .filter((name) => Number(results[name]?.data[0]) === 0);
    // Softmax does not see what is added to all keys alike.
    t.deepEqual(
      silent.filter((name) => !name.endsWith('key.bias')),
      [],
    );
  });
}

const parameterNames = (variant: VariantName, preset = demo): string[] =>
  variantParameters(variant, preset)
    .map(({ name }) => name)
    .sort();

test('a demo variant is small enough to ship', (t) => {
  for (const variant of variantNames) {
    const count = variantParameters(variant, demo).reduce(
      (sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1),
      0,
    );
    t.log(`${variant}: ${(count / 1e6).toFixed(2)} million`);
    t.true(count > 0.5e6 && count < 1.3e6);
  }
});

test('an image token that is not kept does not reach the memory', async (t) => {
  const root = new ParameterSet();
  const { tokens: count, channels } = tokenShape('chexnet-label', demo);
  const tokens = input('tokens', 'float32', [1, count, channels]);
  const textIds = input('textIds', 'int64', [1, 'text']);
  const textMask = input('textMask', 'int64', [1, 'text']);
  const imageIndex = input('imageIndex', 'int64', ['kept']);
  const { memory } = encoderModel(
    root,
    { tokens, textIds, textMask, imageIndex },
    demo,
    'chexnet-label',
  );
  const session = await compile(graphOf([tokens, textIds, textMask, imageIndex], { memory }), {
    weights: weightsIn(initialWeights(root.specs)),
  });
  t.teardown(() => session.release());
  const run = async (seen: Tensor): Promise<number[]> => {
    const results = await session.run({
      tokens: seen,
      textIds: tensor([7, 3], [1, 2], 'int64'),
      textMask: tensor([1, 1], [1, 2], 'int64'),
      imageIndex: tensor([0, 1, 3], [3], 'int64'),
    });
    t.deepEqual(results['memory']?.shape, [1, 3 + 2 + 2, demo.t5.dModel]);
    return numbers(results['memory']);
  };
  const seen = randomTensor([1, count, channels], 1);
  const before = await run(seen);
  const changed = tensor(numbers(seen), seen.shape);
  changed.data.fill(9 as never, 2 * channels, 3 * channels);
  t.deepEqual(await run(changed), before);
  changed.data.fill(9 as never, 3 * channels, 4 * channels);
  t.notDeepEqual(await run(changed), before);
});

test('only label variants have cross-attention, and weights are in the part that their name says', (t) => {
  for (const variant of variantNames) {
    const names = parameterNames(variant);
    t.is(
      names.some((name) => name.startsWith('encoder.label_attention.')),
      isLabelVariant(variant),
    );
    const parts = [...new Set(names.map(weightPartOf))].sort();
    t.deepEqual(parts, ['generator', 'labeler', 'vision']);
  }
});

test('initial weights depend on name, shape and seed alone', (t) => {
  const spec = { name: 'a.weight', shape: [400, 100], initializer: normal(0.02) };
  const { data } = initialTensor(spec, 1);
  t.deepEqual(initialTensor(spec, 1).data, data);
  t.notDeepEqual(initialTensor(spec, 2).data, data);
  t.notDeepEqual(initialTensor({ ...spec, name: 'b.weight' }, 1).data, data);
  const mean = data.reduce((a, b) => a + b) / data.length;
  const deviation = Math.sqrt(data.reduce((sum, x) => sum + (x - mean) ** 2, 0) / data.length);
  t.true(Math.abs(mean) < 0.0005, `mean ${mean}`);
  t.true(Math.abs(deviation - 0.02) < 0.0005, `deviation ${deviation}`);
});

test('an invalid preset is refused with the field and the reason', (t) => {
  for (const name of presetNames) t.is(loadPreset(name).name, name);
  const wrong: readonly [Partial<Record<keyof Preset, unknown>>, RegExp][] = [
    [{ imageSize: 100 }, /^preset\.imageSize: 100 is not a multiple of 32/],
    [{ imageSize: '128' }, /^preset\.imageSize: /],
    [{ colour: 1 } as object, /^preset\.colour: /],
    [{ vit: { ...demo.vit, heads: 5 } }, /^preset\.vit\.heads: 5 does not divide 96/],
    [{ vit: { ...demo.vit, patch: 8, poolGrid: 1 } }, /^preset\.fusion\.positions: 64 positions/],
    [{ densenet: { ...demo.densenet, blocks: [1, 0, 1, 1] } }, /^preset\.densenet\.blocks\.1: /],
    [{ fusion: { ...demo.fusion, sep: 512 } }, /^preset\.fusion\.sep: 512/],
    [{ imageSample: 17 }, /^preset\.imageSample: 17 of 16/],
  ];
  for (const [change, message] of wrong) {
    t.throws(() => parsePreset({ ...demo, ...change }), { message });
  }
  t.throws(() => loadPreset('absent'), { message: /^absent: neither a preset \(paper, demo\)/ });
});

test('the parts of the paper preset have as many parameters as published', (t) => {
  for (const { model, ours, expected } of publishedCounts(loadPreset('paper'))) {
    t.is(ours, expected, model.name);
  }
});

test('the operations of every variant can be counted', (t) => {
  for (const variant of variantNames) {
    const { vision, encoder, decoder } = countFlops(variant, demo);
    t.true(vision > 10e6 && encoder > 1e6 && decoder > 0.5e6, `${vision} ${encoder} ${decoder}`);
  }
});
