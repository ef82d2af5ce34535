import { byObservation, type Finding } from './findings.ts';
import { expand, paragraph } from './grammar.ts';
import { type LabelState, type Observation, observations } from '../../text/labels/observations.ts';
import type { Labels } from '../dataset.ts';
import type { Abnormality } from './observations.ts';
import { phrases } from './phrases.ts';
import type { Random } from './random.ts';

export interface WrittenReport {
  readonly indication: string;
  readonly findings: string;
  readonly impression: string;
  /** What the report says of each observation. */
  readonly labels: Labels;
}

/** Parts of the chest, each with the observations that are reported there, in their order. */
const regions = {
  devices: ['Support Devices'],
  heart: ['Cardiomegaly', 'Enlarged Cardiomediastinum'],
  lungs: ['Edema', 'Consolidation', 'Pneumonia', 'Lung Opacity', 'Lung Lesion', 'Atelectasis'],
  pleura: ['Pneumothorax', 'Pleural Effusion', 'Pleural Other'],
  bones: ['Fracture'],
} as const satisfies Readonly<Record<string, readonly Abnormality[]>>;
type Region = keyof typeof regions;

const orders: readonly (readonly Region[])[] = [
  ['devices', 'heart', 'lungs', 'pleura', 'bones'],
  ['heart', 'lungs', 'pleura', 'bones', 'devices'],
  ['devices', 'lungs', 'pleura', 'heart', 'bones'],
  ['lungs', 'pleura', 'heart', 'bones', 'devices'],
];

interface Denial {
  /** Written only where none of these was found or denied before. */
  readonly absent: readonly Abnormality[];
  /** Named in the sentence, and so negative; all of `absent` where not given. */
  readonly denies?: readonly Abnormality[];
  /** How often it is written where it may be. */
  readonly chance: number;
  readonly text: string;
}

const denials: Readonly<Record<Region, readonly Denial[]>> = {
  devices: [],
  heart: [
    {
      absent: ['Cardiomegaly', 'Enlarged Cardiomediastinum'],
      chance: 0.45,
      text: '(heart size (is normal|is within normal limits)(. (The mediastinal contours|mediastinal contours) are (normal|unremarkable|within normal limits)|. The mediastinum is (unremarkable|normal)))',
    },
    {
      absent: ['Cardiomegaly'],
      chance: 0.85,
      text: '(the heart is normal in size|heart size is (normal|within normal limits)|normal heart size|the heart is not enlarged)',
    },
    {
      absent: ['Enlarged Cardiomediastinum'],
      chance: 0.5,
      text: '(the mediastinum is (unremarkable|normal)|mediastinal contours are (normal|within normal limits)|the mediastinal contour is within normal limits)',
    },
  ],
  lungs: [
    {
      absent: [...regions.lungs, 'Pneumothorax', 'Pleural Effusion'],
      denies: [],
      chance: 0.55,
      text: '((the |)lungs are clear( bilaterally|)|both lungs are clear|(the |)lungs are clear and well expanded)',
    },
    {
      absent: ['Consolidation', 'Pneumonia'],
      denies: ['Consolidation'],
      chance: 0.5,
      text: '(no focal consolidation( is seen|)|there is no (focal |)consolidation|no evidence of (focal |)consolidation)',
    },
    {
      absent: ['Edema'],
      chance: 0.35,
      text: '(no (pulmonary |)edema|there is no pulmonary edema|no evidence of pulmonary edema)',
    },
  ],
  pleura: [
    {
      absent: ['Pleural Effusion', 'Pneumothorax'],
      chance: 0.92,
      text: '((there is |)no (pleural effusion or pneumothorax|pneumothorax or pleural effusion)|no (pleural effusion or pneumothorax|pneumothorax or pleural effusion) is (seen|identified)|no evidence of (pleural effusion or pneumothorax|pneumothorax or pleural effusion))',
    },
    {
      absent: ['Pneumothorax'],
      chance: 0.85,
      text: '((there is |)no pneumothorax|no pneumothorax is seen|no evidence of pneumothorax|no visible pneumothorax)',
    },
    {
      absent: ['Pleural Effusion'],
      chance: 0.8,
      text: '((there is |)no pleural effusion|no pleural effusion is seen|no pleural effusions|no evidence of pleural effusion)',
    },
  ],
  bones: [
    {
      absent: ['Fracture'],
      chance: 0.4,
      text: '(no (acute |displaced |)(rib |)fracture( is seen| is identified|)|there is no (acute |)fracture)',
    },
    {
      absent: ['Fracture'],
      denies: [],
      chance: 0.2,
      text: '(osseous structures are intact|bony structures are unremarkable|no acute osseous abnormality)',
    },
  ],
};

