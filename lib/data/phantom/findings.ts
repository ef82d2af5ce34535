import type { Patient, Side, Spot } from './anatomy.ts';
import type { Observation } from '../../text/labels/observations.ts';
import { type Abnormality, abnormalities } from './observations.ts';
import type { Random } from './random.ts';

export type Lobe =
  | 'right upper lobe'
  | 'right middle lobe'
  | 'right lower lobe'
  | 'left upper lobe'
  | 'lingula'
  | 'left lower lobe';

export type Device =
  | 'endotracheal tube'
  | 'enteric tube'
  | 'central line'
  | 'PICC'
  | 'port'
  | 'pacemaker'
  | 'chest tube'
  | 'sternal wires';

/** What a finding of each observation consists of. */
interface Details {
  'Enlarged Cardiomediastinum': object;
  Cardiomegaly: object;
  'Lung Lesion': { readonly form: 'nodule' | 'nodules' | 'mass'; readonly spots: readonly Spot[] };
  'Lung Opacity': { readonly spot: Spot };
  Edema: { readonly form: 'interstitial' | 'alveolar' };
  Consolidation: { readonly lobe: Lobe };
  Pneumonia: { readonly lobes: readonly Lobe[] };
  Atelectasis: { readonly form: 'plates' | 'collapse'; readonly sides: readonly Side[] };
  Pneumothorax: { readonly side: Side };
  'Pleural Effusion': { readonly sides: readonly Side[] };
  'Pleural Other': { readonly form: 'thickening' | 'plaques'; readonly sides: readonly Side[] };
  Fracture: {
    readonly side: Side;
    readonly bone: 'ribs' | 'clavicle';
    readonly ribs: readonly number[];
  };
  'Support Devices': { readonly devices: readonly Device[]; readonly side: Side };
}

export type Finding<A extends Abnormality = Abnormality> = {
  [K in A]: Details[K] & {
    readonly observation: K;
    /** An uncertain finding is drawn faint and reported as uncertain. */
    readonly certainty: 'positive' | 'uncertain';
    /** 0 mild to 1 severe: thirds are named mild, moderate and severe. */
    readonly severity: number;
  };
}[A];

/** A table with one row for each observation: a missing row does not compile. */
export type PerAbnormality<Arguments extends readonly unknown[], Result> = {
  readonly [A in Abnormality]: (finding: Finding<A>, ...rest: Arguments) => Result;
};

/** Calls the row of the finding's observation. */
export function byObservation<Arguments extends readonly unknown[], Result>(
  table: PerAbnormality<Arguments, Result>,
  finding: Finding,
  ...rest: Arguments
): Result {
  const row = table[finding.observation] as (finding: Finding, ...rest: Arguments) => Result;
  return row(finding, ...rest);
}

/**
 * Share of studies with each observation, certain or uncertain. Each share holds by itself; `causes` says
 * how they occur together. `No Finding` is the share that is made healthy: studies where chance draws no
 * finding are added to it. Lung Opacity counts the opacities that are no pneumonia.
 */
export type Prevalence = Readonly<Record<Observation, number>>;

export const defaultPrevalence: Prevalence = {
  'No Finding': 0.12,
  'Enlarged Cardiomediastinum': 0.14,
  Cardiomegaly: 0.28,
  'Lung Lesion': 0.16,
  'Lung Opacity': 0.16,
  Edema: 0.2,
  Consolidation: 0.16,
  Pneumonia: 0.16,
  Atelectasis: 0.2,
  Pneumothorax: 0.15,
  'Pleural Effusion': 0.28,
  'Pleural Other': 0.14,
  Fracture: 0.14,
  'Support Devices': 0.3,
};

/** What findings have in common: the weight of each hidden cause; the squares of a row sum to at most 1. */
const causes: Readonly<Record<Abnormality, Partial<Record<Cause, number>>>> = {
  'Enlarged Cardiomediastinum': { heart: 0.3, tumour: 0.3 },
  Cardiomegaly: { heart: 0.8 },
  'Lung Lesion': { tumour: 0.7 },
  'Lung Opacity': { infection: 0.4 },
  Edema: { heart: 0.85 },
  Consolidation: { infection: 0.6 },
  Pneumonia: { infection: 0.7 },
  Atelectasis: { care: 0.5, trauma: 0.2 },
  Pneumothorax: { trauma: 0.75 },
  'Pleural Effusion': { heart: 0.55, tumour: 0.3, care: 0.3 },
  'Pleural Other': { tumour: 0.2 },
  Fracture: { trauma: 0.7 },
  'Support Devices': { care: 0.7, heart: 0.3, trauma: 0.2 },
};
const causeNames = ['heart', 'infection', 'trauma', 'tumour', 'care'] as const;
type Cause = (typeof causeNames)[number];

