import { beamSearch } from './beam.ts';
import type { DecodingOptions } from './options.ts';
import { argMax, processScores, processes } from './processors.ts';
import { sampleToken, uniformAt } from './sampling.ts';

/** What the decoder says of a row's next token. */
export interface RowScores {
  readonly logits: Float32Array;
  /** log(sum(exp(logits))) */
  readonly normalizer: number;
}

/** A row of the next step: the row of this step that it continues, and the token that it adds. */
export interface Continuation {
  readonly parent: number;
  readonly token: number;
}

/** `eos`: the report ended by itself. `length`: it was cut at its maximum length. */
export type FinishReason = 'eos' | 'length';

export interface Found {
  /** Without start and end tokens. */
  readonly ids: readonly number[];
  /** The model's log-probability of each, before penalties and temperature. */
  readonly logProbs: readonly number[];
  readonly finishReason: FinishReason;
  /** What the search maximised: for beams log-probability / length ** lengthPenalty, else the sum. */
  readonly score: number;
}

export interface GeneratedToken {
  readonly id: number;
  readonly logProb: number;
  /** From 0. */
  readonly index: number;
}

export interface SearchContext {
  readonly options: DecodingOptions;
  readonly start: number;
  readonly eos: number;
  readonly onToken: (token: GeneratedToken) => void;
}

/**
 * Chooses the tokens of one request. It starts with one row that holds the start token; `advance` gets
 * the scores of its rows and answers the rows of the next step, none when `found` is complete.
 */
export interface Search {
  advance(rows: readonly RowScores[]): readonly Continuation[];
  found(): Found;
}

export const createSearch = (context: SearchContext): Search =>
  context.options.strategy === 'beam' ? beamSearch(context) : singleSearch(context);

/** Greedy decoding and sampling: one row. */
function singleSearch({ options, start, eos, onToken }: SearchContext): Search {
  const ids = [start];
  const logProbs: number[] = [];
  let finishReason: FinishReason = 'length';
  // The end token is no part of the report, but part of its score.
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
  /** What the model would have chosen in each place, likeliest first as greedy decoding does. */
  readonly choices: readonly number[];
  /** The model's log-probability of what stands there. */
  readonly logProbs: readonly number[];
}

/** Follows a report instead of choosing one: `ids` and the end token after them. */
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
