/** Checks a file of reference values for the text measures against our own. */
import { z } from 'zod';
import { addBleu, bleu, bleuCounts } from '../../../lib/text/metrics/bleu.ts';
import { cider } from '../../../lib/text/metrics/cider.ts';
import { meteor } from '../../../lib/text/metrics/meteor.ts';
import { mean, splitAtSpaces, tokenizePairs } from '../../../lib/text/metrics/pairs.ts';
import { rougeL } from '../../../lib/text/metrics/rouge.ts';
import type { Comparison } from './compare.ts';

const schema = z.object({
  pairs: z.array(z.object({ reference: z.string(), hypothesis: z.string() })).min(1),
  expected: z.object({
    bleu: z.array(z.number()).length(4),
    rouge_l: z.number(),
    cider: z.number(),
    meteor: z.number(),
    per_pair: z.array(
      z.object({ bleu4: z.number(), rouge_l: z.number(), cider: z.number(), meteor: z.number() }),
    ),
  }),
});

/** Absolute: the measures agree up to rounding, but WordNet 3.1 has other synonyms than 3.0. */
const exact = 1e-6;
const synonyms = 5e-3;

/** The corpus' measures, and for each measure the pair that differs most. */
export async function checkTextMetrics(golden: unknown): Promise<Comparison[]> {
  const { pairs, expected } = schema.parse(golden);
  const tokens = tokenizePairs(
    pairs.map(({ hypothesis, reference }) => ({ candidate: hypothesis, references: [reference] })),
    splitAtSpaces,
  );
  const counts = tokens.map(bleuCounts);
  const ours = {
    bleu4: counts.map((count) => bleu(count)[3] ?? 0),
    rouge_l: tokens.map(rougeL),
    cider: cider(tokens),
    meteor: tokens.map(meteor),
  };
  const corpus = bleu(addBleu(counts)).map((value, at) => ({
    what: `BLEU-${at + 1} of the corpus`,
    error: Math.abs(value - (expected.bleu[at] ?? Number.NaN)),
    tolerance: exact,
  }));
  const toleranceOf = (name: string) => (name === 'meteor' ? synonyms : exact);
  const means = (['rouge_l', 'cider', 'meteor'] as const).map((name) => ({
    what: `${name} of the corpus`,
    error: Math.abs(mean(ours[name]) - expected[name]),
    tolerance: toleranceOf(name),
  }));
  const each = (Object.keys(ours) as (keyof typeof ours)[]).map((name) => ({
    what: `${name} of the worst of ${pairs.length} pairs`,
    error: Math.max(
      ...ours[name].map((value, at) =>
        Math.abs(value - (expected.per_pair[at]?.[name] ?? Number.NaN)),
      ),
    ),
    tolerance: toleranceOf(name),
  }));
  return [...corpus, ...means, ...each];
}
