import type { Side, Spot } from './anatomy.ts';
import type { Device, Finding, Lobe, PerAbnormality } from './findings.ts';

/**
 * The phrases for a finding. `(a|b|c)` is a choice, made when the report is written; choices nest and
 * may be empty. Each template is one sentence or several, without the last full stop.
 */
export interface Phrases {
  readonly findings: string;
  readonly impression: string;
}

const maybe = '(possible|questionable|suspected)';
const seen = '(is (present|seen|noted|identified)|)';
const many = '(are (present|seen|noted|identified)|)';

const grade = (severity: number): 0 | 1 | 2 => (severity < 1 / 3 ? 0 : severity < 2 / 3 ? 1 : 2);
const extent = (severity: number): string =>
  ['(mild|slight)', 'moderate', '(severe|marked)'][grade(severity)] as string;
const degree = (severity: number): string =>
  ['(mildly|slightly)', 'moderately', '(severely|markedly)'][grade(severity)] as string;
const size = (severity: number): string =>
  ['small', '(moderate|moderate-sized)', 'large'][grade(severity)] as string;

function zone({ side, down }: Spot): string {
  if (down < 0.4) return `(${side} upper lung|${side} upper lung zone)`;
  if (down < 0.66) return `(${side} mid lung|${side} mid lung zone|${side} midlung)`;
  return `(${side} lung base|${side} lower lung|${side} lower lung zone)`;
}

const base = (sides: readonly Side[]): string =>
  sides.length === 2
    ? '(at both lung bases|in both lung bases)'
    : `(at the ${sides[0]} (lung |)base|in the ${sides[0]} (lung |)base)`;
const basilar = (sides: readonly Side[]): string =>
  sides.length === 2 ? '(bibasilar|bilateral basilar)' : `${sides[0]} basilar`;
const lateral = (sides: readonly Side[]): string =>
  sides.length === 2 ? 'bilateral' : (sides[0] as string);

const inLobe = (lobe: Lobe): string => `(in the|involving the|within the) ${lobe}`;
const lobeFirst = (lobe: Lobe): string => (lobe === 'lingula' ? 'lingular' : lobe);

const ordinals = [
  'first',
  'second',
  'third',
  'fourth',
  'fifth',
  'sixth',
  'seventh',
  'eighth',
  'ninth',
  'tenth',
];
const ordinal = (rib: number): string => ordinals[rib - 1] as string;

/** Largest diameter in words, from design units of 0.75 mm. */
const centimetres = (radius: number): string => `${(radius * 2 * 0.075).toFixed(1)} cm`;

