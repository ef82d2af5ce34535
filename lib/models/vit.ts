import { o } from '../graph/build.ts';
import type { Value } from '../graph/value.ts';
import { attend, dense, layerNorm, splitHeads } from './layers.ts';
import { Dropouts, type Training } from './mode.ts';
import { type Scope, normal, zeros } from './parameters.ts';

export interface VitConfig {
  readonly hidden: number;
  readonly layers: number;
  readonly heads: number;
  readonly intermediate: number;
  readonly patch: number;
}

const epsilon = 1e-12;
// The original truncates at -2 and 2: a hundred standard deviations out, so never.
const start = normal(0.02);

/** One pre-norm encoder layer. */
function layer(scope: Scope, x: Value, config: VitConfig, drop: Dropouts): Value {
  const attention = scope.scope('attention.attention');
  const normed = layerNorm(scope, 'layernorm_before', x, epsilon);
  const project = (name: string): Value =>
    splitHeads(dense(attention, name, normed, config.hidden, start), config.heads);
  const mixed = attend(project('query'), project('key'), project('value'), {
    scale: (config.hidden / config.heads) ** -0.5,
    dropProbabilities: (p) => drop.apply(p),
  });
  const attended = o.Add(
    x,
    drop.apply(dense(scope, 'attention.output.dense', mixed, config.hidden, start)),
  );
  const second = layerNorm(scope, 'layernorm_after', attended, epsilon);
  const wide = o.Gelu(dense(scope, 'intermediate.dense', second, config.intermediate, start));
  return o.Add(attended, drop.apply(dense(scope, 'output.dense', wide, config.hidden, start)));
}

/**
 * Vision Transformer (Dosovitskiy et al. 2021), parameters named as in Hugging Face's ViTModel. image
 * [batch, 3, H, W] -> [batch, 1 + patches, hidden] after the last LayerNorm, CLS first.
 */
export function vit(scope: Scope, image: Value, config: VitConfig, training?: Training): Value {
  const drop = new Dropouts(training);
  const [batch = 1, channels = 3, height = 0, width = 0] = image.shape;
  const grid = [Number(height) / config.patch, Number(width) / config.patch] as const;
  const patches = grid[0] * grid[1];
  const embeddings = scope.scope('embeddings');
  const projection = embeddings.scope('patch_embeddings.projection');
  const kernel = [config.hidden, Number(channels), config.patch, config.patch];
  const strides = [config.patch, config.patch] as const;
  const map = o.Conv(
    image,
    projection.parameter('weight', kernel, start),
    projection.parameter('bias', [config.hidden], zeros),
    { strides },
  );
  const tokens = o.Transpose(o.Reshape(map, [batch, config.hidden, patches]), [0, 2, 1]);
  const cls = embeddings.parameter('cls_token', [1, 1, config.hidden], start);
  const positions = embeddings.parameter(
    'position_embeddings',
    [1, 1 + patches, config.hidden],
    start,
  );
  // The CLS row takes the batch size from the tokens.
  const clsRows = o.ExpandLike(cls, o.Slice(tokens, [0], [1], [1]));
  let x = drop.apply(o.Add(o.Concat([clsRows, tokens], 1), positions));
  for (let i = 0; i < config.layers; i++)
    x = layer(scope.scope(`encoder.layer.${i}`), x, config, drop);
  return layerNorm(scope, 'layernorm', x, epsilon);
}
