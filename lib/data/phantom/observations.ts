import { type Observation, observations } from '../../text/labels/observations.ts';

export type Abnormality = Exclude<Observation, 'No Finding'>;

export const abnormalities = observations.filter(
  (name): name is Abnormality => name !== 'No Finding',
);
