import { o } from '../graph/build.ts';
import type { Value } from '../graph/value.ts';
import { convolutionNorm } from './layers.ts';
import type { Training } from './mode.ts';
import { type Scope, normal } from './parameters.ts';

export interface ResNetConfig {
  /** Bottleneck blocks of each of the four stages. */
  readonly layers: readonly number[];
  /** Channels of the stem; a stage's blocks are 1, 2, 4, 8 times as wide, their outputs 4 times more. */
  readonly width: number;
}

const expansion = 4;
const kaimingFanOut = (_: number, fanOut: number) => normal(Math.sqrt(2 / fanOut));

/** Bottleneck block; the stride is in the 3x3 convolution, as torchvision has it (ResNet v1.5). */
function bottleneck(
  scope: Scope,
  x: Value,
  width: number,
  stride: number,
  training?: Training,
): Value {
  const normConv = (
    conv: string,
    bn: string,
    input: Value,
    outputs: number,
    kernel: number,
    step = 1,
  ): Value => {
    const names = { convolution: conv, norm: bn };
    const padding = (kernel - 1) / 2;
    const options = { kernel, stride: step, padding, initializer: kaimingFanOut };
    return convolutionNorm(scope, names, input, outputs, options, training);
  };
  const first = o.Relu(normConv('conv1', 'bn1', x, width, 1));
  const second = o.Relu(normConv('conv2', 'bn2', first, width, 3, stride));
  const third = normConv('conv3', 'bn3', second, width * expansion, 1);
  const fits = stride === 1 && Number(x.shape[1]) === width * expansion;
  const shortcut = fits
    ? x
    : normConv('downsample.0', 'downsample.1', x, width * expansion, 1, stride);
  return o.Relu(o.Add(third, shortcut));
}

/** `blocks` bottleneck blocks, of which the first has the stride; gives 4 * width channels. */
export function residualStage(
  scope: Scope,
  x: Value,
  { blocks, width, stride }: { blocks: number; width: number; stride: number },
  training?: Training,
): Value {
  let y = x;
  for (let block = 0; block < blocks; block++) {
    y = bottleneck(scope.scope(String(block)), y, width, block === 0 ? stride : 1, training);
  }
  return y;
}

/**
 * ResNet with bottleneck blocks (He et al. 2016), parameters named as in torchvision; ResNet101 has
 * layers 3, 4, 23, 3. image [batch, 3, H, W] -> layer4's output [batch, 32 * width, H/32, W/32].
 */
export function resNet(
  scope: Scope,
  image: Value,
  config: ResNetConfig,
  training?: Training,
): Value {
  const stem = convolutionNorm(
    scope,
    { convolution: 'conv1', norm: 'bn1' },
    image,
    config.width,
    { kernel: 7, stride: 2, padding: 3, initializer: kaimingFanOut },
    training,
  );
  let x = o.MaxPool(o.Relu(stem), [3, 3], [2, 2], [1, 1, 1, 1]);
  config.layers.forEach((blocks, stage) => {
    const shape = { blocks, width: config.width * 2 ** stage, stride: stage > 0 ? 2 : 1 };
    x = residualStage(scope.scope(`layer${stage + 1}`), x, shape, training);
  });
  return x;
}
