import { distanceTo } from '../inference/distribution.ts';
import { calibrate } from '../inference/labels.ts';
import type { OutOfDistribution, ReleaseLabels } from '../releases/manifest.ts';
import { observations } from '../text/labels/observations.ts';
import type { TrainingConfig } from './config.ts';
import type { PreparedStudy } from './data/prepared.ts';
import type { Features } from './embed.ts';
import { targetOf } from './feeds.ts';

/** A label of a study: what the classifier gave, and whether the report has it (1) or not (0). */
interface Decision {
  readonly logit: number;
  readonly target: number;
}

/** A label needs this many positives and negatives before it gets a temperature and threshold of its own. */
const fewest = 5;

/** Temperatures and thresholds of the 14 labels, fitted on the validation studies. */
export function fitLabels(
  studies: readonly PreparedStudy[],
  features: readonly Pick<Features, 'logits'>[],
  uncertain: TrainingConfig['labels']['uncertain'],
): ReleaseLabels {
  const perLabel = observations.map((_, label) =>
    studies.flatMap((study, i): Decision[] => {
      const [target, counts] = targetOf(study.labels[label] ?? null, uncertain);
      return counts === 0 ? [] : [{ logit: features[i]?.logits[label] ?? 0, target }];
    }),
  );
  const temperatures = perLabel.map(fitTemperature);
  const thresholds = perLabel.map((decisions, label) =>
    fitThreshold(decisions, temperatures[label] ?? 1),
  );
  return { temperatures, thresholds };
}

const isTooFew = (decisions: readonly Decision[]): boolean => {
  const positives = decisions.filter(({ target }) => target === 1).length;
  return Math.min(positives, decisions.length - positives) < fewest;
};

/** The temperature of least cross-entropy (Guo et al. 2017), by golden-section search over its logarithm. */
function fitTemperature(decisions: readonly Decision[]): number {
  if (isTooFew(decisions)) return 1;
  const loss = (log: number): number => {
    const scale = Math.exp(-log);
    return decisions.reduce((sum, { logit, target }) => {
      const x = logit * scale * (target === 1 ? -1 : 1);
      return sum + Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
    }, 0);
  };
  const golden = (Math.sqrt(5) - 1) / 2;
  let [low, high] = [Math.log(0.1), Math.log(10)];
  for (let i = 0; i < 60; i++) {
    const span = (high - low) * golden;
    if (loss(high - span) < loss(low + span)) high = low + span;
    else low = high - span;
  }
  return Math.exp((low + high) / 2);
}

/** The threshold of best F1, halfway between the two probabilities that it separates. */
function fitThreshold(decisions: readonly Decision[], temperature: number): number {
  if (isTooFew(decisions)) return 0.5;
  const sorted = decisions
    .map(({ logit, target }) => ({ probability: calibrate(logit, temperature), target }))
    .sort((a, b) => b.probability - a.probability);
  const positives = sorted.filter(({ target }) => target === 1).length;
  let [best, threshold, both] = [0, 0.5, 0];
  for (const [i, { probability, target }] of sorted.entries()) {
    both += target;
    const next = sorted[i + 1]?.probability ?? 0;
    if (next === probability) continue;
    const f1 = (2 * both) / (i + 1 + positives);
    if (f1 > best) [best, threshold] = [f1, (probability + next) / 2];
  }
  return threshold;
}

/** Share of the validation studies whose distance may exceed the threshold. */
const alarms = 0.01;

/**
 * Mean and standard deviation per channel of the training studies' pooled features, and as threshold
 * the distance that 1 % of the validation studies exceed.
 */
export function fitDistribution(
  train: readonly Float32Array[],
  validation: readonly Float32Array[],
): OutOfDistribution {
  const width = train[0]?.length ?? 0;
  const over = (value: (row: Float32Array, at: number) => number): number[] =>
    Array.from({ length: width }, (_, at) => {
      let sum = 0;
      for (const row of train) sum += value(row, at);
      return sum / train.length;
    });
  const mean = over((row, at) => row[at] ?? 0);
  const variance = over((row, at) => ((row[at] ?? 0) - (mean[at] ?? 0)) ** 2);
  // A channel that is constant in training would make every other image infinitely far.
  const floor = 1e-8 + 1e-3 * (variance.reduce((sum, value) => sum + value, 0) / width);
  const std = variance.map((value) => Math.sqrt(Math.max(value, floor)));
  const distances = validation.map((row) => distanceTo(row, { mean, std })).sort((a, b) => a - b);
  const last = distances.length - 1;
  const threshold = distances[Math.min(last, Math.ceil((1 - alarms) * last))] ?? 1;
  const above = distances.filter((distance) => distance > threshold).length;
  return { mean, std, threshold, falseAlarms: above / Math.max(1, distances.length) };
}
