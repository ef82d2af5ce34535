/** The two baselines that every table of measures is compared with. */
import { invalidArgument } from '../../errors.ts';
import { addBleu, bleu, bleuText, countBleu } from './bleu.ts';
import { wordsOf } from './pairs.ts';
import { randomFrom } from './random.ts';

/** The number of different reports that are tried, and of references that each is measured against. */
const maxTried = 200;
const maxReferences = 500;

/**
 * The report that, given for every study, has the best corpus BLEU-4 on the training reports: the most
 * frequent reports and others drawn at random are tried against a random sample. It depends on the seed
 * and the reports only. Throws EVALUATION_EMPTY without reports.
 */
export function bestConstantReport(trainingReports: readonly string[], seed: number): string {
  const random = randomFrom(seed);
  const counts = new Map<string, number>();
  for (const report of trainingReports) counts.set(report, (counts.get(report) ?? 0) + 1);
  const byCount = [...counts].toSorted(([, a], [, b]) => b - a).map(([report]) => report);
  const frequent = byCount.slice(0, maxTried / 2);
  const others = draw(byCount.slice(maxTried / 2), maxTried / 2, random);
  const references = draw(trainingReports, maxReferences, random).map((report) =>
    bleuText(wordsOf(report)),
  );
  let best: { report: string; score: number } | undefined;
  for (const report of [...frequent, ...others]) {
    const candidate = bleuText(wordsOf(report));
    const pairs = references.map((reference) => countBleu(candidate, [reference]));
    const score = bleu(addBleu(pairs))[3] ?? 0;
    if (!best || score > best.score) best = { report, score };
  }
  if (!best) throw invalidArgument('EVALUATION_EMPTY', 'trainingReports', 'expected at least one');
  return best.report;
}

/** `count` of the items without replacement (Fisher-Yates), or all. */
function draw<T>(items: readonly T[], count: number, random: () => number): readonly T[] {
  const all = [...items];
  for (let at = 0; at < Math.min(count, all.length); at++) {
    const other = at + Math.floor(random() * (all.length - at));
    [all[at], all[other]] = [all[other] as T, all[at] as T];
  }
  return all.slice(0, count);
}

/**
 * For each query the index of the most similar row of `among`, by the cosine; the first of equals. Both
 * hold rows of `dimension` numbers: vision embeddings.
 */
export function nearestNeighbours(
  queries: Float32Array,
  among: Float32Array,
  dimension: number,
): readonly number[] {
  for (const [field, { length }] of Object.entries({ queries, among })) {
    if (length % dimension !== 0 || (field === 'among' && length === 0)) {
      const message = `got ${length} numbers, expected rows of ${dimension}`;
      throw invalidArgument('EMBEDDINGS_SHAPE', field, message);
    }
  }
  const known = unitRows(among, dimension);
  return unitRows(queries, dimension).map((query) => {
    let [best, bestCosine] = [0, -Infinity];
    for (const [at, row] of known.entries()) {
      let cosine = 0;
      for (let i = 0; i < dimension; i++) cosine += (query[i] as number) * (row[i] as number);
      if (cosine > bestCosine) [best, bestCosine] = [at, cosine];
    }
    return best;
  });
}

function unitRows(values: Float32Array, dimension: number): readonly Float32Array[] {
  return Array.from({ length: values.length / dimension }, (_, at) => {
    const row = values.slice(at * dimension, (at + 1) * dimension);
    const norm = Math.hypot(...row);
    return norm === 0 ? row : row.map((value) => value / norm);
  });
}
