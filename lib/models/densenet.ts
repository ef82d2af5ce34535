import { o } from '../graph/build.ts';
import type { Value } from '../graph/value.ts';
import { batchNorm, convolution } from './layers.ts';
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
  const conv = (within: Scope, name: string, x: Value, outputs: number, kernel: number): Value =>
    convolution(within, name, x, outputs, {
      kernel,
      padding: (kernel - 1) / 2,
      initializer: kaimingFanIn,
    });
  const activate = (within: Scope, name: string, x: Value): Value =>
    o.Relu(batchNorm(within, name, x, training));

  const stem = convolution(scope, 'conv0', image, config.initial, {
    kernel: 7,
    stride: 2,
    padding: 3,
    initializer: kaimingFanIn,
  });
  let x = o.MaxPool(activate(scope, 'norm0', stem), [3, 3], [2, 2], [1, 1, 1, 1]);
  config.blocks.forEach((layers, index) => {
    const block = scope.scope(`denseblock${index + 1}`);
    for (let layer = 1; layer <= layers; layer++) {
      const within = block.scope(`denselayer${layer}`);
      const narrow = conv(
        within,
        'conv1',
        activate(within, 'norm1', x),
        config.bottleneck * config.growth,
        1,
      );
      x = o.Concat(
        [x, conv(within, 'conv2', activate(within, 'norm2', narrow), config.growth, 3)],
        1,
      );
    }
    if (index === config.blocks.length - 1) return;
    const transition = scope.scope(`transition${index + 1}`);
    const half = Math.floor(Number(x.shape[1]) / 2);
    x = o.AveragePool(conv(transition, 'conv', activate(transition, 'norm', x), half, 1), [2, 2]);
  });
  return activate(scope, `norm${config.blocks.length + 1}`, x);
}
