import { z } from 'zod';
import { invalidArgument } from '../errors.ts';

/** How a report is decoded; every field has a default, so `{}` is greedy. */
const schema = z.strictObject({
  strategy: z.enum(['greedy', 'beam', 'sample']).default('greedy'),
  /** Hypotheses that beam search keeps. */
  beams: z.int().min(1).max(32).default(4),
  /** Beam search ranks by log-probability / length ** lengthPenalty: above 0 favours long reports. */
  lengthPenalty: z.number().min(-10).max(10).default(1),
  /**
   * When beam search ends, as in Hugging Face: true: once there are `beams` finished hypotheses; false:
   * when no running beam is likely to score better; `never`: when none can.
   */
  earlyStopping: z.union([z.boolean(), z.literal('never')]).default(false),
  /** Divides logits before sampling. */
  temperature: z.number().gt(0).max(100).default(1),
  /** Sampling from the k likeliest tokens; 0: all. */
  topK: z.int().min(0).default(0),
  /** Sampling from the fewest tokens whose probability reaches p. */
  topP: z.number().gt(0).max(1).default(1),
  /** The same request with the same seed samples the same tokens. */
  seed: z.int().min(0).max(0xffffffff).default(0),
  /** Above 1 makes used tokens less likely (Keskar et al. 2019). */
  repetitionPenalty: z.number().gt(0).max(100).default(1),
  /** No n-gram of this length occurs twice; 0: no limit. */
  noRepeatNgram: z.int().min(0).max(1024).default(0),
  /** Tokens before the end token is allowed. */
  minTokens: z.int().min(0).default(0),
  maxTokens: z.int().min(1).default(256),
});

export type DecodingOptions = Readonly<z.output<typeof schema>>;
export type DecodingInput = Readonly<z.input<typeof schema>>;

/**
 * Validates options of a caller or a release and fills in defaults. Throws INVALID_ARGUMENT naming the
 * field as `{path}.{field}`, for instance `decoding.topP`.
 */
export function parseDecodingOptions(value: unknown, path = 'decoding'): DecodingOptions {
  const result = schema.safeParse(value);
  if (!result.success) {
    const [issue] = result.error.issues;
    const unknown = issue?.code === 'unrecognized_keys' ? issue.keys[0] : undefined;
    const field = [path, ...(issue?.path ?? []), ...(unknown === undefined ? [] : [unknown])];
    const message =
      unknown === undefined
        ? (issue?.message ?? 'is invalid')
        : `is not an option; expected ${Object.keys(schema.shape).join(', ')}`;
    throw invalidArgument('DECODING_INVALID', field.join('.'), message);
  }
  const { minTokens, maxTokens } = result.data;
  if (minTokens > maxTokens) {
    const message = `got ${minTokens}, expected at most the maximum of ${maxTokens} tokens`;
    throw invalidArgument('DECODING_INVALID', `${path}.minTokens`, message);
  }
  return result.data;
}

/** The most rows of the running batch that a request takes. */
export const rowsOf = ({ strategy, beams }: DecodingOptions): number =>
  strategy === 'beam' ? beams : 1;
