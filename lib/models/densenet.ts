import { o } from '../graph/build.ts';
import type { Value } from '../graph/value.ts';
import { type ConvolutionOptions, batchNorm, convolution, convolutionNorm } from './layers.ts';
import type { Training } from './mode.ts';
import { type Scope, normal } from './parameters.ts';

export interface DenseNetConfig {
  /** Channels that every layer adds. */
  readonly growth: number;
  /** Layers of each dense block. */
  readonly blocks: readonly number[];
  /** Channels of the stem. */
  readonly initial: number;
  /** The 1x1 convolution of a layer has bottleneck * growth channels. */
  readonly bottleneck: number;
}

const kaimingFanIn = (fanIn: number) => normal(Math.sqrt(2 / fanIn));

const conv = (scope: Scope, name: string, x: Value, outputs: number, kernel: number): Value =>
  convolution(scope, name, x, outputs, {
    kernel,
    padding: (kernel - 1) / 2,
    initializer: kaimingFanIn,
  });

/** A convolution, the norm after it, and its ReLU. */
const convActivate = (
  scope: Scope,
  names: { readonly convolution: string; readonly norm: string },
  x: Value,
  outputs: number,
  options: Omit<ConvolutionOptions, 'initializer'>,
  training?: Training,
): Value => {
  const all = { ...options, initializer: kaimingFanIn };
  return o.Relu(convolutionNorm(scope, names, x, outputs, all, training));
};

const activate = (scope: Scope, name: string, x: Value, training?: Training): Value =>
  o.Relu(batchNorm(scope, name, x, training));

/** Every layer adds `growth` channels to x [batch, channels, H, W] and reads all channels before it. */
export function denseBlock(
  scope: Scope,
  x: Value,
  layers: number,
  { growth, bottleneck }: Pick<DenseNetConfig, 'growth' | 'bottleneck'>,
  training?: Training,
): Value {
  let features = x;
  for (let number = 1; number <= layers; number++) {
    const layer = scope.scope(`denselayer${number}`);
    const normed = activate(layer, 'norm1', features, training);
    const names = { convolution: 'conv1', norm: 'norm2' };
    const narrow = convActivate(layer, names, normed, bottleneck * growth, { kernel: 1 }, training);
    const added = conv(layer, 'conv2', narrow, growth, 3);
    features = o.Concat([features, added], 1);
  }
  return features;
}

/**
 * DenseNet (Huang et al. 2017), parameters named as in torchvision; CheXNet is DenseNet121. image
 * [batch, 3, H, W] -> features after the last norm and ReLU, [batch, channels, H/32, W/32].
 */
export function denseNet(
  root: Scope,
  image: Value,
  config: DenseNetConfig,
  training?: Training,
): Value {
  const scope = root.scope('features');
  const names = { convolution: 'conv0', norm: 'norm0' };
  const options = { kernel: 7, stride: 2, padding: 3 };
  const stem = convActivate(scope, names, image, config.initial, options, training);
  let x = o.MaxPool(stem, [3, 3], [2, 2], [1, 1, 1, 1]);
  config.blocks.forEach((layers, index) => {
    x = denseBlock(scope.scope(`denseblock${index + 1}`), x, layers, config, training);
    if (index === config.blocks.length - 1) return;
    const transition = scope.scope(`transition${index + 1}`);
    const half = Math.floor(Number(x.shape[1]) / 2);
    const normed = activate(transition, 'norm', x, training);
    x = o.AveragePool(conv(transition, 'conv', normed, half, 1), [2, 2]);
  });
  return activate(scope, `norm${config.blocks.length + 1}`, x, training);
}
