import type { DecodingInput } from '../../lib/releases/decoding.ts';
import { parseDecodingOptions } from '../../lib/releases/decoding.ts';
import { createSearch } from '../../lib/runtime/decode/create-search.ts';
import type { Found, GeneratedToken } from '../../lib/runtime/decode/search.ts';

/** What stands between a logit and its log-probability in these tests: searches must subtract it. */
export const normalizer = 3;
export const eos = 1;

export interface Searched extends Found {
  readonly steps: number;
  readonly streamed: readonly GeneratedToken[];
}

/**
 * Runs a search over a model that is a function: log-probabilities of the next token, by id, after a
 * sequence that begins with the start token 0.
 */
export function search(
  given: DecodingInput,
  model: (ids: readonly number[]) => readonly number[],
): Searched {
  const streamed: GeneratedToken[] = [];
  const onToken = (token: GeneratedToken): number => streamed.push(token);
  const options = parseDecodingOptions(given);
  const running = createSearch({ options, start: 0, eos, onToken });
  let rows: readonly (readonly number[])[] = [[0]];
  let steps = 0;
  while (rows.length > 0) {
    steps += 1;
    const scores = rows.map((ids) => ({
      logits: Float32Array.from(model(ids), (logProb) => logProb + normalizer),
      normalizer,
    }));
    const before = rows;
    rows = running.advance(scores).map(({ parent, token }) => before[parent]!.concat(token));
  }
  return { ...running.found(), steps, streamed };
}