/** One row for each observation; the image is drawn from the same finding. */
export const phrases: PerAbnormality<readonly [], Phrases> = {
  'Enlarged Cardiomediastinum': ({ certainty, severity }) =>
    certainty === 'positive'
      ? {
          findings: `(the (superior |upper |)mediastinum is ${degree(severity)} widened|there is ${extent(severity)} widening of the (superior |upper |)mediastinum|${extent(severity)} mediastinal widening ${seen})`,
          impression: '(widened mediastinum|mediastinal widening|widening of the mediastinum)',
        }
      : {
          findings: `(${maybe} mild mediastinal widening|the mediastinum (may be|is possibly) mildly widened)`,
          impression: `${maybe} mediastinal widening`,
        },
  Cardiomegaly: ({ certainty, severity }) =>
    certainty === 'positive'
      ? {
          findings: `((the heart|the cardiac silhouette|heart size) is ${degree(severity)} enlarged|(there is |)${extent(severity)} cardiomegaly|${extent(severity)} enlargement of the (cardiac silhouette|heart))`,
          impression: `(${extent(severity)} |)cardiomegaly`,
        }
      : {
          findings: `(the heart may be mildly enlarged|${maybe} mild cardiomegaly|the cardiac silhouette is possibly enlarged)`,
          impression: `${maybe} (mild |)cardiomegaly`,
        },
  'Lung Lesion': lesion,
  'Lung Opacity': ({ certainty, severity, spot }) =>
    certainty === 'positive'
      ? {
          findings: `(there is (a ${['faint', 'hazy', 'dense'][grade(severity)]}|an ill-defined|a focal) opacity in the ${zone(spot)}|(hazy|ill-defined|focal) opacity ${seen} in the ${zone(spot)})`,
          impression: `(opacity in the ${zone(spot)}|${spot.side} lung opacity)(. Follow-up radiographs are (recommended|suggested)|)`,
        }
      : {
          findings: `${maybe} (subtle|faint|vague) opacity in the ${zone(spot)}`,
          impression: `${maybe} ${spot.side} lung opacity`,
        },
  Edema: ({ certainty, severity, form }) => {
    if (certainty === 'uncertain')
      return {
        findings: `${maybe} mild (interstitial |pulmonary |)edema`,
        impression: `${maybe} (mild |)pulmonary edema`,
      };
    const name =
      form === 'alveolar'
        ? `${extent(severity)} (pulmonary edema (in a perihilar distribution|with perihilar predominance|)|alveolar edema)`
        : `${extent(severity)} interstitial (pulmonary |)edema( with Kerley B lines| with septal lines|)`;
    return {
      findings: `((there is |)${name}|pulmonary (vascular congestion|vascular redistribution) with ${name})`,
      impression: `(${extent(severity)} pulmonary edema|pulmonary edema)`,
    };
  },
  Consolidation: ({ certainty, severity, lobe }) =>
    certainty === 'positive'
      ? {
          findings: `(there is |)(${severity > 0.5 ? 'dense ' : ''}|focal |)consolidation ${inLobe(lobe)}( with air bronchograms|)`,
          impression: `(${lobeFirst(lobe)} consolidation|consolidation in the ${lobe})`,
        }
      : {
          findings: `${maybe} (early |subtle |)consolidation ${inLobe(lobe)}`,
          impression: `${maybe} ${lobeFirst(lobe)} consolidation`,
        },
  Pneumonia: ({ certainty, lobes }) => {
    const places = lobes.map((lobe) => `the ${lobe}`).join(' and ');
    const names = lobes.map(lobeFirst).join(' and ');
    const patches =
      '(patchy airspace opacities|patchy opacities|multifocal airspace opacities|patchy airspace disease)';
    return certainty === 'positive'
      ? {
          findings: `${patches} in ${places}, (consistent with|compatible with) pneumonia`,
          impression: `(${names} pneumonia|pneumonia in ${places})`,
        }
      : {
          findings: `(faint |subtle |)${patches} in ${places}(. This (may|could) represent pneumonia|, which (may|could) represent pneumonia)`,
          impression: `(possible ${names} pneumonia|pneumonia in ${places} (is possible|cannot be excluded))`,
        };
  },
  Atelectasis: ({ certainty, severity, form, sides }) => {
    if (certainty === 'uncertain')
      return {
        findings: `${maybe} (minimal |mild |)${basilar(sides)} atelectasis`,
        impression: `${maybe} ${basilar(sides)} atelectasis`,
      };
    if (form === 'collapse')
      return {
        findings: `(collapse of the ${sides[0]} lower lobe (with volume loss|with elevation of the ${sides[0]} hemidiaphragm)|${sides[0]} lower lobe atelectasis with volume loss)`,
        impression: `(${sides[0]} lower lobe (collapse|atelectasis))`,
      };
    return {
      findings: `(${severity > 0.35 ? 'moderate ' : 'mild '}|)((linear|platelike|subsegmental|discoid|bandlike) atelectasis ${seen} ${base(sides)}|${basilar(sides)} (subsegmental |platelike |linear |)atelectasis)`,
      impression: `${basilar(sides)} atelectasis`,
    };
  },
  Pneumothorax: ({ certainty, severity, side }) =>
    certainty === 'positive'
      ? {
          findings: `(there is a |)${size(severity)} ${side} pneumothorax( with (a visible|a displaced) pleural line|)`,
          impression: `${size(severity)} ${side} pneumothorax`,
        }
      : {
          findings: `${maybe} (tiny|trace|small) ${side} (apical |)pneumothorax`,
          impression: `${maybe} (tiny |small |)${side} pneumothorax`,
        },
  'Pleural Effusion': effusion,
  'Pleural Other': ({ certainty, severity, form, sides }) => {
    const name =
      form === 'thickening'
        ? `${certainty === 'positive' ? `(${extent(severity)} |)` : ''}${sides.length === 2 ? 'biapical' : `${sides[0]} apical`} pleural thickening`
        : `(calcified |)${lateral(sides)} pleural plaques`;
    return certainty === 'positive'
      ? { findings: `(there ${form === 'plaques' ? 'are' : 'is'} |)${name}`, impression: name }
      : { findings: `${maybe} ${name}`, impression: `${maybe} ${name}` };
  },
  Fracture: fracture,
  'Support Devices': ({ devices, side }) => ({
    findings: devices.map((device) => deviceSentences[device](side)).join('. '),
    impression: '((support devices|lines and tubes|devices) (as above|as described|in position)|)',
  }),
};

