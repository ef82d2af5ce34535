/**
 * Clinical efficacy: the observations of a generated report against those of its reference, both read
 * by our rules.
 */
import type { LabelState, Observation } from '../labels/observations.ts';
import { mean } from './pairs.ts';

/** The five observations of the CheXpert competition (Irvin et al. 2019), by which models are compared. */
export const fiveObservations = [
  'Atelectasis',
  'Cardiomegaly',
  'Consolidation',
  'Edema',
  'Pleural Effusion',
] as const satisfies readonly Observation[];

/**
 * What an uncertain observation counts as, in both reports. A blank one counts as negative. No Finding is
 * either positive or blank.
 */
export type UncertainAs = 'positive' | 'negative';

export type States = Readonly<Partial<Record<Observation, LabelState>>>;

export interface StatePair {
  readonly candidate: States;
  readonly reference: States;
}

interface Score {
  readonly precision: number;
  readonly recall: number;
  readonly f1: number;
}

export interface ClinicalScores {
  /** All decisions of all reports and observations pooled. */
  readonly micro: Score;
  /** The mean over observations; one that is in no report counts 0, as in scikit-learn. */
  readonly macro: Score;
  /** The mean over reports; one without positives on both sides counts 0, as in scikit-learn. */
  readonly example: Score;
  /** The share of decisions that agree. */
  readonly accuracy: number;
  readonly perObservation: Readonly<Partial<Record<Observation, Score>>>;
}

/** Counts of decisions, of a report's observations or of an observation's reports. */
interface Decisions {
  both: number;
  extra: number;
  missed: number;
}

/** Of each observation: whether the candidate has it (1), and whether the reference does (2). */
export type DecisionRow = Uint8Array;

const kinds = ['', 'extra', 'missed', 'both'];

/** The decisions of one report over the observations `over`. */
export function decide(
  { candidate, reference }: StatePair,
  over: readonly Observation[],
  uncertainAs: UncertainAs,
): DecisionRow {
  const isPositive = (state: LabelState | undefined) =>
    state === 'positive' || (state === 'uncertain' && uncertainAs === 'positive');
  return Uint8Array.from(
    over,
    (name) => (isPositive(candidate[name]) ? 1 : 0) + (isPositive(reference[name]) ? 2 : 0),
  );
}

/** The scores of reports' decisions over the observations `over`. */
export function clinicalScores(
  rows: readonly DecisionRow[],
  over: readonly Observation[],
): ClinicalScores {
  const none = () => ({ both: 0, extra: 0, missed: 0 });
  const perObservation = over.map(none);
  const all = none();
  const example = { precision: 0, recall: 0, f1: 0 };
  for (const row of rows) {
    const report = none();
    for (let at = 0; at < over.length; at++) {
      const decision = row[at];
      if (decision === undefined || decision === 0) continue;
      const kind = kinds[decision] as keyof Decisions;
      (perObservation[at] as Decisions)[kind] += 1;
      report[kind] += 1;
      all[kind] += 1;
    }
    const { precision, recall, f1 } = score(report);
    example.precision += precision / rows.length;
    example.recall += recall / rows.length;
    example.f1 += f1 / rows.length;
  }
  const scores = perObservation.map(score);
  return {
    micro: score(all),
    macro: {
      precision: mean(scores.map(({ precision }) => precision)),
      recall: mean(scores.map(({ recall }) => recall)),
      f1: mean(scores.map(({ f1 }) => f1)),
    },
    example,
    accuracy: 1 - (all.extra + all.missed) / (over.length * rows.length),
    perObservation: Object.fromEntries(over.map((name, at) => [name, scores[at] as Score])),
  };
}

function score({ both, extra, missed }: Decisions): Score {
  const share = (part: number, whole: number) => (whole === 0 ? 0 : part / whole);
  return {
    precision: share(both, both + extra),
    recall: share(both, both + missed),
    f1: share(2 * both, 2 * both + extra + missed),
  };
}
