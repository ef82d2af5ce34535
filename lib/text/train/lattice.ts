/** All ways to write a word in pieces, each with its logarithmic probability. */

/** The logarithm of each piece's probability; every single character is a piece. */
export type Scores = ReadonlyMap<string, number>;

interface Edge {
  readonly piece: string;
  readonly start: number;
  readonly end: number;
  readonly score: number;
}

/** The pieces that begin at each character, except the piece `without`. */
function edgesOf(letters: readonly string[], scores: Scores, without?: string): readonly Edge[] {
  const edges: Edge[] = [];
  for (let start = 0; start < letters.length; start++) {
    let piece = '';
    for (let end = start + 1; end <= Math.min(letters.length, start + longest(scores)); end++) {
      piece += letters[end - 1];
      const score = piece === without ? undefined : scores.get(piece);
      if (score !== undefined) edges.push({ piece, start, end, score });
    }
  }
  return edges;
}

const lengths = new WeakMap<Scores, number>();

/** The characters of the longest piece. */
function longest(scores: Scores): number {
  let length = lengths.get(scores);
  if (length === undefined) {
    length = 1;
    for (const piece of scores.keys()) length = Math.max(length, Array.from(piece).length);
    lengths.set(scores, length);
  }
  return length;
}

/** The most probable pieces of a word (Viterbi). */
export function bestPath(
  letters: readonly string[],
  scores: Scores,
  without?: string,
): readonly string[] {
  const best: { score: number; edge?: Edge }[] = letters.map(() => ({ score: -Infinity }));
  best.unshift({ score: 0 });
  for (const edge of edgesOf(letters, scores, without)) {
    const score = (best[edge.start]?.score ?? 0) + edge.score;
    if (score > (best[edge.end]?.score ?? 0)) best[edge.end] = { score, edge };
  }
  const path: string[] = [];
  for (let at = letters.length; at > 0;) {
    const edge = best[at]?.edge;
    if (!edge) throw new Error('a character of the word is not a piece');
    path.push(edge.piece);
    at = edge.start;
  }
  return path.reverse();
}

/** How often each piece is used in all ways to write the words, by their probability. */
export function expectedCounts(
  scores: Scores,
  words: ReadonlyMap<string, number>,
): ReadonlyMap<string, number> {
  const expected = new Map(Array.from(scores.keys(), (piece) => [piece, 0]));
  for (const [word, count] of words) {
    const letters = Array.from(word);
    const edges = edgesOf(letters, scores);
    const before = new Float64Array(letters.length + 1).fill(-Infinity);
    const after = new Float64Array(letters.length + 1).fill(-Infinity);
    before[0] = 0;
    after[letters.length] = 0;
    // Edges are sorted by their start, so all edges that end there have been added before.
    for (const { start, end, score } of edges) {
      before[end] = addLogs(before[end] as number, (before[start] as number) + score);
    }
    for (const { start, end, score } of edges.toReversed()) {
      after[start] = addLogs(after[start] as number, (after[end] as number) + score);
    }
    const all = before[letters.length] as number;
    for (const { piece, start, end, score } of edges) {
      const share = Math.exp((before[start] as number) + score + (after[end] as number) - all);
      expected.set(piece, (expected.get(piece) ?? 0) + count * share);
    }
  }
  return expected;
}

function addLogs(a: number, b: number): number {
  const [low, high] = a < b ? [a, b] : [b, a];
  return high === -Infinity ? high : high + Math.log1p(Math.exp(low - high));
}
