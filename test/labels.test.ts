import test from 'ava';
import { extractLabels, type Reading } from '../lib/text/labels/extract.ts';
import {
  type LabelState,
  type Observation,
  observations,
} from '../lib/text/labels/observations.ts';

type Expected = Partial<Record<Observation, LabelState>>;

/** The states of a text, without blanks, and without No Finding unless it is expected. */
function statesOf(text: string, reading?: Reading): Expected {
  const states = Object.entries(extractLabels(text, reading));
  return Object.fromEntries(states.filter(([name, state]) => name !== 'No Finding' && state));
}

/** A rule, and sentences that show it. */
const rules: Readonly<Record<string, readonly (readonly [string, Expected])[]>> = {
  'a bare mention is positive': [
    ['Mild cardiomegaly.', { Cardiomegaly: 'positive' }],
    ['Widened mediastinum.', { 'Enlarged Cardiomediastinum': 'positive' }],
    ['7 mm nodule in the right apex.', { 'Lung Lesion': 'positive' }],
    ['Patchy airspace disease at the left base.', { 'Lung Opacity': 'positive' }],
    ['Interstitial edema.', { Edema: 'positive' }],
    ['Mediastinal widening.', { 'Enlarged Cardiomediastinum': 'positive' }],
    ['Calcified pleural plaques.', { 'Pleural Other': 'positive' }],
    ['Sternal wires. Right chest port.', { 'Support Devices': 'positive' }],
    ['Lobar consolidation.', { Consolidation: 'positive' }],
    ['Bronchopneumonia.', { Pneumonia: 'positive' }],
    ['Collapse of the left lower lobe.', { Atelectasis: 'positive' }],
    ['Small hydropneumothorax persists.', { Pneumothorax: 'positive' }],
    ['Small left effusion.', { 'Pleural Effusion': 'positive' }],
    ['Apical pleural thickening.', { 'Pleural Other': 'positive' }],
    ['Old rib fractures.', { Fracture: 'positive' }],
    ['The endotracheal tube ends 3.2 cm above the carina.', { 'Support Devices': 'positive' }],
  ],
  'text that only looks like a mention is not one': [
    ['Pericardial effusion.', {}],
    ['Pericardial effusion and a small pleural effusion.', { 'Pleural Effusion': 'positive' }],
    ['Calcified nodule. Massive hernia.', {}],
    ['Clips over the mediastinum.', {}],
    ['The trachea is midline.', {}],
    ['Pleural scarring.', { 'Pleural Other': 'positive' }],
    ['Kerley B lines.', {}],
    ['A visible pleural line.', {}],
  ],
  'a negation reaches all of a list': [
    [
      'No consolidation, effusion or pneumothorax.',
      { Consolidation: 'negative', 'Pleural Effusion': 'negative', Pneumothorax: 'negative' },
    ],
    [
      'There is no evidence of pneumonia, edema, or fracture.',
      { Pneumonia: 'negative', Edema: 'negative', Fracture: 'negative' },
    ],
    [
      'Neither effusion nor pneumothorax is seen.',
      { 'Pleural Effusion': 'negative', Pneumothorax: 'negative' },
    ],
    [
      'Negative for pneumothorax/effusion.',
      { Pneumothorax: 'negative', 'Pleural Effusion': 'negative' },
    ],
    ['The lungs are clear of consolidation.', { Consolidation: 'negative' }],
    ['Lungs are free of opacities.', { 'Lung Opacity': 'negative' }],
  ],
  'the nearest of several negations decides': [
    ['No effusion, but no edema.', { 'Pleural Effusion': 'negative', Edema: 'negative' }],
    [
      'Effusion is not seen, while edema is not seen.',
      { 'Pleural Effusion': 'negative', Edema: 'negative' },
    ],
  ],
  'a negation ends where another finding begins': [
    [
      'No pneumothorax, small effusion.',
      { Pneumothorax: 'negative', 'Pleural Effusion': 'positive' },
    ],
    [
      'No effusion, but there is a pneumothorax.',
      { 'Pleural Effusion': 'negative', Pneumothorax: 'positive' },
    ],
    [
      'No effusion is seen; right atelectasis is present.',
      { 'Pleural Effusion': 'negative', Atelectasis: 'positive' },
    ],
    [
      'Cardiomegaly without edema, with effusions.',
      { Cardiomegaly: 'positive', Edema: 'negative', 'Pleural Effusion': 'positive' },
    ],
    [
      'No pneumothorax and stable moderate cardiomegaly.',
      { Pneumothorax: 'negative', Cardiomegaly: 'positive' },
    ],
    [
      'No pneumothorax.Small effusion',
      { Pneumothorax: 'negative', 'Pleural Effusion': 'positive' },
    ],
    [
      '1. No pneumothorax\n2. Small effusion\n\nEdema',
      { Pneumothorax: 'negative', 'Pleural Effusion': 'positive', Edema: 'positive' },
    ],
    ['Fracture, no pneumothorax.', { Fracture: 'positive', Pneumothorax: 'negative' }],
    ['No edema, but no effusion.', { Edema: 'negative', 'Pleural Effusion': 'negative' }],
  ],
  'to deny a change denies nothing': [
    ['No change in small effusion.', { 'Pleural Effusion': 'positive' }],
    ['No significant interval change in cardiomegaly.', { Cardiomegaly: 'positive' }],
    [
      'Atelectasis without interval improvement of edema.',
      { Atelectasis: 'positive', Edema: 'positive' },
    ],
    ['The edema has not resolved.', { Edema: 'positive' }],
  ],
  'a negation may follow': [
    ['Pneumothorax is absent.', { Pneumothorax: 'negative' }],
    ['A pneumothorax is not seen.', { Pneumothorax: 'negative' }],
    ['The previously seen effusion is no longer identified.', { 'Pleural Effusion': 'negative' }],
    ['No longer seen is the pneumothorax.', { Pneumothorax: 'negative' }],
  ],
  'what is gone is negative': [
    ['The pneumothorax has resolved.', { Pneumothorax: 'negative' }],
    ['Resolved edema.', { Edema: 'negative' }],
    ['Interval resolution of the effusion.', { 'Pleural Effusion': 'negative' }],
    ['The right chest tube has been removed.', { 'Support Devices': 'negative' }],
    ['Interval removal of the catheter.', { 'Support Devices': 'negative' }],
    ['Edema has improved.', { Edema: 'positive' }],
  ],
  'history, and what to rule out, are negative': [
    ['History of pneumonia.', { Pneumonia: 'negative' }],
    ['Rule out pneumothorax.', { Pneumothorax: 'negative' }],
    ['Atelectasis rather than pneumonia.', { Atelectasis: 'positive', Pneumonia: 'negative' }],
  ],
  'what cannot be excluded is uncertain, not negative': [
    ['Cannot exclude pneumonia.', { Pneumonia: 'uncertain' }],
    ['Pneumonia cannot be excluded.', { Pneumonia: 'uncertain' }],
    ['An infectious process is not excluded.', { Pneumonia: 'uncertain' }],
    ['A small effusion is difficult to exclude.', { 'Pleural Effusion': 'uncertain' }],
    [
      'No large effusion; a trace effusion could not be ruled out.',
      { 'Pleural Effusion': 'uncertain' },
    ],
    ['No new consolidation.', { Consolidation: 'uncertain' }],
  ],
  'a hedge before a mention makes it uncertain': [
    ['Possible effusion.', { 'Pleural Effusion': 'uncertain' }],
    ['Questionable nodule.', { 'Lung Lesion': 'uncertain' }],
    ['Findings concerning for pneumonia.', { Pneumonia: 'uncertain' }],
    ['Findings suggesting atelectasis.', { Atelectasis: 'uncertain' }],
    ['Unlikely to represent pneumonia.', { Pneumonia: 'uncertain' }],
    ['Please correlate clinically for signs of infection.', { Pneumonia: 'uncertain' }],
    ['Minimal, if any, effusion.', { 'Pleural Effusion': 'uncertain' }],
  ],
  'a hedge does not reach what it explains': [
    [
      'Opacity may represent atelectasis or pneumonia.',
      { 'Lung Opacity': 'positive', Atelectasis: 'uncertain', Pneumonia: 'uncertain' },
    ],
    [
      'Opacity most suggestive of atelectasis.',
      { 'Lung Opacity': 'positive', Atelectasis: 'positive' },
    ],
    [
      'Opacities, likely atelectasis, although pneumonia cannot be excluded.',
      { 'Lung Opacity': 'positive', Atelectasis: 'positive', Pneumonia: 'uncertain' },
    ],
    [
      'Possible pneumonia, stable effusion.',
      { Pneumonia: 'uncertain', 'Pleural Effusion': 'positive' },
    ],
  ],
  'a hedge may follow': [
    ['A small effusion is possible.', { 'Pleural Effusion': 'uncertain' }],
    ['Pneumonia is less likely.', { Pneumonia: 'uncertain' }],
    ['The nodule is incompletely evaluated.', { 'Lung Lesion': 'uncertain' }],
    ['Minimal left effusion, if any.', { 'Pleural Effusion': 'uncertain' }],
  ],
  'alternatives are uncertain': [
    ['Atelectasis versus pneumonia.', { Atelectasis: 'uncertain', Pneumonia: 'uncertain' }],
    ['Collapse and/or consolidation.', { Atelectasis: 'uncertain', Consolidation: 'uncertain' }],
    ['Acute or subacute fracture.', { Fracture: 'positive' }],
  ],
  'a structure is judged by what is said of it': [
    ['The heart is enlarged.', { Cardiomegaly: 'positive' }],
    ['Heart size is normal.', { Cardiomegaly: 'negative' }],
    ['The cardiac silhouette is not enlarged.', { Cardiomegaly: 'negative' }],
    ['The cardiac silhouette is within normal limits.', { Cardiomegaly: 'negative' }],
    ['Cardiac silhouette is unchanged.', { Cardiomegaly: 'uncertain' }],
    ['Borderline heart size.', { Cardiomegaly: 'uncertain' }],
    ['The heart may be mildly enlarged.', { Cardiomegaly: 'uncertain' }],
    ['The mediastinum is possibly widened.', { 'Enlarged Cardiomediastinum': 'uncertain' }],
    [
      'Heart size, mediastinal silhouette, pulmonary vascularity are within normal limits.',
      { Cardiomegaly: 'negative', 'Enlarged Cardiomediastinum': 'negative' },
    ],
    ['Stable enlargement of the cardiac silhouette.', { Cardiomegaly: 'positive' }],
    [
      'Heart size, mediastinal contour, and vascularity are unremarkable.',
      { Cardiomegaly: 'negative', 'Enlarged Cardiomediastinum': 'negative' },
    ],
    [
      'Normal heart size and mediastinal contours.',
      { Cardiomegaly: 'negative', 'Enlarged Cardiomediastinum': 'negative' },
    ],
    [
      'The heart is enlarged but the mediastinal contours are normal.',
      { Cardiomegaly: 'positive', 'Enlarged Cardiomediastinum': 'negative' },
    ],
    ['Heart size is enlarged, pulmonary vascularity is normal.', { Cardiomegaly: 'positive' }],
    ['Heart size is normal, with edema.', { Cardiomegaly: 'negative', Edema: 'positive' }],
  ],
  'what is said of a structure is not said of a finding': [
    ['Unremarkable chest tube.', { 'Support Devices': 'positive' }],
    ['The chest tube is unremarkable.', { 'Support Devices': 'positive' }],
    ['The effusion is stable.', { 'Pleural Effusion': 'positive' }],
    ['The edema is possibly prominent.', { Edema: 'positive' }],
  ],
  'a nearly normal heart counts as CheXpert counts it': [
    ['Heart size is at the upper limits of normal.', { Cardiomegaly: 'negative' }],
    ['Heart size is upper limits of normal.', { Cardiomegaly: 'positive' }],
  ],
  'signs are uncertain at most': [
    ['Pulmonary vascular congestion.', { Edema: 'uncertain' }],
    ['No vascular congestion.', { Edema: 'negative' }],
  ],
  'the strongest state of a report counts': [
    ['No effusion. Possible effusion. Small effusion.', { 'Pleural Effusion': 'positive' }],
    ['No effusion. Possible effusion.', { 'Pleural Effusion': 'uncertain' }],
    ['Small effusion. No effusion. Possible effusion.', { 'Pleural Effusion': 'positive' }],
  ],
  'heart failure makes cardiomegaly possible': [
    ['Heart failure.', { Edema: 'positive', Cardiomegaly: 'uncertain' }],
    ['Possible CHF.', { Edema: 'uncertain', Cardiomegaly: 'uncertain' }],
    ['No heart failure.', { Edema: 'negative' }],
    ['CHF. Heart size is enlarged.', { Edema: 'positive', Cardiomegaly: 'positive' }],
  ],
  'de-identification marks change no label': [
    ['There are no XXXX of an effusion.', { 'Pleural Effusion': 'negative' }],
    [
      'No ___ pneumothorax. ___ effusion.',
      { Pneumothorax: 'negative', 'Pleural Effusion': 'positive' },
    ],
  ],
};

