import type { Comparison } from './compare.ts';
import { checkBert, checkT5 } from './language.ts';
import { checkTextMetrics } from './text.ts';
import { checkDenseNet, checkResNet, checkVit } from './vision.ts';

/** A kind of golden file: how it is recognized, and its check. */
export interface Kind {
  readonly name: string;
  readonly recognizes: (golden: Readonly<Record<string, unknown>>) => boolean;
  readonly check: (golden: never) => Promise<Comparison[]>;
}

const hasParameter =
  (name: string) =>
  ({ params }: Readonly<Record<string, unknown>>): boolean =>
    Array.isArray(params) &&
    params.some((parameter: { name?: unknown }) => parameter.name === name);

/** Add a kind, add a row. */
const kinds: readonly Kind[] = [
  { name: 'DenseNet', recognizes: hasParameter('features.conv0.weight'), check: checkDenseNet },
  { name: 'ResNet', recognizes: hasParameter('layer1.0.conv1.weight'), check: checkResNet },
  { name: 'ViT', recognizes: hasParameter('embeddings.cls_token'), check: checkVit },
  { name: 'BERT', recognizes: hasParameter('embeddings.word_embeddings.weight'), check: checkBert },
  { name: 'T5', recognizes: hasParameter('shared.weight'), check: checkT5 },
  {
    name: 'text measures',
    recognizes: ({ pairs }) => Array.isArray(pairs),
    check: checkTextMetrics,
  },
];

export const kindOf = (golden: Readonly<Record<string, unknown>>): Kind | undefined =>
  kinds.find(({ recognizes }) => recognizes(golden));

export async function checkGolden(
  golden: Readonly<Record<string, unknown>>,
): Promise<Comparison[]> {
  const kind = kindOf(golden);
  if (kind) return kind.check(golden as never);
  const known = kinds.map(({ name }) => name).join(', ');
  return [{ what: `is of no known kind (${known})`, error: Infinity, tolerance: 0 }];
}
