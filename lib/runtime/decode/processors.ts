import type { DecodingOptions } from '../../releases/decoding.ts';

/**
 * Changes scores in place before a token is chosen, as Hugging Face's logits processors do and in
 * their order: repetition penalty, no-repeat n-grams, minimum length. `ids` begins with the start token.
 */
export function processScores(
  scores: Float32Array,
  ids: readonly number[],
  { repetitionPenalty, noRepeatNgram, minTokens }: DecodingOptions,
  eos: number,
): void {
  if (repetitionPenalty !== 1) {
    for (const id of new Set(ids)) {
      const score = scores[id] ?? 0;
      scores[id] = score < 0 ? score * repetitionPenalty : score / repetitionPenalty;
    }
  }
  if (noRepeatNgram > 0) for (const id of repeatingIds(ids, noRepeatNgram)) scores[id] = -Infinity;
  if (ids.length - 1 < minTokens) scores[eos] = -Infinity;
}

/** Tokens that would complete an n-gram which `ids` already holds. */
function repeatingIds(ids: readonly number[], size: number): number[] {
  const prefix = ids.length - size + 1;
  if (prefix < 0) return [];
  const found: number[] = [];
  for (let start = 0; start + size <= ids.length; start++) {
    let same = true;
    for (let k = 0; same && k < size - 1; k++) same = ids[start + k] === ids[prefix + k];
    if (same) found.push(ids[start + size - 1] as number);
  }
  return found;
}

/** Whether `processScores` can change scores: if not, they need not be copied. */
export const processes = ({
  repetitionPenalty,
  noRepeatNgram,
  minTokens,
}: DecodingOptions): boolean => repetitionPenalty !== 1 || noRepeatNgram > 0 || minTokens > 0;

export function argMax(scores: Float32Array): number {
  let best = 0;
  let highest = -Infinity;
  for (let i = 0; i < scores.length; i++) {
    const score = scores[i] as number;
    if (score > highest) {
      highest = score;
      best = i;
    }
  }
  return best;
}

/** Above it, sorting all scores is faster than inserting them one by one. */
const insertionLimit = 128;

/** Indices of the `count` highest scores, highest first; of equal ones the first. */
export function topIndices(scores: Float32Array, count: number): number[] {
  if (count > insertionLimit) {
    const all = Array.from(scores, (_, i) => i);
    all.sort((a, b) => (scores[b] as number) - (scores[a] as number) || a - b);
    return all.slice(0, count);
  }
  const top: number[] = [];
  let threshold = -Infinity;
  for (let i = 0; i < scores.length; i++) {
    const score = scores[i] as number;
    if (top.length === count && !(score > threshold)) continue;
    let at = top.length;
    while (at > 0 && (scores[top[at - 1] as number] as number) < score) at--;
    top.splice(at, 0, i);
    if (top.length > count) top.pop();
    if (top.length === count) threshold = scores[top.at(-1) as number] as number;
  }
  return top;
}
