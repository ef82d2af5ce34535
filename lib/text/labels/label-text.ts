import { type LabelState, type Observation, observations } from './observations.ts';

/**
 * The label text of the label variants: the positive and uncertain labels, in the order of the
 * observations, e.g. `cardiomegaly; possible edema`. '' if there are none.
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

/** The label stream that conditions the text of a label variant, e.g. `cardiomegaly; edema`. */
export const labelStream = (
  labels: readonly { readonly name: Observation; readonly state: LabelState }[],
): string => labelText(Object.fromEntries(labels.map(({ name, state }) => [name, state])));
