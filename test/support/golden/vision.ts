import { o } from '../../../lib/graph/build.ts';
import { binaryCrossEntropy } from '../../../lib/graph/losses.ts';
import { type Value, constant, constantOf } from '../../../lib/graph/value.ts';
import { type DenseNetConfig, denseNet } from '../../../lib/models/densenet.ts';
import { dense } from '../../../lib/models/layers.ts';
import { ParameterSet, torchLinear } from '../../../lib/models/parameters.ts';
import { type ResNetConfig, resNet } from '../../../lib/models/resnet.ts';
import { vit } from '../../../lib/models/vit.ts';
import { type Comparison, type Summary, compareTensor, tolerances } from './compare.ts';
import { type Ruled, ruledTensor } from './rule.ts';
import {
  type GoldenParameter,
  type GoldenTraining,
  checkTraining,
  importGolden,
  runWith,
} from './weights.ts';

interface ConvolutionGolden {
  readonly params: readonly GoldenParameter[];
  readonly input: Ruled;
  readonly features: Summary;
  readonly logits: Summary;
  readonly gradients?: GoldenTraining & { readonly target_key: string };
}

interface VitGolden {
  readonly config: Readonly<Record<string, number>>;
  readonly params: readonly GoldenParameter[];
  readonly input: Ruled;
  readonly position_embeddings_interpolated: Summary;
  readonly last_hidden_state: Summary;
}

/** Sizes of a convolutional network, read from the shapes of its parameters. */
function sizes(params: readonly GoldenParameter[]) {
  const shapeOf = new Map(params.map(({ name, shape }) => [name, shape]));
  const dim = (name: string, axis = 0): number => shapeOf.get(name)?.[axis] ?? 0;
  const countOf = (pattern: (index: number) => string, first: number): number => {
    let count = 0;
    while (shapeOf.has(pattern(first + count))) count++;
    return count;
  };
  return { dim, countOf };
}

function denseNetConfig(params: readonly GoldenParameter[]): DenseNetConfig {
  const { dim, countOf } = sizes(params);
  const first = 'features.denseblock1.denselayer1';
  const layer = (block: number, index: number): string =>
    `features.denseblock${block}.denselayer${index}.conv1.weight`;
  const blocks = Array.from({ length: countOf((block) => layer(block, 1), 1) }, (_, block) =>
    countOf((index) => layer(block + 1, index), 1),
  );
  const growth = dim(`${first}.conv2.weight`);
  return {
    growth,
    blocks,
    initial: dim('features.conv0.weight'),
    bottleneck: dim(`${first}.conv1.weight`) / growth,
  };
}

function resNetConfig(params: readonly GoldenParameter[]): ResNetConfig {
  const { dim, countOf } = sizes(params);
  const layers = [1, 2, 3, 4].map((stage) =>
    countOf((block) => `layer${stage}.${block}.conv1.weight`, 0),
  );
  return { layers, width: dim('conv1.weight') };
}

async function checkConvolution(
  golden: ConvolutionGolden,
  root: ParameterSet,
  architecture: 'densenet' | 'resnet',
  head: string,
  features: Value,
): Promise<Comparison[]> {
  const pooled = o.ReduceMean(features, [2, 3]);
  const start = torchLinear(Number(pooled.shape[1]));
  const logits = dense(root, head, pooled, golden.logits.shape[1] ?? 0, start);
  const imported = await importGolden(root, golden.params, architecture);
  const results = await runWith({ features, logits }, imported.weights);
  const comparisons = [
    ...imported.comparisons,
    compareTensor('features', results['features'], golden.features, tolerances.float32),
    compareTensor('logits', results['logits'], golden.logits, tolerances.float32),
  ];
  const { gradients } = golden;
  if (!gradients) return comparisons;
  const { shape } = golden.logits;
  const drawn = ruledTensor({ key: gradients.target_key, shape, center: 0, scale: 1 });
  const targets = constantOf(
    Array.from(drawn.data, (x) => Number(x > 0)),
    'float32',
    shape,
  );
  const loss = binaryCrossEntropy(logits, targets);
  return [...comparisons, ...(await checkTraining(loss, root, imported, gradients))];
}

export function checkDenseNet(golden: ConvolutionGolden): Promise<Comparison[]> {
  const root = new ParameterSet();
  const image = constant(ruledTensor(golden.input));
  const features = denseNet(root, image, denseNetConfig(golden.params));
  return checkConvolution(golden, root, 'densenet', 'classifier', features);
}

export function checkResNet(golden: ConvolutionGolden): Promise<Comparison[]> {
  const root = new ParameterSet();
  const image = constant(ruledTensor(golden.input));
  const features = resNet(root, image, resNetConfig(golden.params));
  return checkConvolution(golden, root, 'resnet', 'fc', features);
}

export async function checkVit(golden: VitGolden): Promise<Comparison[]> {
  const root = new ParameterSet();
  const { config } = golden;
  const states = vit(root, constant(ruledTensor(golden.input)), {
    hidden: config['hidden_size'] ?? 0,
    layers: config['num_hidden_layers'] ?? 0,
    heads: config['num_attention_heads'] ?? 0,
    intermediate: config['intermediate_size'] ?? 0,
    patch: config['patch_size'] ?? 0,
  });
  const { weights, comparisons } = await importGolden(root, golden.params, 'vit');
  const results = await runWith({ states }, weights);
  const positions = weights.get('embeddings.position_embeddings');
  return [
    ...comparisons,
    compareTensor(
      'interpolated positions',
      positions,
      golden.position_embeddings_interpolated,
      tolerances.float32,
    ),
    compareTensor(
      'last hidden state',
      results['states'],
      golden.last_hidden_state,
      tolerances.float32,
    ),
  ];
}