for (const [rule, sentences] of Object.entries(rules)) {
  test(rule, (t) => {
    for (const [sentence, expected] of sentences) {
      t.deepEqual(statesOf(sentence), expected, sentence);
    }
  });
}

test('every observation has a state, in the order of the list', (t) => {
  t.deepEqual(Object.keys(extractLabels('')), [...observations]);
});

test('No Finding is positive where nothing but support devices was found, and otherwise blank', (t) => {
  const cases: readonly (readonly [string, LabelState])[] = [
    ['Lungs are clear. No effusion.', 'positive'],
    ['Normal chest. Pacemaker in place.', 'positive'],
    ['Possible effusion.', null],
    ['Degenerative changes of the spine.', null],
    ['', null],
    [' \n', null],
  ];
  for (const [text, state] of cases) t.is(extractLabels(text)['No Finding'], state, text);
});

test('sentences that CheXpert misreads are findings, but not in a plain reading', (t) => {
  const cases: readonly (readonly [string, Observation, LabelState])[] = [
    ['The heart size and vascularity appear within normal limits.', 'Cardiomegaly', 'negative'],
    ['The heart size remains normal.', 'Cardiomegaly', 'negative'],
    ['Heart and mediastinum of normal size.', 'Enlarged Cardiomediastinum', 'negative'],
    ['Unremarkable mediastinal contour.', 'Enlarged Cardiomediastinum', 'negative'],
    ['The heart and mediastinal contours are stable.', 'Enlarged Cardiomediastinum', 'uncertain'],
    ['No acute displaced rib fractures.', 'Fracture', 'negative'],
    ['No focal airspace consolidations.', 'Consolidation', 'negative'],
    ['No pleural effusions or pneumothorax.', 'Pneumothorax', 'negative'],
    ['Degenerative endplate changes.', 'Support Devices', null],
  ];
  for (const [sentence, observation, meant] of cases) {
    t.is(extractLabels(sentence)[observation], 'positive', sentence);
    t.is(extractLabels(sentence, 'plain')[observation], meant, sentence);
  }
});

test('long and hostile texts are read in linear time', (t) => {
  const pieces = [
    'a',
    ' ',
    '.',
    'no ',
    'no, ',
    'effusion ',
    'no effusion or ',
    'not not ',
    'is ',
    'the heart size ',
    'the heart size appear ',
    'heart size and , ',
    'upper limits of ',
    'mediastinum and ',
    'not well ',
    'opaci',
    '\n',
    '1. ',
    'a/',
  ];
  for (const piece of pieces) {
    t.truthy(extractLabels(`no ${piece.repeat(100_000 / piece.length)}effusion`), piece);
  }
});
