import { beamSearch } from './beam.ts';
import { argMax, processScores, processes } from './processors.ts';
import { sampleToken, uniformAt } from './sampling.ts';
import type { FinishReason, Search, SearchContext } from './search.ts';

export const createSearch = (context: SearchContext): Search =>
  context.options.strategy === 'beam' ? beamSearch(context) : singleSearch(context);

/** Greedy decoding and sampling, which need one row. */
function singleSearch({ options, start, eos, onToken }: SearchContext): Search {
  const ids = [start];
  const logProbs: number[] = [];
  let finishReason: FinishReason = 'length';
  // The end token is not part of the report, but of its score.
  let score = 0;

  const choose = (logits: Float32Array): number => {
    const scores = processes(options) ? logits.slice() : logits;
    processScores(scores, ids, options, eos);
    if (options.strategy === 'greedy') return argMax(scores);
    return sampleToken(scores, options, uniformAt(options.seed, logProbs.length));
  };

  return {
    advance([row]) {
      if (!row) throw new RangeError('a search needs its row');
      const token = choose(row.logits);
      const logProb = (row.logits[token] as number) - row.normalizer;
      score += logProb;
      if (token === eos) {
        finishReason = 'eos';
        return [];
      }
      ids.push(token);
      logProbs.push(logProb);
      onToken({ id: token, logProb, index: logProbs.length - 1 });
      return logProbs.length < options.maxTokens ? [{ parent: 0, token }] : [];
    },
    found: () => ({ ids: ids.slice(1), logProbs, finishReason, score }),
  };
}

export interface Followed {
  /** The token that greedy decoding would have chosen at each position. */
  readonly choices: readonly number[];
  /** The model's log-probability of the given token. */
  readonly logProbs: readonly number[];
}

/** Scores a given report instead of choosing one: `ids` and the end token after them. */
export function followSearch(
  ids: readonly number[],
  eos: number,
): Search & { followed(): Followed } {
  const path = [...ids, eos];
  const choices: number[] = [];
  const logProbs: number[] = [];
  return {
    advance([row]) {
      if (!row) throw new RangeError('a search needs its row');
      const token = path[choices.length] as number;
      logProbs.push((row.logits[token] ?? -Infinity) - row.normalizer);
      choices.push(argMax(row.logits));
      return choices.length < path.length ? [{ parent: 0, token }] : [];
    },
    found: () => ({ ids, logProbs, finishReason: 'eos', score: 0 }),
    followed: () => ({ choices, logProbs }),
  };
}
