/** The 14 CheXpert observations, in the order of every label vector. */
export const observations = [
  'No Finding',
  'Enlarged Cardiomediastinum',
  'Cardiomegaly',
  'Lung Lesion',
  'Lung Opacity',
  'Edema',
  'Consolidation',
  'Pneumonia',
  'Atelectasis',
  'Pneumothorax',
  'Pleural Effusion',
  'Pleural Other',
  'Fracture',
  'Support Devices',
] as const;

export type Observation = (typeof observations)[number];
export type Abnormality = Exclude<Observation, 'No Finding'>;
export const abnormalities = observations.slice(1) as readonly Abnormality[];
