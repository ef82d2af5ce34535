import { shuffled } from '../../data/order.ts';
import { seededUniform } from './augment.ts';
import type { PreparedStudy } from './prepared.ts';

/** Runs of the engine whose studies are sorted together. */
const window = 8;

/**
 * An epoch's order in which the studies of one run of the engine have reports of similar length, as all
 * are padded to the longest: shuffled, sorted by length a few runs at a time, cut into runs,
 * and runs and studies shuffled again. A last run that is shorter stays last.
 */
export function byLength(
  studies: readonly PreparedStudy[],
  lengthOf: (study: PreparedStudy) => number,
  perRun: number,
  seed: number,
  purpose: string,
): PreparedStudy[] {
  const id = (study: PreparedStudy): string => study.id;
  const mixed = shuffled(studies, id, seed, purpose);
  const runs: PreparedStudy[][] = [];
  for (let at = 0; at < mixed.length; at += window * perRun) {
    const sorted = mixed.slice(at, at + window * perRun).sort((a, b) => lengthOf(a) - lengthOf(b));
    for (let from = 0; from < sorted.length; from += perRun) {
      runs.push(shuffled(sorted.slice(from, from + perRun), id, seed, `${purpose} within`));
    }
  }
  const last = runs.at(-1)?.length === perRun ? undefined : runs.pop();
  const first = (run: readonly PreparedStudy[]): string => run[0]?.id ?? '';
  return [...shuffled(runs, first, seed, `${purpose} runs`), ...(last ? [last] : [])].flat();
}

/** Draws as many studies with replacement; the rarer a study's labels, the more often. */
export function resampled(
  studies: readonly PreparedStudy[],
  positiveWeights: readonly number[],
  seed: number,
  epoch: number,
): readonly PreparedStudy[] {
  let total = 0;
  const upTo = studies.map(({ labels }) => {
    const own = labels.map((state, i) => (state === 'positive' ? (positiveWeights[i] ?? 1) : 1));
    return (total += Math.max(...own));
  });
  const uniform = seededUniform(seed, 'resampling', epoch);
  return studies.map(() => {
    const at = uniform() * total;
    return studies[upTo.findIndex((bound) => at < bound)] as PreparedStudy;
  });
}
