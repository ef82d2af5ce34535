import type { DecodingOptions } from '../../releases/decoding.ts';

/** The decoder's scores of a row's next token. */
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

/** `eos`: the report ended with its end token. `length`: it was cut at its maximum length. */
export type FinishReason = 'eos' | 'length';

export interface Found {
  /** Without start and end tokens. */
  readonly ids: readonly number[];
  /** The model's log-probability of each, before penalties and temperature. */
  readonly logProbs: readonly number[];
  readonly finishReason: FinishReason;
  /** What the search maximized: for beams log-probability / length ** lengthPenalty, else the sum. */
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
 * Chooses the tokens of one request. It starts with one row that holds the start token; `advance` takes
 * the scores of its rows and returns the rows of the next step, none once `found` is complete.
 */
export interface Search {
  advance(rows: readonly RowScores[]): readonly Continuation[];
  found(): Found;
}
