import type { Preset } from '../models/preset.ts';
import { type VariantName, isLabelVariant } from '../models/variants.ts';
import type { Tokenizer } from '../text/tokenizer.ts';
import { labelStream } from './labels.ts';

/** The text part of the joint stream: of a label variant its labels, of a plain one the indication. */
export const promptText = (
  variant: VariantName,
  labels: Parameters<typeof labelStream>[0],
  indication: string,
): string => (isLabelVariant(variant) ? labelStream(labels) : indication);

/** Its tokens, without special ones; what exceeds the preset's limit is cut off. */
export const promptIds = (
  tokenizer: Pick<Tokenizer, 'encode'>,
  text: string,
  { maxTextTokens }: Pick<Preset, 'maxTextTokens'>,
): readonly number[] => tokenizer.encode(text).slice(0, maxTextTokens);