/**
 * Draws which abnormalities a study shows: a Gaussian copula, so that every prevalence holds by
 * itself while heart failure still makes a large heart, edema and effusions occur together.
 */
export function drawFindings(
  random: Random,
  prevalence: Prevalence,
  uncertainShare: number,
): Finding[] {
  const healthy = random.chance(prevalence['No Finding']);
  const rest = 1 - prevalence['No Finding'];
  const strength = new Map(causeNames.map((cause) => [cause, random.normal()]));
  const found: Finding[] = [];
  for (const observation of abnormalities) {
    const own = random.fork(observation);
    const device = observation === 'Support Devices';
    const share = device || rest === 0 ? prevalence[observation] : prevalence[observation] / rest;
    let [z, explained] = [0, 0];
    for (const [cause, weight] of Object.entries(causes[observation]) as [Cause, number][]) {
      z += weight * (strength.get(cause) ?? 0);
      explained += weight * weight;
    }
    z += Math.sqrt(1 - explained) * own.normal();
    if ((healthy && !device) || normalCdf(z) < 1 - Math.min(1, share)) continue;
    const certain = device || !own.chance(uncertainShare);
    const severity = certain ? own.uniform() : 0;
    const details = byObservationName(observation, own, severity, found);
    found.push({
      observation,
      certainty: certain ? 'positive' : 'uncertain',
      severity,
      ...details,
    } as Finding);
  }
  // Pneumonia is an opacity already; a second one would only hide it.
  const infected = found.some((finding) => finding.observation === 'Pneumonia');
  return found.filter((finding) => !(infected && finding.observation === 'Lung Opacity'));
}

/** Abramowitz and Stegun 26.2.17, absolute error below 1e-7. */
function normalCdf(z: number): number {
  const t = 1 / (1 + 0.2316419 * Math.abs(z));
  const poly =
    t *
    (0.31938153 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))));
  const tail = (Math.exp((-z * z) / 2) / Math.sqrt(2 * Math.PI)) * poly;
  return z < 0 ? tail : 1 - tail;
}

type DrawDetails = {
  readonly [A in Abnormality]: (
    random: Random,
    severity: number,
    before: readonly Finding[],
  ) => Details[A];
};

function byObservationName(
  observation: Abnormality,
  random: Random,
  severity: number,
  before: readonly Finding[],
): Details[Abnormality] {
  return details[observation](random, severity, before);
}

const bothSides: readonly Side[] = ['right', 'left'];

function drawSides(random: Random, both: number): readonly Side[] {
  return random.chance(both) ? bothSides : [random.pick(bothSides)];
}

/** A side without findings so far, if there is one: findings should not hide each other. */
function freeSide(random: Random, before: readonly Finding[]): Side {
  const taken = new Set(
    before.flatMap((finding): Side[] =>
      'lobe' in finding ? [lobeSide(finding.lobe)] : 'spot' in finding ? [finding.spot.side] : [],
    ),
  );
  const free = bothSides.filter((side) => !taken.has(side));
  return random.pick(free.length > 0 ? free : bothSides);
}

export function lobeSide(lobe: Lobe): Side {
  return lobe.startsWith('right') ? 'right' : 'left';
}

const lobes: Readonly<Record<Side, readonly Lobe[]>> = {
  right: ['right upper lobe', 'right middle lobe', 'right lower lobe'],
  left: ['left upper lobe', 'lingula', 'left lower lobe'],
};

function drawSpot(random: Random, side: Side): Spot {
  return {
    side,
    across: random.uniform(0.3, 0.78),
    down: random.uniform(0.2, 0.84),
    deep: random.uniform(0.25, 0.75),
  };
}

