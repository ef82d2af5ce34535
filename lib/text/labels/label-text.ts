import { type LabelState, type Observation, observations } from './observations.ts';

/**
 * The label stream of the label variants: what is positive or uncertain, in the order of the
 * observations, e.g. `cardiomegaly; possible edema`. '' where nothing is.
 */
export function labelText(labels: Readonly<Partial<Record<Observation, LabelState>>>): string {
  return observations
    .flatMap((name) => {
      const state = labels[name];
      if (state === 'positive') return [name.toLowerCase()];
      return state === 'uncertain' ? [`possible ${name.toLowerCase()}`] : [];
    })
    .join('; ');
}
