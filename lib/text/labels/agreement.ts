import { type Observation, observations } from './observations.ts';

/** The positive observations of one report: by our rules, and by another labeler. */
export interface LabeledReport {
  readonly ours: ReadonlySet<Observation>;
  readonly theirs: ReadonlySet<Observation>;
}

/** Shares from 0 to 1, with the other labeler as the reference; NaN if there is nothing to count. */
export interface Score {
  readonly name: string;
  /** Positive reports of the reference. */
  readonly positives: number;
  readonly precision: number;
  readonly recall: number;
  readonly f1: number;
}

/**
 * A score for each observation; `micro`, all decisions counted together; `macro`, the mean over the
 * observations that are positive in any report of the reference.
 */
export function scoreAgreement(reports: readonly LabeledReport[]): readonly Score[] {
  const rows = observations.map((observation) =>
    score(
      observation,
      reports.map(({ ours, theirs }) => [ours.has(observation), theirs.has(observation)]),
    ),
  );
  const micro = score(
    'micro',
    reports.flatMap(({ ours, theirs }) =>
      observations.map((name): Decision => [ours.has(name), theirs.has(name)]),
    ),
  );
  const present = rows.filter(({ positives }) => positives > 0);
  const mean = (value: (row: Score) => number) =>
    present.reduce((sum, row) => sum + value(row), 0) / present.length;
  const macro = {
    name: 'macro',
    positives: micro.positives,
    precision: mean(({ precision }) => precision || 0),
    recall: mean(({ recall }) => recall),
    f1: mean(({ f1 }) => f1),
  };
  return [...rows, micro, macro];
}

type Decision = readonly [ours: boolean, theirs: boolean];

function score(name: string, decisions: readonly Decision[]): Score {
  const count = (a: boolean, b: boolean) =>
    decisions.filter(([ours, theirs]) => ours === a && theirs === b).length;
  const both = count(true, true);
  const extra = count(true, false);
  const missed = count(false, true);
  return {
    name,
    positives: both + missed,
    precision: both / (both + extra),
    recall: both / (both + missed),
    f1: (2 * both) / (2 * both + extra + missed),
  };
}