/** Most urgent first. */
const urgency: readonly Abnormality[] = [
  'Pneumothorax',
  'Edema',
  'Pneumonia',
  'Consolidation',
  'Pleural Effusion',
  'Lung Lesion',
  'Enlarged Cardiomediastinum',
  'Fracture',
  'Lung Opacity',
  'Atelectasis',
  'Cardiomegaly',
  'Pleural Other',
  'Support Devices',
];

const normal =
  '(no acute cardiopulmonary (abnormality|process|disease|findings)|no evidence of (acute|active) disease|no acute (disease|findings))';

/** Writes the report of the findings, and the labels of what the report says. */
export function writeReport(found: readonly Finding[], random: Random): WrittenReport {
  const states = new Map<Observation, LabelState>();
  for (const { observation, certainty } of found) states.set(observation, certainty);
  // Pneumonia is reported as the opacities that are its sign.
  if (states.has('Pneumonia')) states.set('Lung Opacity', 'positive');
  const sentences: string[] = [];
  for (const region of random.pick(orders)) {
    for (const observation of regions[region]) {
      const finding = found.find((candidate) => candidate.observation === observation);
      if (finding) sentences.push(byObservation(phrases, finding).findings);
    }
    for (const { absent, denies = absent, chance, text } of denials[region]) {
      if (absent.some((observation) => states.has(observation)) || !random.chance(chance)) continue;
      sentences.push(text);
      for (const observation of denies) states.set(observation, 'negative');
    }
  }
  const ill = found.some((finding) => finding.observation !== 'Support Devices');
  if (!ill) states.set('No Finding', 'positive');
  const labels = Object.fromEntries(observations.map((name) => [name, states.get(name) ?? null]));
  return {
    indication: writeIndication(found, random.fork('indication')),
    findings: paragraph(sentences.map((text) => expand(text, random))),
    impression: writeImpression(found, ill, random.fork('impression')),
    labels: labels as Labels,
  };
}

function writeImpression(found: readonly Finding[], ill: boolean, random: Random): string {
  if (!ill) return paragraph([expand(normal, random)]);
  const items = found
    .toSorted((a, b) => urgency.indexOf(a.observation) - urgency.indexOf(b.observation))
    .map((finding) => expand(byObservation(phrases, finding).impression, random))
    .filter((item) => item !== '')
    .map((item) => paragraph([item]));
  const numbered = items.length > 1 && random.chance(0.5);
  return items.map((item, i) => (numbered ? `${i + 1}. ${item}` : item)).join(' ');
}

/** The indication: it fits the findings loosely, as complaints do. */
const complaints: readonly (readonly [Abnormality | undefined, string])[] = [
  ['Edema', '(shortness of breath|dyspnea|dyspnea on exertion|leg swelling)'],
  ['Cardiomegaly', '(shortness of breath|dyspnea|chest pain)'],
  ['Pneumonia', '(cough and fever|fever|productive cough|cough)'],
  ['Consolidation', '(cough and fever|fever|productive cough)'],
  ['Pneumothorax', '(sudden chest pain|chest pain|fall|trauma)'],
  ['Fracture', '(fall|trauma|motor vehicle collision|rib pain)'],
  ['Lung Lesion', '(weight loss|cough|hemoptysis|smoking history)'],
  ['Support Devices', '(line placement|tube placement|postoperative|intensive care)'],
  [
    undefined,
    '(chest pain|cough|shortness of breath|preoperative evaluation|dyspnea|fever|chest pain)',
  ],
];

function writeIndication(found: readonly Finding[], random: Random): string {
  const fitting = complaints.filter(([sign]) =>
    found.some(({ observation }) => observation === sign),
  );
  const [, text] =
    random.chance(0.6) && fitting.length > 0
      ? random.pick(fitting)
      : (complaints.at(-1) as (typeof complaints)[number]);
  return paragraph([expand(text, random)]);
}