const details: DrawDetails = {
  'Enlarged Cardiomediastinum': () => ({}),
  Cardiomegaly: () => ({}),
  'Lung Lesion': (random, severity) => {
    const form = severity > 0.55 ? 'mass' : random.chance(0.35) ? 'nodules' : 'nodule';
    const count = form === 'nodules' ? random.integer(3, 6) : 1;
    const spots = Array.from({ length: count }, (_, i) =>
      drawSpot(random, form === 'nodules' ? (bothSides[i % 2] as Side) : random.pick(bothSides)),
    );
    return { form, spots };
  },
  'Lung Opacity': (random, _, before) => ({ spot: drawSpot(random, freeSide(random, before)) }),
  Edema: (_, severity) => ({ form: severity > 0.5 ? 'alveolar' : 'interstitial' }),
  Consolidation: (random, _, before) => ({ lobe: random.pick(lobes[freeSide(random, before)]) }),
  Pneumonia: (random, severity, before) => {
    const side = freeSide(random, before);
    const taken = new Set(before.flatMap((finding) => ('lobe' in finding ? [finding.lobe] : [])));
    const free = random.shuffle(lobes[side].filter((lobe) => !taken.has(lobe)));
    return { lobes: free.slice(0, severity > 0.66 ? 2 : 1) };
  },
  Atelectasis: (random, severity) =>
    severity > 0.7
      ? { form: 'collapse', sides: [random.pick(bothSides)] }
      : { form: 'plates', sides: drawSides(random, 0.5) },
  Pneumothorax: (random) => ({ side: random.pick(bothSides) }),
  'Pleural Effusion': (random, _, before) => {
    const heart = before.some((finding) => finding.observation === 'Edema');
    return { sides: drawSides(random, heart ? 0.75 : 0.3) };
  },
  'Pleural Other': (random) => ({
    form: random.chance(0.55) ? 'thickening' : 'plaques',
    sides: drawSides(random, 0.55),
  }),
  Fracture: (random, severity) => {
    const first = random.integer(4, 6);
    const count = 2 + Math.round(2 * severity);
    return {
      side: random.pick(bothSides),
      bone: random.chance(0.35) ? 'clavicle' : 'ribs',
      ribs: Array.from({ length: count }, (_, i) => first + i),
    };
  },
  'Support Devices': (random, _, before) => {
    const drained = before.find((finding) => finding.observation === 'Pneumothorax');
    const heart = before.some((finding) => finding.observation === 'Cardiomegaly');
    const kit = random.pick<readonly Device[]>([
      ['endotracheal tube', 'enteric tube'],
      ['endotracheal tube', 'enteric tube', 'central line'],
      ['central line'],
      ['PICC'],
      ['port'],
      ['pacemaker'],
      heart ? ['pacemaker', 'sternal wires'] : ['enteric tube'],
      ['sternal wires'],
    ]);
    const tube: Device[] = drained && random.chance(0.6) ? ['chest tube'] : [];
    const side =
      tube.length > 0 && drained && 'side' in drained ? drained.side : random.pick(bothSides);
    return { devices: [...tube, ...kit], side };
  },
};

/** The patient with the changes of anatomy that the findings cause. */
export function afflict(patient: Patient, findings: readonly Finding[]): Patient {
  let out = patient;
  for (const finding of findings) out = byObservation(changes, finding, out);
  return out;
}

const same = (_: unknown, patient: Patient): Patient => patient;

const changes: PerAbnormality<readonly [Patient], Patient> = {
  'Enlarged Cardiomediastinum': ({ certainty, severity }, patient) => ({
    ...patient,
    mediastinum: certainty === 'positive' ? 20 + 14 * severity : 13,
  }),
  Cardiomegaly: ({ certainty, severity }, patient) => ({
    ...patient,
    cardiothoracicRatio: certainty === 'positive' ? 0.55 + 0.13 * severity : 0.51,
  }),
  'Lung Lesion': same,
  'Lung Opacity': same,
  Edema: ({ severity }, patient) => ({ ...patient, congestion: 0.5 + 0.5 * severity }),
  Consolidation: same,
  Pneumonia: same,
  Atelectasis: ({ form, sides }, patient) =>
    form === 'plates'
      ? patient
      : {
          ...patient,
          lift: { ...patient.lift, ...Object.fromEntries(sides.map((side) => [side, 30])) },
        },
  Pneumothorax: same,
  'Pleural Effusion': same,
  'Pleural Other': same,
  Fracture: ({ certainty, side, bone, ribs }, patient) => ({
    ...patient,
    fracture: {
      side,
      bone,
      ribs: certainty === 'positive' ? ribs : ribs.slice(0, 1),
      step: certainty === 'positive' ? 9 : 3,
    },
  }),
  'Support Devices': same,
};
