import type { ReleaseLabels } from '../releases/manifest.ts';
import { type Observation, observations } from '../text/labels/observations.ts';

/** What a release decides about one observation of one image. */
export interface LabelDecision {
  readonly name: Observation;
  /** Calibrated, 0 to 1. */
  readonly probability: number;
  /** The label is positive from this probability on. */
  readonly threshold: number;
  readonly state: 'positive' | 'negative';
}

/** sigmoid(logit / temperature): temperature scaling (Guo et al. 2017). */
export const calibrate = (logit: number, temperature: number): number =>
  1 / (1 + Math.exp(-logit / temperature));

/** The decisions of the 14 observations, in their order, from the logits of one image. */
export function decideLabels(
  logits: Float32Array,
  { temperatures, thresholds }: ReleaseLabels,
): readonly LabelDecision[] {
  return observations.map((name, index) => {
    const probability = calibrate(logits[index]!, temperatures[index]!);
    const threshold = thresholds[index]!;
    return {
      name,
      probability,
      threshold,
      state: probability >= threshold ? 'positive' : 'negative',
    };
  });
}