function lesion({ certainty, form, spots, severity }: Finding<'Lung Lesion'>): Phrases {
  const spot = spots[0] as Spot;
  if (form === 'nodules')
    return certainty === 'positive'
      ? {
          findings: `(multiple|several|scattered) (bilateral |)pulmonary nodules ${many}`,
          impression:
            '(multiple|bilateral) pulmonary nodules(. (Chest CT is|CT is) (recommended|suggested)|)',
        }
      : {
          findings: `${maybe} (small |)pulmonary nodules`,
          impression: `${maybe} pulmonary nodules`,
        };
  if (certainty === 'uncertain')
    return {
      findings: `${maybe} (subtle |small |)nodule in the ${zone(spot)}`,
      impression: `${maybe} ${spot.side} lung nodule`,
    };
  const name =
    form === 'mass'
      ? `${centimetres(18 + 30 * (severity - 0.55))} (mass|lobulated mass|rounded mass)`
      : '(pulmonary nodule|nodule|round nodule)';
  const short = form === 'mass' ? 'mass' : 'nodule';
  return {
    findings: `there is a ${name} in the ${zone(spot)}`,
    impression: `${spot.side} lung ${short}(. (Chest CT|CT) is (recommended|suggested) for further evaluation|)`,
  };
}

function effusion({ certainty, severity, sides }: Finding<'Pleural Effusion'>): Phrases {
  const plural = sides.length === 2 ? 'effusions' : 'effusion';
  const article = sides.length === 2 ? 'are' : 'is a';
  if (certainty === 'uncertain')
    return {
      findings: `${maybe} (trace|tiny|small) ${lateral(sides)} pleural ${plural}`,
      impression: `${maybe} (trace |small |)${lateral(sides)} pleural ${plural}`,
    };
  const order =
    sides.length === 2
      ? `(, ${sides[0]} greater than ${sides[1]}|, larger on the ${sides[0]}|)`
      : '';
  return {
    findings: `(there ${article} |)${size(severity)} ${lateral(sides)} pleural ${plural}${order}`,
    impression: `(${size(severity)} |)${lateral(sides)} pleural ${plural}`,
  };
}

function fracture({ certainty, side, bone, ribs }: Finding<'Fracture'>): Phrases {
  const [first, last] = [ordinal(ribs[0] as number), ordinal(ribs.at(-1) as number)];
  if (certainty === 'uncertain') {
    const name = bone === 'clavicle' ? `${side} clavicle` : `${side} ${first} rib`;
    return {
      findings: `${maybe} nondisplaced fracture of the ${name}`,
      impression: `${maybe} ${side} ${bone === 'ribs' ? 'rib' : bone} fracture`,
    };
  }
  if (bone === 'clavicle')
    return {
      findings: `(there is a |)displaced fracture of the ${side} (clavicle|mid clavicle|clavicular shaft)`,
      impression: `(displaced |)${side} (clavicle|clavicular) fracture`,
    };
  const range = ribs.length === 2 ? `${first} and ${last}` : `${first} through ${last}`;
  return {
    findings: `(there are |)displaced fractures of the ${side} ${range} ribs`,
    impression: `(displaced |multiple |)${side} rib fractures`,
  };
}

const deviceSentences: Readonly<Record<Device, (side: Side) => string>> = {
  'endotracheal tube': () =>
    '(endotracheal tube|ET tube) (terminates above the carina|tip is above the carina|is in place above the carina)',
  'enteric tube': () =>
    '(enteric tube|nasogastric tube|NG tube) (courses below the diaphragm|tip projects over the stomach|terminates in the stomach)',
  'central line': () =>
    'right (internal jugular|IJ) (central venous catheter|central line|catheter) (terminates in the SVC|with tip in the SVC|tip is in the SVC)',
  PICC: (side) =>
    `${side} PICC (line |)(terminates in the SVC|with tip in the SVC|tip projects over the SVC)`,
  port: () =>
    '(right chest port|right-sided Port-A-Cath|right chest wall port) (with tip in the SVC|terminates in the SVC)',
  pacemaker: () =>
    '(left chest pacemaker|left-sided pacemaker|dual-lead pacemaker)( with leads in the right atrium and right ventricle| is in place|)',
  'chest tube': (side) =>
    `${side} chest tube (is in place|is present|projects over the ${side} lung)`,
  'sternal wires': () =>
    '(median sternotomy wires|sternotomy wires|sternal wires) (are intact|are noted|are present)',
};
