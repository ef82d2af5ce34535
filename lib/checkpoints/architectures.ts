/** The published models whose checkpoints can be imported, by the part of a variant they become. */
export type Architecture = 'densenet' | 'resnet' | 'vit' | 'bert' | 't5';

/** How an architecture's checkpoints name their tensors. */
interface Naming {
  readonly title: string;
  /** Wrappers around the model's own names, stripped as often as they occur. */
  readonly prefixes: readonly string[];
  /** Rewritings of old names, in order. */
  readonly renames: readonly (readonly [RegExp, string])[];
  /** Other names of a tensor that is tied to it: `aliases` may replace or repeat `name`. */
  readonly tied?: { readonly name: string; readonly aliases: readonly string[] };
}

const bert: readonly (readonly [RegExp, string])[] = [
  // TensorFlow's names of LayerNorm's parameters, as BERT's first PyTorch checkpoints kept them.
  [/\bgamma$/, 'weight'],
  [/\bbeta$/, 'bias'],
];

const namings: Readonly<Record<Architecture, Naming>> = {
  densenet: {
    title: 'DenseNet (torchvision, CheXNet)',
    prefixes: ['module.', 'model.', 'backbone.', 'densenet121.'],
    // torchvision's names before 0.2, norm.1 and conv.2: CheXNet was saved with them.
    renames: [[/(denselayer\d+\.(?:norm|relu|conv))\.(\d)\./, '$1$2.']],
  },
  resnet: {
    title: 'ResNet (torchvision)',
    prefixes: ['module.', 'model.', 'backbone.', 'resnet101.'],
    renames: [],
  },
  vit: { title: 'ViT (Hugging Face)', prefixes: ['module.', 'model.', 'vit.'], renames: bert },
  bert: { title: 'BERT (Hugging Face)', prefixes: ['module.', 'model.', 'bert.'], renames: bert },
  t5: {
    title: 'T5 (Hugging Face)',
    prefixes: ['module.', 'model.', 'transformer.'],
    renames: [],
    tied: {
      name: 'shared.weight',
      aliases: ['decoder.embed_tokens.weight', 'encoder.embed_tokens.weight', 'lm_head.weight'],
    },
  },
};

export const titleOf = (architecture: Architecture): string => namings[architecture].title;

/** The name that our model gives to a checkpoint's tensor, if it has it. */
export function ourName(architecture: Architecture, name: string): string {
  const { prefixes, renames, tied } = namings[architecture];
  let stripped = name;
  for (;;) {
    const prefix = prefixes.find((candidate) => stripped.startsWith(candidate));
    if (prefix === undefined) break;
    stripped = stripped.slice(prefix.length);
  }
  for (const [pattern, replacement] of renames) stripped = stripped.replace(pattern, replacement);
  return tied?.aliases.includes(stripped) ? tied.name : stripped;
}
