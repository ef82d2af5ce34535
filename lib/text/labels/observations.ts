/** The 14 CheXpert observations (Irvin et al. 2019, arXiv:1901.07031), in the order of every label vector. */
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

/** The state of an observation in a report; null if it is not mentioned. */
export type LabelState = 'positive' | 'negative' | 'uncertain' | null;
