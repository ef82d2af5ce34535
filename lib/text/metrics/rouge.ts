/** ROUGE-L as pycocoevalcap computes it (Lin 2004), with more weight on recall than on precision. */
import type { TokenPair } from './pairs.ts';

const beta = 1.2;

/** Combines the best precision and the best recall among the references. */
export function rougeL({ candidate, references }: TokenPair): number {
  const common = references.map((reference) => longestCommonSubsequence(candidate, reference));
  const precision = Math.max(...common.map((length) => share(length, candidate.length)));
  const recall = Math.max(...common.map((length, at) => share(length, references[at]?.length)));
  if (precision === 0 || recall === 0) return 0;
  return ((1 + beta ** 2) * precision * recall) / (recall + beta ** 2 * precision);
}

const share = (part: number, whole = 0) => (whole === 0 ? 0 : part / whole);

function longestCommonSubsequence(a: readonly string[], b: readonly string[]): number {
  const row = new Uint32Array(b.length + 1);
  for (const token of a) {
    let diagonal = 0;
    for (let at = 1; at <= b.length; at++) {
      const above = row[at] as number;
      row[at] = token === b[at - 1] ? diagonal + 1 : Math.max(above, row[at - 1] as number);
      diagonal = above;
    }
  }
  return row[b.length] as number;
}
