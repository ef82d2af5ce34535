import { processScores, processes, topIndices } from './processors.ts';
import type { DecodingOptions } from '../../releases/decoding.ts';
import type {
  Continuation,
  FinishReason,
  Found,
  RowScores,
  Search,
  SearchContext,
} from './search.ts';

interface Beam {
  /** From the start token on. */
  readonly ids: readonly number[];
  readonly logProbs: readonly number[];
  /** Sum of the log-probabilities of its tokens after processors; beams are compared by it. */
  readonly score: number;
}

interface Candidate {
  readonly parent: number;
  readonly token: number;
  readonly score: number;
  readonly logProb: number;
}

interface Hypothesis extends Beam {
  readonly finishReason: FinishReason;
}

/**
 * Beam search as Hugging Face's BeamSearchScorer does it: of the 2 * beams best continuations those that
 * end become hypotheses if they are among the first `beams`, the others go on; hypotheses are ranked by
 * score / length ** lengthPenalty, where the length counts the end token.
 */
export function beamSearch({ options, start, eos, onToken }: SearchContext): Search {
  const { beams: width, maxTokens } = options;
  const finished = new Finished(options);
  let beams: Beam[] = [{ ids: [start], logProbs: [], score: 0 }];

  const finish = (): readonly Continuation[] => {
    finished.best.ids.slice(1).forEach((id, index) => {
      onToken({ id, logProb: finished.best.logProbs[index] as number, index });
    });
    return [];
  };

  return {
    advance(rows) {
      const candidates = candidatesOf(rows, beams, options, eos);
      const length = (beams[0] as Beam).ids.length;
      const next: { readonly beam: Beam; readonly parent: number; readonly token: number }[] = [];
      for (const [rank, { parent, token, score, logProb }] of candidates.entries()) {
        const from = beams[parent] as Beam;
        if (token === eos) {
          if (rank < width) finished.add({ ...from, score, finishReason: 'eos' }, length);
          continue;
        }
        const logProbs = [...from.logProbs, logProb];
        next.push({ beam: { ids: [...from.ids, token], logProbs, score }, parent, token });
        if (next.length === width) break;
      }
      const best = candidates[0]?.score ?? -Infinity;
      if (finished.isDone(best, length)) return finish();
      // Where processors forbid every token, the beams end as they are.
      if (next.length === 0 && finished.isEmpty) finished.addCut(beams);
      beams = next.map(({ beam }) => beam);
      if (length === maxTokens) finished.addCut(beams);
      if (length === maxTokens || next.length === 0) return finish();
      return next.map(({ parent, token }) => ({ parent, token }));
    },
    found: () => finished.found(),
  };
}

/** The 2 * beams best continuations of all rows, best first. */
function candidatesOf(
  rows: readonly RowScores[],
  beams: readonly Beam[],
  options: DecodingOptions,
  eos: number,
): readonly Candidate[] {
  const count = 2 * options.beams;
  const all = rows.flatMap(({ logits, normalizer }, parent) => {
    const beam = beams[parent] as Beam;
    // Processors work on log-probabilities here: a repetition penalty then lowers every used token.
    let scores = logits;
    let shift = normalizer;
    if (processes(options)) {
      scores = logits.map((logit) => logit - normalizer);
      shift = 0;
      processScores(scores, beam.ids, options, eos);
    }
    return topIndices(scores, count).map((token): Candidate => {
      const score = beam.score + ((scores[token] as number) - shift);
      return { parent, token, score, logProb: (logits[token] as number) - normalizer };
    });
  });
  return all
    .filter(({ score }) => score > -Infinity)
    .sort((a, b) => b.score - a.score)
    .slice(0, count);
}

/** The best finished hypotheses so far, at most `beams`. */
class Finished {
  readonly #options: DecodingOptions;
  readonly #kept: { readonly hypothesis: Hypothesis; readonly rank: number }[] = [];

  constructor(options: DecodingOptions) {
    this.#options = options;
  }

  get isEmpty(): boolean {
    return this.#kept.length === 0;
  }

  get best(): Hypothesis {
    const [first] = this.#kept;
    if (!first) throw new RangeError('no hypothesis has finished');
    return first.hypothesis;
  }

  /** `length` counts generated tokens, an end token too. */
  add(hypothesis: Hypothesis, length: number): void {
    const rank = hypothesis.score / length ** this.#options.lengthPenalty;
    this.#kept.push({ hypothesis, rank });
    this.#kept.sort((a, b) => b.rank - a.rank);
    this.#kept.length = Math.min(this.#kept.length, this.#options.beams);
  }

  /** Adds beams that have not ended by themselves. */
  addCut(beams: readonly Beam[]): void {
    for (const beam of beams) {
      this.add({ ...beam, finishReason: 'length' }, Math.max(1, beam.logProbs.length));
    }
  }

  /** Whether running beams, the best of which scores `best` after `length` tokens, need not go on. */
  isDone(best: number, length: number): boolean {
    const { beams, earlyStopping, lengthPenalty, maxTokens } = this.#options;
    const worst = this.#kept.at(-1);
    if (!worst || this.#kept.length < beams) return false;
    if (earlyStopping === true) return true;
    const reach = earlyStopping === 'never' && lengthPenalty > 0 ? maxTokens : length;
    return worst.rank >= best / reach ** lengthPenalty;
  }

  found(): Found {
    const { ids, logProbs, finishReason } = this.best;
    return { ids: ids.slice(1), logProbs, finishReason, score: this.#kept[0]?.rank ?? 0 };
  }
}
