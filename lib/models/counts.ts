import { flopsOf } from '../graph/flops.ts';
import type { Preset } from './preset.ts';
import { type VariantName, servingGraphs, variantNames, variantParameters } from './variants.ts';

/** Trained parameters of a variant, by part; running statistics are not among them. */
export interface VariantCounts {
  readonly variant: VariantName;
  readonly vision: number;
  readonly labeler: number;
  /** BERT's embeddings and layers. */
  readonly encoder: number;
  /** Added to BERT by the fusion: the image tokens' linear map, the label cross-attention. */
  readonly fusion: number;
  /** The projection to the decoder's width where there is one, and the decoder. */
  readonly decoder: number;
  readonly total: number;
}

const partOf = (name: string): Exclude<keyof VariantCounts, 'variant' | 'total'> => {
  if (name.startsWith('vision.')) return 'vision';
  if (name.startsWith('labeler.')) return 'labeler';
  if (/^encoder\.(image_embeddings|label_attention)\./.test(name)) return 'fusion';
  return name.startsWith('encoder.') ? 'encoder' : 'decoder';
};

export function countParameters(variant: VariantName, preset: Preset): VariantCounts {
  const counts = { vision: 0, labeler: 0, encoder: 0, fusion: 0, decoder: 0, total: 0 };
  for (const { name, shape, isBuffer } of variantParameters(variant, preset)) {
    if (isBuffer) continue;
    const size = shape.reduce((product, dim) => product * dim, 1);
    counts[partOf(name)] += size;
    counts.total += size;
  }
  return { variant, ...counts };
}

/** Floating-point operations of one image, one encoder run and one decoder step of one row. */
export function countFlops(
  variant: VariantName,
  preset: Preset,
): { readonly vision: number; readonly encoder: number; readonly decoder: number } {
  const { vision, encoder, decoder } = servingGraphs(variant, preset);
  const text = preset.maxTextTokens + 1;
  const memory = Number(encoder.inputs[0]?.shape[1]) + 2 + text;
  const settled = preset.maxReportTokens / 2;
  const step = { rows: 1, recentRows: 1, groups: 1, width: 1, memory, settled, recent: 0 };
  return {
    vision: flopsOf(vision, { batch: 1 }),
    encoder: flopsOf(encoder, { batch: 1, text }),
    decoder: flopsOf(decoder, step),
  };
}

/** A published model behind a part of the `paper` preset. */
interface Published {
  readonly part: 'vision' | 'encoder' | 'decoder';
  readonly variants: readonly VariantName[];
  readonly name: string;
  /** Parameters as published. */
  readonly total: number;
  /** How ours differs from it: [part, parameters]. */
  readonly differences: readonly (readonly [string, number])[];
}

/** torchvision's, and Hugging Face's `from_pretrained`, counts. */
const published: readonly Published[] = [
  {
    part: 'vision',
    variants: ['chexnet', 'chexnet-label'],
    name: 'DenseNet121',
    total: 7_978_856,
    differences: [['classifier of 1000 classes', -1_025_000]],
  },
  {
    part: 'vision',
    variants: ['resnet101', 'resnet101-label'],
    name: 'ResNet101',
    total: 44_549_160,
    differences: [['classifier of 1000 classes', -2_049_000]],
  },
  {
    part: 'vision',
    variants: ['vit', 'vit-label'],
    name: 'ViT-B/16 (in21k)',
    total: 86_389_248,
    differences: [
      ['pooler', -590_592],
      ['1025 positions for 197', 635_904],
    ],
  },
  {
    part: 'encoder',
    variants: variantNames,
    name: 'BERT base, uncased',
    total: 109_482_240,
    differences: [['pooler', -590_592]],
  },
  {
    part: 'decoder',
    variants: variantNames,
    name: 'T5 base',
    total: 222_903_552,
    differences: [['encoder', -84_954_240]],
  },
];

export interface PublishedCount {
  readonly model: Published;
  /** `model.total` with the differences. */
  readonly expected: number;
  readonly ours: number;
}

/** The parts of the `paper` preset beside the published counts. */
export const publishedCounts = (preset: Preset): PublishedCount[] =>
  published.map((model) => {
    const expected = model.differences.reduce((sum, [, count]) => sum + count, model.total);
    const ours = countParameters(model.variants[0] as VariantName, preset)[model.part];
    return { model, expected, ours };
  });
