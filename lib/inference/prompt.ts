import type { Preset } from '../models/preset.ts';
import { labelStream } from '../text/labels/label-text.ts';
import type { Tokenizer } from '../text/tokenizer.ts';

/** The text part of the joint stream: the labels where the variant is conditioned on them, else the indication. */
export const promptText = (
  conditioned: boolean,
  labels: Parameters<typeof labelStream>[0],
  indication: string,
): string => (conditioned ? labelStream(labels) : indication);

/** Its tokens, without special ones; what exceeds the preset's limit is cut off. */
export const promptIds = (
  tokenizer: Pick<Tokenizer, 'encode'>,
  text: string,
  { maxTextTokens }: Pick<Preset, 'maxTextTokens'>,
): readonly number[] => tokenizer.encode(text).slice(0, maxTextTokens);
